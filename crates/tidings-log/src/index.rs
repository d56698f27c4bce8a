//! Index of the log: the offsets of each channel, the fields of each entry, and the trims of channels. Reads go by channel
//! and never scan the entries of others.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;

use tidings_protocol::{ChannelName, Pattern, Priority, Subscription, Tag};

use super::entry::{EntryMeta, Millis};

mod channel;
mod entries;
mod trims;

use channel::Urgent;
pub(crate) use channel::{ChannelIndex, Trim};
use entries::{EntryTable, IndexedEntry, MANY_CHANNELS};

/// Channels without entries that keep a trim of their own; those beyond share the default trim.
pub(crate) const EMPTY_CHANNELS_MAX: usize = 100_000;
/// Bytes of an entry beside its record: in this index and in the store's table.
pub(crate) const INDEX_BYTES_PER_ENTRY: u64 = 40;
/// Urgent entries of the whole log in memory, for readers that scan it.
const RECENT_URGENT_MAX: usize = 1024;
/// Trims in memory for open streams; older ones are found by a check of every channel.
const RECENT_TRIMS_MAX: usize = 4096;

/// Bounds of the lists in the index.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexBounds {
    pub(crate) empty_rows: usize,
    pub(crate) recent_urgent: usize,
    pub(crate) recent_trims: usize,
}

impl Default for IndexBounds {
    fn default() -> Self {
        Self {
            empty_rows: EMPTY_CHANNELS_MAX,
            recent_urgent: RECENT_URGENT_MAX,
            recent_trims: RECENT_TRIMS_MAX,
        }
    }
}

/// All channels of the log, by name, and all entries, by offset.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: BTreeMap<ChannelName, u32>,
    rows: Vec<ChannelIndex>,
    free: Vec<u32>,
    table: EntryTable,
    bounds: IndexBounds,
    several: HashMap<u64, Box<[u32]>>,
    expires: HashMap<u64, Millis>,
    /// Bytes of the kept entries, with their index.
    bytes: u64,
    /// Entries that no channel holds any more, for [`Index::take_released`].
    released: Vec<u64>,
    /// Empty channels with a trim, oldest first; stale items are ignored.
    empty: VecDeque<(ChannelName, u64)>,
    empty_rows: usize,
    /// Trim of every channel without a row.
    default_trim: Trim,
    /// The highest trim of any channel: a cursor at or above it has lost nothing.
    highest_trim: u64,
    serial: u64,
    recent_trims: VecDeque<(Trim, ChannelName)>,
    recent_urgent: VecDeque<Urgent>,
}

impl Index {
    /// Adds an entry to its channels.
    ///
    /// Offsets come in ascending order; missing ones count as removed.
    pub(crate) fn append(&mut self, entry: &EntryMeta<'_>) {
        let mut rows: Vec<u32> = entry.channels.iter().map(|channel| self.channel_id(channel)).collect();
        // A channel that removed this entry before a restart does not get it back.
        rows.retain(|id| self.rows[*id as usize].removed_through < entry.offset);
        if rows.len() > 1 {
            // A channel that is listed twice holds it once.
            rows.sort_unstable();
            rows.dedup();
        }
        for id in &rows {
            let row = &mut self.rows[*id as usize];
            self.empty_rows -= usize::from(row.offsets.is_empty() && row.is_listed_empty);
            row.is_listed_empty = false;
            row.push(entry.offset, entry.priority, entry.key);
        }
        let channel = match *rows {
            [] => {
                self.released.push(entry.offset);
                return;
            }
            [only] => only,
            _ => MANY_CHANNELS,
        };
        let kept = IndexedEntry {
            published_at: entry.published_at,
            bytes: entry.record_bytes,
            tag: entry.tag,
            channel,
            labels: rows.len() as u16,
            is_keyed: entry.key.is_some(),
        };
        self.table.push(entry.offset, kept);
        self.bytes += cost(entry.record_bytes, rows.len());
        if let Some(expires_at) = entry.expires_at {
            self.expires.insert(entry.offset, expires_at);
        }
        if rows.len() > 1 {
            self.several.insert(entry.offset, rows.into());
        }
        if entry.priority >= Priority::High {
            if self.recent_urgent.len() >= self.bounds.recent_urgent {
                self.recent_urgent.pop_front();
            }
            let is_critical = entry.priority == Priority::Critical;
            self.recent_urgent.push_back(Urgent { offset: entry.offset, is_critical });
        }
    }

    fn channel_id(&mut self, channel: &ChannelName) -> u32 {
        if let Some(id) = self.names.get(channel) {
            return *id;
        }
        let row = ChannelIndex::new(channel.clone(), self.default_trim);
        let id = if let Some(id) = self.free.pop() {
            self.rows[id as usize] = row;
            id
        } else {
            self.rows.push(row);
            (self.rows.len() - 1) as u32
        };
        self.names.insert(channel.clone(), id);
        id
    }

    fn channels_at(&self, offset: u64, channel: u32) -> Box<[u32]> {
        match channel {
            MANY_CHANNELS => self.several.get(&offset).cloned().unwrap_or_default(),
            only => Box::new([only]),
        }
    }

