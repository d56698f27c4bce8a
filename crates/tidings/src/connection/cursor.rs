//! The cursor of a connection: the last entry that its client has in order, and the later ones that it has already.

use bytes::Bytes;
use tidings_log::Entry;
use tidings_protocol::{Epoch, EventId, Skip, Tag};

/// A position in the log, as the ids of a stream write it.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) offset: u64,
    pub(super) tag: Tag,
    /// Events above `offset` that the client has, ascending.
    skips: Vec<Skip>,
    /// Epoch of the ids.
    pub(super) epoch: Epoch,
}

impl Cursor {
    pub(super) fn new(offset: u64, tag: Tag, skips: Vec<Skip>, epoch: Epoch) -> Self {
        Self { offset, tag, skips, epoch }
    }

    /// Returns the id that resumes here.
    pub(super) fn id(&self) -> EventId {
        EventId { skips: self.skips.clone(), ..EventId::new(self.epoch, self.offset, self.tag) }
    }

    pub(super) fn skips(&self) -> &[Skip] {
        &self.skips
    }

    /// Moves to an offset, and drops the skips up to it.
    pub(super) fn move_to(&mut self, offset: u64, tag: Tag) {
        (self.offset, self.tag) = (offset, tag);
        let passed = self.skips.partition_point(|skip| skip.offset <= offset);
        self.skips.drain(..passed);
    }

    /// Notes that the client got an entry which overtook.
    pub(super) fn skip(&mut self, entry: &Entry) {
        self.skips = self.skips_with(entry);
    }

    pub(super) fn drop_skips_above(&mut self, ceiling: u64) {
        self.skips.retain(|skip| skip.offset <= ceiling);
    }

    /// Returns the frame of an entry that overtakes. Its id has the old offset, and the entry among the skips.
    pub(super) fn frame_ahead(&self, entry: &Entry, epoch: Epoch) -> Bytes {
        let skips = self.skips_with(entry);
        entry.frame_with_id(Some(&EventId { skips, ..EventId::new(epoch, self.offset, self.tag) }))
    }

    /// Returns the frame of the entry that the cursor moves to; `None` if the client has it already.
    pub(super) fn frame_in_order(&self, entry: &Entry, epoch: Epoch) -> Option<Bytes> {
        let passed = self.skips.partition_point(|skip| skip.offset <= entry.offset);
        let was_sent = passed.checked_sub(1).is_some_and(|last| self.skips[last].offset == entry.offset);
        (!was_sent).then(|| entry.frame(epoch, &self.skips[passed..]))
    }

    fn skips_with(&self, entry: &Entry) -> Vec<Skip> {
        let at = self.skips.partition_point(|skip| skip.offset < entry.offset);
        let mut skips = self.skips.clone();
        skips.insert(at, Skip { offset: entry.offset, tag: entry.tag });
        skips
    }
}
