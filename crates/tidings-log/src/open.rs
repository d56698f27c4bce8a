//! Opening of a log: the directory is locked at once, and its files are read while the node serves.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tidings_protocol::{ChannelName, Epoch, Tag};
use tidings_sync::{Histogram, Mutex};

use super::barriers::ReadBarriers;
use super::checkpoint::{Checkpoint, EpochRow, LostChannels};
use super::entry::millis;
use super::entry_cache::EntryCache;
use super::idempotency::IdempotencyKeys;
use super::index::Index;
use super::opening::Opening;
use super::served::ServedLogs;
use super::state::LogState;
use super::store::disk::{self, Layout, OpenError};
use super::store::memory::{DirectoryLock, MemoryStore};
use super::store::{Store, StoreError};
use super::{Environment, Log, RetentionBounds};
use crate::files::{Reserve, is_full};
use crate::lock;
use crate::settings::{Durability, LogSettings};

/// Epochs that a log remembers; ids of older ones count as foreign.
const EPOCHS_MAX: usize = 10_000;

/// A locked directory whose log is not read yet.
pub struct UnreadLog {
    directory: PathBuf,
    lock: File,
    settings: LogSettings,
    environment: Arc<dyn Environment>,
    fsyncs: Histogram,
}

/// Result of opening a log.
#[derive(Debug)]
pub struct Recovered {
    pub entries: usize,
    pub head: u64,
    /// Reason why events may be missing. Each client that resumes with an older id gets a gap.
    pub lost: Option<String>,
}

impl Log {
    /// Begins a log in memory, or locks `directory`, whose files are to be read. Until [`Log::take_over`] the second kind of
    /// log gives no stream a position and takes no event.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn begin(
        settings: &LogSettings,
        directory: Option<&Path>,
        environment: Arc<dyn Environment>,
    ) -> Result<(Self, Option<UnreadLog>), OpenError> {
        let Some(directory) = directory.filter(|_| settings.durability != Durability::Memory) else {
            return Ok((Self::in_memory(settings, directory, environment, ServedLogs::serve_memory)?, None));
        };
        let lock = disk::lock_directory(directory)?;
        let state =
            LogState::new((0, Tag(0)), Vec::new(), Index::default(), EntryCache::new(settings.cache_bytes));
        let log = Self::new(state, None, keys(settings), RetentionBounds::of(settings), environment.clone());
        let log = Self { barriers: ReadBarriers::new(true), ..log };
        let (directory, settings, fsyncs) = (directory.to_owned(), settings.clone(), log.fsyncs());
        Ok((log, Some(UnreadLog { directory, lock, settings, environment, fsyncs })))
    }

    /// Opens the log in `directory`, or a new one in memory, and begins an epoch at its head.
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn open(
        settings: &LogSettings,
        directory: Option<&Path>,
        environment: Arc<dyn Environment>,
    ) -> Result<(Self, Recovered), OpenError> {
        match Self::begin(settings, directory, environment)? {
            (_, Some(unread)) => unread.read(&mut |_, _| true),
            (log, None) => Ok((log, Recovered { entries: 0, head: 0, lost: None })),
        }
    }

    /// Returns a new log in memory. It locks the directory, for the files beside the log; `serve` records which log takes
    /// events from now on.
    pub(super) fn in_memory(
        settings: &LogSettings,
        directory: Option<&Path>,
        environment: Arc<dyn Environment>,
        serve: fn(&mut ServedLogs) -> io::Result<()>,
    ) -> Result<Self, OpenError> {
        let mut held = None;
        let mut served = ServedLogs::default();
        if let Some(directory) = directory {
            held = Some(DirectoryLock {
                _lock: disk::lock_directory(directory)?,
                reserve: Reserve::of(directory),
            });
            let fail = |error| OpenError::Io(directory.to_owned(), error);
            served = ServedLogs::read(directory).map_err(fail)?;
            serve(&mut served).map_err(fail)?;
        }
        let epochs =
            vec![EpochRow { epoch: environment.random(), begins_after: 0, lost: LostChannels::None }];
        let entry_cache = EntryCache::new(settings.cache_bytes);
        let state = LogState::new((0, Tag(0)), epochs, Index::default(), entry_cache);
        let store: Box<dyn Store> = Box::new(MemoryStore::holding(held));
        let log = Self::new(state, Some(store), keys(settings), RetentionBounds::of(settings), environment);
        Ok(Self { served: Mutex::new(&lock::SERVED_LOGS, served), ..log })
    }

    /// Replaces this log by the one that was read. Streams that waited get their positions, and publishes are taken.
    pub fn take_over(&self, read: Self) {
        let Self { state, store, keys, .. } = read;
        // The store comes first: readers of the state read entries from it.
        if let Some(store) = store.into_inner() {
            assert!(self.store.set(store).is_ok(), "a log is opened once");
        }
        let before = std::mem::replace(&mut *self.keys(), keys.into_inner());
        drop(before);
        let mut state = state.into_inner();
        state.opened_at = Some(state.head);
        self.state.replace(state);
        // This log gives the order itself: no barrier is needed any more.
        self.barriers.complete(u64::MAX);
        self.opening.finish();
    }

    /// Returns the progress of the opening.
    pub fn opening(&self) -> &Opening {
        &self.opening
    }
}

