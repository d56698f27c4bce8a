//! Delays between attempts: full jitter below a ceiling that doubles.

use std::time::Duration;

/// The lowest ceiling, and the first one unless the hub sends a higher `retry:`.
pub(crate) const CEILING_MIN: Duration = Duration::from_millis(500);

/// The highest ceiling, whatever `retry:` the hub sends.
pub(crate) const CEILING_MAX: Duration = Duration::from_secs(20);

/// The longest `Retry-After` that is honoured: a proxy that sends "tomorrow" must not silence a subscriber.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// State of a series of attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// The ceiling of the first attempt, within `CEILING_MIN..=CEILING_MAX`.
    base: Duration,
    /// Failures since the last success.
    failures: u32,
}

impl Backoff {
    /// Creates a backoff with the lowest ceiling.
    pub(crate) fn new() -> Self {
        Self { base: CEILING_MIN, failures: 0 }
    }

    /// Sets the first ceiling to the hub's `retry:`, within the bounds.
    pub(crate) fn set_base(&mut self, retry: Duration) {
        self.base = retry.clamp(CEILING_MIN, CEILING_MAX);
    }

    /// Resets the ceiling after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Counts a failure and returns the delay. The jitter is added to a `Retry-After`.
    pub(crate) fn next_delay(&mut self, retry_after: Option<Duration>) -> Duration {
        self.next_delay_with(retry_after, rand::random_range(0.0..=1.0))
    }

    /// As [`Backoff::next_delay`], with a jitter from 0 to 1.
    fn next_delay_with(&mut self, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let ceiling = (self.base * 2u32.pow(doublings)).min(CEILING_MAX);
        retry_after.unwrap_or_default().min(RETRY_AFTER_MAX) + ceiling.mul_f64(jitter)
    }
}

#[cfg(test)]
mod tests;
