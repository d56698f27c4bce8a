//! Reads of records: neighbouring records are read with one call.

use std::{fs::File, os::unix::fs::FileExt, sync::Arc};

use super::store::DiskStore;
use crate::store::StoredOffset;

/// Gets a record, or the reason why it cannot be read; `None` if it is no longer stored.
type OnRecord<'a> = dyn FnMut(StoredOffset, Option<Result<&[u8], String>>) + 'a;

impl DiskStore {
    /// Reads records in ascending order, neighbouring ones with one call. `is_admitted` gets the size of each before it is
    /// read.
    pub(super) fn records(
        &self,
        wanted: &[StoredOffset],
        is_admitted: &mut dyn FnMut(u32, u32) -> bool,
        on_record: &mut OnRecord<'_>,
    ) {
        // Records that are looked up under one lock of the segments.
        const LOOKED_UP_MAX: usize = 4096;
        let mut buffer = Vec::new();
        for wanted in wanted.chunks(LOOKED_UP_MAX) {
            let (files, places) = self.places(wanted, is_admitted, on_record);
            let mut rest = &places[..];
            while !rest.is_empty() {
                let (near, others) = rest.split_at(near_each_other(rest));
                read_near(&files[near[0].file], near, &mut buffer, on_record);
                rest = others;
            }
        }
    }

    fn places(
        &self,
        wanted: &[StoredOffset],
        is_admitted: &mut dyn FnMut(u32, u32) -> bool,
        on_record: &mut OnRecord<'_>,
    ) -> (Vec<Arc<File>>, Vec<RecordLocation>) {
        let (mut files, mut places) = (Vec::new(), Vec::with_capacity(wanted.len()));
        let mut gone = Vec::new();
        let segments = self.segments();
        let mut known = None;
        for wanted in wanted {
            let after = segments.partition_point(|segment| segment.first <= wanted.offset);
            let found = after.checked_sub(1).and_then(|at| Some((at, segments[at].slot(wanted.offset)?)));
            let Some((at, slot)) = found else {
                gone.push(*wanted);
                continue;
            };
            if known != Some(at) {
                known = Some(at);
                files.push(segments[at].file.clone());
            }
            if is_admitted(wanted.by, slot.bytes) {
                let (from, until) = (u64::from(slot.position), u64::from(slot.position + slot.bytes));
                places.push(RecordLocation { wanted: *wanted, file: files.len() - 1, from, until });
            }
        }
        drop(segments);
        gone.into_iter().for_each(|wanted| on_record(wanted, None));
        (files, places)
    }
}

/// Position of a record to read.
struct RecordLocation {
    wanted: StoredOffset,
    file: usize,
    from: u64,
    until: u64,
}

/// Number of records from the first that are so close that one read of all, with the bytes between, is cheaper.
fn near_each_other(places: &[RecordLocation]) -> usize {
    const BETWEEN_BYTES_MAX: u64 = 4 << 10;
    const AT_ONCE_BYTES_MAX: u64 = 64 << 10;
    let first = &places[0];
    let is_near = |pair: &&[RecordLocation]| {
        pair[1].file == first.file
            && pair[1].from <= pair[0].until + BETWEEN_BYTES_MAX
            && pair[1].until <= first.from + AT_ONCE_BYTES_MAX
    };
    1 + places.windows(2).take_while(is_near).count()
}

fn read_near(file: &File, places: &[RecordLocation], buffer: &mut Vec<u8>, on_record: &mut OnRecord<'_>) {
    let (from, until) = (places[0].from, places[places.len() - 1].until);
    buffer.resize(buffer.len().max((until - from) as usize), 0);
    match file.read_exact_at(&mut buffer[..(until - from) as usize], from) {
        Ok(()) => {
            for place in places {
                let bytes = &buffer[(place.from - from) as usize..(place.until - from) as usize];
                on_record(place.wanted, Some(Ok(bytes)));
            }
        }
        Err(error) if places.len() == 1 => on_record(places[0].wanted, Some(Err(error.to_string()))),
        // A record that cannot be read does not affect the others.
        Err(_) => places.chunks(1).for_each(|place| read_near(file, place, buffer, on_record)),
    }
}
