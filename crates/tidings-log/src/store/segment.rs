//! Segment: one file of the log, with a header and batches. It is appended to, and rewritten as a whole by compaction.
//!
//! ```text
//! header  "TIDINGS1" | flags u32 (1: rewritten, may have holes) | tag of the entry before u32
//!         | first offset u64 | last offset u64 (rewritten only) | CRC-32 of these 32 bytes u32 | 0 u32
//! ```

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use tidings_protocol::{ChannelName, Tag};

use super::error::StoreError;
use super::record::{self, BATCH_HEADER_BYTES, Decoded, FieldReader, RECORD_HEADER_BYTES, RecordPosition};
use crate::entry::{EntryMeta, offset_within};

const MAGIC: &[u8; 8] = b"TIDINGS1";
/// Bytes before the first batch.
pub(crate) const HEADER_BYTES: u64 = 40;
const REWRITTEN: u32 = 1;

/// The kernel copies a write page by page, so a write that a kill cut short ends at a multiple of this.
const PAGE_BYTES: u64 = 4096;

/// Bytes of a file, at most: positions within it are 32-bit numbers.
const FILE_BYTES_MAX: u64 = u32::MAX as u64;
/// Bound of the distance from the first to the last offset of a file: a table in memory has 32 bits for it.
const SPAN_MAX: u64 = u32::MAX as u64;

/// Header of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) first: u64,
    /// Last offset of the segment; set only if it was rewritten.
    pub(crate) last: Option<u64>,
    pub(crate) tag_before: Tag,
}

impl SegmentHeader {
    fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let mut out = [0; HEADER_BYTES as usize];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&(if self.last.is_some() { REWRITTEN } else { 0 }).to_le_bytes());
        out[12..16].copy_from_slice(&self.tag_before.0.to_le_bytes());
        out[16..24].copy_from_slice(&self.first.to_le_bytes());
        out[24..32].copy_from_slice(&self.last.unwrap_or(0).to_le_bytes());
        let crc = crc32fast::hash(&out[..32]);
        out[32..36].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES as usize)?;
        let mut cursor = FieldReader(bytes.strip_prefix(MAGIC)?);
        let (flags, tag_before) = (cursor.u32()?, Tag(cursor.u32()?));
        let (first, last) = (offset_within(cursor.u64()?)?, offset_within(cursor.u64()?)?);
        let is_true = crc32fast::hash(&bytes[..32]) == cursor.u32()?;
        let last = (flags & REWRITTEN != 0).then_some(last);
        is_true.then_some(Self { first, last, tag_before })
    }
}

/// Path of the segment that begins at an offset; names sort like offsets.
pub(super) fn path(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}.log"))
}

/// Creates an empty segment.
pub(super) fn create(path: &Path, header: &SegmentHeader) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
    file.write_all_at(&header.encode(), 0)?;
    Ok(file)
}

/// Result of the scan of one file.
pub(crate) struct Scan {
    pub(crate) header: SegmentHeader,
    pub(crate) places: Vec<RecordPosition>,
    /// End of the last valid batch.
    pub(crate) good_bytes: u64,
    pub(crate) end: SegmentEnd,
    /// Whether invalid bytes come before a valid batch: the file must be rewritten.
    pub(crate) has_hole: bool,
    pub(crate) file: File,
}

/// End of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SegmentEnd {
    /// A whole batch.
    Whole,
    /// A part of a batch, as a killed process leaves it; no publisher got an answer for it.
    CutByKill,
    /// Bytes that no kill explains.
    Damaged,
}

/// Channel names found so far: each is parsed and allocated once.
#[derive(Default)]
pub(crate) struct ChannelNames(HashSet<ChannelName>);

impl ChannelNames {
    fn parse(&mut self, name: &str) -> Option<ChannelName> {
        if let Some(known) = self.0.get(name) {
            return Some(known.clone());
        }
        let name = ChannelName::parse(name).ok()?;
        self.0.insert(name.clone());
        Some(name)
    }
}

/// Reason why a file is no segment.
pub(crate) type NoSegment = &'static str;

/// Reads a segment from its beginning and passes each entry to `on_entry`, in order.
///
/// # Errors
/// Errors of the file system.
pub(crate) fn scan(
    path: &Path,
    names: &mut ChannelNames,
    on_entry: &mut dyn FnMut(&EntryMeta<'_>),
) -> io::Result<Result<Scan, NoSegment>> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let file_bytes = file.metadata()?.len();
    if file_bytes > FILE_BYTES_MAX {
        return Ok(Err("is larger than any file of the log"));
    }
    let mut bytes = vec![0; usize::try_from(file_bytes).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, 0)?;
    let Some(header) = SegmentHeader::decode(&bytes) else { return Ok(Err("has no true header")) };
    let mut scan = Scan {
        header,
        places: Vec::new(),
        good_bytes: HEADER_BYTES,
        end: SegmentEnd::Whole,
        has_hole: false,
        file,
    };
    let mut at = HEADER_BYTES as usize;
    let mut skipped_from = None;
    while at < bytes.len() {
        let expected = scan.places.last().map_or(header.first, |record| record.offset + 1);
        let may_jump = header.last.is_some() || skipped_from.is_some();
        let offsets = Expected { next: expected, last_max: header.first.saturating_add(SPAN_MAX), may_jump };
        match read_batch(&bytes, at, offsets, names) {
            Some((entries, places, next)) => {
                let metas = entries.iter().zip(&places).map(|(entry, record)| entry.meta(record.bytes));
                metas.for_each(|meta| on_entry(&meta));
                scan.places.extend(places);
                scan.has_hole |= skipped_from.take().is_some();
                at = next;
                scan.good_bytes = at as u64;
            }
            None => {
                let from = *skipped_from.get_or_insert(at);
                match next_batch(&bytes, at) {
                    Some(next) => at = next,
                    None => {
                        scan.end = how_it_ends(&bytes, from);
                        break;
                    }
                }
            }
        }
    }
    Ok(Ok(scan))
}

