//! When a stream is due for a keep-alive: a comment after silence, its position once the last id is old.

use std::{ops::Add, time::Duration};

use crate::connection::KeepAliveDue;

/// The clock of one stream. `I` is the transport's kind of instant.
pub(super) struct KeepAlive<I> {
    /// In milliseconds: there is one for each stream.
    interval_ms: u32,
    sent_at: I,
    /// When the last id was sent; none where the stream has no positions.
    id_at: Option<I>,
}

impl<I: Copy + Ord + Add<Duration, Output = I>> KeepAlive<I> {
    pub(super) fn new(interval: Duration, has_positions: bool, now: I) -> Self {
        let interval_ms = u32::try_from(interval.as_millis()).unwrap_or(u32::MAX);
        Self { interval_ms, sent_at: now, id_at: has_positions.then_some(now) }
    }

    /// Notes that bytes were handed to the socket, and whether an id was among them.
    pub(super) fn sent(&mut self, now: I, has_id: bool) {
        self.sent_at = now;
        if has_id && let Some(id_at) = &mut self.id_at {
            *id_at = now;
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval_ms.into())
    }

    /// When something is to be sent, unless something else is sent before.
    pub(super) fn due(&self) -> I {
        self.id_at.map_or(self.sent_at, |id_at| id_at.min(self.sent_at)) + self.interval()
    }

    /// Returns the keep-alives that are due now, which then count as sent; `None` if none is due.
    pub(super) fn take_due(&mut self, now: I) -> Option<KeepAliveDue> {
        let is_due = |at: I| at + self.interval() <= now;
        let due = KeepAliveDue { comment: is_due(self.sent_at), position: self.id_at.is_some_and(is_due) };
        (due.comment || due.position).then(|| {
            self.sent(now, due.position);
            due
        })
    }
}

#[cfg(test)]
mod tests;
