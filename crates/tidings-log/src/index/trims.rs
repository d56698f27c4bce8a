//! Removal of entries from the index: trims, lost entries, truncation, and what a start restores of them.

use std::{collections::BTreeSet, sync::Arc};

use tidings_protocol::ChannelName;

use super::{ChannelIndex, Index, Trim, cost};
use crate::entry::Millis;

impl Index {
    /// Removes the oldest entries of channels that hold more than `events_max`.
    pub(crate) fn trim_channels(&mut self, channels: &[ChannelName], events_max: u64, now: Millis) {
        for channel in channels {
            let Some(id) = self.names.get(channel).copied() else { continue };
            while self.rows[id as usize].offsets.len() as u64 > events_max {
                self.trim_oldest(id, now);
            }
        }
    }

    /// Removes the oldest entries of the log while it has more than `bytes_max` or they are older than `not_before`.
    pub(crate) fn trim_log(&mut self, bytes_max: u64, not_before: Millis, now: Millis) {
        while let Some((offset, oldest)) = self.table.first() {
            if self.bytes <= bytes_max && oldest.published_at >= not_before {
                break;
            }
            // The oldest entry of the log is the oldest of each of its channels.
            for id in self.channels_at(offset, oldest.channel) {
                self.trim_oldest(id, now);
            }
        }
    }

    /// Removes the oldest entry of one channel.
    fn trim_oldest(&mut self, id: u32, now: Millis) {
        let Some(offset) = self.rows[id as usize].offsets.front().copied() else { return };
        let is_keyed = self.table.get(offset).is_some_and(|kept| kept.is_keyed);
        let has_expired = self.has_expired(offset, now);
        let is_replaced = self.rows[id as usize].pop(is_keyed);
        // A superseded or expired entry is no loss: the publisher asked for that.
        if !has_expired && !is_replaced {
            self.note_trim(id, offset);
        }
        self.drop_label(offset, id);
        if self.rows[id as usize].offsets.is_empty() {
            self.keep_empty_channel(id);
        }
    }

    fn note_trim(&mut self, id: u32, offset: u64) {
        self.serial += 1;
        let row = &mut self.rows[id as usize];
        row.trim = Trim { offset: row.trim.offset.max(offset), serial: self.serial };
        self.highest_trim = self.highest_trim.max(offset);
        if self.recent_trims.len() >= self.bounds.recent_trims {
            self.recent_trims.pop_front();
        }
        // The row keeps its highest trim; streams report this one.
        self.recent_trims.push_back((Trim { offset, serial: self.serial }, row.name.clone()));
    }

    /// Notes that one channel fewer holds the entry.
    fn drop_label(&mut self, offset: u64, id: u32) {
        let Some(kept) = self.table.get_mut(offset) else { return };
        kept.labels -= 1;
        self.bytes -= 8;
        if kept.labels == 0 {
            self.bytes -= cost(kept.bytes, 0);
            self.table.remove(offset);
            self.several.remove(&offset);
            self.expires.remove(&offset);
            self.released.push(offset);
        } else if let Some(rows) = self.several.get_mut(&offset) {
            *rows = rows.iter().copied().filter(|other| *other != id).collect();
        }
    }

    /// Keeps the trim of an empty channel, within the bound.
    fn keep_empty_channel(&mut self, id: u32) {
        let row = &mut self.rows[id as usize];
        if row.trim.offset == 0 {
            self.remove_channel(id);
            return;
        }
        row.is_listed_empty = true;
        self.empty.push_back((row.name.clone(), row.trim.offset));
        self.empty_rows += 1;
        let empty_max = self.bounds.empty_rows;
        while self.empty_rows > empty_max || self.empty.len() > 2 * empty_max {
            let Some((name, trimmed)) = self.empty.pop_front() else { break };
            let Some(id) = self.names.get(&name).copied() else { continue };
            let row = &self.rows[id as usize];
            if !row.is_listed_empty || row.trim.offset != trimmed {
                continue;
            }
            let Trim { offset, serial } = row.trim;
            self.default_trim = Trim {
                offset: self.default_trim.offset.max(offset),
                serial: self.default_trim.serial.max(serial),
            };
            self.empty_rows -= 1;
            self.remove_channel(id);
        }
    }

    fn remove_channel(&mut self, id: u32) {
        let row = std::mem::take(&mut self.rows[id as usize]);
        self.names.remove(&row.name);
        self.free.push(id);
    }

