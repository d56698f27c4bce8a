//! Chunks: frames of neighbouring entries, joined as they are sent. Chunks of one channel are cached, so that readers of
//! the same entries share them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tidings_protocol::{ChannelName, Epoch, EventId, Tag, sse};

use super::store::RawEntry;

/// Bytes of frames in a chunk, unless one alone is larger: a stream that replays holds as much in memory.
pub(crate) const CHUNK_BYTES: usize = 8 << 10;
/// Entries in a chunk.
pub(crate) const CHUNK_ENTRIES: usize = 128;
/// Bytes of the cached chunks, with the bytes of the maps that find them.
pub(crate) const CACHE_BYTES_MAX: usize = 3 << 20;

/// Bytes of a cached chunk beside its frames and their ends; near enough for a bound.
const CHUNK_COST: usize = 256;

/// Frames of plain entries, one after another, with ids without skips.
#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    frames: Bytes,
    /// Ascending; never empty.
    ends: Arc<[FrameEnd]>,
}

/// End of the frame of an entry.
#[derive(Debug, Clone, Copy)]
struct FrameEnd {
    offset: u64,
    tag: Tag,
    at: u32,
}

/// Part of a chunk for one reader.
#[derive(Debug)]
pub struct ChunkSlice {
    pub frames: Bytes,
    pub events: usize,
    /// The last of its entries, and the tag there.
    pub end: (u64, Tag),
}

impl Chunk {
    /// The entries from `first`, which is one of them, up to `through`.
    pub(crate) fn slice(&self, first: u64, through: u64) -> Option<ChunkSlice> {
        let from = self.ends.binary_search_by_key(&first, |end| end.offset).ok()?;
        let until = self.ends.partition_point(|end| end.offset <= through);
        let last = self.ends.get(from..until)?.last()?;
        let start = from.checked_sub(1).map_or(0, |before| self.ends[before].at);
        Some(ChunkSlice {
            frames: self.frames.slice(start as usize..last.at as usize),
            events: until - from,
            end: (last.offset, last.tag),
        })
    }

    fn first(&self) -> u64 {
        self.ends[0].offset
    }

    fn cost(&self) -> usize {
        self.frames.len() + self.ends.len() * size_of::<FrameEnd>() + CHUNK_COST
    }
}

/// Joins entries into a chunk, until one does not belong to it.
pub(crate) struct ChunkBuilder {
    newest: Epoch,
    frames: Vec<u8>,
    ends: Vec<FrameEnd>,
    is_over: bool,
}

impl ChunkBuilder {
    /// `newest` is the epoch that ids are written in.
    pub(crate) fn new(newest: Epoch) -> Self {
        Self { newest, frames: Vec::new(), ends: Vec::new(), is_over: false }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Adds the next entry; `None` if it cannot be read. The first entry that is not plain ends the chunk.
    pub(crate) fn push(&mut self, raw: Option<RawEntry<'_>>) {
        let Some(raw) = raw.filter(|raw| !self.is_over && raw.is_plain()) else {
            self.is_over = true;
            return;
        };
        if self.frames.is_empty() {
            self.frames.reserve_exact(CHUNK_BYTES);
            self.ends.reserve_exact(CHUNK_ENTRIES);
        } else if self.frames.len() + raw.frame_bytes_min() > CHUNK_BYTES {
            // Checked before it is written, so that the buffer need not grow.
            self.is_over = true;
            return;
        }
        let before = self.frames.len();
        let (offset, tag) = match raw {
            RawEntry::Entry(entry) => {
                self.frames.extend_from_slice(&entry.frame(self.newest, &[]));
                (entry.offset, entry.tag)
            }
            RawEntry::Record(text) => {
                sse::write_event_lines(&mut self.frames, text.event, text.data);
                sse::write_id_line(&mut self.frames, &EventId::new(self.newest, text.offset, text.tag));
                sse::write_end(&mut self.frames);
                (text.offset, text.tag)
            }
        };
        if self.frames.len() > CHUNK_BYTES && !self.ends.is_empty() {
            self.frames.truncate(before);
            self.is_over = true;
            return;
        }
        self.ends.push(FrameEnd { offset, tag, at: self.frames.len() as u32 });
    }

    /// Returns the chunk; `None` if even the first entry did not belong to one.
    pub(crate) fn finish(mut self) -> Option<Chunk> {
        self.frames.shrink_to_fit();
        (!self.ends.is_empty()).then(|| Chunk { frames: self.frames.into(), ends: self.ends.into() })
    }
}

/// Cached chunks of single channels. A chunk that was used since the last check is dropped later.
#[derive(Debug, Default)]
pub(crate) struct ChunkCache {
    by_channel: HashMap<ChannelName, BTreeMap<u64, CachedChunk>>,
    /// Order in which chunks are dropped: by insertion, or by the last check that found them used.
    order: VecDeque<(ChannelName, u64)>,
    bytes: usize,
}

#[derive(Debug)]
struct CachedChunk {
    chunk: Chunk,
    /// Read since the last check.
    is_used: bool,
}

impl ChunkCache {
    /// Returns the cached frames of a channel from `first`, which the channel holds, up to `through`.
    pub(crate) fn get(&mut self, channel: &ChannelName, first: u64, through: u64) -> Option<ChunkSlice> {
        let (_, kept) = self.by_channel.get_mut(channel)?.range_mut(..=first).next_back()?;
        let slice = kept.chunk.slice(first, through)?;
        kept.is_used = true;
        Some(slice)
    }

    /// Caches a chunk of a channel: all entries of the channel between its first and its last.
    pub(crate) fn insert(&mut self, channel: &ChannelName, chunk: &Chunk) {
        let of_channel = self.by_channel.entry(channel.clone()).or_default();
        let kept = CachedChunk { chunk: chunk.clone(), is_used: false };
        self.bytes += chunk.cost();
        match of_channel.insert(chunk.first(), kept) {
            Some(replaced) => self.bytes -= replaced.chunk.cost(),
            None => self.order.push_back((channel.clone(), chunk.first())),
        }
        while self.bytes > CACHE_BYTES_MAX {
            self.drop_one();
        }
    }

    /// Drops all chunks: one may hold an entry that was lost or truncated, or ids of another epoch.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes of the cached chunks.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn drop_one(&mut self) {
        let Some((channel, first)) = self.order.pop_front() else { return };
        let Some(of_channel) = self.by_channel.get_mut(&channel) else { return };
        if let Some(kept) = of_channel.get_mut(&first)
            && std::mem::take(&mut kept.is_used)
        {
            return self.order.push_back((channel, first));
        }
        self.bytes -= of_channel.remove(&first).map_or(0, |kept| kept.chunk.cost());
        if of_channel.is_empty() {
            self.by_channel.remove(&channel);
        }
    }
}

#[cfg(test)]
mod tests;
