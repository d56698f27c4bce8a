//! How often a second something may be done by one user, key or address.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tokio::time::Instant;

use crate::sync::{Lock, Mutex};

/// Keys that are remembered before those that have rested are looked for.
const REMEMBERED_MIN: usize = 1024;

/// Rates by key, by the generic cell rate algorithm: a second's worth at once, and no more than the rate on average.
///
/// `governor` does the same, with nine crates and a second `hashbrown`; this is one number for each key.
#[derive(Debug)]
pub(crate) struct RateLimiter<VerificationKey> {
    /// How many a second; `None` does not count.
    rate: Option<u64>,
    counted: Mutex<RateWindow<VerificationKey>>,
}

#[derive(Debug)]
struct RateWindow<VerificationKey> {
    /// When each has rested enough to have nothing counted against it.
    rested_at: HashMap<VerificationKey, Instant>,
    remembered_max: usize,
}

/// Why something was not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// More at once than a second may have, which is so many.
    Batch(u64),
    /// There is room again after `wait`; a second may have `rate`.
    Rate { rate: u64, wait: Duration },
}

impl<VerificationKey: Hash + Eq + Clone> RateLimiter<VerificationKey> {
    pub(crate) fn new(rate: Option<u64>, lock: Lock) -> Self {
        let counted = RateWindow { rested_at: HashMap::new(), remembered_max: REMEMBERED_MIN };
        Self { rate, counted: Mutex::new(lock, counted) }
    }

    /// Counts so many.
    ///
    /// # Errors
    /// Where there is no room for all of them; none is counted then.
    pub(crate) fn take(&self, key: &VerificationKey, count: u64) -> Result<(), Excess> {
        let Some(rate) = self.rate else { return Ok(()) };
        if count > rate {
            return Err(Excess::Batch(rate));
        }
        let now = Instant::now();
        let cost = Duration::from_secs_f64(count as f64 / rate as f64);
        let mut counted = self.counted.lock();
        counted.drop_idle(now);
        let rested_at = counted.rested_at.entry(key.clone()).or_insert(now);
        let would_rest_at = (*rested_at).max(now) + cost;
        let wait = would_rest_at.saturating_duration_since(now + Duration::from_secs(1));
        // Nanoseconds that were rounded up must not refuse what is within the rate.
        if wait > Duration::from_micros(1) {
            return Err(Excess::Rate { rate, wait });
        }
        *rested_at = would_rest_at;
        Ok(())
    }
}

impl<VerificationKey: Hash + Eq> RateWindow<VerificationKey> {
    fn drop_idle(&mut self, now: Instant) {
        if self.rested_at.len() >= self.remembered_max {
            self.rested_at.retain(|_, rested_at| *rested_at > now);
            self.remembered_max = (2 * self.rested_at.len()).max(REMEMBERED_MIN);
        }
    }
}

#[cfg(test)]
mod tests;
