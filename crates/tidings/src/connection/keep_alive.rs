//! Times of a stream's keep-alives: a comment after silence, the position once the last id is old.

use std::time::{Duration, Instant};

/// Keep-alives that are due for a stream at the head of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeepAliveDue {
    /// Nothing was sent for one interval.
    pub(crate) comment: bool,
    /// No id was sent for one interval.
    pub(crate) position: bool,
}

/// The keep-alive timer of one stream.
pub(super) struct KeepAlive {
    /// Milliseconds in 32 bits: each open stream holds one.
    interval_ms: u32,
    sent_at: Instant,
    /// Time of the last id; `None` if the stream has no positions.
    id_at: Option<Instant>,
}

impl KeepAlive {
    pub(super) fn new(interval: Duration, has_positions: bool, now: Instant) -> Self {
        let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        Self { interval_ms, sent_at: now, id_at: has_positions.then_some(now) }
    }

    /// Notes that bytes were handed to the transport, and whether they had an id.
    pub(super) fn note_sent(&mut self, now: Instant, has_id: bool) {
        self.sent_at = now;
        if has_id && let Some(id_at) = &mut self.id_at {
            *id_at = now;
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.into())
    }

    /// Returns the time of the next keep-alive if nothing else is sent before.
    pub(super) fn due(&self) -> Instant {
        self.id_at.map_or(self.sent_at, |id_at| id_at.min(self.sent_at)) + self.interval()
    }

    /// Returns the keep-alives that are due now and notes them as sent; `None` if none is due.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<KeepAliveDue> {
        let is_due = |at: Instant| at + self.interval() <= now;
        let due = KeepAliveDue { comment: is_due(self.sent_at), position: self.id_at.is_some_and(is_due) };
        (due.comment || due.position).then(|| {
            self.note_sent(now, due.position);
            due
        })
    }
}

#[cfg(test)]
mod tests;
