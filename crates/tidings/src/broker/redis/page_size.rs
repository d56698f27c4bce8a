//! How many entries to ask Redis for at once: Redis counts entries, and a link carries bytes.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::record::RedisEntry;

/// Entries in one answer at most.
const ENTRIES_MAX: usize = 500;
/// Entries in the first answer: nothing is known of their size then.
const ENTRIES_AT_FIRST: usize = 16;
/// Text that an answer should not pass by much.
const ANSWER_BYTES: usize = 4 << 20;
/// How long an answer should take at most, well below every deadline.
const ANSWER_TIME: Duration = Duration::from_millis(500);

/// Follows what answers held and how long they took. Shared by all who read entries over one link; kept across connections, so
/// that a reader whose answers do not arrive in time asks for less until they do.
#[derive(Debug)]
pub(super) struct PageSize(AtomicUsize);

impl PageSize {
    pub(super) fn new() -> Self {
        Self(AtomicUsize::new(ENTRIES_AT_FIRST))
    }

    /// How many entries to ask for.
    pub(super) fn entries(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// An answer to `asked` entries came after so long: more are asked for next time where it was full, small and quick, fewer
    /// where it was large or slow. A wait for entries counts as no time.
    pub(super) fn answered(&self, asked: usize, stored: &[RedisEntry], took: Duration) {
        let bytes: usize = stored.iter().map(|stored| stored.draft.data.len()).sum();
        if bytes > ANSWER_BYTES || took > ANSWER_TIME {
            self.set(asked / 2);
        } else if stored.len() == asked && bytes < ANSWER_BYTES / 4 && took < ANSWER_TIME / 4 {
            self.set(asked * 2);
        }
    }

    /// No answer to `asked` entries came, or not all of it.
    pub(super) fn failed(&self, asked: usize) {
        self.set(asked / 2);
    }

    fn set(&self, entries: usize) {
        self.0.store(entries.clamp(1, ENTRIES_MAX), Ordering::Relaxed);
    }
}
