//! History: a page of stored events, for requests that open no stream.

use std::sync::Arc;

use tidings_protocol::{Epoch, EventId, Skip, Subscription};

use super::Log;
use super::entry::{Entry, Millis};
use super::read::ReadRequest;
use super::resume::{Gap, IdCheck, Start};
use super::state::LogState;
use super::subscriptions::subscription_texts;

/// Request for one page of history.
#[derive(Debug, Clone)]
pub struct HistoryRange {
    pub start: Start,
    /// Last id that may be returned.
    pub until: Option<EventId>,
    pub limit: usize,
    /// Returns the newest `limit` events instead of the oldest.
    pub is_newest: bool,
}

/// Stored events, oldest first.
#[derive(Debug)]
pub struct HistoryRead {
    pub entries: Vec<Arc<Entry>>,
    /// Id to go on from, if there are more events.
    pub next: Option<EventId>,
    pub gap: Option<(Gap, EventId)>,
    pub newest: Epoch,
}

impl HistoryRead {
    /// The id of the last entry.
    fn last(&self) -> Option<EventId> {
        self.entries.last().map(|last| EventId::new(self.newest, last.offset, last.tag))
    }

    /// Adds an entry if there is room; otherwise notes that there are more.
    fn take(&mut self, entry: Arc<Entry>, limit: usize) -> bool {
        let has_room = self.entries.len() < limit;
        if has_room {
            self.entries.push(entry);
        } else {
            self.next = self.last();
        }
        has_room
    }
}

/// Part of the log that a page is read from.
struct Range {
    /// Entries at or below are left out.
    cursor: u64,
    /// Entries that are left out.
    skips: Vec<Skip>,
    /// Last offset, but for `ahead`.
    through: u64,
    /// Entries above `through` that overtook and are part of it, ascending.
    ahead: Vec<u64>,
    gap: Option<(Gap, EventId)>,
    gaps_reported_to: u64,
    transitions_applied: u64,
    newest: Epoch,
}

impl Range {
    fn is_had(&self, offset: u64) -> bool {
        self.skips.iter().any(|skip| skip.offset == offset)
    }

    fn has(&self, offset: u64) -> bool {
        offset > self.cursor
            && (offset <= self.through || self.ahead.contains(&offset))
            && !self.is_had(offset)
    }
}

impl Log {
    /// Reads stored events, oldest first. It may read the disk.
    pub fn history(&self, wanted: &HistoryRange, subscriptions: &[Subscription]) -> HistoryRead {
        loop {
            let range = self.state().range(wanted, subscriptions, self.now());
            // If entries were lost before any was read, the next attempt finds the loss.
            if let Some(history) = self.history_within(range, subscriptions, wanted.limit) {
                return history;
            }
        }
    }

    fn history_within(
        &self,
        mut range: Range,
        subscriptions: &[Subscription],
        limit: usize,
    ) -> Option<HistoryRead> {
        let now = self.now();
        let gap = range.gap.take();
        let mut history = HistoryRead { entries: Vec::new(), next: None, gap, newest: range.newest };
        while range.cursor < range.through {
            let request = ReadRequest {
                subscriptions,
                cursor: range.cursor,
                skips: &[],
                gaps_reported_to: range.gaps_reported_to,
                transitions_applied: range.transitions_applied,
                through: range.through,
                overtaking_max: 0,
                may_join: false,
            };
            let mut page = self.page(&request);
            if !page.lost.is_empty() || page.transitions_applied != range.transitions_applied {
                // A client that goes on from the last id gets the gap.
                history.next = history.last();
                return history.next.is_some().then_some(history);
            }
            let read = self.read(&page.missing_offsets(), page.newest);
            page.fill(read);
            for entry in page.entries.into_iter().filter_map(|listed| listed.entry) {
                range.cursor = entry.offset;
                if !entry.has_expired(now) && !range.is_had(entry.offset) && !history.take(entry, limit) {
                    return Some(history);
                }
            }
            if page.is_last {
                break;
            }
            if let Some((end, _)) = page.end {
                (range.cursor, range.gaps_reported_to) = (end, page.gaps_reported_to);
            }
        }
        let ahead: Vec<u64> = range.ahead.iter().copied().filter(|offset| range.has(*offset)).collect();
        let mut ahead = self.read(&ahead, range.newest).into_iter().flatten();
        ahead.all(|entry| entry.has_expired(now) || history.take(entry, limit));
        Some(history)
    }
}

impl LogState {
    fn range(&self, wanted: &HistoryRange, subscriptions: &[Subscription], now: Millis) -> Range {
        let resume_point = self.resume_point(&wanted.start, subscriptions, now);
        let mut range = Range {
            gap: resume_point
                .gap
                .map(|gap| (gap, EventId::new(resume_point.newest, resume_point.cursor, resume_point.tag))),
            cursor: resume_point.cursor,
            skips: resume_point.skips,
            through: u64::MAX,
            ahead: Vec::new(),
            gaps_reported_to: resume_point.gaps_reported_to,
            transitions_applied: resume_point.transitions_applied,
            newest: resume_point.newest,
        };
        if let Some(id) = &wanted.until {
            self.end_at(&mut range, id, subscriptions);
        }
        if wanted.is_newest {
            range.through = range.through.min(self.head);
            let is_wanted = |offset| range.has(offset) && !self.index.has_expired(offset, now);
            let oldest = self.oldest_of_newest(subscriptions, wanted.limit, &is_wanted);
            range.cursor = oldest.map_or(range.through.max(range.cursor), |oldest| oldest - 1);
        }
        range
    }

    /// Ends a range at the position from which a stream resumes with the id, so that the two have each event once.
    fn end_at(&self, range: &mut Range, id: &EventId, subscriptions: &[Subscription]) {
        let IdCheck { from, skips, reason } = self.check_id(id);
        range.through = from;
        let ahead = skips.iter().map(|skip| skip.offset).filter(|offset| *offset > from);
        range.ahead = ahead.filter(|offset| self.is_held_for(*offset, subscriptions)).collect();
        range.ahead.sort_unstable();
        if let Some(reason) = reason.filter(|_| range.gap.is_none()) {
            let gap =
                Gap { channels: subscription_texts(subscriptions), reason, requested: Some(id.to_string()) };
            range.gap = Some((gap, EventId::new(range.newest, from, self.tag_at(from))));
        }
    }
}

#[cfg(test)]
mod tests;
