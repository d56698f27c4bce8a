//! A log whose store is full on request.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use tidings_protocol::Epoch;

use crate::checkpoint::Checkpoint;
use crate::entry::Entry;
use crate::served::ServedLogs;
use crate::settings::LogSettings;
use crate::store::memory::MemoryStore;
use crate::store::{CheckpointSource, Store, StoreError};
use crate::{Environment, Log};

/// A memory store that can be full.
#[derive(Default)]
struct FillableStore {
    memory: MemoryStore,
    is_full: Arc<AtomicBool>,
}

impl Store for FillableStore {
    fn can_append_without_blocking(&self) -> bool {
        false
    }

    fn append(&self, batch: &[Arc<Entry>]) -> Result<(), StoreError> {
        if self.is_full.load(Ordering::Relaxed) {
            return Err(StoreError::NotStored(io::ErrorKind::StorageFull.into()));
        }
        self.memory.append(batch)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.memory.sync()
    }

    fn read(&self, offsets: &[u64], newest: Epoch) -> Result<Vec<Option<Arc<Entry>>>, StoreError> {
        self.memory.read(offsets, newest)
    }

    fn release(&self, offsets: &[u64]) {
        self.memory.release(offsets);
    }

    fn maintain(&self, checkpoint: &CheckpointSource<'_>) -> Result<(), StoreError> {
        self.memory.maintain(checkpoint)
    }

    fn write_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        self.memory.write_checkpoint(checkpoint)
    }

    fn writable(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}

/// Returns a log in memory that appends on the writer's thread only. Its store is full while the flag is set.
pub fn fillable_log(settings: &LogSettings, environment: Arc<dyn Environment>) -> (Log, Arc<AtomicBool>) {
    let store = FillableStore::default();
    let is_full = store.is_full.clone();
    let log = Log::in_memory(settings, None, environment, ServedLogs::serve_memory).unwrap();
    (Log { store: OnceLock::from(Box::new(store) as Box<dyn Store>), ..log }, is_full)
}
