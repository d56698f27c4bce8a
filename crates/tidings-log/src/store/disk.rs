//! Store on disk: files of a directory with one writer. It recovers from a kill, a full disk and damaged files.
//!
//! ```text
//! lock              held by the one process that may write
//! run.json          machine, durability, and whether the last run ended cleanly
//! watermark         how far the log was written
//! reserve           space that is freed on a full disk
//! checkpoint        see `checkpoint`
//! segments/<first offset>.log
//! ```

mod begin;
mod compaction;
mod open;
mod read;
mod room;
mod run;
mod segments;
mod store;
mod watermark;

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidings_protocol::Epoch;

pub(crate) use self::open::{OpenedStore, lock_directory, open};
pub(crate) use self::store::{DiskStore, Layout};
pub use self::{open::OpenError, store::SEGMENT_BYTES_MAX};
#[cfg(any(test, feature = "testing"))]
pub(crate) use run::adopt_copy;
use tidings_sync::Histogram;

use self::run::RunState;
use self::store::{copy, lock};
use super::{CheckpointSource, RawEntry, Store, StoreError, StoredOffset, record};
use crate::{checkpoint::Checkpoint, entry::Entry};

impl Store for DiskStore {
    fn append(&self, batch: &[Arc<Entry>]) -> Result<(), StoreError> {
        if let Some(why) = &*lock(&self.read_only) {
            return Err(StoreError::ReadOnly(why.clone()));
        }
        // Without a reserve the rest of the disk is for compaction.
        if !self.takes_events.load(Ordering::Acquire) || !self.reserve.is_held() {
            return Err(StoreError::NotStored(io::ErrorKind::StorageFull.into()));
        }
        let outcome = self.write(&mut lock(&self.active), batch);
        *lock(&self.refused) = match &outcome {
            Err(StoreError::NotStored(error)) => Some(copy(error)),
            _ => None,
        };
        outcome
    }

    /// True without an fsync per batch, if the active file has room and no fsync of it is running.
    fn can_append_without_blocking(&self) -> bool {
        !self.layout.sync_each_batch
            && !self.is_syncing.load(Ordering::Acquire)
            && self.takes_events.load(Ordering::Acquire)
            && self
                .active
                .try_lock()
                .is_some_and(|active| active.file.is_some() && active.good_bytes < self.layout.segment_bytes)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let head = lock(&self.active).last;
        let files = std::mem::take(&mut *lock(&self.unsynced));
        self.is_syncing.store(true, Ordering::Release);
        let outcome = files.iter().try_for_each(|file| self.fsync(file));
        self.is_syncing.store(false, Ordering::Release);
        outcome.map_err(|error| {
            self.refuse_writes(&error);
            StoreError::Unknown(error)
        })?;
        self.note_head(head);
        Ok(())
    }

    fn fsyncs(&self) -> Histogram {
        self.fsyncs.clone()
    }

    fn read(&self, offsets: &[u64], newest: Epoch) -> Result<Vec<Option<Arc<Entry>>>, StoreError> {
        let wanted = |(by, offset): (usize, &u64)| StoredOffset { offset: *offset, by: by as u32 };
        let mut wanted: Vec<StoredOffset> = offsets.iter().enumerate().map(wanted).collect();
        wanted.sort_unstable();
        let mut read = vec![None; offsets.len()];
        let mut damaged = None;
        self.records(&wanted, &mut |_, _| true, &mut |StoredOffset { offset, by }, record| {
            let Some(record) = record else { return };
            let entry = record.and_then(|bytes| record::decode_record(bytes, newest));
            match entry.and_then(|entry| in_its_place(offset, entry.offset).map(|()| entry)) {
                Ok(entry) => read[by as usize] = Some(Arc::new(entry)),
                Err(fault) => {
                    damaged.get_or_insert(StoreError::Damaged { offset, fault });
                }
            }
        });
        damaged.map_or(Ok(read), Err)
    }

    fn read_raw(
        &self,
        wanted: &[StoredOffset],
        _newest: Epoch,
        bytes_max: usize,
        each: &mut dyn FnMut(usize, Option<RawEntry<'_>>),
    ) {
        let requests = wanted.iter().map(|wanted| wanted.by as usize + 1).max().unwrap_or(0);
        let mut given = vec![0; requests];
        let mut is_admitted = |by: u32, bytes: u32| {
            let given = &mut given[by as usize];
            let is_first = *given == 0;
            *given += bytes as usize;
            is_first || *given <= bytes_max
        };
        self.records(wanted, &mut is_admitted, &mut |StoredOffset { offset, by }, record| {
            let text = record.and_then(|record| record.and_then(record::decode_text).ok());
            let text = text.filter(|text| text.offset == offset);
            each(by as usize, text.map(RawEntry::Record));
        });
    }

    fn release(&self, offsets: &[u64]) {
        let mut segments = self.segments_mut();
        for offset in offsets {
            let after = segments.partition_point(|segment| segment.first <= *offset);
            if let Some(segment) = after.checked_sub(1).and_then(|index| segments.get_mut(index)) {
                segment.release(*offset);
            }
        }
    }

    fn maintain(&self, checkpoint: &CheckpointSource<'_>) -> Result<(), StoreError> {
        let outcome = self.begin_late(checkpoint).and_then(|()| self.take_back_room(checkpoint));
        self.look_for_room();
        outcome
    }

    fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.save_checkpoint(checkpoint)
    }

    fn require_room(&self, event_bytes_max: u64) {
        self.event_bytes_max.store(event_bytes_max, Ordering::Relaxed);
        self.look_for_room();
    }

    fn writable(&self) -> Result<(), StoreError> {
        if let Some(why) = &*lock(&self.read_only) {
            return Err(StoreError::ReadOnly(why.clone()));
        }
        if let Some(error) = &*lock(&self.refused) {
            return Err(StoreError::NotStored(copy(error)));
        }
        if self.is_short.load(Ordering::Acquire) {
            return Err(StoreError::NotStored(self.shortage()));
        }
        Ok(())
    }

    fn close(&self) -> Result<(), StoreError> {
        self.sync()?;
        if lock(&self.begin).is_some() {
            // The next start must find again what this one found.
            return Ok(());
        }
        let run_state = RunState::Clean { head: lock(&self.active).last };
        self.reserve.with_room(|| self.write_run(&run_state)).map_err(StoreError::NotStored)
    }

    fn disk_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.file_bytes).sum()
    }
}

fn in_its_place(offset: u64, found: u64) -> Result<(), String> {
    if found == offset { Ok(()) } else { Err(format!("event {found} stands in its place")) }
}

#[cfg(test)]
mod tests;
