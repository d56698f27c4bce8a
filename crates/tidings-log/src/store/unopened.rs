//! Store of a log that is not open yet: it is empty and refuses appends.

use std::sync::Arc;

use tidings_protocol::Epoch;
use tidings_sync::Histogram;

use super::{CheckpointSource, Store, StoreError};
use crate::{checkpoint::Checkpoint, entry::Entry};

/// Stands in for the store until the log is open.
#[derive(Default)]
pub(crate) struct Unopened {
    /// The disk store observes into the same histogram.
    fsyncs: Histogram,
}

impl Store for Unopened {
    fn append(&self, _batch: &[Arc<Entry>]) -> Result<(), StoreError> {
        Err(StoreError::Unopened)
    }

    fn can_append_without_blocking(&self) -> bool {
        false
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn fsyncs(&self) -> Histogram {
        self.fsyncs.clone()
    }

    fn read(&self, offsets: &[u64], _newest: Epoch) -> Result<Vec<Option<Arc<Entry>>>, StoreError> {
        Ok(vec![None; offsets.len()])
    }

    fn release(&self, _offsets: &[u64]) {}

    fn maintain(&self, _checkpoint: &CheckpointSource<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    fn write_checkpoint(&self, _checkpoint: &Checkpoint) -> Result<(), StoreError> {
        Err(StoreError::Unopened)
    }

    fn writable(&self) -> Result<(), StoreError> {
        Err(StoreError::Unopened)
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}
