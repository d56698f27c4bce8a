//! The one totally ordered sequence of stored events. Channels are labels on its entries; every read goes by
//! channel and offset, replay and live alike.

#![allow(missing_docs, reason = "an internal crate documents what its names do not say")]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod barriers;
mod checkpoint;
mod chunk_cache;
mod entry;
mod entry_cache;
pub mod files;
#[cfg(any(test, all(fuzzing, feature = "testing")))]
pub mod fuzzing;
mod history;
mod idempotency;
mod index;
pub mod lock;
mod maintenance;
mod open;
mod opening;
mod read;
mod replica;
mod resume;
mod served;
mod settings;
mod state;
mod store;
mod subscriptions;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod transitions;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use tidings_protocol::{Epoch, EventId, Tag};
use tidings_sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use self::barriers::{ReadBarriers, Waiter};
pub use self::checkpoint::{EpochRow, LostChannels};
use self::chunk_cache::ChunkCache;
pub use self::chunk_cache::ChunkSlice;
pub use self::entry::{
    Entry, Idempotency, Millis, NewEntry, TransientEvent, frame_without_id, millis, offset_within,
};
pub use self::history::{HistoryRange, HistoryRead};
pub use self::idempotency::{IdempotencyKeys, KeyLookup, RememberedAnswer};
pub use self::maintenance::Usage;
pub use self::open::{Recovered, UnreadLog};
pub use self::opening::{OpenProgress, Opening};
pub use self::read::{Page, PageEntry, ReadRequest};
pub use self::replica::{ApplyError, OffsetLookup, ReplicatedEntry};
pub use self::resume::{Gap, ResumePoint, Start};
use self::served::ServedLogs;
pub use self::settings::{Durability, LogSettings};
use self::state::LogState;
use self::store::Store;
use self::store::unopened::Unopened;
pub use self::store::{
    OpenError, RECORD_BYTES_BESIDE_TEXT_MAX, SEGMENT_BYTES_MAX, SHORT_BYTES_MAX, StoreError,
};
pub use self::subscriptions::{subscription_texts, wants};

/// Source of the time and random numbers of a log; tests provide their own.
pub trait Environment: Send + Sync {
    /// The wall clock.
    fn now(&self) -> Millis;
    /// 64 random bits.
    fn random(&self) -> u64;
}

/// The log of one node.
pub struct Log {
    state: RwLock<LogState>,
    /// Unset before the log is open.
    store: OnceLock<Box<dyn Store>>,
    /// Stands in for the store until then.
    unopened: Unopened,
    opening: Opening,
    keys: Mutex<IdempotencyKeys>,
    chunk_cache: Mutex<ChunkCache>,
    retention: RetentionBounds,
    environment: Arc<dyn Environment>,
    /// Milliseconds that the broker's clock is ahead of this machine's. The log uses the broker's clock.
    clock_ahead: AtomicI64,
    barriers: ReadBarriers,
    /// Has a directory if a log in memory or a replica has one.
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

/// Entries that were stored since the caller's last call.
pub struct NewEntries {
    pub entries: Option<Vec<Arc<Entry>>>,
    pub head: u64,
    /// Ids are written in this epoch.
    pub newest: Epoch,
    /// Transitions so far.
    pub seen: u64,
}

impl Log {
    fn new(
        state: LogState,
        store: Option<Box<dyn Store>>,
        keys: IdempotencyKeys,
        retention: RetentionBounds,
        environment: Arc<dyn Environment>,
    ) -> Self {
        let is_open = store.is_some();
        Self {
            state: RwLock::new(&lock::LOG_STATE, state),
            store: store.map(OnceLock::from).unwrap_or_default(),
            unopened: Unopened::default(),
            opening: Opening::new(is_open),
            keys: Mutex::new(&lock::IDEMPOTENCY_KEYS, keys),
            chunk_cache: Mutex::new(&lock::CHUNK_CACHE, ChunkCache::default()),
            retention,
            environment,
            clock_ahead: AtomicI64::new(0),
            barriers: ReadBarriers::new(false),
            served: Mutex::new(&lock::SERVED_LOGS, ServedLogs::default()),
        }
    }

