//! Durations counted by size. An observation takes two additions on cells that few other threads use, and no lock.
//! If two readings of the clock would cost a tenth of the work itself, one call in [`SAMPLED`] is timed.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Upper bounds of the buckets in nanoseconds, each included: 1 µs to 10 s.
const BOUNDS_NANOS: [u64; 22] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
];
/// The last bucket has no bound.
const BUCKETS: usize = BOUNDS_NANOS.len() + 1;
/// Threads share a stripe only if there are more of them.
const STRIPES: usize = 8;
/// Of so many sampled calls of a thread one is timed. The others count with its duration.
const SAMPLED: u64 = 16;
const NANOS_PER_SECOND: f64 = 1e9;

/// A histogram of durations. Clones count into the same cells.
#[derive(Clone, Default)]
pub struct Histogram(Arc<[Stripe; STRIPES]>);

/// The cells of some threads, on cache lines of their own.
#[derive(Default)]
#[repr(align(128))]
struct Stripe {
    buckets: [AtomicU64; BUCKETS],
    sum_nanos: AtomicU64,
    sampled_calls: AtomicU64,
    sampled_nanos: AtomicU64,
}

/// A call that is being timed.
#[derive(Debug, Clone, Copy)]
pub enum Timing {
    /// Began at this instant.
    Exact(Instant),
    /// Without an instant it counts with the duration of the last sampled call that had one.
    Sampled(Option<Instant>),
}

/// The sum of all stripes.
struct Totals {
    buckets: [u64; BUCKETS],
    sum_nanos: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        self.stripe().count(nanos_of(duration));
    }

    /// Times a future and counts it once it is ready. The duration is exact if the future waits, else sampled.
    pub async fn time<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let mut timing = self.begin_sampled();
        let output = poll_fn(|context| {
            let polled = work.as_mut().poll(context);
            if let (Poll::Pending, Timing::Sampled(begun)) = (&polled, timing) {
                timing = Timing::Exact(begun.unwrap_or_else(Instant::now));
            }
            polled
        })
        .await;
        self.end(timing);
        output
    }

    /// Begins to time a call that may wait.
    pub fn begin(&self) -> Timing {
        Timing::Exact(Instant::now())
    }

    /// Begins to time a call that takes about a microsecond.
    pub fn begin_sampled(&self) -> Timing {
        let calls = &self.stripe().sampled_calls;
        // Threads that share a stripe may lose a step, which makes nothing wrong.
        let call = calls.load(Ordering::Relaxed);
        calls.store(call.wrapping_add(1), Ordering::Relaxed);
        Timing::Sampled(call.is_multiple_of(SAMPLED).then(Instant::now))
    }

    /// Counts a call that has ended; a sampled one on the thread that began it.
    pub fn end(&self, timing: Timing) {
        let stripe = self.stripe();
        match timing {
            Timing::Exact(begun) => self.observe(begun.elapsed()),
            Timing::Sampled(None) => stripe.count(stripe.sampled_nanos.load(Ordering::Relaxed)),
            Timing::Sampled(Some(begun)) => {
                let nanos = nanos_of(begun.elapsed());
                stripe.sampled_nanos.store(nanos, Ordering::Relaxed);
                stripe.count(nanos);
            }
        }
    }

    fn stripe(&self) -> &Stripe {
        &self.0[stripe_of_thread()]
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals { buckets: [0; BUCKETS], sum_nanos: 0 };
        for stripe in &*self.0 {
            for (total, bucket) in totals.buckets.iter_mut().zip(&stripe.buckets) {
                *total += bucket.load(Ordering::Relaxed);
            }
            totals.sum_nanos = totals.sum_nanos.wrapping_add(stripe.sum_nanos.load(Ordering::Relaxed));
        }
        totals
    }
}

impl Stripe {
    fn count(&self, nanos: u64) {
        let bucket = BOUNDS_NANOS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_nanos.fetch_add(nanos, Ordering::Relaxed);
    }
}

fn nanos_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns the stripe of the calling thread: threads take them in turn.
fn stripe_of_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
    }
    STRIPE.with(|stripe| *stripe)
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let Totals { buckets, sum_nanos } = self.totals();
        let bounds = BOUNDS_NANOS.iter().map(|nanos| *nanos as f64 / NANOS_PER_SECOND).chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(buckets).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(sum_nanos as f64 / NANOS_PER_SECOND, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram").field("sum_nanos", &self.totals().sum_nanos).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
