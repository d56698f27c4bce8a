//! Debounce of subscription updates: at once after a quiet time, seldom during many changes.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// Least time between two updates. A stream waits at most this long for its channel, unless an update takes longer.
const PAUSE: Duration = Duration::from_millis(10);
/// Pause after an update, as a multiple of its duration, which grows with the number of subscriptions.
const REST: u32 = 2;

/// Waits for changes.
pub(super) struct Debounce {
    interest: watch::Receiver<u64>,
    has_changed: bool,
    not_before: Instant,
}

impl Debounce {
    /// Starts with an update that is due now.
    pub(super) fn new(interest: watch::Receiver<u64>) -> Self {
        Self { interest, has_changed: true, not_before: Instant::now() }
    }

    /// Waits for a change, and for the end of the pause. Returns false if no change can come. Later changes count for the next
    /// call. Cancel-safe.
    pub(super) async fn next(&mut self) -> bool {
        if !self.has_changed {
            if self.interest.changed().await.is_err() {
                return false;
            }
            self.has_changed = true;
        }
        sleep_until(self.not_before).await;
        self.has_changed = false;
        self.interest.mark_unchanged();
        true
    }

    /// Notes the end of an update that began at `began`.
    pub(super) fn finish(&mut self, began: Instant) {
        let now = Instant::now();
        self.not_before = now + PAUSE.max((now - began) * REST);
    }
}

#[cfg(test)]
mod tests;
