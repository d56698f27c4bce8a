//! Begin of a run: damage that the start found is repaired and recorded before anything is appended.

use std::{fs, io};

use tracing::{info, warn};

use super::compaction::Compaction;
use super::run::{Repair, RunStart, RunState};
use super::store::{DiskStore, lock};
use super::watermark::Marks;
use crate::files::{is_full, sync_directory};
use crate::store::segment::SegmentHeader;
use crate::store::{CheckpointSource, StoreError};

impl DiskStore {
    /// Begins the run, except for its checkpoint. A full disk is no error: [`DiskStore::begin_late`] tries again.
    pub(super) fn begin_run(&self) -> io::Result<()> {
        match self.reserve.with_room(|| self.try_begin()) {
            Err(error) if is_full(&error) => {
                warn!(%error, "the disk of the log is full; it is read-only until there is room");
                self.note_refused(&error);
                Ok(())
            }
            other => other,
        }
    }

    /// Begins a run that had no space before, and writes its checkpoint.
    pub(super) fn begin_late(&self, checkpoint: &CheckpointSource<'_>) -> Result<(), StoreError> {
        if lock(&self.begin).is_none() {
            return Ok(());
        }
        match self.reserve.with_room(|| self.try_begin()) {
            Err(error) if is_full(&error) => {
                self.retire_active();
                self.remove_unrecorded(&self.empty(), &checkpoint(&|offset| self.is_kept(offset)))?;
                self.try_begin().map_err(StoreError::NotStored)?;
            }
            other => other.map_err(StoreError::NotStored)?,
        }
        self.save_checkpoint(&checkpoint(&|offset| self.is_kept(offset)))?;
        info!("the log takes events again");
        Ok(())
    }

    fn try_begin(&self) -> io::Result<()> {
        let mut begin = lock(&self.begin);
        let Some(RunStart { repairs, lost, has_begun }) = &mut *begin else { return Ok(()) };
        if *has_begun {
            return Ok(());
        }
        // Recorded first: the repairs remove the evidence of a loss.
        if let Some(lost) = lost {
            self.write_run(&RunState::Running { unreported_loss: Some(lost) })?;
        }
        while let Some(repair) = repairs.last() {
            self.repair(repair)?;
            repairs.pop();
        }
        let mut active = lock(&self.active);
        if active.file.is_none() {
            self.roll(&mut active)?;
        }
        let segment = self.segments().back().map_or(0, |segment| segment.first);
        let mut watermark = lock(&self.watermark);
        let checkpoint = watermark.checkpoint();
        watermark.begin(&self.directory, Marks { segment, head: active.last, checkpoint })?;
        self.write_run(&RunState::Running { unreported_loss: lost.as_deref() })?;
        *has_begun = true;
        Ok(())
    }

    fn repair(&self, repair: &Repair) -> io::Result<()> {
        match repair {
            Repair::Remove(path) => fs::remove_file(path),
            Repair::Quarantine(path) => fs::rename(path, path.with_extension("bad")),
            Repair::Truncate { file, bytes } => file.set_len(*bytes).and_then(|()| file.sync_data()),
            Repair::Compact { first } => self.compact_damaged(*first),
        }
    }

    fn compact_damaged(&self, first: u64) -> io::Result<()> {
        let compaction = {
            let segments = self.segments();
            let Some(segment) = segments.iter().find(|segment| segment.first == first) else { return Ok(()) };
            let header = SegmentHeader { first, last: Some(segment.last), tag_before: segment.tag_before };
            Compaction { header, file: segment.file.clone(), kept: segment.kept() }
        };
        self.compact(&compaction).map_err(|error| match error {
            StoreError::NotStored(error) => error,
            other => io::Error::other(other),
        })?;
        sync_directory(&self.directory.join("segments"))
    }
}
