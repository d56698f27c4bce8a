//! Recovery of a disk store: locks the directory, reads every file, truncates a partial batch, and detects losses.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::{fmt, io};

use rustix::fs::{FlockOperation, flock};
use tidings_protocol::Tag;
use tidings_sync::{Histogram, Mutex, RwLock};
use tracing::warn;

use super::run::{self, Repair, RunRecord, RunStart};
use super::segments::{Segment, drop_ranges};
use super::store::{Active, DiskStore, Layout};
use super::watermark::{self, Marks, Watermark};
use crate::checkpoint::Checkpoint;
use crate::entry::EntryMeta;
use crate::files::{self, Reserve, is_full};
use crate::lock;
use crate::store::StoreError;
use crate::store::segment::{self, ChannelNames, Scan, SegmentEnd};

/// Reason why a directory cannot be used.
#[derive(Debug)]
pub enum OpenError {
    /// Another process uses it.
    InUse(PathBuf),
    /// The file system returned an error.
    Io(PathBuf, io::Error),
    /// The store failed.
    Store(StoreError),
    /// The hub ended before the log was open.
    Ended,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse(path) => write!(
                f,
                "data directory {} is in use by another process; stop that one, or give this one a directory of its own with --data-dir",
                path.display()
            ),
            Self::Io(path, error) if is_full(error) => {
                write!(
                    f,
                    "data directory {} has no room left: {error}; free some and start again",
                    path.display()
                )
            }
            Self::Io(path, error) => {
                let path = path.display();
                write!(f, "data directory {path} cannot be used: {error}; {}", way_out(error.kind()))
            }
            Self::Store(error) => error.fmt(f),
            Self::Ended => f.write_str("the hub ended before its log was open"),
        }
    }
}

/// Advice for an operator whose directory the file system refuses.
fn way_out(refusal: io::ErrorKind) -> &'static str {
    match refusal {
        io::ErrorKind::PermissionDenied => {
            "give it to the user that the hub runs as, or name another directory with --data-dir"
        }
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
            "a file stands in its path; name a directory with --data-dir"
        }
        _ => "name another directory with --data-dir, or keep the log in memory with --memory",
    }
}

impl std::error::Error for OpenError {}

/// A locked directory, with the files beside the entries.
pub(crate) struct FoundLog {
    directory: PathBuf,
    layout: Layout,
    lock: File,
    checkpoint: Option<Checkpoint>,
    last_run: Option<RunRecord>,
    marks: Option<Marks>,
}

/// A store that is ready to append.
pub(crate) struct OpenedStore {
    pub(crate) store: DiskStore,
    pub(crate) head: u64,
    pub(crate) head_tag: Tag,
    /// Reason why acknowledged entries may be missing.
    pub(crate) lost: Option<String>,
}

/// Reads the files beside the entries, in a directory that [`lock_directory`] has locked.
///
/// # Errors
/// Errors of the file system.
pub(crate) fn open(directory: &Path, lock: File, layout: Layout) -> Result<FoundLog, OpenError> {
    let fail = |error| OpenError::Io(directory.to_owned(), error);
    fs::create_dir_all(directory.join("segments")).map_err(fail)?;
    let read = |name: &str| files::read(directory, name).map_err(fail);
    let checkpoint = read("checkpoint")?.and_then(|bytes| Checkpoint::decode(&bytes));
    let last_run = run::read(directory).map_err(fail)?;
    let marks = watermark::read(directory).map_err(fail)?;
    Ok(FoundLog { directory: directory.to_owned(), layout, lock, checkpoint, last_run, marks })
}

/// Locks a directory against other processes, for as long as the file is open. Creates the directory if it is missing.
///
/// # Errors
/// [`OpenError::InUse`] while another process has it; errors of the file system.
pub(crate) fn lock_directory(directory: &Path) -> Result<File, OpenError> {
    let fail = |error| OpenError::Io(directory.to_owned(), error);
    fs::create_dir_all(directory).map_err(fail)?;
    let lock = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(false)
        .open(directory.join("lock"))
        .map_err(fail)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|error| match error {
        rustix::io::Errno::WOULDBLOCK => OpenError::InUse(directory.to_owned()),
        other => fail(other.into()),
    })?;
    Ok(lock)
}

