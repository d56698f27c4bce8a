//! Finds a store's way back: takes the lock, reads every file, cuts a torn end, and says whether anything is missing.

use std::{
    collections::VecDeque,
    fmt,
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, RwLock, atomic::AtomicBool},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use tidings_protocol::Tag;
use tracing::warn;

use super::{Active, DiskStore, Layout, Segment, drop_ranges, segment};
use crate::{
    files::{self, is_full, replace, sync_directory},
    log::{
        checkpoint::Checkpoint,
        entry::Filing,
        store::{
            StoreError,
            segment::{End, HEADER_BYTES, Header, Names, Scan},
        },
    },
    metrics::Histogram,
};

/// Why a directory cannot be used.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// Another process writes there.
    InUse(PathBuf),
    /// The file system said no.
    Io(PathBuf, io::Error),
    /// It was written and cannot be read back.
    Store(StoreError),
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
            Self::Io(path, error) => write!(f, "data directory {} cannot be used: {error}", path.display()),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// What the last run left about itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Run {
    boot_id: String,
    sync_each_batch: bool,
    clean: bool,
    /// Where a clean run ended.
    head: Option<u64>,
    /// A loss that was found and cut out of the files, until the checkpoint tells of it.
    untold: Option<String>,
}

/// How a run stands.
pub(super) enum Standing<'a> {
    /// It has begun, or goes on; what it found missing is not on record yet.
    Running { untold: Option<&'a str> },
    /// It has ended, with this head.
    Clean { head: u64 },
}

pub(super) fn write_run(directory: &Path, sync_each_batch: bool, standing: &Standing<'_>) -> io::Result<()> {
    let (clean, head, untold) = match standing {
        Standing::Running { untold } => (false, None, untold.map(str::to_owned)),
        Standing::Clean { head } => (true, Some(*head), None),
    };
    let run = Run { boot_id: boot_id(), sync_each_batch, clean, head, untold };
    replace(directory, "run.json", &serde_json::to_vec(&run).expect("plain data"))
}

/// Names this run of the machine; empty where the kernel does not say.
fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

/// A directory that is locked, with what was kept beside the entries.
pub(crate) struct Opening {
    directory: PathBuf,
    layout: Layout,
    lock: File,
    checkpoint: Option<Checkpoint>,
    last_run: Option<Run>,
}

/// A store that is ready to append.
pub(crate) struct Opened {
    pub(crate) store: DiskStore,
    pub(crate) head: u64,
    pub(crate) head_tag: Tag,
    /// Acknowledged entries may be missing, and this is why.
    pub(crate) lost: Option<String>,
}

/// Takes a directory, making it where there is none.
///
/// # Errors
/// [`OpenError::InUse`] while another process has it; what the file system says.
pub(crate) fn open(directory: &Path, layout: Layout) -> Result<Opening, OpenError> {
    let fail = |error| OpenError::Io(directory.to_owned(), error);
    let lock = take(directory)?;
    fs::create_dir_all(directory.join("segments")).map_err(fail)?;
    let read = |name: &str| files::read(directory, name).map_err(fail);
    let checkpoint = read("checkpoint")?.and_then(|bytes| Checkpoint::decode(&bytes));
    let last_run = read("run.json")?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(Opening { directory: directory.to_owned(), layout, lock, checkpoint, last_run })
}

