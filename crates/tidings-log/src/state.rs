//! The state of a log that readers share: its head, epochs, index, entries in memory and transitions.

use tidings_protocol::{Epoch, Tag};

use super::checkpoint::{EpochRow, LostChannels};
use super::entry_cache::EntryCache;
use super::index::Index;
use super::transitions::{EpochTransitions, TruncatedTail};

/// Everything that readers look up under one lock.
pub(super) struct LogState {
    pub(super) head: u64,
    pub(super) head_tag: Tag,
    /// Oldest first; empty before a replica has the broker's epochs, and before the log is open.
    pub(super) epochs: Vec<EpochRow>,
    pub(super) index: Index,
    pub(super) entry_cache: EntryCache,
    pub(super) transitions: EpochTransitions,
    /// Truncated tail that is not reported yet.
    pub(super) truncated_tail: Option<TruncatedTail>,
    /// Head when the log was opened, if streams waited for that.
    pub(super) opened_at: Option<u64>,
}

impl LogState {
    pub(super) fn new(
        (head, head_tag): (u64, Tag),
        epochs: Vec<EpochRow>,
        index: Index,
        entry_cache: EntryCache,
    ) -> Self {
        Self {
            head,
            head_tag,
            epochs,
            index,
            entry_cache,
            transitions: EpochTransitions::default(),
            truncated_tail: None,
            opened_at: None,
        }
    }

    pub(super) fn newest(&self) -> Epoch {
        self.epochs.last().map_or(Epoch(0), EpochRow::epoch)
    }

    /// The highest offset of an epoch, or `None` if it is not known.
    pub(super) fn end_of(&self, epoch: Epoch) -> Option<u64> {
        let index = self.epochs.iter().position(|row| row.epoch() == epoch)?;
        // A log that lost its tail twice may have lost the begin of an epoch, too.
        let later = self.epochs[index + 1..].iter().map(|row| row.begins_after);
        Some(later.min().unwrap_or(self.head))
    }

    /// The tag of the entry at an offset, or 0 if it is not known.
    pub(super) fn tag_at(&self, offset: u64) -> Tag {
        if offset == self.head { self.head_tag } else { self.index.tag(offset).unwrap_or(Tag(0)) }
    }

    /// Adds a transition for each epoch that began at another node.
    pub(super) fn note_epochs(&mut self, rows: &[EpochRow]) {
        for row in rows {
            self.transitions.push(row.begins_after, row.lost.clone());
        }
        if self.truncated_tail.as_ref().is_some_and(|tail| tail.is_covered_by(rows)) {
            self.truncated_tail = None;
        }
    }

    /// Adds a transition without losses: ids are written in another known epoch, or the tail above `offset` is truncated.
    pub(super) fn note_truncation(&mut self, offset: u64) {
        self.transitions.push(offset, LostChannels::None);
    }

    /// Adds a transition for a truncated tail that no epoch has reported. Call it before entries are appended.
    pub(super) fn report_truncated_tail(&mut self) {
        let names = self.truncated_tail.take().map(|tail| tail.channel_names()).unwrap_or_default();
        if !names.is_empty() {
            self.transitions.push(u64::MAX, LostChannels::Channels(names));
        }
    }
}