type DecodedBatch<'a> = (Vec<Decoded<'a>>, Vec<RecordPosition>, usize);

/// Range of the offsets that may come next.
#[derive(Debug, Clone, Copy)]
struct Expected {
    next: u64,
    last_max: u64,
    /// Whether offsets may be missing.
    may_jump: bool,
}

impl Expected {
    fn has(self, offset: u64) -> bool {
        offset == self.next || (self.may_jump && (self.next..=self.last_max).contains(&offset))
    }
}

/// Reads the batch at `at`; `None` unless it is whole, its checksums are right and its offsets are as expected.
fn read_batch<'a>(
    bytes: &'a [u8],
    at: usize,
    mut expected: Expected,
    names: &mut ChannelNames,
) -> Option<DecodedBatch<'a>> {
    let header = record::decode_batch_header(&bytes[at..])?;
    let start = at + BATCH_HEADER_BYTES;
    let body = bytes.get(start..start.checked_add(header.body_bytes)?)?;
    let may_be_whole = header.records as usize <= body.len() / RECORD_HEADER_BYTES;
    if crc32fast::hash(body) != header.body_crc || !expected.has(header.first) || !may_be_whole {
        return None;
    }
    let mut entries = Vec::with_capacity(header.records as usize);
    let mut places = Vec::with_capacity(header.records as usize);
    let mut position = 0;
    while position < body.len() {
        let (entry, length) = record::decode_fields(&body[position..], &mut |name| names.parse(name)).ok()?;
        if !expected.has(entry.offset) {
            return None;
        }
        expected.next = entry.offset + 1;
        places.push(RecordPosition {
            offset: entry.offset,
            position: (start + position) as u32,
            bytes: length as u32,
        });
        entries.push(entry);
        position += length;
    }
    (entries.len() == header.records as usize).then_some((entries, places, start + body.len()))
}

/// Position to search for a batch after an invalid one. A valid header is skipped with its body, so that text which looks
/// like a batch is not taken for one.
fn next_batch(bytes: &[u8], at: usize) -> Option<usize> {
    if let Some(header) = record::decode_batch_header(&bytes[at..]) {
        return Some(at + BATCH_HEADER_BYTES + header.body_bytes).filter(|next| *next < bytes.len());
    }
    let magic = record::BATCH_MAGIC.to_le_bytes();
    memchr::memmem::find(bytes.get(at + 1..)?, &magic).map(|found| at + 1 + found)
}

/// Distinguishes a write that a kill cut short from damage, for a tail that begins at `from`.
fn how_it_ends(bytes: &[u8], from: usize) -> SegmentEnd {
    let tail = &bytes[from..];
    let promised = record::decode_batch_header(tail).map(|header| BATCH_HEADER_BYTES + header.body_bytes);
    let is_short = tail.len() < BATCH_HEADER_BYTES || promised.is_some_and(|promised| tail.len() < promised);
    if is_short && (bytes.len() as u64).is_multiple_of(PAGE_BYTES) {
        SegmentEnd::CutByKill
    } else {
        SegmentEnd::Damaged
    }
}

/// Writes a segment anew with some of its records, and replaces the old file.
///
/// # Errors
/// Errors of the file system, and a record that cannot be read; the old file is then unchanged.
pub(super) fn compact(
    path: &Path,
    header: &SegmentHeader,
    old: &File,
    kept: &[RecordPosition],
) -> Result<(File, Vec<RecordPosition>, u64), StoreError> {
    let beside = path.with_extension("new");
    let outcome = copy_records(&beside, header, old, kept)
        .and_then(|copied| std::fs::rename(&beside, path).map(|()| copied).map_err(StoreError::NotStored));
    if outcome.is_err() {
        // The new file may be what fills the disk.
        let _ = std::fs::remove_file(&beside);
    }
    outcome
}

fn copy_records(
    path: &Path,
    header: &SegmentHeader,
    old: &File,
    kept: &[RecordPosition],
) -> Result<(File, Vec<RecordPosition>, u64), StoreError> {
    const BATCH_RECORDS: usize = 256;
    let file = create(path, header).map_err(StoreError::NotStored)?;
    let mut bytes = HEADER_BYTES;
    let mut places = Vec::with_capacity(kept.len());
    for chunk in kept.chunks(BATCH_RECORDS) {
        let (batch, copied) = record::copy_batch(old, chunk, bytes)?;
        file.write_all_at(&batch, bytes).map_err(StoreError::NotStored)?;
        bytes += batch.len() as u64;
        places.extend(copied);
    }
    file.sync_data().map_err(StoreError::NotStored)?;
    Ok((file, places, bytes))
}
