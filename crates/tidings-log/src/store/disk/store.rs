//! State of the disk store, and its append path.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Instant;

use tidings_protocol::Tag;
use tidings_sync::{Histogram, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::run::{self, RunStart, RunState};
use super::segments::Segment;
use super::watermark::Watermark;
use crate::entry::Entry;
use crate::files::{Reserve, is_full, sync_directory};
use crate::store::segment::{self, HEADER_BYTES, SegmentHeader};
use crate::store::{StoreError, record};

/// Size from which a file takes no further batch.
pub const SEGMENT_BYTES_MAX: u64 = 32 << 20;
/// File sizes and durability of a disk store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// Size from which a file is closed.
    pub(crate) segment_bytes: u64,
    /// Whether each batch is made durable before its publishers get their answers.
    pub(crate) sync_each_batch: bool,
}

impl Layout {
    /// Files of a sixteenth of the retained bytes, so that space is freed in small steps.
    pub(crate) fn for_retention(retention_bytes: u64, sync_each_batch: bool) -> Self {
        Self { segment_bytes: (retention_bytes / 16).clamp(1 << 20, SEGMENT_BYTES_MAX), sync_each_batch }
    }
}

/// Store on disk.
pub(crate) struct DiskStore {
    pub(super) directory: PathBuf,
    pub(super) layout: Layout,
    pub(super) segments: RwLock<VecDeque<Segment>>,
    pub(super) active: Mutex<Active>,
    /// Files with bytes that may not be durable yet.
    pub(super) unsynced: Mutex<Vec<Arc<File>>>,
    /// Whether an fsync is running: a write to its file would wait for it.
    pub(super) is_syncing: AtomicBool,
    /// Ranges of offsets without a file; adjoining ranges are merged.
    pub(super) dropped: Mutex<Vec<(u64, u64)>>,
    pub(super) read_only: Mutex<Option<Arc<str>>>,
    /// Error of the last append, until one succeeds.
    pub(super) refused: Mutex<Option<io::Error>>,
    /// Whether the largest event would not fit.
    pub(super) is_short: AtomicBool,
    pub(super) event_bytes_max: AtomicU64,
    /// Size of the last checkpoint.
    pub(super) checkpoint_bytes: AtomicU64,
    pub(super) reserve: Reserve,
    pub(super) watermark: Mutex<Watermark>,
    /// `None` once the run takes events.
    pub(super) begin: Mutex<Option<RunStart>>,
    pub(super) takes_events: AtomicBool,
    pub(super) fsyncs: Histogram,
    /// Locked for as long as the store lives: no other process may write.
    pub(super) _lock: File,
}

/// The file that batches are appended to.
pub(super) struct Active {
    /// `None` if the next append opens a file.
    pub(super) file: Option<Arc<File>>,
    pub(super) good_bytes: u64,
    pub(super) last: u64,
    pub(super) last_tag: Tag,
}

impl DiskStore {
    pub(super) fn segments(&self) -> RwLockReadGuard<'_, VecDeque<Segment>> {
        self.segments.read()
    }

    pub(super) fn segments_mut(&self) -> RwLockWriteGuard<'_, VecDeque<Segment>> {
        self.segments.write()
    }

    pub(super) fn refuse_writes(&self, error: &io::Error) {
        lock(&self.read_only).get_or_insert_with(|| error.to_string().into());
    }

    /// Closes the active file and opens the next.
    pub(super) fn roll(&self, active: &mut Active) -> io::Result<()> {
        let header = SegmentHeader { first: active.last + 1, last: None, tag_before: active.last_tag };
        let folder = self.directory.join("segments");
        let path = segment::path(&folder, header.first);
        let created = segment::create(&path, &header).and_then(|file| file.sync_data().map(|()| file));
        let file = match created {
            Ok(file) => Arc::new(file),
            Err(error) => {
                // The next start must not find half a header.
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        };
        sync_directory(&folder)?;
        // Before the first entry of the file, so that a start detects a missing file.
        lock(&self.watermark).put_segment(header.first)?;
        *active = Active { file: Some(file.clone()), good_bytes: HEADER_BYTES, ..*active };
        let mut segments = self.segments_mut();
        if let Some(closed) = segments.back_mut() {
            closed.is_active = false;
        }
        segments.push_back(Segment::new(&header, file, HEADER_BYTES, active.last, &[], true));
        Ok(())
    }

    /// The file that is appended to, which may be a new one.
    pub(super) fn active_file(&self, active: &mut Active) -> io::Result<Arc<File>> {
        match &active.file {
            Some(file) if active.good_bytes < self.layout.segment_bytes => return Ok(file.clone()),
            _ => self.roll(active)?,
        }
        active.file.clone().ok_or_else(|| io::Error::other("no file was opened"))
    }

    pub(super) fn write(&self, active: &mut Active, batch: &[Arc<Entry>]) -> Result<(), StoreError> {
        let Some(newest) = batch.last() else { return Ok(()) };
        let file = self.active_file(active).map_err(StoreError::NotStored)?;
        let (bytes, places) = record::encode_batch(batch, active.good_bytes)?;
        if let Err(error) = file.write_all_at(&bytes, active.good_bytes) {
            // The next start must not find a part of the batch.
            if file.set_len(active.good_bytes).is_err() || !is_full(&error) {
                self.refuse_writes(&error);
            }
            return Err(StoreError::NotStored(error));
        }
        if self.layout.sync_each_batch {
            if let Err(error) = self.fsync(&file) {
                self.refuse_writes(&error);
                return Err(StoreError::Unknown(error));
            }
            self.note_head(newest.offset);
        } else {
            self.note_unsynced(&file);
        }
        active.good_bytes += bytes.len() as u64;
        (active.last, active.last_tag) = (newest.offset, newest.tag);
        if let Some(segment) = self.segments_mut().back_mut() {
            segment.fill(&places);
            segment.file_bytes = active.good_bytes;
            segment.last = newest.offset;
        }
        Ok(())
    }

    pub(super) fn fsync(&self, file: &File) -> io::Result<()> {
        let begun = Instant::now();
        let outcome = file.sync_data();
        self.fsyncs.observe(begun.elapsed());
        outcome
    }

    /// Records the last acknowledged offset. A record that lags is no fault: it only detects less.
    pub(super) fn note_head(&self, head: u64) {
        let _ = lock(&self.watermark).put_head(head);
    }

    pub(super) fn note_unsynced(&self, file: &Arc<File>) {
        let mut unsynced = lock(&self.unsynced);
        if !unsynced.last().is_some_and(|last| Arc::ptr_eq(last, file)) {
            unsynced.push(file.clone());
        }
    }

    pub(super) fn is_kept(&self, offset: u64) -> bool {
        let segments = self.segments();
        let after = segments.partition_point(|segment| segment.first <= offset);
        after.checked_sub(1).and_then(|index| segments[index].slot(offset)).is_some()
    }

    pub(super) fn write_run(&self, run_state: &RunState<'_>) -> io::Result<()> {
        run::write(&self.directory, self.layout.sync_each_batch, run_state)
    }

    /// Returns the store with the histogram for its fsync durations.
    pub(crate) fn with_fsyncs(self, fsyncs: Histogram) -> Self {
        Self { fsyncs, ..self }
    }
}

pub(super) fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}
