//! Store in memory: for durability `memory`, and as the model that tests compare the disk store with.

use std::{collections::HashMap, fs::File, sync::Arc};

use tidings_protocol::Epoch;
use tidings_sync::RwLock;

use super::{CheckpointSource, Store, StoreError};
use crate::{checkpoint::Checkpoint, entry::Entry, files::Reserve, lock};

/// Entries by offset.
pub(crate) struct MemoryStore {
    entries: RwLock<HashMap<u64, Arc<Entry>>>,
    directory: Option<DirectoryLock>,
}

/// The locked directory of the files beside a log in memory.
pub(crate) struct DirectoryLock {
    pub(crate) _lock: File,
    pub(crate) reserve: Reserve,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::holding(None)
    }
}

impl MemoryStore {
    /// An empty store, with a locked directory if it has one.
    pub(crate) fn holding(directory: Option<DirectoryLock>) -> Self {
        Self { entries: RwLock::new(&lock::MEMORY_ENTRIES, HashMap::new()), directory }
    }
}

impl Store for MemoryStore {
    fn can_append_without_blocking(&self) -> bool {
        true
    }

    fn append(&self, batch: &[Arc<Entry>]) -> Result<(), StoreError> {
        let mut entries = self.entries.write();
        entries.extend(batch.iter().map(|entry| (entry.offset, entry.clone())));
        Ok(())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn read(&self, offsets: &[u64], _newest: Epoch) -> Result<Vec<Option<Arc<Entry>>>, StoreError> {
        let entries = self.entries.read();
        Ok(offsets.iter().map(|offset| entries.get(offset).cloned()).collect())
    }

    fn release(&self, offsets: &[u64]) {
        let mut entries = self.entries.write();
        for offset in offsets {
            entries.remove(offset);
        }
    }

    /// Fills the reserve for the files beside the log, if the disk has room.
    fn maintain(&self, _checkpoint: &CheckpointSource<'_>) -> Result<(), StoreError> {
        if let Some(directory) = &self.directory {
            let _ = directory.reserve.fill(Reserve::BYTES_MIN);
        }
        Ok(())
    }

    fn write_checkpoint(&self, _checkpoint: &Checkpoint) -> Result<(), StoreError> {
        Ok(())
    }

    fn writable(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}
