//! Stores of entries: a trait, with an implementation on disk and one in memory.

// No content of a file may cause a panic.
#![deny(clippy::expect_used)]

pub(crate) mod disk;
mod error;
#[cfg(any(test, all(fuzzing, feature = "testing")))]
#[allow(clippy::expect_used, reason = "a fuzz target fails by a panic")]
pub(crate) mod fuzz;
pub(crate) mod memory;
mod record;
mod segment;
pub(crate) mod unopened;

use std::sync::Arc;

use tidings_protocol::Epoch;

pub use self::disk::{OpenError, SEGMENT_BYTES_MAX};
pub use self::error::StoreError;
pub use self::record::{RECORD_BYTES_BESIDE_TEXT_MAX, SHORT_BYTES_MAX};
use super::{checkpoint::Checkpoint, entry::Entry};
use tidings_sync::Histogram;

/// Store of entries by offset. One writer appends; any thread reads.
pub(crate) trait Store: Send + Sync {
    /// Stores a batch as a whole or not at all. Offsets are ascending and above all stored ones.
    fn append(&self, batch: &[Arc<Entry>]) -> Result<(), StoreError>;

    /// Whether an append would wait for nothing now: it copies memory, at most into the page cache.
    fn can_append_without_blocking(&self) -> bool;

    /// Makes all appended entries durable.
    fn sync(&self) -> Result<(), StoreError>;

    /// Durations of fsync calls; empty for a store without files.
    fn fsyncs(&self) -> Histogram {
        Histogram::default()
    }

    /// Reads entries by offset, framed for `newest`; `None` for an entry that is no longer stored.
    fn read(&self, offsets: &[u64], newest: Epoch) -> Result<Vec<Option<Arc<Entry>>>, StoreError>;

    /// Reads records without framing them. `wanted` is ascending. Each request gets its entries in order, until their
    /// records are more than `bytes_max`, but one at least; `None` for an entry that is no longer stored or cannot be read.
    fn read_raw(
        &self,
        wanted: &[StoredOffset],
        newest: Epoch,
        bytes_max: usize,
        each: &mut dyn FnMut(usize, Option<RawEntry<'_>>),
    ) {
        let _ = bytes_max;
        for StoredOffset { offset, by } in wanted {
            let read = self.read(&[*offset], newest).ok().and_then(|mut read| read.pop()).flatten();
            each(*by as usize, read.as_deref().map(RawEntry::Entry));
        }
    }

    /// Releases entries that no channel holds any more; [`Store::maintain`] frees their space.
    fn release(&self, offsets: &[u64]);

    /// Frees space. `checkpoint` is called when the entries to drop are known, with a test of which offsets are still
    /// stored.
    fn maintain(&self, checkpoint: &CheckpointSource<'_>) -> Result<(), StoreError>;

    /// Stores the state that is in no entry: epochs and losses.
    fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError>;

    /// Sets the size of the largest event.
    fn require_room(&self, event_bytes_max: u64) {
        let _ = event_bytes_max;
    }

    /// Whether an append of the largest event can succeed; `Err` is the reason why not.
    fn writable(&self) -> Result<(), StoreError>;

    /// Makes all entries durable, and records that the run ended cleanly.
    fn close(&self) -> Result<(), StoreError> {
        self.sync()
    }

    /// Bytes on disk, or 0.
    fn disk_bytes(&self) -> u64;
}

/// An entry, and the number of the request that wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoredOffset {
    pub(crate) offset: u64,
    pub(crate) by: u32,
}

/// An entry in the form in which the store has it.
pub(crate) enum RawEntry<'a> {
    Entry(&'a Entry),
    Record(record::RecordText<'a>),
}

impl RawEntry<'_> {
    /// See [`Entry::is_plain`].
    pub(crate) fn is_plain(&self) -> bool {
        match self {
            Self::Entry(entry) => entry.is_plain(),
            Self::Record(text) => text.is_plain,
        }
    }

    /// Lower bound of the bytes of its frame.
    pub(crate) fn frame_bytes_min(&self) -> usize {
        const ID_BYTES: usize = "id: 0123456789abcdef-0-01234567\n\n".len();
        match self {
            Self::Entry(entry) => entry.frame_bytes(),
            Self::Record(text) => text.data.len() + ID_BYTES,
        }
    }
}

/// Returns the current checkpoint; its argument tests which offsets are still stored.
pub(crate) type CheckpointSource<'a> = dyn Fn(&dyn Fn(u64) -> bool) -> Checkpoint + 'a;

#[cfg(test)]
mod tests;
