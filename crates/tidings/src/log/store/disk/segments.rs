//! Segment files as the store knows them: the position of each record, and which of them are kept.

use std::{fs::File, sync::Arc};

use tidings_protocol::Tag;

use crate::log::store::{record::RecordPosition, segment::SegmentHeader};

/// A slot whose entry was let go.
const DEAD: u32 = 0;

pub(super) struct Segment {
    pub(super) first: u64,
    /// The last offset it stands for.
    pub(super) last: u64,
    pub(super) tag_before: Tag,
    pub(super) file: Arc<File>,
    pub(super) file_bytes: u64,
    /// Of all its records, and of those that are kept.
    pub(super) record_bytes: u64,
    pub(super) live_bytes: u64,
    pub(super) live: usize,
    /// Ascending; only of the records that are in the file.
    pub(super) slots: Vec<RecordSlot>,
    pub(super) is_active: bool,
    /// It was written anew and grows no more.
    pub(super) is_rewritten: bool,
}

/// Position of the record of an entry.
#[derive(Clone, Copy)]
pub(super) struct RecordSlot {
    /// Its offset, from the first of the file.
    pub(super) relative: u32,
    pub(super) position: u32,
    /// `DEAD` once it was let go.
    pub(super) bytes: u32,
}

impl Segment {
    pub(super) fn new(
        header: &SegmentHeader,
        file: Arc<File>,
        file_bytes: u64,
        last: u64,
        places: &[RecordPosition],
        is_active: bool,
    ) -> Self {
        let mut segment = Self {
            first: header.first,
            last,
            tag_before: header.tag_before,
            file,
            file_bytes,
            record_bytes: 0,
            live_bytes: 0,
            live: 0,
            slots: Vec::new(),
            is_active,
            is_rewritten: header.last.is_some(),
        };
        segment.fill(places);
        segment
    }

    pub(super) fn fill(&mut self, places: &[RecordPosition]) {
        for placed in places {
            let relative = (placed.offset - self.first) as u32;
            self.slots.push(RecordSlot { relative, position: placed.position, bytes: placed.bytes });
            self.live += 1;
            self.live_bytes += u64::from(placed.bytes);
            self.record_bytes += u64::from(placed.bytes);
        }
    }

    fn index_of(&self, offset: u64) -> Option<usize> {
        let relative = u32::try_from(offset.checked_sub(self.first)?).ok()?;
        // Nearly always nothing is left out before it.
        let guess = relative as usize;
        let index = match self.slots.get(guess) {
            Some(slot) if slot.relative == relative => guess,
            _ => self.slots.binary_search_by_key(&relative, |slot| slot.relative).ok()?,
        };
        (self.slots[index].bytes != DEAD).then_some(index)
    }

    pub(super) fn slot(&self, offset: u64) -> Option<RecordSlot> {
        self.index_of(offset).map(|index| self.slots[index])
    }

    pub(super) fn release(&mut self, offset: u64) {
        let Some(index) = self.index_of(offset) else { return };
        let bytes = std::mem::replace(&mut self.slots[index].bytes, DEAD);
        self.live -= 1;
        self.live_bytes -= u64::from(bytes);
    }

    pub(super) fn kept(&self) -> Vec<RecordPosition> {
        let kept = self.slots.iter().filter(|slot| slot.bytes != DEAD);
        kept.map(|slot| RecordPosition {
            offset: self.first + u64::from(slot.relative),
            position: slot.position,
            bytes: slot.bytes,
        })
        .collect()
    }

    /// What a rewrite would take back; batch headers count with the records that they stand before.
    pub(super) fn dead_bytes(&self) -> u64 {
        let dead = u128::from(self.record_bytes - self.live_bytes);
        (u128::from(self.file_bytes) * dead / u128::from(self.record_bytes.max(1))) as u64
    }
}

/// Adds ranges of offsets to those without a file, and joins what adjoins.
pub(super) fn drop_ranges(dropped: &mut Vec<(u64, u64)>, more: &[(u64, u64)]) {
    dropped.extend_from_slice(more);
    dropped.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(dropped.len());
    for (first, last) in dropped.drain(..) {
        match joined.last_mut() {
            Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    *dropped = joined;
}
