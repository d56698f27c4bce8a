//! Upkeep of a log: trims, caches, room on disk, durability, and its figures.

use super::{Log, checkpoint::Checkpoint, store::StoreError};
use crate::metrics::Histogram;

/// Figures of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) head: u64,
    pub(crate) bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) chunk_cache_bytes: u64,
    pub(crate) channels: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) idempotency_keys: u64,
}

impl Log {
    /// Lets go of what is too old or too much, also when nothing is published.
    pub(crate) fn trim(&self) {
        let now = self.now();
        let mut state = self.state_mut();
        self.trim_state(&mut state, now);
        self.release(state);
        self.keys().forget_old(now);
    }

    /// Brings some of the newest entries back into memory after a start, so that clients who resume share them.
    /// Returns whether there is more to bring; entries that come meanwhile have the first right to the room.
    pub(crate) fn warm_cache(&self) -> bool {
        const ENTRIES_AT_ONCE: usize = 256;
        let (offsets, newest): (Vec<u64>, _) = {
            let state = self.state();
            let below = state.entry_cache.oldest().unwrap_or(state.head + 1);
            (state.index.below(below).take(ENTRIES_AT_ONCE).collect(), state.newest())
        };
        let read = self.read(&offsets, newest);
        let mut state = self.state_mut();
        // One that went meanwhile leaves a hole, which the ring may have.
        !offsets.is_empty() && read.into_iter().flatten().all(|entry| state.entry_cache.prepend(entry))
    }

    /// Takes back room on disk.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn maintain(&self) -> Result<(), StoreError> {
        match self.store().maintain(&|is_kept| self.checkpoint(is_kept)) {
            Err(StoreError::Damaged { offset, fault }) => {
                // Given up, it no longer keeps its file from being written anew, which is tried again soon.
                self.drop_damaged(&StoreError::Damaged { offset, fault });
                Ok(())
            }
            other => other,
        }
    }

    /// Makes everything appended so far survive the machine.
    ///
    /// # Errors
    /// What the store says; nothing can be appended after that.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.store().sync()
    }

    /// Durations of the calls that make a file of the log safe.
    pub(crate) fn fsyncs(&self) -> Histogram {
        self.store().fsyncs()
    }

    /// Ends a run: everything is safe and the next start knows it.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        if self.is_half_changed() {
            // The next start reads it as after a kill.
            return self.store().sync();
        }
        self.store().close()
    }

    /// Counts the log as writable only if an event of so many bytes would fit.
    pub(crate) fn require_room(&self, event_bytes_max: u64) {
        self.store().require_room(event_bytes_max);
    }

    /// Whether appends can succeed.
    ///
    /// # Errors
    /// Says why not.
    pub(crate) fn writable(&self) -> Result<(), StoreError> {
        self.check_whole()?;
        self.store().writable()
    }

    pub(super) fn checkpoint(&self, is_kept: &dyn Fn(u64) -> bool) -> Checkpoint {
        let keys = self.keys().rows(is_kept);
        let state = self.state();
        let trims = state.index.channels_to_restore();
        Checkpoint {
            epochs: state.epochs.clone(),
            trims: trims
                .map(|row| (row.name.to_string(), row.trim().offset, row.removed_through()))
                .collect(),
            floor: state.index.default_trim().offset,
            keys,
            dropped: Vec::new(),
            number: 0,
        }
    }

    /// What the log holds and costs.
    pub(crate) fn usage(&self) -> Usage {
        // Read before the state is locked: a publish locks the keys first, and none of these is held beside another.
        let idempotency_keys = self.keys().len() as u64;
        let runs_bytes = self.chunk_cache().bytes() as u64;
        let disk_bytes = self.store().disk_bytes();
        let state = self.state();
        Usage {
            head: state.head,
            bytes: state.index.bytes(),
            cache_bytes: state.entry_cache.bytes() as u64,
            chunk_cache_bytes: runs_bytes,
            channels: state.index.channel_count() as u64,
            disk_bytes,
            idempotency_keys,
        }
    }
}
