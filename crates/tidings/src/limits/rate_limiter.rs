//! Rate limits per user, API key or client address.

use std::{collections::HashMap, hash::Hash, time::Duration};

use tidings_sync::{Lock, Mutex};
use tokio::time::Instant;

/// Number of keys at which idle ones are first removed.
const KEYS_MIN: usize = 1024;

/// Rates by key, by the generic cell rate algorithm: bursts of one second's worth, and the rate on average.
///
/// The crate `governor` does the same, with nine crates and a second `hashbrown`; this is one number per key.
#[derive(Debug)]
pub(crate) struct RateLimiter<Key> {
    /// Events per second; `None` is no limit.
    rate: Option<u64>,
    window: Mutex<RateWindow<Key>>,
}

#[derive(Debug)]
struct RateWindow<Key> {
    /// Time at which each key is idle again: with no events counted against it.
    idle_at: HashMap<Key, Instant>,
    keys_max: usize,
}

/// Reason why events are above the rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Excess {
    /// More events at once than this rate per second.
    Batch(u64),
    /// Above `rate` per second; the events fit after `wait`.
    Rate { rate: u64, wait: Duration },
}

impl<Key: Hash + Eq + Clone> RateLimiter<Key> {
    pub(crate) fn new(rate: Option<u64>, lock: &'static Lock) -> Self {
        let window = RateWindow { idle_at: HashMap::new(), keys_max: KEYS_MIN };
        Self { rate, window: Mutex::new(lock, window) }
    }

    /// Counts `count` events of a key.
    ///
    /// # Errors
    /// If not all of them fit; none is counted then.
    pub(crate) fn take(&self, key: &Key, count: u64) -> Result<(), Excess> {
        let Some(rate) = self.rate else { return Ok(()) };
        if count > rate {
            return Err(Excess::Batch(rate));
        }
        let now = Instant::now();
        let cost = Duration::from_secs_f64(count as f64 / rate as f64);
        let mut window = self.window.lock();
        window.drop_idle(now);
        let idle_at = window.idle_at.entry(key.clone()).or_insert(now);
        let new_idle_at = (*idle_at).max(now) + cost;
        let wait = new_idle_at.saturating_duration_since(now + Duration::from_secs(1));
        // The tolerance covers nanoseconds that were rounded up.
        if wait > Duration::from_micros(1) {
            return Err(Excess::Rate { rate, wait });
        }
        *idle_at = new_idle_at;
        Ok(())
    }
}

impl<Key: Hash + Eq> RateWindow<Key> {
    fn drop_idle(&mut self, now: Instant) {
        if self.idle_at.len() >= self.keys_max {
            self.idle_at.retain(|_, idle_at| *idle_at > now);
            self.keys_max = (2 * self.idle_at.len()).max(KEYS_MIN);
        }
    }
}

#[cfg(test)]
mod tests;