impl FoundLog {
    /// The checkpoint, if there is a valid one.
    pub(crate) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// Reads the fields of every entry, in order, and opens the store. On a full disk nothing is written, and the store
    /// refuses appends until [`Store::maintain`] finds space. `on_file` gets the numbers of read files and of all files before
    /// each file; if it returns false, the scan ends without a change.
    ///
    /// # Errors
    /// Errors of the file system; [`OpenError::Ended`] if `on_file` returned false. Damage is no error: it is cut out, and
    /// [`OpenedStore::lost`] describes it.
    ///
    /// [`Store::maintain`]: crate::store::Store::maintain
    pub(crate) fn scan(
        self,
        on_file: &mut dyn FnMut(usize, usize) -> bool,
        on_entry: &mut dyn FnMut(&EntryMeta<'_>),
    ) -> Result<OpenedStore, OpenError> {
        let directory = self.directory.clone();
        let fail = move |error| OpenError::Io(directory.clone(), error);
        let dropped = self.checkpoint.as_ref().map(|checkpoint| checkpoint.dropped.clone());
        let mut recovery = Recovery {
            folder: self.directory.join("segments"),
            dropped: dropped.unwrap_or_default(),
            segments: VecDeque::new(),
            names: ChannelNames::default(),
            head: 0,
            head_tag: Tag(0),
            faults: Vec::new(),
            repairs: Vec::new(),
        };
        let paths = recovery.list().map_err(&fail)?;
        for (index, path) in paths.iter().enumerate() {
            if !on_file(index, paths.len()) {
                return Err(OpenError::Ended);
            }
            recovery.file(path, index + 1 == paths.len(), on_entry).map_err(&fail)?;
        }
        recovery.end_of_dropped();
        // A kill before the first checkpoint leaves a directory that counts as new.
        let is_new = self.checkpoint.is_none() && recovery.head == 0 && recovery.faults.is_empty();
        if !is_new {
            let is_dropped = |marks: Marks| recovery.is_dropped(marks.segment, marks.segment);
            if paths.is_empty() && !self.marks.is_some_and(is_dropped) {
                recovery.faults.push("its files are gone".into());
            }
            recovery.faults.extend(self.fault_of_last_run(recovery.head));
            recovery.faults.extend(self.fault_of_marks(&recovery));
        }
        let lost = (!recovery.faults.is_empty()).then(|| recovery.faults.join("; "));
        let (head, head_tag) = (recovery.head, recovery.head_tag);
        let store = self.store(recovery, lost.clone());
        store.begin_run().map_err(&fail)?;
        Ok(OpenedStore { store, head, head_tag, lost })
    }

    fn store(self, mut recovery: Recovery, lost: Option<String>) -> DiskStore {
        let checkpoint = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.number);
        let (file, good_bytes) = match recovery.may_grow(self.layout) {
            Some(last) => (Some(last.file.clone()), last.file_bytes),
            None => (None, 0),
        };
        let active = Active { file, good_bytes, last: recovery.head, last_tag: recovery.head_tag };
        let begin = RunStart { repairs: recovery.repairs, lost, has_begun: false };
        DiskStore {
            reserve: Reserve::of(&self.directory),
            directory: self.directory,
            layout: self.layout,
            segments: RwLock::new(&lock::SEGMENTS, recovery.segments),
            active: Mutex::new(&lock::ACTIVE_FILE, active),
            unsynced: Mutex::new(&lock::UNSYNCED_FILES, Vec::new()),
            is_syncing: AtomicBool::new(false),
            dropped: Mutex::new(&lock::DROPPED_RANGES, recovery.dropped),
            read_only: Mutex::new(&lock::READ_ONLY, None),
            refused: Mutex::new(&lock::REFUSED_APPEND, None),
            is_short: AtomicBool::new(false),
            event_bytes_max: AtomicU64::new(0),
            checkpoint_bytes: AtomicU64::new(0),
            watermark: Mutex::new(&lock::WATERMARK, Watermark::new(Marks { checkpoint, ..Marks::default() })),
            begin: Mutex::new(&lock::RUN_BEGIN, Some(begin)),
            takes_events: AtomicBool::new(false),
            fsyncs: Histogram::default(),
            _lock: self.lock,
        }
    }

    fn fault_of_last_run(&self, head: u64) -> Option<String> {
        if self.checkpoint.is_none() {
            return Some("the checkpoint is missing or damaged".into());
        }
        let Some(run) = &self.last_run else { return Some("nothing tells how the last run ended".into()) };
        run.fault(head)
    }

    /// Compares with the watermark: without it a missing or truncated file looks like the end of the log.
    fn fault_of_marks(&self, recovery: &Recovery) -> Option<String> {
        let marks = self.marks?;
        let newest = recovery.segments.back().map_or(0, |segment| segment.first);
        if newest < marks.segment && !recovery.is_dropped(marks.segment, marks.segment) {
            return Some(format!("the newest file, from event {} on, is missing", marks.segment));
        }
        if recovery.head < marks.head {
            let (from, to) = (recovery.head + 1, marks.head);
            return Some(format!("events {from} to {to} are missing from the end"));
        }
        let checkpoint = self.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.number);
        (checkpoint < marks.checkpoint)
            .then(|| format!("checkpoint {} was replaced by the older {checkpoint}", marks.checkpoint))
    }
}

