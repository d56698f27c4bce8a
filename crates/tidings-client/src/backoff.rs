//! How long to wait before the next attempt: full jitter under a ceiling that doubles.

use std::time::Duration;

/// The lowest and first ceiling, unless the hub names a higher one by `retry:`.
pub(crate) const CEILING_MIN: Duration = Duration::from_millis(500);

/// The highest ceiling, whatever the hub asks for by `retry:`.
pub(crate) const CEILING_MAX: Duration = Duration::from_secs(20);

/// The longest `Retry-After` that is honoured: a proxy that says "tomorrow" must not silence a subscriber.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// The state of one series of attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    /// The ceiling of the first attempt, within `CEILING_MIN..=CEILING_MAX`.
    base: Duration,
    /// Attempts that failed since the last success.
    failures: u32,
}

impl Backoff {
    /// Begins with the lowest ceiling.
    pub(crate) fn new() -> Self {
        Self { base: CEILING_MIN, failures: 0 }
    }

    /// Takes the hub's `retry:` as the first ceiling, clamped.
    pub(crate) fn rebase(&mut self, retry: Duration) {
        self.base = retry.clamp(CEILING_MIN, CEILING_MAX);
    }

    /// Notes a success: the next failure waits under the first ceiling again.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Notes a failure and draws the wait; a `Retry-After` is a floor that the jitter is added to.
    pub(crate) fn failed(&mut self, retry_after: Option<Duration>) -> Duration {
        self.failed_with(retry_after, rand::random_range(0.0..=1.0))
    }

    /// As [`Backoff::failed`], with the draw (0 to 1) given.
    fn failed_with(&mut self, retry_after: Option<Duration>, draw: f64) -> Duration {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let ceiling = (self.base * 2u32.pow(doublings)).min(CEILING_MAX);
        retry_after.unwrap_or_default().min(RETRY_AFTER_MAX) + ceiling.mul_f64(draw)
    }
}

#[cfg(test)]
mod tests;
