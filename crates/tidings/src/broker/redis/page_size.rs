//! Page size of reads: Redis limits answers by entries, but a connection is limited by bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tidings_log::ReplicatedEntry;

/// Entries of one answer.
const ENTRIES_MAX: usize = 500;
/// Entries of the first answer, when their size is unknown.
const ENTRIES_AT_FIRST: usize = 16;
/// Bytes of text that an answer should have at most, approximately.
const ANSWER_BYTES: usize = 4 << 20;
/// Time that an answer should take at most, far below every deadline.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Page size that adapts to the size and duration of answers. All readers of a node share it across connections, so that a
/// reader on a slow connection asks for fewer entries until the answers arrive in time.
#[derive(Debug)]
pub(super) struct PageSize(AtomicUsize);

impl PageSize {
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(ENTRIES_AT_FIRST))
    }

    /// Returns the number of entries to ask for.
    pub(super) fn entries(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes an answer to a request for so many entries. The page grows if the answer was full, small and fast; it shrinks if the
    /// answer was large or slow. `took` is without the time that Redis waited for entries.
    pub(super) fn answered(&self, entries: usize, stored: &[ReplicatedEntry], took: Duration) {
        let bytes: usize = stored.iter().map(|stored| stored.entry.data.len()).sum();
        if bytes > ANSWER_BYTES || took > ANSWER_TIME {
            self.set(entries / 2);
        } else if stored.len() == entries && bytes < ANSWER_BYTES / 4 && took < ANSWER_TIME / 4 {
            self.set(entries * 2);
        }
    }

    /// Notes that no whole answer to a request for so many entries came.
    pub(super) fn failed(&self, entries: usize) {
        self.set(entries / 2);
    }

    fn set(&self, entries: usize) {
        self.0.store(entries.clamp(1, ENTRIES_MAX), Ordering::Relaxed);
    }
}