    /// Appends one batch, which is stored as a whole or not at all, and returns its entries. `once_kept` is called when the
    /// batch is stored, before any reader sees it.
    ///
    /// Only the committer calls this: the log has one order because it has one writer at a time.
    ///
    /// # Errors
    /// Errors of the store; then no reader sees the batch.
    pub fn append_with(
        &self,
        new_entries: Vec<NewEntry>,
        once_kept: &mut dyn FnMut(),
    ) -> Result<Vec<Arc<Entry>>, StoreError> {
        self.check_whole()?;
        let (head, newest) = {
            let state = self.state();
            (state.head, state.newest())
        };
        let entries: Vec<Arc<Entry>> = new_entries
            .into_iter()
            .zip(head + 1..)
            .map(|(entry, offset)| Arc::new(Entry::new(entry, offset, newest, self.new_tag(), newest)))
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

    /// Makes stored entries visible to readers.
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

    /// Releases entries in the store that no channel holds any more.
    fn release(&self, mut state: RwLockWriteGuard<'_, LogState>) {
        let released = state.index.take_released();
        drop(state);
        self.store().release(&released);
    }

    /// Whether an append would wait for nothing now, not even for the disk.
    pub fn can_append_without_blocking(&self) -> bool {
        self.store().can_append_without_blocking()
    }

    fn new_tag(&self) -> Tag {
        // Tag 0 means unknown.
        Tag((self.environment.random() as u32).max(1))
    }

    fn trim_state(&self, state: &mut LogState, now: Millis) {
        let not_before = now.saturating_sub(self.retention.age);
        state.index.trim_log(self.retention.bytes, not_before, now);
    }

    /// Whether a thread panicked while it changed the log. From then on nothing is appended or delivered: an offset could be
    /// given twice, and a reader could skip an event. The hub ends, and the next start reads the log anew.
    pub fn is_half_changed(&self) -> bool {
        self.state.is_poisoned()
    }

    fn check_whole(&self) -> Result<(), StoreError> {
        if self.is_half_changed() {
            return Err(StoreError::ReadOnly("a thread panicked while it changed the log".into()));
        }
        Ok(())
    }

    /// The epoch that ids are written in.
    pub fn newest(&self) -> Epoch {
        self.state().newest()
    }

    /// Returns the entries above an offset, at most `count_max`. They are `None` if one is not in the cache, or if a
    /// transition happened since `seen`.
    pub fn entries_after(&self, offset: u64, seen: u64, count_max: usize) -> NewEntries {
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
    pub fn head(&self) -> EventId {
        let state = self.state();
        EventId::new(state.newest(), state.head, state.head_tag)
    }

    /// Reads entries from the store.
    ///
    /// # Errors
    /// None: an entry that cannot be read is dropped, and its channels have lost it.
    pub fn read(&self, offsets: &[u64], newest: Epoch) -> Vec<Option<Arc<Entry>>> {
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

    /// The idempotency keys. Hold the lock for a lookup only.
    pub fn keys(&self) -> MutexGuard<'_, IdempotencyKeys> {
        self.keys.lock()
    }

    /// The time by which entries are stamped, expired and trimmed: the broker's, if there is a broker.
    pub fn now(&self) -> Millis {
        self.environment.now().saturating_add_signed(self.clock_ahead.load(Ordering::Relaxed))
    }

    /// The time of this machine, for tokens and other times that third parties set.
    pub fn own_now(&self) -> Millis {
        self.environment.now()
    }

    /// Sets how many milliseconds the broker's clock is ahead. A difference that a slow answer explains is ignored, so that
    /// time does not jump.
    pub fn go_by_clock(&self, ahead: i64) {
        const UNNOTICED_MS: u64 = 500;
        if self.clock_ahead.load(Ordering::Relaxed).abs_diff(ahead) > UNNOTICED_MS {
            self.clock_ahead.store(ahead, Ordering::Relaxed);
        }
    }

    fn chunk_cache(&self) -> MutexGuard<'_, ChunkCache> {
        self.chunk_cache.lock()
    }

    // Readers do not panic with a thread that panicked under the lock; see `is_half_changed`.
    fn state(&self) -> RwLockReadGuard<'_, LogState> {
        self.state.read()
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, LogState> {
        self.state.write()
    }
}

#[cfg(test)]
mod tests;
