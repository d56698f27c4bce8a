//! The newest entries, in memory and encoded: most reads end here.

use std::{collections::VecDeque, sync::Arc};

use super::entry::Entry;

/// A bounded run of entries that ends at the head.
#[derive(Debug)]
pub(crate) struct Ring {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    bytes_max: usize,
}

impl Ring {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
        }
    }

    /// Adds the newest entry and lets the oldest go where the bound is passed.
    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.memory_bytes();
        self.entries.push_back(entry);
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.memory_bytes();
            }
        }
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&Arc<Entry>> {
        let first = self.entries.front()?.offset;
        self.entries.get(usize::try_from(offset.checked_sub(first)?).ok()?)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
