//! How many events a second one publisher may publish.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    error::{Code, Error},
    sync::{Lock, Mutex},
};

/// Publishers that are remembered before those that have rested are looked for.
const REMEMBERED_MIN: usize = 1024;

/// Rates by publisher, by the generic cell rate algorithm: a second's worth at once, and no more than the rate on average.
///
/// `governor` does the same, with nine crates and a second `hashbrown`; this is one number for each publisher.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Events per second; `None` does not count.
    rate: Option<u64>,
    publishers: Mutex<Publishers>,
}

#[derive(Debug)]
struct Publishers {
    /// When each has rested enough to have nothing counted against it.
    rested_at: HashMap<Arc<str>, Instant>,
    remembered_max: usize,
}

impl Rates {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        let publishers = Publishers { rested_at: HashMap::new(), remembered_max: REMEMBERED_MIN };
        Self { rate, publishers: Mutex::new(Lock::PublishRates, publishers) }
    }

    /// Counts so many events.
    ///
    /// # Errors
    /// `batch_too_large` for more at once than a second may have, `too_many_publishes` for more than there is room for
    /// now; none is counted then.
    pub(crate) fn take(&self, publisher: &Arc<str>, events: u64) -> Result<(), Error> {
        let Some(rate) = self.rate else { return Ok(()) };
        if events > rate {
            return Err(Error::new(
                Code::BatchTooLarge,
                format!("{events} events at once; limit is {rate} a second (limits.publishes_per_second); send smaller batches"),
            )
            .limit("publishes_per_second"));
        }
        let now = Instant::now();
        let cost = Duration::from_secs_f64(events as f64 / rate as f64);
        let mut publishers = self.publishers.lock();
        publishers.forget_rested(now);
        let rested_at = publishers.rested_at.entry(publisher.clone()).or_insert(now);
        let would_rest_at = (*rested_at).max(now) + cost;
        let wait = would_rest_at.saturating_duration_since(now + Duration::from_secs(1));
        // Nanoseconds that were rounded up must not refuse what is within the rate.
        if wait > Duration::from_micros(1) {
            return Err(Error::new(
                Code::TooManyPublishes,
                format!(
                    "limit is {rate} events a second (limits.publishes_per_second); try again in {wait:.0?}"
                ),
            )
            .limit("publishes_per_second")
            .retry_after(wait));
        }
        *rested_at = would_rest_at;
        Ok(())
    }
}

impl Publishers {
    fn forget_rested(&mut self, now: Instant) {
        if self.rested_at.len() >= self.remembered_max {
            self.rested_at.retain(|_, rested_at| *rested_at > now);
            self.remembered_max = (2 * self.rested_at.len()).max(REMEMBERED_MIN);
        }
    }
}

#[cfg(test)]
mod tests;