/// Makes sure that no other process has the directory, for as long as the file is open.
///
/// # Errors
/// [`OpenError::InUse`] while another process has it; what the file system says.
pub(crate) fn take(directory: &Path) -> Result<File, OpenError> {
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

impl Opening {
    /// What was kept beside the entries, if it was and is whole.
    pub(crate) fn checkpoint(&self) -> Option<&Checkpoint> {
        self.checkpoint.as_ref()
    }

    /// Reads what is known of every entry, in order, and opens the store behind them.
    ///
    /// # Errors
    /// What the file system says. Damage is no error: it is cut out, and [`Opened::lost`] tells of it.
    pub(crate) fn scan(self, on_entry: &mut dyn FnMut(&Filing<'_>)) -> Result<Opened, OpenError> {
        let directory = self.directory.clone();
        let fail = move |error| OpenError::Io(directory.clone(), error);
        let mut walk = Walk {
            directory: self.directory.clone(),
            sync_each_batch: self.layout.sync_each_batch,
            folder: self.directory.join("segments"),
            dropped: self
                .checkpoint
                .as_ref()
                .map(|checkpoint| checkpoint.dropped.clone())
                .unwrap_or_default(),
            segments: VecDeque::new(),
            names: Names::default(),
            head: 0,
            head_tag: Tag(0),
            faults: Vec::new(),
        };
        let paths = walk.list().map_err(&fail)?;
        for (index, path) in paths.iter().enumerate() {
            walk.file(path, index + 1 == paths.len(), on_entry).map_err(&fail)?;
        }
        walk.end_of_dropped();
        // A kill before the first checkpoint leaves a directory as new as an empty one.
        let is_new = self.checkpoint.is_none() && walk.head == 0 && walk.faults.is_empty();
        if !is_new {
            if paths.is_empty() {
                walk.faults.push("its files are gone".into());
            }
            walk.faults.extend(self.fault_of_last_run(walk.head));
        }
        let active = walk.active(self.layout).map_err(&fail)?;
        let lost = (!walk.faults.is_empty()).then(|| walk.faults.join("; "));
        let standing = Standing::Running { untold: lost.as_deref() };
        write_run(&self.directory, self.layout.sync_each_batch, &standing).map_err(&fail)?;
        let (head, head_tag) = (walk.head, walk.head_tag);
        let store = DiskStore {
            directory: self.directory,
            layout: self.layout,
            segments: RwLock::new(walk.segments),
            active: Mutex::new(active),
            unsynced: Mutex::default(),
            is_syncing: AtomicBool::new(false),
            dropped: Mutex::new(walk.dropped),
            read_only: Mutex::default(),
            refused: Mutex::default(),
            is_untold: Mutex::new(lost.is_some()),
            fsyncs: Histogram::default(),
            _lock: self.lock,
        };
        Ok(Opened { store, head, head_tag, lost })
    }

    fn fault_of_last_run(&self, head: u64) -> Option<String> {
        if self.checkpoint.is_none() {
            return Some("the checkpoint is missing or damaged".into());
        }
        match &self.last_run {
            None => Some("nothing tells how the last run ended".into()),
            Some(Run { untold: Some(untold), .. }) => Some(untold.clone()),
            Some(Run { clean: true, head: Some(end), .. }) if *end > head => Some(format!(
                "the last run ended clean after event {end}, and {head} is the last that is left"
            )),
            // Where the kernel does not name its runs, any may be another.
            Some(run)
                if !run.clean
                    && !run.sync_each_batch
                    && (run.boot_id.is_empty() || run.boot_id != boot_id()) =>
            {
                Some("the machine went down while events of the last second were not yet on disk".into())
            }
            Some(_) => None,
        }
    }
}

/// Goes through the files in order.
struct Walk {
    directory: PathBuf,
    sync_each_batch: bool,
    folder: PathBuf,
    dropped: Vec<(u64, u64)>,
    segments: VecDeque<Segment>,
    names: Names,
    head: u64,
    head_tag: Tag,
    faults: Vec<String>,
}

impl Walk {
    fn list(&self) -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for file in fs::read_dir(&self.folder)? {
            let path = file?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("log") => paths.push(path),
                // A file that was being rewritten when the process ended; the old one stands.
                Some("new") => fs::remove_file(path)?,
                _ => {}
            }
        }
        paths.sort();
        Ok(paths)
    }

    fn file(&mut self, path: &Path, is_last: bool, on_entry: &mut dyn FnMut(&Filing<'_>)) -> io::Result<()> {
        // A kill between creating a file and writing its header leaves it empty.
        if is_last && fs::metadata(path)?.len() == 0 {
            return fs::remove_file(path);
        }
        let mut last_tag = None;
        let mut remember = |entry: &Filing<'_>| {
            last_tag = Some((entry.offset, entry.tag));
            on_entry(entry);
        };
        let Some(scan) = segment::scan(path, &mut self.names, &mut remember)? else {
            return self.set_aside(path, "has no true header");
        };
        if scan.header.first <= self.head {
            return self.set_aside(path, "stands for events that another file has");
        }
        if !self.is_dropped(self.head + 1, scan.header.first - 1) {
            let missing = (self.head + 1, scan.header.first - 1);
            self.fault(format!("events {} to {} have no file", missing.0, missing.1))?;
            // From now on nobody expects them.
            drop_ranges(&mut self.dropped, &[missing]);
        }
        self.take(path, is_last, scan, last_tag)
    }

    fn take(&mut self, path: &Path, is_last: bool, scan: Scan, last: Option<(u64, Tag)>) -> io::Result<()> {
        let header = scan.header;
        let last_kept = last.map_or(header.first - 1, |(offset, _)| offset);
        let last_offset = header.last.map_or(last_kept, |promised| promised.max(last_kept));
        // What was rewritten was safe before it took its place: no kill cuts it.
        let may_be_cut = is_last && header.last.is_none();
        if scan.end == End::Damaged || scan.has_hole || (scan.end == End::CutByKill && !may_be_cut) {
            self.fault(format!("{} is damaged; what could not be read of it is cut out", path.display()))?;
        }
        let length = scan.file.metadata()?.len();
        if scan.good_bytes < length {
            scan.file.set_len(scan.good_bytes)?;
            scan.file.sync_data()?;
        }
        self.head_tag = match last {
            Some((offset, tag)) if offset == last_offset => tag,
            None if last_offset + 1 == header.first => header.tag_before,
            _ => Tag(0),
        };
        self.head = last_offset;
        let file = Arc::new(scan.file);
        let mut segment = Segment::new(&header, file, scan.good_bytes, last_offset, &scan.places, false);
        if scan.has_hole {
            segment = self.mend(path, &segment)?;
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Writes a file with bad bytes in it anew, so that the damage is told of once.
    fn mend(&self, path: &Path, old: &Segment) -> io::Result<Segment> {
        let header = Header { first: old.first, last: Some(old.last), tag_before: old.tag_before };
        let rewritten = segment::rewrite(path, &header, &old.file, &old.kept());
        let (file, places, bytes) = rewritten.map_err(io::Error::other)?;
        sync_directory(&self.folder)?;
        Ok(Segment::new(&header, Arc::new(file), bytes, old.last, &places, false))
    }

    fn set_aside(&mut self, path: &Path, why: &str) -> io::Result<()> {
        self.fault(format!("{} {why} and was set aside", path.display()))?;
        fs::rename(path, path.with_extension("bad"))
    }

    /// Notes a fault on disk, too: what it was found by is about to be cut away, and a kill may come first.
    fn fault(&mut self, fault: String) -> io::Result<()> {
        warn!(fault, "the log is not whole");
        self.faults.push(fault);
        let untold = self.faults.join("; ");
        write_run(&self.directory, self.sync_each_batch, &Standing::Running { untold: Some(&untold) })
    }

    /// Whether nothing is expected from `first` to `last`.
    fn is_dropped(&self, first: u64, last: u64) -> bool {
        first > last || self.dropped.iter().any(|(from, to)| *from <= first && last <= *to)
    }

    /// Offsets of dropped files at the end count, too: none may be given twice.
    fn end_of_dropped(&mut self) {
        if let Some((_, last)) = self.dropped.last().filter(|(_, last)| *last > self.head) {
            (self.head, self.head_tag) = (*last, Tag(0));
        }
    }

    /// Goes on with the last file where that may still grow, else opens a new one.
    fn active(&mut self, layout: Layout) -> io::Result<Active> {
        let head = self.head;
        let may_grow = |last: &&mut Segment| {
            let has_room = last.file_bytes < layout.segment_bytes || last.slots.is_empty();
            last.last == head && !last.is_rewritten && has_room
        };
        if let Some(last) = self.segments.back_mut().filter(may_grow) {
            last.is_active = true;
            let (file, good_bytes) = (last.file.clone(), last.file_bytes);
            return Ok(Active { file, good_bytes, last: head, last_tag: self.head_tag });
        }
        let header = Header { first: head + 1, last: None, tag_before: self.head_tag };
        let file = Arc::new(segment::create(&segment::path(&self.folder, header.first), &header)?);
        file.sync_data()?;
        sync_directory(&self.folder)?;
        self.segments.push_back(Segment::new(&header, file.clone(), HEADER_BYTES, head, &[], true));
        Ok(Active { file, good_bytes: HEADER_BYTES, last: head, last_tag: self.head_tag })
    }
}
