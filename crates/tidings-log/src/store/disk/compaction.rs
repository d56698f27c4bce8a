//! Compaction: segment files that are written anew with the kept records only, and files that are removed.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;

use super::{segments::Segment, store::DiskStore};
use crate::store::StoreError;
use crate::store::record::RecordPosition;
use crate::store::segment::{self, SegmentHeader};

/// A file to be rewritten, with the records that are kept now. Records that are released later stay in the file until a
/// checkpoint covers them.
pub(super) struct Compaction {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<File>,
    pub(super) kept: Vec<RecordPosition>,
}

impl DiskStore {
    /// The files to be rewritten if the store has too many dead bytes: those with most of them first.
    pub(super) fn compaction_candidates(&self, is_full: bool) -> Vec<Compaction> {
        const SLACK_BYTES: u64 = 32 << 20;
        let segments = self.segments();
        let mut closed: Vec<&Segment> = segments.iter().filter(|it| !it.is_active && it.live > 0).collect();
        let counted = segments.iter().filter(|it| it.is_active || it.live > 0);
        let (all, mut dead) = counted
            .fold((0, 0), |(all, dead), segment| (all + segment.file_bytes, dead + segment.dead_bytes()));
        let live = all - dead;
        let slack = if is_full { 0 } else { SLACK_BYTES.min(live + self.layout.segment_bytes) };
        let dead_max = live / 4 + slack;
        closed.sort_unstable_by_key(|segment| std::cmp::Reverse(segment.dead_bytes()));
        let mut chosen = Vec::new();
        for segment in closed {
            if dead <= dead_max {
                break;
            }
            dead -= segment.dead_bytes();
            chosen.push(Compaction {
                header: SegmentHeader {
                    first: segment.first,
                    last: Some(segment.last),
                    tag_before: segment.tag_before,
                },
                file: segment.file.clone(),
                kept: segment.kept(),
            });
        }
        chosen
    }

    /// Closed files without kept entries, as their first and last offsets.
    pub(super) fn empty(&self) -> Vec<(u64, u64)> {
        let segments = self.segments();
        let empty = segments.iter().filter(|segment| !segment.is_active && segment.live == 0);
        empty.map(|segment| (segment.first, segment.last)).collect()
    }

    pub(super) fn remove(&self, files: &[(u64, u64)]) -> io::Result<()> {
        self.segments_mut().retain(|segment| !files.contains(&(segment.first, segment.last)));
        for (first, _) in files {
            fs::remove_file(segment::path(&self.directory.join("segments"), *first))?;
        }
        Ok(())
    }

    pub(super) fn compact(&self, compaction: &Compaction) -> Result<(), StoreError> {
        let Compaction { header, file, kept } = compaction;
        let path = segment::path(&self.directory.join("segments"), header.first);
        let (file, places, file_bytes) = segment::compact(&path, header, file, kept)?;
        let mut segments = self.segments_mut();
        let Some(segment) = segments.iter_mut().find(|segment| segment.first == header.first) else {
            return Ok(());
        };
        let mut rewritten =
            Segment::new(header, Arc::new(file), file_bytes, segment.last, &places, segment.is_active);
        // Entries that were released meanwhile stay released.
        let released = places.iter().filter(|record| segment.slot(record.offset).is_none());
        released.for_each(|record| rewritten.release(record.offset));
        *segment = rewritten;
        Ok(())
    }
}
