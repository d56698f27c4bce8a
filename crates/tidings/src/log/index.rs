//! Which offsets carry a channel, what is kept of each, and what each channel has lost. Reads go by channel and
//! never scan the entries of others.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use tidings_protocol::{ChannelName, Pattern, Priority, Subscription, Tag};

use super::entry::{Entry, Millis};

mod row;

pub(crate) use row::{Row, Trim};

/// How many channels without entries are remembered for what they lost; those beyond leave one offset together.
pub(crate) const EMPTY_ROWS_MAX: usize = 100_000;
/// What an entry costs beside its record, in bytes: here, in its channel's list and in the store's table.
pub(crate) const INDEX_BYTES_PER_ENTRY: u64 = 40;
/// How many urgent entries of the whole log are at hand for readers that scan it.
const RECENT_URGENT_MAX: usize = 1024;
/// How many trims are at hand for open streams; older ones are found by looking at every channel.
const RECENT_TRIMS_MAX: usize = 4096;

/// No channel holds the entry any more.
const NOBODY: u32 = u32::MAX;
/// Several channels hold the entry; they stand in a table.
const SEVERAL: u32 = u32::MAX - 1;

/// What is known of an entry without reading it.
#[derive(Debug, Clone, Copy)]
struct Kept {
    published_at: Millis,
    bytes: u32,
    tag: Tag,
    channel: u32,
    /// How many channels hold it.
    labels: u16,
    is_keyed: bool,
}

/// All channels of the log, by name, and all entries, by offset.
#[derive(Debug, Default)]
pub(crate) struct Index {
    names: BTreeMap<ChannelName, u32>,
    rows: Vec<Row>,
    free: Vec<u32>,
    kept: VecDeque<Kept>,
    /// The offset of the first of `kept`.
    first: u64,
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
    recent_urgent: VecDeque<Arc<Entry>>,
}

impl Index {
    /// Files an entry under its channels; `record_bytes` is what the store keeps of it.
    ///
    /// Offsets come in ascending order; those left out count as gone.
    pub(crate) fn append(&mut self, entry: &Arc<Entry>, record_bytes: u32) {
        // A channel that had lost this entry before a restart does not get it back.
        let mut rows: Box<[u32]> = entry.channels.iter().map(|channel| self.row_of(channel)).collect();
        if rows.iter().any(|id| self.rows[*id as usize].trim.offset >= entry.offset) {
            rows = rows.into_iter().filter(|id| self.rows[*id as usize].trim.offset < entry.offset).collect();
        }
        for id in &rows {
            let row = &mut self.rows[*id as usize];
            self.empty_rows -= usize::from(row.offsets.is_empty() && row.is_listed_empty);
            row.is_listed_empty = false;
            row.push(entry.offset, entry.priority, entry.key.as_ref());
        }
        self.pad_to(entry.offset);
        let channel = match *rows {
            [] => NOBODY,
            [only] => only,
            _ => SEVERAL,
        };
        self.kept.push_back(Kept {
            published_at: entry.published_at,
            bytes: record_bytes,
            tag: entry.tag,
            channel,
            labels: rows.len() as u16,
            is_keyed: entry.key.is_some(),
        });
        if rows.is_empty() {
            self.released.push(entry.offset);
            return;
        }
        self.bytes += cost(record_bytes, rows.len());
        if let Some(expires_at) = entry.expires_at {
            self.expires.insert(entry.offset, expires_at);
        }
        if rows.len() > 1 {
            self.several.insert(entry.offset, rows);
        }
        if entry.priority >= Priority::High {
            if self.recent_urgent.len() == RECENT_URGENT_MAX {
                self.recent_urgent.pop_front();
            }
            self.recent_urgent.push_back(entry.clone());
        }
    }

