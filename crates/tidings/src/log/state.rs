//! The state of a log that readers share: its head, epochs, index, entries in memory and transitions.

use tidings_protocol::{Epoch, Tag};

use super::{
    checkpoint::{EpochRow, LostChannels},
    entry_cache::EntryCache,
    index::Index,
    transitions::{EpochTransitions, TruncatedTail},
};

/// Everything that readers look up under one lock.
pub(super) struct LogState {
    pub(super) head: u64,
    pub(super) head_tag: Tag,
    /// Oldest first; empty only where a broker's have not come yet, and before the log is open.
    pub(super) epochs: Vec<EpochRow>,
    pub(super) index: Index,
    pub(super) entry_cache: EntryCache,
    pub(super) transitions: EpochTransitions,
    /// An end that was cut off and that nobody was told of yet.
    pub(super) cut: Option<TruncatedTail>,
    /// The head when the log was opened, of a log that streams waited for.
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
            cut: None,
            opened_at: None,
        }
    }

    pub(super) fn newest(&self) -> Epoch {
        self.epochs.last().map_or(Epoch(0), EpochRow::epoch)
    }

    /// The highest offset of an epoch, or `None` if it is not known.
    pub(super) fn end_of(&self, epoch: Epoch) -> Option<u64> {
        let index = self.epochs.iter().position(|row| row.epoch() == epoch)?;
        // A log that lost its end twice may have lost the begin of an epoch, too.
        let later = self.epochs[index + 1..].iter().map(|row| row.begins_after);
        Some(later.min().unwrap_or(self.head))
    }

    /// The tag of the entry at an offset, or the tag that compares with none.
    pub(super) fn tag_at(&self, offset: u64) -> Tag {
        if offset == self.head { self.head_tag } else { self.index.tag(offset).unwrap_or(Tag(0)) }
    }

    /// Notes epochs that began elsewhere.
    pub(super) fn note_epochs(&mut self, rows: &[EpochRow]) {
        for row in rows {
            self.transitions.push(row.begins_after, row.lost.clone());
        }
        if self.cut.as_ref().is_some_and(|cut| cut.is_covered_by(rows)) {
            self.cut = None;
        }
    }

    /// Notes that ids are written in another epoch, though none began, or that the end is now here.
    pub(super) fn note_truncation(&mut self, offset: u64) {
        self.transitions.push(offset, LostChannels::None);
    }

    /// Tells of an end that was cut off, before anything takes its place, where no epoch has.
    pub(super) fn report_truncated_tail(&mut self) {
        let names = self.cut.take().map(|cut| cut.channel_names()).unwrap_or_default();
        if !names.is_empty() {
            self.transitions.push(u64::MAX, LostChannels::Channels(names));
        }
    }
}
