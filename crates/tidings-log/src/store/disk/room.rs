//! Space on disk: frees it, also on a full disk, and tests whether the largest event would fit.

use std::{io, sync::atomic::Ordering};

use super::run::RunState;
use super::segments::drop_ranges;
use super::store::{DiskStore, copy, lock};
use crate::checkpoint::Checkpoint;
use crate::files::{self, Reserve, is_full, replace};
use crate::store::record::RECORD_BYTES_BESIDE_TEXT_MAX;
use crate::store::{CheckpointSource, StoreError};

/// Bytes of an append beside the text of its event, at most: names, keys, lengths and partly used pages.
const BYTES_BESIDE_TEXT: u64 = RECORD_BYTES_BESIDE_TEXT_MAX as u64 + 2 * 4096;

impl DiskStore {
    /// Removes files without kept entries, and compacts files with few.
    pub(super) fn take_back_room(&self, checkpoint: &CheckpointSource<'_>) -> Result<(), StoreError> {
        let is_disk_full = lock(&self.refused).as_ref().is_some_and(is_full);
        if is_disk_full {
            self.retire_active();
        }
        let empty = self.empty();
        let candidates = self.compaction_candidates(is_disk_full);
        if empty.is_empty() && candidates.is_empty() {
            return Ok(());
        }
        drop_ranges(&mut lock(&self.dropped), &empty);
        let checkpoint = checkpoint(&|offset| self.is_kept(offset));
        match self.save_checkpoint(&checkpoint) {
            Err(StoreError::NotStored(error)) if is_full(&error) => {
                self.remove_unrecorded(&empty, &checkpoint)?;
                self.save_checkpoint(&checkpoint)?;
            }
            other => other.and_then(|()| self.remove(&empty).map_err(StoreError::NotStored))?,
        }
        // A compaction that does not fit now may fit after the others.
        candidates.iter().map(|candidate| self.compact(candidate)).fold(Ok(()), Result::and)
    }

    /// Removes files without kept entries before a checkpoint records that. After a crash the next start finds them missing
    /// and reports a gap. Files with idempotency keys stay, since no gap would report those.
    pub(super) fn remove_unrecorded(
        &self,
        empty: &[(u64, u64)],
        checkpoint: &Checkpoint,
    ) -> Result<(), StoreError> {
        let has_key = |(first, last): &(u64, u64)| {
            checkpoint.keys.iter().any(|row| (*first..=*last).contains(&row.offset))
        };
        let removable: Vec<(u64, u64)> = empty.iter().filter(|file| !has_key(file)).copied().collect();
        drop_ranges(&mut lock(&self.dropped), &removable);
        self.remove(&removable).map_err(StoreError::NotStored)
    }

    /// Closes the active file if few of its entries are kept, so that it can be compacted. The next append opens another.
    pub(super) fn retire_active(&self) {
        let mut active = lock(&self.active);
        let mut segments = self.segments_mut();
        let Some(last) = segments.back_mut().filter(|last| last.is_active && !last.slots.is_empty()) else {
            return;
        };
        if last.live == 0 || last.dead_bytes() > last.live_bytes.max(self.room_bytes()) {
            last.is_active = false;
            active.file = None;
        }
    }

    /// Writes the checkpoint, with space from the reserve if the disk is full.
    pub(super) fn save_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.reserve.with_room(|| self.put_checkpoint(checkpoint)).map_err(StoreError::NotStored)
    }

    fn put_checkpoint(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let mut begin = lock(&self.begin);
        if begin.as_ref().is_some_and(|begin| !begin.has_begun) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let number = lock(&self.watermark).checkpoint() + 1;
        let dropped = lock(&self.dropped).clone();
        let bytes = Checkpoint { dropped, number, ..checkpoint.clone() }.encode();
        replace(&self.directory, "checkpoint", &bytes)?;
        self.checkpoint_bytes.store(bytes.len() as u64, Ordering::Relaxed);
        // A record that lags is no fault.
        let _ = lock(&self.watermark).put_checkpoint(number);
        let Some(begun) = &*begin else { return Ok(()) };
        if begun.lost.is_some() {
            self.write_run(&RunState::Running { unreported_loss: None })?;
        }
        *begin = None;
        self.takes_events.store(true, Ordering::Release);
        drop(begin);
        self.look_for_room();
        Ok(())
    }

    /// Fills the reserve again, and tests whether the largest event would fit.
    pub(super) fn look_for_room(&self) {
        if !self.takes_events.load(Ordering::Acquire) || lock(&self.read_only).is_some() {
            return;
        }
        let reserved = Reserve::BYTES_MIN.max(2 * self.checkpoint_bytes.load(Ordering::Relaxed));
        if let Err(error) = self.reserve.fill(reserved) {
            self.note_refused(&error);
            return;
        }
        let is_refused = lock(&self.refused).is_some();
        if is_refused && self.reserve.try_room(self.room_bytes()).is_ok() {
            *lock(&self.refused) = None;
        }
        let is_short = files::free_bytes(&self.directory).is_some_and(|free| free < self.room_bytes());
        self.is_short.store(is_short, Ordering::Release);
    }

    pub(super) fn note_refused(&self, error: &io::Error) {
        *lock(&self.refused) = Some(copy(error));
    }

    /// The error of an append of the largest event.
    pub(super) fn shortage(&self) -> io::Error {
        let free = files::free_bytes(&self.directory).unwrap_or_default();
        let needed = self.room_bytes();
        let why = format!(
            "{free} bytes are free in {}; an event of limits.event_bytes needs {needed}; free some",
            self.directory.display()
        );
        io::Error::new(io::ErrorKind::StorageFull, why)
    }

    /// Bytes of the largest event.
    fn room_bytes(&self) -> u64 {
        self.event_bytes_max.load(Ordering::Relaxed).saturating_add(BYTES_BESIDE_TEXT)
    }
}
