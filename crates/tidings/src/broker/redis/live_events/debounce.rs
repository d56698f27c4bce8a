//! When wishes are worked out again: at once after a quiet time, and in a storm of changes only now and then.

use std::time::Duration;

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

/// The least time between two turns: a stream waits no longer for its channel, unless a turn takes long.
const PAUSE: Duration = Duration::from_millis(10);
/// How much longer than a turn took it rests, at least: turns cost as much as there is to hear, and changes come one by
/// one.
const REST: u32 = 2;

/// Waits for changes.
pub(super) struct Debounce {
    interest: watch::Receiver<u64>,
    has_changed: bool,
    not_before: Instant,
}

impl Debounce {
    /// The first turn is now.
    pub(super) fn new(interest: watch::Receiver<u64>) -> Self {
        Self { interest, has_changed: true, not_before: Instant::now() }
    }

    /// Waits for a change, and until it is time; false where there will be none. What changes after it has answered is for
    /// the next turn. Cancel-safe.
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

    /// A turn is over that began then.
    pub(super) fn finish(&mut self, began: Instant) {
        let now = Instant::now();
        self.not_before = now + PAUSE.max((now - began) * REST);
    }
}

#[cfg(test)]
mod tests;
