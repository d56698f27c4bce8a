//! The one totally ordered sequence of stored events. Channels are labels on its entries; every read goes by
//! channel and offset, replay and live alike.

pub(crate) mod checkpoint;
pub(crate) mod chunk_cache;
pub(crate) mod entry;
mod entry_cache;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
pub(crate) mod history;
pub(crate) mod idempotency;
mod index;
pub(crate) mod open;
pub(crate) mod read;
pub(crate) mod replica;
pub(crate) mod resume;
mod served;
pub(crate) mod store;
mod transitions;

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, AtomicI64, Ordering},
};

use tidings_protocol::{Epoch, EventId, Tag};
use tokio::sync::watch;

use self::{
    checkpoint::{Checkpoint, EpochRow},
    chunk_cache::ChunkCache,
    entry::{Entry, Millis, NewEntry, millis},
    entry_cache::EntryCache,
    idempotency::IdempotencyKeys,
    index::Index,
    open::OpenProgress,
    replica::ReadBarriers,
    served::ServedLogs,
    store::{Store, StoreError, unopened::Unopened},
    transitions::{EpochTransitions, TruncatedTail},
};
use crate::{
    config::LogSettings,
    metrics::Histogram,
    sync::{Lock, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// How many epochs are remembered; ids of older ones count as foreign.
const EPOCHS_MAX: usize = 10_000;

/// Where the time and chance of a log come from, so that a test can give both.
pub(crate) trait Environment: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Millis;
    /// 64 random bits.
    fn random(&self) -> u64;
}

/// The log of one node.
pub(crate) struct Log {
    state: RwLock<LogState>,
    /// None before the log is open.
    store: OnceLock<Box<dyn Store>>,
    /// The store until then.
    unopened: Unopened,
    opening: watch::Sender<OpenProgress>,
    /// The same as `opening` says, for those who ask often.
    is_open: AtomicBool,
    keys: Mutex<IdempotencyKeys>,
    chunk_cache: Mutex<ChunkCache>,
    retention: RetentionBounds,
    environment: Arc<dyn Environment>,
    /// Milliseconds that the broker's clock is ahead of this machine's: the log goes by the broker's.
    clock_ahead: AtomicI64,
    /// Of a log whose order a broker gives, and of one that is being opened.
    unknowns: Option<ReadBarriers>,
    /// Of such a log, too.
    served: Mutex<ServedLogs>,
}

#[derive(Debug, Clone, Copy)]
struct RetentionBounds {
    age: Millis,
    bytes: u64,
    events: u64,
}

impl RetentionBounds {
    fn of(settings: &LogSettings) -> Self {
        Self {
            age: millis(settings.retention_age),
            bytes: settings.retention_bytes,
            events: settings.retention_events,
        }
    }
}

struct LogState {
    head: u64,
    head_tag: Tag,
    /// Oldest first; empty only where a broker's have not come yet, and before the log is open.
    epochs: Vec<EpochRow>,
    index: Index,
    entry_cache: EntryCache,
    transitions: EpochTransitions,
    /// An end that was cut off and that nobody was told of yet.
    cut: Option<TruncatedTail>,
    /// The head when the log was opened, of a log that streams waited for.
    opened_at: Option<u64>,
}

impl LogState {
    fn new(
        (head, head_tag): (u64, Tag),
        epochs: Vec<EpochRow>,
        index: Index,
        entry_cache: EntryCache,
    ) -> Self {
        Self {
            head,
            head_tag,
            epochs,
            index,
            entry_cache,
            transitions: EpochTransitions::default(),
            cut: None,
            opened_at: None,
        }
    }

    fn newest(&self) -> Epoch {
        self.epochs.last().map_or(Epoch(0), EpochRow::epoch)
    }

    /// The highest offset of an epoch, or `None` if it is not known.
    fn end_of(&self, epoch: Epoch) -> Option<u64> {
        let index = self.epochs.iter().position(|row| row.epoch() == epoch)?;
        // A log that lost its end twice may have lost the begin of an epoch, too.
        let later = self.epochs[index + 1..].iter().map(|row| row.begins_after);
        Some(later.min().unwrap_or(self.head))
    }

    /// The tag of the entry at an offset, or the tag that compares with none.
    fn tag_at(&self, offset: u64) -> Tag {
        if offset == self.head { self.head_tag } else { self.index.tag(offset).unwrap_or(Tag(0)) }
    }
}

/// What was stored since somebody looked.
pub(crate) struct NewEntries {
    pub(crate) entries: Option<Vec<Arc<entry::Entry>>>,
    pub(crate) head: u64,
    /// Ids are written in this epoch.
    pub(crate) newest: Epoch,
    /// Breaks so far.
    pub(crate) seen: u64,
}

impl Log {
    /// A log in memory that keeps its entries in a store of the test's own.
    #[cfg(test)]
    pub(crate) fn with_store(
        settings: &LogSettings,
        store: Box<dyn Store>,
        environment: Arc<dyn Environment>,
    ) -> Self {
        let log = Self::in_memory(settings, None, environment, ServedLogs::serve_memory);
        let log = log.expect("a log in memory opens");
        Self { store: OnceLock::from(store), ..log }
    }

    fn new(
        state: LogState,
        store: Option<Box<dyn Store>>,
        keys: IdempotencyKeys,
        retention: RetentionBounds,
        environment: Arc<dyn Environment>,
    ) -> Self {
        let is_open = store.is_some();
        let opening = if is_open { OpenProgress::Done } else { OpenProgress::default() };
        Self {
            state: RwLock::new(Lock::LogState, state),
            store: store.map(OnceLock::from).unwrap_or_default(),
            unopened: Unopened::default(),
            opening: watch::Sender::new(opening),
            is_open: AtomicBool::new(is_open),
            keys: Mutex::new(Lock::IdempotencyKeys, keys),
            chunk_cache: Mutex::new(Lock::ChunkCache, ChunkCache::default()),
            retention,
            environment,
            clock_ahead: AtomicI64::new(0),
            unknowns: None,
            served: Mutex::new(Lock::ServedLogs, ServedLogs::default()),
        }
    }

    #[cfg(test)]
    pub(crate) fn append(&self, drafts: Vec<NewEntry>) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.append_with(drafts, &mut || ())
    }

    /// Appends drafts as one batch, kept whole or not at all, and returns them with their places. `once_kept` is
    /// called when they are kept, before any reader sees them.
    ///
    /// Only the writer calls this: there is one order because there is one writer.
    ///
    /// # Errors
    /// What the store says; then no reader sees any of them.
    pub(crate) fn append_with(
        &self,
        drafts: Vec<NewEntry>,
        once_kept: &mut dyn FnMut(),
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.check_whole()?;
        let (head, newest) = {
            let state = self.state();
            (state.head, state.newest())
        };
        let entries: Vec<Arc<Entry>> = drafts
            .into_iter()
            .zip(head + 1..)
            .map(|(draft, offset)| Arc::new(Entry::new(draft, offset, newest, self.new_tag(), newest)))
            .collect();
        if entries.is_empty() {
            once_kept();
            return Ok(entries);
        }
        self.store().append(&entries)?;
        once_kept();
        {
            let mut keys = self.keys();
            entries.iter().for_each(|entry| keys.remember(&entry.meta()));
        }
        self.make_visible(&entries);
        Ok(entries)
    }

    fn store(&self) -> &dyn Store {
        self.store.get().map_or(&self.unopened, Box::as_ref)
    }

    /// Lets readers see entries that are kept.
    fn make_visible(&self, entries: &[Arc<Entry>]) {
        let Some(last) = entries.last() else { return };
        let now = self.now();
        let mut state = self.state_mut();
        for entry in entries {
            state.index.append(&entry.meta());
            state.index.trim_channels(&entry.channels, self.retention.events, now);
            state.entry_cache.push(entry.clone());
        }
        (state.head, state.head_tag) = (last.offset, last.tag);
        self.trim_state(&mut state, now);
        self.release(state);
    }

    /// Lets the store know what nothing holds any more.
    fn release(&self, mut state: RwLockWriteGuard<'_, LogState>) {
        let released = state.index.take_released();
        drop(state);
        self.store().release(&released);
    }

    /// Whether an append waits for nothing now, not even for the disk.
    pub(crate) fn can_append_without_blocking(&self) -> bool {
        self.store().can_append_without_blocking()
    }

    fn new_tag(&self) -> Tag {
        // Zero is the tag that compares with none.
        Tag((self.environment.random() as u32).max(1))
    }

    /// Lets go of what is too old or too much, also when nothing is published.
    pub(crate) fn trim(&self) {
        let now = self.now();
        let mut state = self.state_mut();
        self.trim_state(&mut state, now);
        self.release(state);
        self.keys().forget_old(now);
    }

    fn trim_state(&self, state: &mut LogState, now: Millis) {
        let not_before = now.saturating_sub(self.retention.age);
        state.index.trim_log(self.retention.bytes, not_before, now);
    }

    /// Brings some of the newest entries back into memory after a start, so that clients who resume share them.
    /// Returns whether there is more to bring; entries that come meanwhile have the first right to the room.
    pub(crate) fn warm_cache(&self) -> bool {
        const ENTRIES_AT_ONCE: usize = 256;
        let (offsets, newest): (Vec<u64>, Epoch) = {
            let state = self.state();
            let below = state.entry_cache.oldest().unwrap_or(state.head + 1);
            (state.index.below(below).take(ENTRIES_AT_ONCE).collect(), state.newest())
        };
        let read = self.read(&offsets, newest);
        let mut state = self.state_mut();
        // One that went meanwhile leaves a hole, which the ring may have.
        !offsets.is_empty() && read.into_iter().flatten().all(|entry| state.entry_cache.prepend(entry))
    }

    /// Takes back room on disk.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn maintain(&self) -> Result<(), StoreError> {
        match self.store().maintain(&|is_kept| self.checkpoint(is_kept)) {
            Err(StoreError::Damaged { offset, fault }) => {
                // Given up, it no longer keeps its file from being written anew, which is tried again soon.
                self.drop_damaged(&StoreError::Damaged { offset, fault });
                Ok(())
            }
            other => other,
        }
    }

    /// Makes everything appended so far survive the machine.
    ///
    /// # Errors
    /// What the store says; nothing can be appended after that.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.store().sync()
    }

    /// Durations of the calls that make a file of the log safe.
    pub(crate) fn fsyncs(&self) -> Histogram {
        self.store().fsyncs()
    }

    /// Ends a run: everything is safe and the next start knows it.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) fn close(&self) -> Result<(), StoreError> {
        if self.is_half_changed() {
            // The next start reads it as after a kill.
            return self.store().sync();
        }
        self.store().close()
    }

    /// Counts the log as writable only if an event of so many bytes would fit.
    pub(crate) fn require_room(&self, event_bytes_max: u64) {
        self.store().require_room(event_bytes_max);
    }

    /// Whether appends can succeed.
    ///
    /// # Errors
    /// Says why not.
    pub(crate) fn writable(&self) -> Result<(), StoreError> {
        self.check_whole()?;
        self.store().writable()
    }

    /// Whether a thread panicked while it changed the log. Nothing is appended or delivered from then on: an offset could be
    /// given twice, and a reader could be led past an event. The hub ends soon, and a start reads the log anew.
    pub(crate) fn is_half_changed(&self) -> bool {
        self.state.is_poisoned()
    }

    fn check_whole(&self) -> Result<(), StoreError> {
        if self.is_half_changed() {
            return Err(StoreError::ReadOnly("a thread panicked while it changed the log".into()));
        }
        Ok(())
    }

    fn checkpoint(&self, is_kept: &dyn Fn(u64) -> bool) -> Checkpoint {
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

    /// The epoch that ids are written in.
    pub(crate) fn newest(&self) -> Epoch {
        self.state().newest()
    }

    /// The entries above an offset, at most so many: none where one of them is not at hand, or where the order broke since
    /// `seen`.
    pub(crate) fn entries_after(&self, offset: u64, seen: u64, count_max: usize) -> NewEntries {
        let state = self.state();
        if self.is_half_changed() {
            return NewEntries { entries: Some(Vec::new()), head: offset, newest: state.newest(), seen };
        }
        let follows = state.transitions.serial() == seen;
        let entries = follows.then(|| state.entry_cache.above(offset, count_max)).flatten();
        NewEntries {
            entries: entries.map(|entries| entries.cloned().collect()),
            head: state.head,
            newest: state.newest(),
            seen: state.transitions.serial(),
        }
    }

    /// The head as an id in the newest epoch.
    pub(crate) fn head(&self) -> EventId {
        let state = self.state();
        EventId::new(state.newest(), state.head, state.head_tag)
    }

    /// Reads entries that a page could only name.
    ///
    /// # Errors
    /// None that leaves a hole: an entry that cannot be read back is given up, and its channels have lost it.
    pub(crate) fn read(&self, offsets: &[u64], newest: Epoch) -> Vec<Option<Arc<Entry>>> {
        match self.store().read(offsets, newest) {
            Ok(entries) => entries,
            Err(error) => {
                self.drop_damaged(&error);
                vec![None; offsets.len()]
            }
        }
    }

    fn drop_damaged(&self, error: &StoreError) {
        tracing::error!(%error, "a stored event was lost");
        let StoreError::Damaged { offset, .. } = error else { return };
        let mut state = self.state_mut();
        state.index.mark_lost(*offset);
        self.chunk_cache().clear();
        self.release(state);
    }

    /// What the log holds and costs.
    pub(crate) fn usage(&self) -> Usage {
        // Read before the state is locked: a publish locks the keys first, and none of these is held beside another.
        let idempotency_keys = self.keys().len() as u64;
        let runs_bytes = self.chunk_cache().bytes() as u64;
        let disk_bytes = self.store().disk_bytes();
        let state = self.state();
        Usage {
            head: state.head,
            bytes: state.index.bytes(),
            cache_bytes: state.entry_cache.bytes() as u64,
            chunk_cache_bytes: runs_bytes,
            channels: state.index.channel_count() as u64,
            disk_bytes,
            idempotency_keys,
        }
    }

    /// The keys of the last window. Held for the time of a look only.
    pub(crate) fn keys(&self) -> MutexGuard<'_, IdempotencyKeys> {
        self.keys.lock()
    }

    /// The time that entries are stamped, expired and trimmed by: the broker's, where there is one.
    pub(crate) fn now(&self) -> Millis {
        self.environment.now().saturating_add_signed(self.clock_ahead.load(Ordering::Relaxed))
    }

    /// The time of this machine: what other parties stamp is judged by it.
    pub(crate) fn own_now(&self) -> Millis {
        self.environment.now()
    }

    /// Goes by a clock that is ahead of this machine's by so many milliseconds. A difference that a slow answer explains
    /// changes nothing, so that time does not jump at each comparison.
    pub(crate) fn go_by_clock(&self, ahead: i64) {
        const UNNOTICED_MS: u64 = 500;
        if self.clock_ahead.load(Ordering::Relaxed).abs_diff(ahead) > UNNOTICED_MS {
            self.clock_ahead.store(ahead, Ordering::Relaxed);
        }
    }

    fn chunk_cache(&self) -> MutexGuard<'_, ChunkCache> {
        self.chunk_cache.lock()
    }

    // A panic under these locks is not passed on to every thread that reads: see `is_half_changed`.
    fn state(&self) -> RwLockReadGuard<'_, LogState> {
        self.state.read()
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, LogState> {
        self.state.write()
    }
}

/// Figures of a log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) head: u64,
    pub(crate) bytes: u64,
    pub(crate) cache_bytes: u64,
    pub(crate) chunk_cache_bytes: u64,
    pub(crate) channels: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) idempotency_keys: u64,
}

#[cfg(test)]
mod tests;