    /// Marks an entry that can no longer be read as lost in each of its channels.
    pub(crate) fn mark_lost(&mut self, offset: u64) {
        let Some(kept) = self.table.get(offset).copied() else { return };
        for id in self.channels_at(offset, kept.channel) {
            self.rows[id as usize].remove(offset);
            self.note_trim(id, offset);
            self.drop_label(offset, id);
            if self.rows[id as usize].offsets.is_empty() {
                self.keep_empty_channel(id);
            }
        }
    }

    /// Marks all entries at or below an offset that the index does not hold as lost in every channel.
    pub(crate) fn mark_lost_through(&mut self, offset: u64) {
        self.serial += 1;
        let trim = Trim { offset, serial: self.serial };
        (self.default_trim, self.highest_trim) = (trim, self.highest_trim.max(offset));
        self.change_trims(&mut |row| row.trim = trim);
    }

    /// Removes every entry above an offset without a loss; `key_of` returns the key of an entry that stays.
    pub(crate) fn truncate(&mut self, to: u64, key_of: &dyn Fn(u64) -> Option<Arc<str>>) {
        self.lower_trims(to);
        let cut: Vec<u64> = self.above(to).collect();
        let mut rekeyed = BTreeSet::new();
        for offset in cut {
            let Some(kept) = self.table.get(offset).copied() else { continue };
            for id in self.channels_at(offset, kept.channel) {
                self.rows[id as usize].remove(offset);
                self.drop_label(offset, id);
                if kept.is_keyed {
                    rekeyed.insert(id);
                }
                if self.rows[id as usize].offsets.is_empty() {
                    self.keep_empty_channel(id);
                }
            }
        }
        self.table.forget_above(to);
        for id in rekeyed {
            let row = &mut self.rows[id as usize];
            let keyed = |offset: &u64| self.table.get(*offset).is_some_and(|kept| kept.is_keyed);
            let offsets: Vec<u64> = row.offsets.iter().copied().filter(keyed).collect();
            row.rekey(offsets.into_iter().filter_map(|offset| Some((offset, key_of(offset)?))));
        }
        self.recent_urgent.retain(|urgent| urgent.offset <= to);
    }

    /// Lowers trims above `to`: these offsets are given again.
    fn lower_trims(&mut self, to: u64) {
        self.change_trims(&mut |row| {
            row.trim.offset = row.trim.offset.min(to);
            row.removed_through = row.removed_through.min(to);
        });
        self.default_trim.offset = self.default_trim.offset.min(to);
        self.highest_trim = self.highest_trim.min(to);
    }

    fn change_trims(&mut self, change: &mut dyn FnMut(&mut ChannelIndex)) {
        let mut empty = std::mem::take(&mut self.empty);
        empty.retain(|(name, trimmed)| {
            self.channel(name.as_str()).is_some_and(|row| row.is_listed_empty && row.trim.offset == *trimmed)
        });
        self.rows.iter_mut().for_each(change);
        for (name, trimmed) in &mut empty {
            *trimmed = self.channel(name.as_str()).map_or(0, |row| row.trim.offset);
        }
        self.empty = empty;
        // A stream that has reported fewer trims checks its channels.
        self.recent_trims.clear();
    }

    /// Restores the trim of a channel after a restart. Call it after [`Index::restore_default_trim`] and before entries are
    /// appended.
    pub(crate) fn restore_channel(&mut self, channel: &ChannelName, lost: u64, removed_through: u64) {
        let id = self.channel_id(channel);
        let row = &mut self.rows[id as usize];
        // The default trim does not apply to a channel with a row.
        row.trim.offset = lost;
        row.removed_through = removed_through;
        if !row.is_listed_empty {
            row.is_listed_empty = true;
            self.empty.push_back((channel.clone(), lost));
            self.empty_rows += 1;
        }
        self.highest_trim = self.highest_trim.max(lost);
    }

    /// Rows for [`Index::restore_channel`]; a channel without losses needs none.
    pub(crate) fn channels_to_restore(&self) -> impl Iterator<Item = &ChannelIndex> {
        let default_trim = self.default_trim.offset;
        self.channel_indexes()
            .filter(move |row| row.trim.offset > 0 || row.removed_through > 0 || default_trim > 0)
    }

    /// Restores the trim of every channel without a row.
    pub(crate) fn restore_default_trim(&mut self, offset: u64) {
        self.default_trim.offset = self.default_trim.offset.max(offset);
        self.highest_trim = self.highest_trim.max(offset);
    }
}
