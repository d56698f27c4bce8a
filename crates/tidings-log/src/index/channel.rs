//! Index of one channel: the entries that it holds and its trim.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tidings_protocol::{ChannelName, Priority};

/// Last lost entry of a channel, with the serial of the loss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trim {
    /// A client that resumes below this offset has lost events.
    pub(crate) offset: u64,
    /// Number of the trim in the log, so that a stream reports each once.
    pub(crate) serial: u64,
}

/// An entry that overtakes pending ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Urgent {
    pub(crate) offset: u64,
    pub(crate) is_critical: bool,
}

/// One channel.
#[derive(Debug)]
pub(crate) struct ChannelIndex {
    pub(crate) name: ChannelName,
    /// Offsets of the entries that carry the channel, ascending.
    pub(super) offsets: VecDeque<u64>,
    /// Those of them that overtake, ascending.
    urgent: VecDeque<Urgent>,
    newest: Option<Box<Newest>>,
    /// Last trim of an entry that was neither expired nor superseded.
    pub(super) trim: Trim,
    /// Highest removed offset: the channel holds nothing at or below it.
    pub(super) removed_through: u64,
    /// Whether the row is in the list of empty ones.
    pub(super) is_listed_empty: bool,
}

/// The newest entry of each key, both ways.
#[derive(Debug, Default)]
struct Newest {
    by_key: HashMap<Arc<str>, u64>,
    keys: HashMap<u64, Arc<str>>,
}

impl Default for ChannelIndex {
    fn default() -> Self {
        // Name of a free row, which no reader sees.
        Self::new(ChannelName::parse("-").expect("a dash is a channel name"), Trim::default())
    }
}

impl ChannelIndex {
    pub(super) fn new(name: ChannelName, trim: Trim) -> Self {
        Self {
            name,
            offsets: VecDeque::new(),
            urgent: VecDeque::new(),
            newest: None,
            trim,
            removed_through: trim.offset,
            is_listed_empty: false,
        }
    }

    pub(super) fn push(&mut self, offset: u64, priority: Priority, key: Option<&Arc<str>>) {
        self.offsets.push_back(offset);
        if priority >= Priority::High {
            self.urgent.push_back(Urgent { offset, is_critical: priority == Priority::Critical });
        }
        if let Some(key) = key {
            self.note_key(offset, key);
        }
    }

    /// Removes the oldest entry. Returns whether the channel holds a newer entry of its key.
    pub(super) fn pop(&mut self, is_keyed: bool) -> bool {
        let Some(offset) = self.offsets.pop_front() else { return false };
        self.removed_through = offset;
        if self.urgent.front().is_some_and(|urgent| urgent.offset == offset) {
            self.urgent.pop_front();
        }
        if self.offsets.capacity() > 64 && self.offsets.len() * 4 < self.offsets.capacity() {
            self.offsets.shrink_to(self.offsets.len() * 2);
        }
        is_keyed && !self.forget_key(offset)
    }

    /// Removes an entry.
    pub(super) fn remove(&mut self, offset: u64) {
        self.offsets.retain(|other| *other != offset);
        self.urgent.retain(|urgent| urgent.offset != offset);
        self.forget_key(offset);
    }

    /// Rebuilds the newest entry of each key from entries with keys, ascending.
    pub(super) fn rekey(&mut self, keyed: impl Iterator<Item = (u64, Arc<str>)>) {
        self.newest = None;
        for (offset, key) in keyed {
            self.note_key(offset, &key);
        }
    }

    fn note_key(&mut self, offset: u64, key: &Arc<str>) {
        let newest = self.newest.get_or_insert_default();
        if let Some(replaced) = newest.by_key.insert(key.clone(), offset) {
            newest.keys.remove(&replaced);
        }
        newest.keys.insert(offset, key.clone());
    }

    /// Whether the entry was the newest of its key.
    fn forget_key(&mut self, offset: u64) -> bool {
        let Some(newest) = &mut self.newest else { return false };
        let Some(key) = newest.keys.remove(&offset) else { return false };
        newest.by_key.remove(&key);
        if newest.by_key.is_empty() {
            self.newest = None;
        }
        true
    }

    /// The entries above `cursor`, ascending.
    pub(crate) fn above(&self, cursor: u64) -> std::collections::vec_deque::Iter<'_, u64> {
        let start = match self.offsets.back() {
            Some(last) if *last > cursor => self.offsets.partition_point(|offset| *offset <= cursor),
            _ => self.offsets.len(),
        };
        self.offsets.range(start..)
    }

    /// The newest entries, newest first.
    pub(crate) fn newest_first(&self) -> impl Iterator<Item = u64> + '_ {
        self.offsets.iter().rev().copied()
    }

    /// The urgent entries above `cursor`, ascending.
    pub(crate) fn urgent_above(&self, cursor: u64) -> impl Iterator<Item = Urgent> + '_ {
        let start = self.urgent.partition_point(|urgent| urgent.offset <= cursor);
        self.urgent.range(start..).copied()
    }

    /// Whether an entry with a key is the newest of that key in this channel.
    pub(super) fn is_newest_of_its_key(&self, offset: u64) -> bool {
        self.newest.as_ref().is_some_and(|newest| newest.keys.contains_key(&offset))
    }

    /// Whether this channel holds a newer entry of the same key.
    pub(crate) fn has_newer(&self, key: &str, offset: u64) -> bool {
        self.newest.as_ref().and_then(|newest| newest.by_key.get(key)).is_some_and(|newest| *newest > offset)
    }

    pub(crate) fn removed_through(&self) -> u64 {
        self.removed_through
    }

    pub(crate) fn trim(&self) -> Trim {
        self.trim
    }
}