    /// Returns the entries that no channel holds any more, each once.
    pub(crate) fn take_released(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.released)
    }

    /// Bytes of the kept entries, with their index.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Number of kept entries.
    pub(crate) fn entries(&self) -> usize {
        self.table.len()
    }

    /// Bytes of the record of an entry.
    pub(crate) fn record_bytes(&self, offset: u64) -> u64 {
        self.table.get(offset).map_or(0, |kept| u64::from(kept.bytes))
    }

    /// Whether an entry has neither a key nor an expiry.
    pub(crate) fn is_plain(&self, offset: u64) -> bool {
        self.table.get(offset).is_some_and(|kept| !kept.is_keyed) && !self.expires.contains_key(&offset)
    }

    /// Whether an entry has expired.
    pub(crate) fn has_expired(&self, offset: u64, now: Millis) -> bool {
        self.expires.get(&offset).is_some_and(|expires_at| *expires_at <= now)
    }

    /// Whether an entry has expired, or is superseded in each of its channels that the reader wants.
    pub(crate) fn is_over(&self, offset: u64, now: Millis, wants: &dyn Fn(&ChannelName) -> bool) -> bool {
        if self.has_expired(offset, now) {
            return true;
        }
        let Some(kept) = self.table.get(offset).filter(|kept| kept.is_keyed) else { return false };
        let rows = self.channels_at(offset, kept.channel).into_iter().map(|id| &self.rows[id as usize]);
        rows.filter(|row| wants(&row.name)).all(|row| !row.is_newest_of_its_key(offset))
    }

    /// The tag of an entry, where it is known.
    pub(crate) fn tag(&self, offset: u64) -> Option<Tag> {
        self.table.get(offset).map(|kept| kept.tag).filter(|tag| *tag != Tag(0))
    }

    /// The channels that hold an entry.
    pub(crate) fn channels_of(&self, offset: u64) -> impl Iterator<Item = &ChannelName> {
        let rows =
            self.table.get(offset).map(|kept| self.channels_at(offset, kept.channel)).unwrap_or_default();
        rows.into_iter().map(|id| &self.rows[id as usize].name)
    }

    /// The kept entries below `offset`, descending.
    pub(crate) fn below(&self, offset: u64) -> impl Iterator<Item = u64> {
        self.table.below(offset)
    }

    /// The kept entries above `cursor`, ascending.
    pub(crate) fn above(&self, cursor: u64) -> impl Iterator<Item = u64> {
        self.table.above(cursor).map(|(offset, _)| offset)
    }

    pub(crate) fn channel(&self, channel: &str) -> Option<&ChannelIndex> {
        self.names.get(channel).map(|id| &self.rows[*id as usize])
    }

    pub(crate) fn channel_indexes(&self) -> impl Iterator<Item = &ChannelIndex> {
        self.names.values().map(|id| &self.rows[*id as usize])
    }

    pub(crate) fn channel_count(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn default_trim(&self) -> Trim {
        self.default_trim
    }

    /// Number of trims so far; a stream that keeps it reports later ones only.
    pub(crate) fn trim_serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn highest_trim(&self) -> u64 {
        self.highest_trim
    }

    /// The trims after `serial`, oldest first; `None` if some are no longer in memory.
    pub(crate) fn trims_after(&self, serial: u64) -> Option<impl Iterator<Item = (Trim, &ChannelName)>> {
        let missing = self.serial - self.recent_trims.len() as u64;
        if serial < missing {
            return None;
        }
        let start = self.recent_trims.len() - (self.serial - serial) as usize;
        Some(self.recent_trims.range(start..).map(|(trim, name)| (*trim, name)))
    }

    /// Urgent entries of any channel above `cursor`, ascending, from the last [`RECENT_URGENT_MAX`].
    pub(crate) fn recent_urgent_above(&self, cursor: u64) -> impl Iterator<Item = Urgent> {
        let start = self.recent_urgent.partition_point(|entry| entry.offset <= cursor);
        self.recent_urgent.range(start..).copied()
    }

    /// The channels that a subscription matches. For a pattern, only names with its literal prefix are checked.
    pub(crate) fn selected<'a>(
        &'a self,
        subscription: &'a Subscription,
    ) -> Box<dyn Iterator<Item = &'a ChannelIndex> + 'a> {
        match subscription {
            Subscription::Channel(name) => Box::new(self.channel(name.as_str()).into_iter()),
            Subscription::Pattern(pattern) => Box::new(self.matching(pattern)),
        }
    }

    fn matching<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = &'a ChannelIndex> {
        let literal = pattern.literal_prefix();
        self.names
            .range::<str, _>((Bound::Included(literal), Bound::Unbounded))
            .take_while(move |(name, _)| name.as_str().starts_with(literal))
            .filter(move |(name, _)| pattern.matches(name.as_str()))
            .map(|(_, id)| &self.rows[*id as usize])
    }
}

/// Bytes of an entry towards `retention_bytes`.
fn cost(record_bytes: u32, labels: usize) -> u64 {
    u64::from(record_bytes) + INDEX_BYTES_PER_ENTRY + 8 * labels as u64
}

#[cfg(test)]
mod tests;
