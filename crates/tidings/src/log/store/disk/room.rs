//! Room on disk: takes it back, also on a full disk, and says whether an event would fit.

use std::{io, sync::atomic::Ordering};

use super::{
    run::RunState,
    segments::drop_ranges,
    store::{DiskStore, copy, lock},
};
use crate::{
    files::{self, Reserve, is_full, replace},
    log::{
        checkpoint::Checkpoint,
        store::{CheckpointSource, StoreError, record::RECORD_BYTES_BESIDE_TEXT_MAX},
    },
};

/// Bytes of an append beside the text of its event, at most: names, keys and lengths, and pages that it only begins.
const BYTES_BESIDE_TEXT: u64 = RECORD_BYTES_BESIDE_TEXT_MAX as u64 + 2 * 4096;

impl DiskStore {
    /// Removes files that hold nothing, and writes those anew that hold too little.
    pub(super) fn take_back_room(&self, checkpoint: &CheckpointSource<'_>) -> Result<(), StoreError> {
        let is_disk_full = lock(&self.refused).as_ref().is_some_and(is_full);
        if is_disk_full {
            self.retire_active();
        }
        let empty = self.empty();
        let wasteful = self.compaction_candidates(is_disk_full);
        if empty.is_empty() && wasteful.is_empty() {
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
        // One that does not fit now may fit after the others.
        wasteful.iter().map(|rewrite| self.compact(rewrite)).fold(Ok(()), Result::and)
    }

    /// Removes files that hold nothing before any checkpoint tells of that. After a crash the next start finds them missing
    /// and tells everyone, so nothing is lost in silence. Keys would be: files of those are left.
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

    /// Closes the active file if little of it is held, so that its room comes back; the next append opens another.
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

    /// Writes the checkpoint, with room from the reserve if the disk is full.
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
            self.write_run(&RunState::Running { untold: None })?;
        }
        *begin = None;
        self.takes_events.store(true, Ordering::Release);
        drop(begin);
        self.look_for_room();
        Ok(())
    }

    /// Holds the reserve again, and finds out whether an event of the largest size would fit.
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

    /// Why an event of the largest size would not fit.
    pub(super) fn shortage(&self) -> io::Error {
        let free = files::free_bytes(&self.directory).unwrap_or_default();
        let needed = self.room_bytes();
        let why = format!(
            "{free} bytes are free in {}; an event of limits.event_bytes needs {needed}; free some",
            self.directory.display()
        );
        io::Error::new(io::ErrorKind::StorageFull, why)
    }

    /// Bytes that an event of the largest size takes.
    fn room_bytes(&self) -> u64 {
        self.event_bytes_max.load(Ordering::Relaxed).saturating_add(BYTES_BESIDE_TEXT)
    }
}
