//! Segment files as the store knows them: the position of each record, and which of them are kept.

use std::{fs::File, sync::Arc};

use tidings_protocol::Tag;

use crate::store::{record::RecordPosition, segment::SegmentHeader};

/// Size of a slot whose entry was released.
const DEAD: u32 = 0;

pub(super) struct Segment {
    pub(super) first: u64,
    /// Last offset of the segment.
    pub(super) last: u64,
    pub(super) tag_before: Tag,
    pub(super) file: Arc<File>,
    pub(super) file_bytes: u64,
    /// Bytes of all records; `live_bytes` are those of the kept ones.
    pub(super) record_bytes: u64,
    pub(super) live_bytes: u64,
    pub(super) live: usize,
    /// Ascending, one for each record in the file.
    pub(super) slots: Vec<RecordSlot>,
    pub(super) is_active: bool,
    /// Whether it was rewritten: it takes no further batch.
    pub(super) is_rewritten: bool,
}

/// Position of the record of an entry.
#[derive(Clone, Copy)]
pub(super) struct RecordSlot {
    /// Distance from the first offset of the segment.
    pub(super) relative: u32,
    pub(super) position: u32,
    /// `DEAD` once the entry was released.
    pub(super) bytes: u32,
}

impl Segment {
    pub(super) fn new(
        header: &SegmentHeader,
        file: Arc<File>,
        file_bytes: u64,
        last: u64,
        records: &[RecordPosition],
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
        segment.fill(records);
        segment
    }

    pub(super) fn fill(&mut self, records: &[RecordPosition]) {
        for record in records {
            let relative = (record.offset - self.first) as u32;
            self.slots.push(RecordSlot { relative, position: record.position, bytes: record.bytes });
            self.live += 1;
            self.live_bytes += u64::from(record.bytes);
            self.record_bytes += u64::from(record.bytes);
        }
    }

    fn index_of(&self, offset: u64) -> Option<usize> {
        let relative = u32::try_from(offset.checked_sub(self.first)?).ok()?;
        // Usually no record is missing before it.
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

    /// Bytes that compaction would free, with a share of the batch headers.
    pub(super) fn dead_bytes(&self) -> u64 {
        let dead = u128::from(self.record_bytes - self.live_bytes);
        (u128::from(self.file_bytes) * dead / u128::from(self.record_bytes.max(1))) as u64
    }
}

/// Adds ranges of offsets without a file, and merges adjoining ones.
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
