//! Table of the kept entries by offset. Its size depends on the kept entries only, not on the range of their offsets: a
//! quiet channel may hold an old entry while millions of newer ones come and go.

use std::collections::BTreeMap;

use tidings_protocol::Tag;

use crate::entry::Millis;

/// No channel holds the entry any more.
const NO_CHANNEL: u32 = u32::MAX;
/// Several channels hold the entry; see `Index::several`.
pub(super) const MANY_CHANNELS: u32 = u32::MAX - 1;

/// Offsets that share a block.
const BLOCK_OFFSETS: u64 = 512;

/// Fields of an entry that need no read.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexedEntry {
    pub(super) published_at: Millis,
    pub(super) bytes: u32,
    pub(super) tag: Tag,
    /// The row of the one channel that holds it, or `MANY_CHANNELS`.
    pub(super) channel: u32,
    /// Number of channels that hold it.
    pub(super) labels: u16,
    pub(super) is_keyed: bool,
}

/// Kept entries, ascending.
#[derive(Debug, Default)]
pub(super) struct EntryTable {
    blocks: BTreeMap<u64, EntryBlock>,
    living: usize,
}

#[derive(Debug, Default)]
struct EntryBlock {
    /// Ascending by position in the block; removed entries are marked, and dropped when they are more than half.
    slots: Vec<(u16, IndexedEntry)>,
    /// First slot that is not removed.
    from: usize,
    living: usize,
}

fn position_of(offset: u64) -> (u64, u16) {
    (offset / BLOCK_OFFSETS, (offset % BLOCK_OFFSETS) as u16)
}

impl EntryTable {
    /// Adds an entry above all others.
    pub(super) fn push(&mut self, offset: u64, kept: IndexedEntry) {
        let (number, position) = position_of(offset);
        let block = self.blocks.entry(number).or_default();
        block.slots.push((position, kept));
        block.living += 1;
        self.living += 1;
    }

    pub(super) fn get(&self, offset: u64) -> Option<&IndexedEntry> {
        let (number, position) = position_of(offset);
        let block = self.blocks.get(&number)?;
        block.find(position).map(|index| &block.slots[index].1)
    }

    pub(super) fn get_mut(&mut self, offset: u64) -> Option<&mut IndexedEntry> {
        let (number, position) = position_of(offset);
        let block = self.blocks.get_mut(&number)?;
        block.find(position).map(|index| &mut block.slots[index].1)
    }

    pub(super) fn remove(&mut self, offset: u64) {
        let (number, position) = position_of(offset);
        let Some(block) = self.blocks.get_mut(&number) else { return };
        let Some(index) = block.find(position) else { return };
        block.slots[index].1.channel = NO_CHANNEL;
        block.living -= 1;
        self.living -= 1;
        if block.living == 0 {
            self.blocks.remove(&number);
        } else {
            block.tidy();
        }
    }

    /// Drops the slots above an offset, all of removed entries: the offsets are given again.
    pub(super) fn forget_above(&mut self, offset: u64) {
        let (number, position) = position_of(offset);
        if let Some(block) = self.blocks.get_mut(&number) {
            let kept = block.slots.partition_point(|(other, _)| *other <= position);
            block.slots.truncate(kept);
        }
    }

    /// The oldest entry.
    pub(super) fn first(&self) -> Option<(u64, &IndexedEntry)> {
        let (number, block) = self.blocks.first_key_value()?;
        let (position, kept) = block.slots.get(block.from)?;
        Some((number * BLOCK_OFFSETS + u64::from(*position), kept))
    }

    /// The entries above `cursor`, ascending.
    pub(super) fn above(&self, cursor: u64) -> impl Iterator<Item = (u64, &IndexedEntry)> {
        self.blocks
            .range(cursor / BLOCK_OFFSETS..)
            .flat_map(|(number, block)| {
                let living = block.slots[block.from..].iter().filter(|(_, kept)| kept.channel != NO_CHANNEL);
                living.map(move |(position, kept)| (number * BLOCK_OFFSETS + u64::from(*position), kept))
            })
            .skip_while(move |(offset, _)| *offset <= cursor)
    }

    /// The offsets of the entries below `offset`, descending.
    pub(super) fn below(&self, offset: u64) -> impl Iterator<Item = u64> {
        self.blocks
            .range(..=offset / BLOCK_OFFSETS)
            .rev()
            .flat_map(|(number, block)| {
                let living = block.slots[block.from..].iter().filter(|(_, kept)| kept.channel != NO_CHANNEL);
                living.rev().map(move |(position, _)| number * BLOCK_OFFSETS + u64::from(*position))
            })
            .skip_while(move |other| *other >= offset)
    }

    pub(super) fn len(&self) -> usize {
        self.living
    }
}

impl EntryBlock {
    fn find(&self, position: u16) -> Option<usize> {
        // Usually no slot is missing before it.
        let guess = usize::from(position);
        let index = match self.slots.get(guess) {
            Some((found, _)) if *found == position => guess,
            _ => self.slots.binary_search_by_key(&position, |(position, _)| *position).ok()?,
        };
        (self.slots[index].1.channel != NO_CHANNEL).then_some(index)
    }

    fn tidy(&mut self) {
        if self.living * 2 < self.slots.len() {
            self.slots.retain(|(_, kept)| kept.channel != NO_CHANNEL);
            self.slots.shrink_to(self.living * 2);
            self.from = 0;
        }
        while self.slots[self.from].1.channel == NO_CHANNEL {
            self.from += 1;
        }
    }
}

#[cfg(test)]
mod tests;