impl UnreadLog {
    /// Reads the log, and begins an epoch at its head. `on_file` gets the numbers of read files and of all files before each
    /// file; it returns false to stop.
    ///
    /// # Errors
    /// If the directory cannot be used; [`OpenError::Ended`] if `on_file` stopped.
    pub fn read(self, on_file: &mut dyn FnMut(usize, usize) -> bool) -> Result<(Log, Recovered), OpenError> {
        let Self { directory, lock, settings, environment, fsyncs } = self;
        let fail = |error| OpenError::Io(directory.clone(), error);
        let layout =
            Layout::for_retention(settings.retention_bytes, settings.durability == Durability::Fsync);
        let opening = disk::open(&directory, lock, layout)?;
        let mut served = ServedLogs::read(&directory).map_err(fail)?;
        let before = opening.checkpoint().cloned().unwrap_or_default();
        let (mut index, mut keys) = (Index::default(), keys(&settings));
        restore(&before, &mut index, &mut keys);
        let now = environment.now();
        let opened = opening.scan(on_file, &mut |entry| {
            keys.remember(entry);
            index.append(entry);
            index.trim_channels(entry.channels, settings.retention_events, now);
        })?;
        keys.forget_old(now);
        let (epochs, lost) = epochs(before.epochs, &opened, &served, Epoch(environment.random()));
        let entry_cache = EntryCache::new(settings.cache_bytes);
        let state = LogState::new((opened.head, opened.head_tag), epochs, index, entry_cache);
        let store: Box<dyn Store> = Box::new(opened.store.with_fsyncs(fsyncs));
        let log = Log::new(state, Some(store), keys, RetentionBounds::of(&settings), environment);
        log.trim();
        let recovered = Recovered { entries: log.state().index.entries(), head: opened.head, lost };
        match log.store().write_checkpoint(&log.checkpoint(&|offset| recovered_keeps(&log, offset))) {
            Ok(()) => served.serve_disk().map_err(fail)?,
            // Reads work; `maintain` begins the run once there is room.
            Err(StoreError::NotStored(error)) if is_full(&error) => {}
            Err(error) => return Err(OpenError::Store(error)),
        }
        Ok((log, recovered))
    }
}

fn keys(settings: &LogSettings) -> IdempotencyKeys {
    IdempotencyKeys::new(millis(settings.idempotency_window), settings.idempotency_keys)
}

/// Returns the epochs of a log with a new one at its head, and the reason why events may be missing.
fn epochs(
    mut epochs: Vec<EpochRow>,
    opened: &disk::OpenedStore,
    served: &ServedLogs,
    newest: Epoch,
) -> (Vec<EpochRow>, Option<String>) {
    let mut lost_because = opened.lost.clone();
    if let Some(row) = epochs.last().filter(|row| row.begins_after > opened.head) {
        let (from, to) = (opened.head + 1, row.begins_after);
        lost_because.get_or_insert_with(|| format!("events {from} to {to} are missing from the end"));
    }
    if served.disk_is_behind() && !epochs.is_empty() {
        lost_because
            .get_or_insert_with(|| "another log took events meanwhile: one in memory, or of redis".into());
    }
    // An epoch cannot have ended above the head that is left.
    epochs.iter_mut().for_each(|row| row.begins_after = row.begins_after.min(opened.head));
    let lost = if lost_because.is_some() { LostChannels::All } else { LostChannels::None };
    epochs.push(EpochRow { epoch: newest.0, begins_after: opened.head, lost });
    let surplus = epochs.len().saturating_sub(EPOCHS_MAX);
    epochs.drain(..surplus);
    (epochs, lost_because)
}

fn restore(checkpoint: &Checkpoint, index: &mut Index, keys: &mut IdempotencyKeys) {
    index.restore_default_trim(checkpoint.floor);
    for (channel, lost, gone) in &checkpoint.trims {
        if let Ok(channel) = ChannelName::parse(channel) {
            index.restore_channel(&channel, *lost, *gone);
        }
    }
    checkpoint.keys.iter().for_each(|row| keys.restore(row));
}

fn recovered_keeps(log: &Log, offset: u64) -> bool {
    log.state().index.tag(offset).is_some()
}

#[cfg(test)]
mod tests;
