//! Where entries are kept: a small trait, with one keeper on disk and one in memory.

// Nothing that stands in a file may end a thread.
#![deny(clippy::expect_used)]

pub(crate) mod disk;
mod error;
#[cfg(any(test, fuzzing))]
#[allow(clippy::expect_used, reason = "a fuzz target fails by a panic")]
pub(crate) mod fuzz;
pub(crate) mod memory;
mod record;
mod segment;
pub(crate) mod unopened;

use std::sync::Arc;

use tidings_protocol::Epoch;

pub(crate) use self::{
    error::StoreError,
    record::{RECORD_BYTES_BESIDE_TEXT_MAX, SHORT_BYTES_MAX},
};
use super::{checkpoint::Checkpoint, entry::Entry};
use crate::metrics::Histogram;

/// Keeps entries by offset. One writer appends; any thread reads.
pub(crate) trait Store: Send + Sync {
    /// Keeps a batch whole or not at all. Offsets are ascending and above all kept ones.
    fn append(&self, batch: &[Arc<Entry>]) -> Result<(), StoreError>;

    /// Whether an append waits for nothing now: a copy in memory, that of the kernel at most.
    fn can_append_without_blocking(&self) -> bool;

    /// Makes everything appended so far survive the machine.
    fn sync(&self) -> Result<(), StoreError>;

    /// Durations of the calls that make a file safe; empty for a store without files.
    fn fsyncs(&self) -> Histogram {
        Histogram::default()
    }

    /// Reads entries by offset, framed for `newest`; `None` for one that is no longer kept.
    fn read(&self, offsets: &[u64], newest: Epoch) -> Result<Vec<Option<Arc<Entry>>>, StoreError>;

    /// Gives what is wanted, which is ascending, as it stands: to each asker its entries in order, until their records
    /// are more than `bytes_max`, but one at least; `None` for one that is no longer kept or cannot be read.
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

    /// Lets go of entries that no channel holds any more; their room is taken back by [`Store::maintain`].
    fn release(&self, offsets: &[u64]);

    /// Takes back room. `checkpoint` is asked, after the entries to drop are known, for what must outlive them;
    /// it is given a test of which offsets are still kept.
    fn maintain(&self, checkpoint: &CheckpointSource<'_>) -> Result<(), StoreError>;

    /// Keeps what is not in any entry: epochs and losses.
    fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError>;

    /// Says how large an event may be.
    fn require_room(&self, event_bytes_max: u64) {
        let _ = event_bytes_max;
    }

    /// Whether an append of an event of any size can succeed: `Err` says why not.
    fn writable(&self) -> Result<(), StoreError>;

    /// Makes everything safe and notes that the run ended clean.
    fn close(&self) -> Result<(), StoreError> {
        self.sync()
    }

    /// Bytes taken on disk, or 0.
    fn disk_bytes(&self) -> u64;
}

/// An entry, and the number of the one who asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct StoredOffset {
    pub(crate) offset: u64,
    pub(crate) by: u32,
}

/// An entry as a store finds it.
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

    /// What its frame takes, or less.
    pub(crate) fn frame_bytes_min(&self) -> usize {
        const ID_BYTES: usize = "id: 0123456789abcdef-0-01234567\n\n".len();
        match self {
            Self::Entry(entry) => entry.frame_bytes(),
            Self::Record(text) => text.data.len() + ID_BYTES,
        }
    }
}

/// Gives the checkpoint as of now; its argument tells which offsets are still kept.
pub(crate) type CheckpointSource<'a> = dyn Fn(&dyn Fn(u64) -> bool) -> Checkpoint + 'a;

#[cfg(test)]
mod tests;
