//! Upkeep of a log: trims, caches, room on disk, durability, and its figures.

use super::{Log, checkpoint::Checkpoint, store::StoreError};
use tidings_sync::Histogram;

/// Figures of a log.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    pub head: u64,
    pub bytes: u64,
    pub cache_bytes: u64,
    pub chunk_cache_bytes: u64,
    pub channels: u64,
    pub disk_bytes: u64,
    pub idempotency_keys: u64,
}

impl Log {
    /// Removes entries beyond the retention by age and bytes.
    pub fn trim(&self) {
        let now = self.now();
        let mut state = self.state_mut();
        self.trim_state(&mut state, now);
        self.release(state);
        self.keys().forget_old(now);
    }

    /// Reads some of the newest entries into the cache after a start, so that clients that resume share them. Returns
    /// whether there are more to read and room for them.
    pub fn warm_cache(&self) -> bool {
        const ENTRIES_AT_ONCE: usize = 256;
        let (offsets, newest): (Vec<u64>, _) = {
            let state = self.state();
            let below = state.entry_cache.oldest().unwrap_or(state.head + 1);
            (state.index.below(below).take(ENTRIES_AT_ONCE).collect(), state.newest())
        };
        let read = self.read(&offsets, newest);
        let mut state = self.state_mut();
        // An entry that was removed meanwhile leaves a hole in the cache.
        !offsets.is_empty() && read.into_iter().flatten().all(|entry| state.entry_cache.prepend(entry))
    }

    /// Frees disk space.
    ///
    /// # Errors
    /// Errors of the store.
    pub fn maintain(&self) -> Result<(), StoreError> {
        match self.store().maintain(&|is_kept| self.checkpoint(is_kept)) {
            Err(StoreError::Damaged { offset, fault }) => {
                // Without the entry the next call can compact its file.
                self.drop_damaged(&StoreError::Damaged { offset, fault });
                Ok(())
            }
            other => other,
        }
    }

    /// Makes all appended entries durable.
    ///
    /// # Errors
    /// Errors of the store; nothing can be appended after that.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.store().sync()
    }

    /// Durations of fsync calls for files of the log.
    pub fn fsyncs(&self) -> Histogram {
        self.store().fsyncs()
    }

    /// Makes all entries durable, and records that the run ended cleanly.
    ///
    /// # Errors
    /// Errors of the store.
    pub fn close(&self) -> Result<(), StoreError> {
        if self.is_half_changed() {
            // The next start must treat this run as killed.
            return self.store().sync();
        }
        self.store().close()
    }

    /// Sets the size of the event that must fit for the log to count as writable.
    pub fn require_room(&self, event_bytes_max: u64) {
        self.store().require_room(event_bytes_max);
    }

    /// Whether appends can succeed.
    ///
    /// # Errors
    /// The reason why they cannot.
    pub fn writable(&self) -> Result<(), StoreError> {
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

    /// Figures of the log, for metrics.
    pub fn usage(&self) -> Usage {
        // Locked before the state, one after another: a publish locks the keys first.
        let idempotency_keys = self.keys().len() as u64;
        let chunk_cache_bytes = self.chunk_cache().bytes() as u64;
        let disk_bytes = self.store().disk_bytes();
        let state = self.state();
        Usage {
            head: state.head,
            bytes: state.index.bytes(),
            cache_bytes: state.entry_cache.bytes() as u64,
            chunk_cache_bytes,
            channels: state.index.channel_count() as u64,
            disk_bytes,
            idempotency_keys,
        }
    }
}
