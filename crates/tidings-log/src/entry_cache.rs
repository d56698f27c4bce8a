//! Cache of the newest entries, encoded: most reads need nothing else.

use std::{collections::VecDeque, sync::Arc};

use super::entry::Entry;

/// Entries by offset, ascending, the newest at the end; within a bound of bytes.
#[derive(Debug)]
pub(crate) struct EntryCache {
    entries: VecDeque<Arc<Entry>>,
    bytes: usize,
    bytes_max: usize,
}

impl EntryCache {
    pub(crate) fn new(bytes_max: u64) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
        }
    }

    /// Adds the newest entry, and drops the oldest ones while the bound is exceeded.
    pub(crate) fn push(&mut self, entry: Arc<Entry>) {
        self.bytes += entry.memory_bytes();
        self.entries.push_back(entry);
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            if let Some(oldest) = self.entries.pop_front() {
                self.bytes -= oldest.memory_bytes();
            }
        }
    }

    /// Adds an entry that is older than all others; `false` if there is no room for it.
    pub(crate) fn prepend(&mut self, entry: Arc<Entry>) -> bool {
        let bytes = self.bytes + entry.memory_bytes();
        let is_older = self.entries.front().is_none_or(|oldest| entry.offset < oldest.offset);
        if bytes > self.bytes_max || !is_older {
            return false;
        }
        self.bytes = bytes;
        self.entries.push_front(entry);
        true
    }

    pub(crate) fn get(&self, offset: u64) -> Option<&Arc<Entry>> {
        let guess = usize::try_from(offset.checked_sub(self.oldest()?)?).ok()?;
        // Only entries that the cache was warmed with after a start may have holes.
        match self.entries.get(guess) {
            Some(entry) if entry.offset == offset => Some(entry),
            _ => {
                let index = self.entries.binary_search_by_key(&offset, |entry| entry.offset).ok()?;
                self.entries.get(index)
            }
        }
    }

    /// The entries above an offset, at most `count_max`; `None` if one of them is missing.
    pub(crate) fn above(&self, offset: u64, count_max: usize) -> Option<impl Iterator<Item = &Arc<Entry>>> {
        let index = self.entries.partition_point(|entry| entry.offset <= offset);
        let has_all = self.entries.get(index).is_none_or(|entry| entry.offset == offset + 1);
        has_all.then(|| self.entries.range(index..).take(count_max))
    }

    /// Drops the entries above an offset.
    pub(crate) fn truncate(&mut self, to: u64) {
        while let Some(newest) = self.entries.pop_back_if(|newest| newest.offset > to) {
            self.bytes -= newest.memory_bytes();
        }
    }

    /// Drops all entries.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// The offset of the oldest entry.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.offset)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