/// Scan of the files in order. It changes no file; it collects repairs.
struct Recovery {
    folder: PathBuf,
    dropped: Vec<(u64, u64)>,
    segments: VecDeque<Segment>,
    names: ChannelNames,
    head: u64,
    head_tag: Tag,
    faults: Vec<String>,
    repairs: Vec<Repair>,
}

impl Recovery {
    fn list(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            let path = file?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("log") => paths.push(path),
                // An unfinished compaction; the old file is valid.
                Some("new") => fs::remove_file(path)?,
                _ => {}
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn file(
        &mut self,
        path: &Path,
        is_last: bool,
        on_entry: &mut dyn FnMut(&EntryMeta<'_>),
    ) -> io::Result<()> {
        // A kill between creating a file and writing its header leaves it empty.
        if is_last && fs::metadata(path)?.len() == 0 {
            self.repairs.push(Repair::Remove(path.to_owned()));
            return Ok(());
        }
        let mut last_tag = None;
        let mut remember = |entry: &EntryMeta<'_>| {
            last_tag = Some((entry.offset, entry.tag));
            on_entry(entry);
        };
        let scan = match segment::scan(path, &mut self.names, &mut remember)? {
            Ok(scan) => scan,
            Err(why) => {
                self.quarantine(path, why);
                return Ok(());
            }
        };
        if scan.header.first <= self.head {
            self.quarantine(path, "stands for events that another file has");
            return Ok(());
        }
        if !self.is_dropped(self.head + 1, scan.header.first - 1) {
            let missing = (self.head + 1, scan.header.first - 1);
            self.fault(format!("events {} to {} have no file", missing.0, missing.1));
            // Later starts do not report them again.
            drop_ranges(&mut self.dropped, &[missing]);
        }
        self.add_scan(path, is_last, scan, last_tag)
    }

    fn add_scan(
        &mut self,
        path: &Path,
        is_last: bool,
        scan: Scan,
        last: Option<(u64, Tag)>,
    ) -> io::Result<()> {
        let header = scan.header;
        let last_kept = last.map_or(header.first - 1, |(offset, _)| offset);
        let last_offset = header.last.map_or(last_kept, |promised| promised.max(last_kept));
        // A rewritten file was durable before it replaced the old one: no kill truncates it.
        let may_be_truncated = is_last && header.last.is_none();
        if scan.end == SegmentEnd::Damaged
            || scan.has_hole
            || (scan.end == SegmentEnd::CutByKill && !may_be_truncated)
        {
            self.fault(format!("{} is damaged; what could not be read of it is cut out", path.display()));
        }
        let file = Arc::new(scan.file);
        if scan.good_bytes < file.metadata()?.len() {
            self.repairs.push(Repair::Truncate { file: file.clone(), bytes: scan.good_bytes });
        }
        if scan.has_hole {
            self.repairs.push(Repair::Compact { first: header.first });
        }
        self.head_tag = match last {
            Some((offset, tag)) if offset == last_offset => tag,
            None if last_offset + 1 == header.first => header.tag_before,
            _ => Tag(0),
        };
        self.head = last_offset;
        let mut segment = Segment::new(&header, file, scan.good_bytes, last_offset, &scan.places, false);
        // It takes no further batch: it will be rewritten.
        segment.is_rewritten |= scan.has_hole;
        self.segments.push_back(segment);
        Ok(())
    }

    fn quarantine(&mut self, path: &Path, why: &str) {
        self.fault(format!("{} {why} and was set aside", path.display()));
        self.repairs.push(Repair::Quarantine(path.to_owned()));
    }

    fn fault(&mut self, fault: String) {
        warn!(fault, "the log is not whole");
        self.faults.push(fault);
    }

    /// Whether the range from `first` to `last` is dropped.
    fn is_dropped(&self, first: u64, last: u64) -> bool {
        first > last || self.dropped.iter().any(|(from, to)| *from <= first && last <= *to)
    }

    /// Moves the head above dropped files: no offset may be given twice.
    fn end_of_dropped(&mut self) {
        if let Some((_, last)) = self.dropped.last().filter(|(_, last)| *last > self.head) {
            (self.head, self.head_tag) = (*last, Tag(0));
        }
    }

    /// The last file, if it may take further batches.
    fn may_grow(&mut self, layout: Layout) -> Option<&Segment> {
        let head = self.head;
        let last = self.segments.back_mut()?;
        let has_room = last.file_bytes < layout.segment_bytes || last.slots.is_empty();
        if last.last != head || last.is_rewritten || !has_room {
            return None;
        }
        last.is_active = true;
        Some(last)
    }
}