    fn row_of(&mut self, channel: &ChannelName) -> u32 {
        if let Some(id) = self.names.get(channel) {
            return *id;
        }
        let row = Row::new(channel.clone(), self.floor);
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

    fn pad_to(&mut self, offset: u64) {
        if self.kept.is_empty() {
            self.first = offset;
        }
        while self.first + (self.kept.len() as u64) < offset {
            let gone =
                Kept { published_at: 0, bytes: 0, tag: Tag(0), channel: NOBODY, labels: 0, is_keyed: false };
            self.kept.push_back(gone);
        }
    }

    /// Takes the oldest entries out of the channels of a new entry that hold more than `events_max`.
    pub(crate) fn trim_channels(&mut self, channels: &[ChannelName], events_max: u64, now: Millis) {
        for channel in channels {
            let Some(id) = self.names.get(channel).copied() else { continue };
            while self.rows[id as usize].offsets.len() as u64 > events_max {
                self.trim_oldest(id, now);
            }
        }
    }

    /// Takes out the oldest entries of the log while there are more bytes than `bytes_max` or they are older than
    /// `not_before`.
    pub(crate) fn trim_log(&mut self, bytes_max: u64, not_before: Millis, now: Millis) {
        while let Some(oldest) = self.kept.front().copied() {
            if oldest.channel != NOBODY {
                if self.bytes <= bytes_max && oldest.published_at >= not_before {
                    break;
                }
                // The oldest entry of the log is the oldest of each of its channels.
                for id in self.rows_at(self.first, oldest.channel) {
                    self.trim_oldest(id, now);
                }
            }
            self.pass_over_gone();
        }
    }

    fn rows_at(&self, offset: u64, channel: u32) -> Box<[u32]> {
        match channel {
            NOBODY => Box::default(),
            SEVERAL => self.several.get(&offset).cloned().unwrap_or_default(),
            only => Box::new([only]),
        }
    }

    fn pass_over_gone(&mut self) {
        while self.kept.front().is_some_and(|kept| kept.channel == NOBODY) {
            self.kept.pop_front();
            self.first += 1;
        }
    }

    /// Takes the oldest entry out of one channel.
    fn trim_oldest(&mut self, id: u32, now: Millis) {
        let Some(offset) = self.rows[id as usize].offsets.front().copied() else { return };
        let is_keyed = self.kept[(offset - self.first) as usize].is_keyed;
        let has_expired = self.expires.get(&offset).is_some_and(|expires_at| *expires_at <= now);
        let is_replaced = self.rows[id as usize].pop(is_keyed);
        // What was replaced, or whose time was over, nobody misses: the publisher said so.
        if !has_expired && !is_replaced {
            self.note_trim(id, offset);
        }
        self.let_go(offset, id);
        if self.rows[id as usize].offsets.is_empty() {
            self.leave_empty(id);
        }
        self.pass_over_gone();
    }

    fn note_trim(&mut self, id: u32, offset: u64) {
        self.serial += 1;
        let row = &mut self.rows[id as usize];
        row.trim = Trim { offset: row.trim.offset.max(offset), serial: self.serial };
        self.highest_trim = self.highest_trim.max(offset);
        if self.recent_trims.len() == RECENT_TRIMS_MAX {
            self.recent_trims.pop_front();
        }
        self.recent_trims.push_back((row.trim, row.name.clone()));
    }

    /// One channel fewer holds the entry.
    fn let_go(&mut self, offset: u64, id: u32) {
        let kept = &mut self.kept[(offset - self.first) as usize];
        kept.labels -= 1;
        self.bytes -= 8;
        if kept.labels == 0 {
            kept.channel = NOBODY;
            self.bytes -= cost(kept.bytes, 0);
            self.several.remove(&offset);
            self.expires.remove(&offset);
            self.released.push(offset);
        } else if let Some(rows) = self.several.get_mut(&offset) {
            *rows = rows.iter().copied().filter(|other| *other != id).collect();
        }
    }

    /// Keeps what an empty channel has lost, within the bound.
    fn leave_empty(&mut self, id: u32) {
        let row = &mut self.rows[id as usize];
        if row.trim.offset == 0 {
            self.remove_row(id);
            return;
        }
        row.is_listed_empty = true;
        self.empty.push_back((row.name.clone(), row.trim.offset));
        self.empty_rows += 1;
        while self.empty_rows > EMPTY_ROWS_MAX || self.empty.len() > 2 * EMPTY_ROWS_MAX {
            let Some((name, trimmed)) = self.empty.pop_front() else { break };
            let Some(id) = self.names.get(&name).copied() else { continue };
            let row = &self.rows[id as usize];
            if !row.is_listed_empty || row.trim.offset != trimmed {
                continue;
            }
            let Trim { offset, serial } = row.trim;
            self.floor =
                Trim { offset: self.floor.offset.max(offset), serial: self.floor.serial.max(serial) };
            self.empty_rows -= 1;
            self.remove_row(id);
        }
    }

    fn remove_row(&mut self, id: u32) {
        let row = std::mem::take(&mut self.rows[id as usize]);
        self.names.remove(&row.name);
        self.free.push(id);
    }

    /// Gives up an entry that can no longer be read: every channel that has it has lost it.
    pub(crate) fn lose(&mut self, offset: u64) {
        let Some(kept) = self.kept(offset).copied() else { return };
        for id in self.rows_at(offset, kept.channel) {
            self.rows[id as usize].remove(offset);
            self.note_trim(id, offset);
            self.let_go(offset, id);
            if self.rows[id as usize].offsets.is_empty() {
                self.leave_empty(id);
            }
        }
        self.pass_over_gone();
    }

    /// Restores what a channel had lost before a restart; entries are filed after that.
    pub(crate) fn restore_trim(&mut self, channel: &ChannelName, offset: u64) {
        let id = self.row_of(channel);
        let row = &mut self.rows[id as usize];
        row.trim.offset = row.trim.offset.max(offset);
        if !row.is_listed_empty {
            row.is_listed_empty = true;
            self.empty.push_back((channel.clone(), offset));
            self.empty_rows += 1;
        }
        self.highest_trim = self.highest_trim.max(offset);
    }

    /// Restores the offset that counts for every channel without a row.
    pub(crate) fn restore_floor(&mut self, offset: u64) {
        self.floor.offset = self.floor.offset.max(offset);
        self.highest_trim = self.highest_trim.max(offset);
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
        self.kept.iter().filter(|kept| kept.channel != NOBODY).count()
    }

    fn kept(&self, offset: u64) -> Option<&Kept> {
        self.kept.get(usize::try_from(offset.checked_sub(self.first)?).ok()?)
    }

    /// What the record of an entry takes.
    pub(crate) fn record_bytes(&self, offset: u64) -> u64 {
        self.kept(offset).map_or(0, |kept| u64::from(kept.bytes))
    }

    /// The tag of an entry, where it is known.
    pub(crate) fn tag(&self, offset: u64) -> Option<Tag> {
        self.kept(offset).map(|kept| kept.tag).filter(|tag| *tag != Tag(0))
    }

    /// The channels that hold an entry.
    pub(crate) fn channels_of(&self, offset: u64) -> impl Iterator<Item = &ChannelName> {
        let rows = self.kept(offset).map(|kept| self.rows_at(offset, kept.channel)).unwrap_or_default();
        rows.into_iter().map(|id| &self.rows[id as usize].name)
    }

    pub(crate) fn row(&self, channel: &str) -> Option<&Row> {
        self.names.get(channel).map(|id| &self.rows[*id as usize])
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.names.values().map(|id| &self.rows[*id as usize])
    }

    pub(crate) fn channels(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn floor(&self) -> Trim {
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
    pub(crate) fn recent_urgent_above(&self, cursor: u64) -> impl Iterator<Item = &Arc<Entry>> {
        let start = self.recent_urgent.partition_point(|entry| entry.offset <= cursor);
        self.recent_urgent.range(start..)
    }

    /// The rows that a subscription reads. Of a pattern, only names with its literal beginning are looked at.
    pub(crate) fn selected<'a>(
        &'a self,
        subscription: &'a Subscription,
    ) -> Box<dyn Iterator<Item = &'a Row> + 'a> {
        match subscription {
            Subscription::Channel(name) => Box::new(self.row(name.as_str()).into_iter()),
            Subscription::Pattern(pattern) => Box::new(self.matching(pattern)),
        }
    }

    fn matching<'a>(&'a self, pattern: &'a Pattern) -> impl Iterator<Item = &'a Row> {
        let text = pattern.as_str();
        let literal = &text[..text.find('*').unwrap_or(text.len())];
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
