//! Keeps entries in files of a directory, one writer, and finds its way back after any end.
//!
//! ```text
//! lock              held by the one process that may write
//! run.json          machine, durability and whether the last run ended clean
//! watermark         how far the log was written
//! reserve           room that is given up on a full disk
//! checkpoint        see `checkpoint`
//! segments/<first offset>.log
//! ```

use std::{
    collections::VecDeque,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use tidings_protocol::{Epoch, Tag};

use super::{
    CheckpointSource, RawEntry, Store, StoreError, StoredOffset,
    record::{self, RecordPosition},
    segment::{self, HEADER_BYTES, SegmentHeader},
};
use crate::{
    files::{Reserve, is_full, sync_directory},
    log::{checkpoint::Checkpoint, entry::Entry},
    metrics::Histogram,
    sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

mod begin;
mod open;
mod read;
mod room;
mod run;
mod watermark;

use begin::RunStart;
pub(crate) use open::{OpenError, OpenedStore, lock_directory, open};
use run::RunState;
#[cfg(test)]
pub(in crate::log) use run::adopt_copy;
use watermark::Watermark;

/// A file takes no further batch when it has grown to this.
pub(crate) const SEGMENT_BYTES_MAX: u64 = 32 << 20;
/// A slot whose entry was let go.
const DEAD: u32 = 0;

/// How a disk store is laid out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    /// A file is closed when it has grown to this.
    pub(crate) segment_bytes: u64,
    /// Whether each batch is made safe before it is answered.
    pub(crate) sync_each_batch: bool,
}

impl Layout {
    /// Files of a sixteenth of what is kept, so that room comes back in small steps.
    pub(crate) fn for_retention(retention_bytes: u64, sync_each_batch: bool) -> Self {
        Self { segment_bytes: (retention_bytes / 16).clamp(1 << 20, SEGMENT_BYTES_MAX), sync_each_batch }
    }
}

/// The keeper on disk.
pub(crate) struct DiskStore {
    directory: PathBuf,
    layout: Layout,
    segments: RwLock<VecDeque<Segment>>,
    active: Mutex<Active>,
    /// Files with bytes that may not be safe yet.
    unsynced: Mutex<Vec<Arc<File>>>,
    /// Files are being made safe: a write to one of them would wait for that.
    is_syncing: AtomicBool,
    /// Ranges without a file; those that adjoin are one.
    dropped: Mutex<Vec<(u64, u64)>>,
    read_only: Mutex<Option<Arc<str>>>,
    /// Why the last append failed, until one succeeds.
    refused: Mutex<Option<io::Error>>,
    /// An event of the largest size would not fit.
    is_short: AtomicBool,
    event_bytes_max: AtomicU64,
    /// Of the last checkpoint.
    checkpoint_bytes: AtomicU64,
    reserve: Reserve,
    watermark: Mutex<Watermark>,
    /// None once the run takes events.
    begin: Mutex<Option<RunStart>>,
    takes_events: AtomicBool,
    fsyncs: Histogram,
    /// Held for as long as the store lives; nobody else may write.
    _lock: File,
}

struct Segment {
    first: u64,
    /// The last offset it stands for.
    last: u64,
    tag_before: Tag,
    file: Arc<File>,
    file_bytes: u64,
    /// Of all its records, and of those that are kept.
    record_bytes: u64,
    live_bytes: u64,
    live: usize,
    /// Ascending; only of the records that are in the file.
    connection_permits: Vec<RecordSlot>,
    is_active: bool,
    /// It was written anew and grows no more.
    is_rewritten: bool,
}

/// Where the record of an entry stands.
#[derive(Clone, Copy)]
struct RecordSlot {
    /// Its offset, from the first of the file.
    relative: u32,
    position: u32,
    /// `DEAD` once it was let go.
    bytes: u32,
}

struct Active {
    /// None if the next append is to open a file.
    file: Option<Arc<File>>,
    good_bytes: u64,
    last: u64,
    last_tag: Tag,
}

impl Segment {
    fn new(
        header: &SegmentHeader,
        file: Arc<File>,
        file_bytes: u64,
        last: u64,
        places: &[RecordPosition],
        is_active: bool,
    ) -> Self {
        let mut segment = Self {
            first: header.first,
            last,
            tag_before: header.tag_before,
            file,
            file_bytes,
            record_bytes: 0,
            live_bytes: 0,
            live: 0,
            connection_permits: Vec::new(),
            is_active,
            is_rewritten: header.last.is_some(),
        };
        segment.fill(places);
        segment
    }

    fn fill(&mut self, places: &[RecordPosition]) {
        for placed in places {
            let relative = (placed.offset - self.first) as u32;
            self.connection_permits.push(RecordSlot {
                relative,
                position: placed.position,
                bytes: placed.bytes,
            });
            self.live += 1;
            self.live_bytes += u64::from(placed.bytes);
            self.record_bytes += u64::from(placed.bytes);
        }
    }

    fn index_of(&self, offset: u64) -> Option<usize> {
        let relative = u32::try_from(offset.checked_sub(self.first)?).ok()?;
        // Nearly always nothing is left out before it.
        let guess = relative as usize;
        let index = match self.connection_permits.get(guess) {
            Some(slot) if slot.relative == relative => guess,
            _ => self.connection_permits.binary_search_by_key(&relative, |slot| slot.relative).ok()?,
        };
        (self.connection_permits[index].bytes != DEAD).then_some(index)
    }

    fn slot(&self, offset: u64) -> Option<RecordSlot> {
        self.index_of(offset).map(|index| self.connection_permits[index])
    }

    fn release(&mut self, offset: u64) {
        let Some(index) = self.index_of(offset) else { return };
        let bytes = std::mem::replace(&mut self.connection_permits[index].bytes, DEAD);
        self.live -= 1;
        self.live_bytes -= u64::from(bytes);
    }

    fn kept(&self) -> Vec<RecordPosition> {
        let kept = self.connection_permits.iter().filter(|slot| slot.bytes != DEAD);
        kept.map(|slot| RecordPosition {
            offset: self.first + u64::from(slot.relative),
            position: slot.position,
            bytes: slot.bytes,
        })
        .collect()
    }

    /// What a rewrite would take back; batch headers count with the records that they stand before.
    fn dead_bytes(&self) -> u64 {
        let dead = u128::from(self.record_bytes - self.live_bytes);
        (u128::from(self.file_bytes) * dead / u128::from(self.record_bytes.max(1))) as u64
    }
}

impl DiskStore {
    fn segments(&self) -> RwLockReadGuard<'_, VecDeque<Segment>> {
        self.segments.read()
    }

    fn segments_mut(&self) -> RwLockWriteGuard<'_, VecDeque<Segment>> {
        self.segments.write()
    }

    fn refuse_writes(&self, error: &io::Error) {
        lock(&self.read_only).get_or_insert_with(|| error.to_string().into());
    }

    /// Closes the active file and opens the next.
    fn roll(&self, active: &mut Active) -> io::Result<()> {
        let header = SegmentHeader { first: active.last + 1, last: None, tag_before: active.last_tag };
        let folder = self.directory.join("segments");
        let path = segment::path(&folder, header.first);
        let created = segment::create(&path, &header).and_then(|file| file.sync_data().map(|()| file));
        let file = match created {
            Ok(file) => Arc::new(file),
            Err(error) => {
                // Half a header must not be found at the next start.
                let _ = fs::remove_file(&path);
                return Err(error);
            }
        };
        sync_directory(&folder)?;
        // Before its first entry: from now on the file is missed if it is gone.
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
    fn active_file(&self, active: &mut Active) -> io::Result<Arc<File>> {
        match &active.file {
            Some(file) if active.good_bytes < self.layout.segment_bytes => return Ok(file.clone()),
            _ => self.roll(active)?,
        }
        active.file.clone().ok_or_else(|| io::Error::other("no file was opened"))
    }

    fn write(&self, active: &mut Active, batch: &[Arc<Entry>]) -> Result<(), StoreError> {
        let Some(newest) = batch.last() else { return Ok(()) };
        let file = self.active_file(active).map_err(StoreError::NotStored)?;
        let (bytes, places) = record::encode_batch(batch, active.good_bytes)?;
        if let Err(error) = file.write_all_at(&bytes, active.good_bytes) {
            // What was written of it must not be found at the next start.
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

    fn fsync(&self, file: &File) -> io::Result<()> {
        let begun = Instant::now();
        let outcome = file.sync_data();
        self.fsyncs.observe(begun.elapsed());
        outcome
    }

    /// Puts the last acknowledged offset on record. A record that lags is no fault: it only misses less.
    fn note_head(&self, head: u64) {
        let _ = lock(&self.watermark).put_head(head);
    }

    fn note_unsynced(&self, file: &Arc<File>) {
        let mut unsynced = lock(&self.unsynced);
        if !unsynced.last().is_some_and(|last| Arc::ptr_eq(last, file)) {
            unsynced.push(file.clone());
        }
    }

    /// The files to be rewritten, where dead bytes in all are too many: those with most of them, until the rest is
    /// few enough.
    fn compaction_candidates(&self, is_full: bool) -> Vec<Compaction> {
        const SLACK_BYTES: u64 = 32 << 20;
        let segments = self.segments();
        let mut closed: Vec<&Segment> = segments.iter().filter(|it| !it.is_active && it.live > 0).collect();
        let counted = segments.iter().filter(|it| it.is_active || it.live > 0);
        let (all, mut dead) = counted
            .fold((0, 0), |(all, dead), segment| (all + segment.file_bytes, dead + segment.dead_bytes()));
        let live = all - dead;
        let slack = if is_full { 0 } else { SLACK_BYTES.min(live + self.layout.segment_bytes) };
        let dead_max = live / 4 + slack;
        closed.sort_unstable_by_key(|segment| std::cmp::Reverse(segment.dead_bytes()));
        let mut chosen = Vec::new();
        for segment in closed {
            if dead <= dead_max {
                break;
            }
            dead -= segment.dead_bytes();
            chosen.push(Compaction {
                header: SegmentHeader {
                    first: segment.first,
                    last: Some(segment.last),
                    tag_before: segment.tag_before,
                },
                file: segment.file.clone(),
                kept: segment.kept(),
            });
        }
        chosen
    }

    /// Closed files that hold nothing any more, as the offsets they stand for.
    fn empty(&self) -> Vec<(u64, u64)> {
        let segments = self.segments();
        let empty = segments.iter().filter(|segment| !segment.is_active && segment.live == 0);
        empty.map(|segment| (segment.first, segment.last)).collect()
    }

    fn remove(&self, files: &[(u64, u64)]) -> io::Result<()> {
        self.segments_mut().retain(|segment| !files.contains(&(segment.first, segment.last)));
        for (first, _) in files {
            fs::remove_file(segment::path(&self.directory.join("segments"), *first))?;
        }
        Ok(())
    }

    fn compact(&self, rewrite: &Compaction) -> Result<(), StoreError> {
        let Compaction { header, file, kept } = rewrite;
        let path = segment::path(&self.directory.join("segments"), header.first);
        let (file, places, file_bytes) = segment::rewrite(&path, header, file, kept)?;
        let mut segments = self.segments_mut();
        let Some(segment) = segments.iter_mut().find(|segment| segment.first == header.first) else {
            return Ok(());
        };
        let mut rewritten =
            Segment::new(header, Arc::new(file), file_bytes, segment.last, &places, segment.is_active);
        // What was let go meanwhile stays let go.
        let gone = places.iter().filter(|placed| segment.slot(placed.offset).is_none());
        gone.for_each(|placed| rewritten.release(placed.offset));
        *segment = rewritten;
        Ok(())
    }
}

/// A file to be written anew, with what is kept of it as of now: of what is let go later no checkpoint tells yet.
struct Compaction {
    header: SegmentHeader,
    file: Arc<File>,
    kept: Vec<RecordPosition>,
}

impl DiskStore {
    /// Counts the durations of its fsyncs here.
    pub(crate) fn with_fsyncs(self, fsyncs: Histogram) -> Self {
        Self { fsyncs, ..self }
    }
}

impl Store for DiskStore {
    fn append(&self, batch: &[Arc<Entry>]) -> Result<(), StoreError> {
        if let Some(why) = &*lock(&self.read_only) {
            return Err(StoreError::ReadOnly(why.clone()));
        }
        // Without a reserve what is left of the disk is for taking room back.
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

    /// Without a sync of its own, in a file that has room, and not while that is being made safe.
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
        let askers = wanted.iter().map(|wanted| wanted.by as usize + 1).max().unwrap_or(0);
        let mut given = vec![0; askers];
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
        self.reserve.with_room(|| self.put_checkpoint(checkpoint)).map_err(StoreError::NotStored)
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
            // What the start found is not on record: the next one is to find it again.
            return Ok(());
        }
        let run_state = RunState::Clean { head: lock(&self.active).last };
        self.reserve.with_room(|| self.write_run(&run_state)).map_err(StoreError::NotStored)
    }

    fn disk_bytes(&self) -> u64 {
        self.segments().iter().map(|segment| segment.file_bytes).sum()
    }
}

impl DiskStore {
    fn is_kept(&self, offset: u64) -> bool {
        let segments = self.segments();
        let after = segments.partition_point(|segment| segment.first <= offset);
        after.checked_sub(1).and_then(|index| segments[index].slot(offset)).is_some()
    }
}

fn in_its_place(offset: u64, found: u64) -> Result<(), String> {
    if found == offset { Ok(()) } else { Err(format!("event {found} stands in its place")) }
}

/// Adds ranges of offsets to those without a file, and joins what adjoins.
fn drop_ranges(dropped: &mut Vec<(u64, u64)>, more: &[(u64, u64)]) {
    dropped.extend_from_slice(more);
    dropped.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(dropped.len());
    for (first, last) in dropped.drain(..) {
        match joined.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    *dropped = joined;
}

fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock()
}

#[cfg(test)]
mod tests;
