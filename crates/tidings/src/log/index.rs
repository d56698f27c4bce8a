//! Which offsets carry a channel, what is kept of each, and what each channel has lost. Reads go by channel and
//! never scan the entries of others.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
};

use tidings_protocol::{ChannelName, Pattern, Priority, Subscription, Tag};

use super::entry::{EntryMeta, Millis};

mod channel;
mod entries;
mod trims;

use channel::Urgent;
pub(crate) use channel::{ChannelIndex, Trim};
use entries::{EntryTable, IndexedEntry, MANY_CHANNELS};

/// How many channels without entries are remembered for what they lost; those beyond leave one offset together.
pub(crate) const EMPTY_CHANNELS_MAX: usize = 100_000;
/// What an entry costs beside its record, in bytes: here, in its channel's list and in the store's table.
pub(crate) const INDEX_BYTES_PER_ENTRY: u64 = 40;
/// How many urgent entries of the whole log are at hand for readers that scan it.
const RECENT_URGENT_MAX: usize = 1024;
/// How many trims are at hand for open streams; older ones are found by looking at every channel.
const RECENT_TRIMS_MAX: usize = 4096;

/// How much of what is over is remembered.
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
    /// Of the kept entries, with their index.
    bytes: u64,
    /// Entries that nothing holds any more and the store has not been told of.
    released: Vec<u64>,
    /// Channels that hold nothing and have lost something, oldest loss first; stale ones are passed over.
    empty: VecDeque<(ChannelName, u64)>,
    empty_rows: usize,
    /// Counts for every channel without a row.
    floor: Trim,
    /// The highest trim of any channel: a cursor at or above it has lost nothing.
    highest_trim: u64,
    serial: u64,
    recent_trims: VecDeque<(Trim, ChannelName)>,
    recent_urgent: VecDeque<Urgent>,
}

impl Index {
    #[cfg(test)]
    pub(crate) fn set_recent_trims_max(&mut self, trims_max: usize) {
        self.bounds.recent_trims = trims_max;
    }

    /// Files an entry under its channels.
    ///
    /// Offsets come in ascending order; those left out count as gone.
    pub(crate) fn append(&mut self, entry: &EntryMeta<'_>) {
        let mut rows: Vec<u32> = entry.channels.iter().map(|channel| self.channel_id(channel)).collect();
        // A channel that had let this entry go before a restart does not get it back.
        rows.retain(|id| self.rows[*id as usize].gone < entry.offset);
        if rows.len() > 1 {
            // A channel that is named twice holds it once.
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
        let row = ChannelIndex::new(channel.clone(), self.floor);
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

    /// The entries that nothing holds since this was last asked.
    pub(crate) fn take_released(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.released)
    }

    /// Bytes of the kept entries, with their index.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many entries are kept.
    pub(crate) fn entries(&self) -> usize {
        self.table.len()
    }

    /// What the record of an entry takes.
    pub(crate) fn record_bytes(&self, offset: u64) -> u64 {
        self.table.get(offset).map_or(0, |kept| u64::from(kept.bytes))
    }

    /// Whether an entry has neither a key nor a time that is over some day.
    pub(crate) fn is_plain(&self, offset: u64) -> bool {
        self.table.get(offset).is_some_and(|kept| !kept.is_keyed) && !self.expires.contains_key(&offset)
    }

    /// Whether an entry's time is over.
    pub(crate) fn has_expired(&self, offset: u64, now: Millis) -> bool {
        self.expires.get(&offset).is_some_and(|expires_at| *expires_at <= now)
    }

    /// Whether an entry has expired, or a newer one of its key stands in each of its channels that the reader wants.
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
        self.floor
    }

    /// Counts every trim so far; a stream that keeps it is told of later ones only.
    pub(crate) fn trim_serial(&self) -> u64 {
        self.serial
    }

    pub(crate) fn highest_trim(&self) -> u64 {
        self.highest_trim
    }

    /// The trims after `serial`, oldest first; `None` where some are no longer at hand.
    pub(crate) fn trims_after(&self, serial: u64) -> Option<impl Iterator<Item = (Trim, &ChannelName)>> {
        let missing = self.serial - self.recent_trims.len() as u64;
        if serial < missing {
            return None;
        }
        let start = self.recent_trims.len() - (self.serial - serial) as usize;
        Some(self.recent_trims.range(start..).map(|(trim, name)| (*trim, name)))
    }

    /// Urgent entries of any channel above `cursor`, ascending, the last thousand at most.
    pub(crate) fn recent_urgent_above(&self, cursor: u64) -> impl Iterator<Item = Urgent> {
        let start = self.recent_urgent.partition_point(|entry| entry.offset <= cursor);
        self.recent_urgent.range(start..).copied()
    }

    /// The rows that a subscription reads. Of a pattern, only names with its literal beginning are looked at.
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

/// What an entry counts for in `retention_bytes`.
fn cost(record_bytes: u32, labels: usize) -> u64 {
    u64::from(record_bytes) + INDEX_BYTES_PER_ENTRY + 8 * labels as u64
}

#[cfg(test)]
mod tests;
