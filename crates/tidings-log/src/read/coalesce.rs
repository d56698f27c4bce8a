//! Chunked pages: plain entries that readers share as joined frames, read from the store for many readers at once.

use std::collections::{HashMap, hash_map::Entry as EventResult};

use tidings_protocol::{ChannelName, Subscription};

use super::{Log, OffsetRange, PAGE_BYTES, Page, ReadRequest, SCAN_DISTANCE};
use crate::chunk_cache::{CHUNK_BYTES, CHUNK_ENTRIES, Chunk, ChunkBuilder, ChunkSlice};
use crate::index::ChannelIndex;
use crate::state::LogState;
use crate::store::{RawEntry, StoredOffset};

impl Page {
    /// Whether entries must be read from the store first; see [`Log::load`].
    pub fn needs_store(&self) -> bool {
        !self.to_coalesce.is_empty() || self.entries.iter().any(|step| step.entry.is_none())
    }

    /// Empties a page from before a transition: the next page applies it.
    fn void_unless(&mut self, transitions_applied: u64) {
        if self.transitions_applied != transitions_applied {
            self.chunks.clear();
            self.entries.clear();
            self.to_coalesce.clear();
            (self.end, self.is_last) = (None, false);
        }
    }

    /// Adds the joined entries.
    fn take(&mut self, slice: ChunkSlice) {
        if self.to_coalesce.last() != Some(&slice.end.0) {
            (self.end, self.is_last) = (Some(slice.end), false);
        }
        self.to_coalesce.clear();
        self.chunks.push(slice);
    }
}

impl Log {
    /// The page of a reader of one channel, in chunks; `None` if each entry has to be checked.
    pub(super) fn page_of_chunks(
        &self,
        state: &LogState,
        request: &ReadRequest<'_>,
        through: u64,
        gaps_reported_to: u64,
    ) -> Option<Page> {
        let [Subscription::Channel(channel)] = request.subscriptions else { return None };
        let row = state.index.channel(channel.as_str())?;
        let is_hurried =
            row.urgent_above(request.cursor).next().is_some_and(|urgent| urgent.offset <= through);
        if !may_join(request, through) || (is_hurried && request.overtaking_max > 0) {
            return None;
        }
        let mut page = Page { is_last: false, ..state.empty_page(request, gaps_reported_to) };
        let (mut cursor, mut bytes) = (request.cursor, 0);
        while let Some(first) = row.above(cursor).next().copied().filter(|first| *first <= through) {
            let Some(slice) = self.cached_slice(state, row, first, through) else {
                if !page.chunks.is_empty() {
                    return Some(page);
                }
                let offsets = row.above(cursor).copied().take_while(|offset| *offset <= through);
                let range = OffsetRange { offsets: offsets.take(CHUNK_ENTRIES + 1).collect(), end: through };
                page.cached_for = Some(channel.clone());
                return state.coalesced_page(range, page);
            };
            bytes += slice.frames.len();
            if bytes > PAGE_BYTES as usize && !page.chunks.is_empty() {
                return Some(page);
            }
            cursor = slice.end.0;
            page.end = Some(slice.end);
            page.chunks.push(slice);
        }
        (page.end, page.is_last) = (Some((through, state.tag_at(through))), through == state.head);
        Some(page)
    }

    /// The page of a reader of several channels, in chunks.
    pub(super) fn page_to_coalesce(
        &self,
        state: &LogState,
        request: &ReadRequest<'_>,
        through: u64,
        range: &OffsetRange,
        gaps_reported_to: u64,
    ) -> Option<Page> {
        let is_single = matches!(request.subscriptions, [Subscription::Channel(_)]);
        if is_single || !may_join(request, through) || range.offsets.is_empty() {
            return None;
        }
        if request.overtaking_max > 0 && !state.urgent(request, through).is_empty() {
            return None;
        }
        let range = OffsetRange { offsets: range.offsets.clone(), end: range.end };
        state.coalesced_page(range, state.empty_page(request, gaps_reported_to))
    }

    /// A slice of a cached chunk, or of one that is joined from the entry cache.
    fn cached_slice(
        &self,
        state: &LogState,
        row: &ChannelIndex,
        first: u64,
        through: u64,
    ) -> Option<ChunkSlice> {
        if let Some(slice) = self.chunk_cache().get(&row.name, first, through) {
            return Some(slice);
        }
        state.entry_cache.get(first)?;
        let mut builder = ChunkBuilder::new(state.newest());
        for offset in row.above(first - 1).take(CHUNK_ENTRIES) {
            let Some(entry) = state.entry_cache.get(*offset) else { break };
            builder.push(Some(RawEntry::Entry(entry)));
            if builder.is_over() {
                break;
            }
        }
        let chunk = builder.finish()?;
        self.chunk_cache().insert(&row.name, &chunk);
        chunk.slice(first, through)
    }

    /// Reads the missing entries of pages, each once for all pages. It may read the disk.
    ///
    /// An entry that cannot be read is dropped, and its channels have lost it.
    pub fn load(&self, pages: &mut [Page]) {
        self.coalesce(pages);
        for page in &mut *pages {
            if !page.to_coalesce.is_empty() {
                self.name_each(page);
            }
            let missing = page.missing_offsets();
            if !missing.is_empty() {
                page.fill(self.read(&missing, page.newest));
            }
        }
        let transitions_applied = self.state().transitions.serial();
        pages.iter_mut().for_each(|page| page.void_unless(transitions_applied));
    }

    fn coalesce(&self, pages: &mut [Page]) {
        let (newest, transitions_applied) = {
            let state = self.state();
            (state.newest(), state.transitions.serial())
        };
        pages.iter_mut().for_each(|page| page.void_unless(transitions_applied));
        let mut builders: Vec<ChunkBuilder> = Vec::new();
        let mut wanted = Vec::new();
        let mut known: HashMap<(ChannelName, u64), usize> = HashMap::new();
        let mut builder_of = vec![None; pages.len()];
        for (page, builder_of) in pages.iter_mut().zip(&mut builder_of) {
            let (Some(first), Some(last)) = (page.to_coalesce.first(), page.to_coalesce.last()) else {
                continue;
            };
            if let Some(channel) = &page.cached_for {
                // Another thread may have read it meanwhile.
                if let Some(slice) = self.chunk_cache().get(channel, *first, *last) {
                    page.take(slice);
                    continue;
                }
                match known.entry((channel.clone(), *first)) {
                    EventResult::Occupied(slot) => {
                        *builder_of = Some(*slot.get());
                        continue;
                    }
                    EventResult::Vacant(slot) => slot.insert(builders.len()),
                };
            }
            *builder_of = Some(builders.len());
            let by = builders.len() as u32;
            wanted.extend(page.to_coalesce.iter().map(|offset| StoredOffset { offset: *offset, by }));
            builders.push(ChunkBuilder::new(newest));
        }
        wanted.sort_unstable();
        self.store().read_raw(&wanted, newest, CHUNK_BYTES, &mut |by, raw| builders[by].push(raw));
        let chunks: Vec<Option<Chunk>> = builders.into_iter().map(ChunkBuilder::finish).collect();
        // Entries that were read before a transition must not be cached.
        let state = self.state();
        for ((channel, _), builder) in known {
            if let Some(chunk) =
                chunks[builder].as_ref().filter(|_| state.transitions.serial() == transitions_applied)
            {
                self.chunk_cache().insert(&channel, chunk);
            }
        }
        drop(state);
        for (page, builder) in pages.iter_mut().zip(builder_of) {
            let (Some(builder), Some(first)) = (builder, page.to_coalesce.first()) else { continue };
            let last = page.to_coalesce[page.to_coalesce.len() - 1];
            if let Some(slice) = chunks[builder].as_ref().and_then(|chunk| chunk.slice(*first, last)) {
                page.take(slice);
            }
        }
    }

    /// Turns a page whose first entry belongs to no chunk into one of single entries.
    fn name_each(&self, page: &mut Page) {
        let state = self.state();
        let offsets = std::mem::take(&mut page.to_coalesce);
        let count = offsets.len();
        let Some(last) = offsets.last().copied() else { return };
        let range = state.within_bytes(OffsetRange { offsets, end: last });
        if range.offsets.len() < count {
            (page.end, page.is_last) = (Some((range.end, state.tag_at(range.end))), false);
        }
        page.entries = range.offsets.iter().map(|offset| state.page_entry(*offset, false)).collect();
    }
}

impl LogState {
    /// Lists the entries to be read and joined; `None` if the first is in the entry cache, or is not plain.
    fn coalesced_page(&self, mut range: OffsetRange, page: Page) -> Option<Page> {
        let first = *range.offsets.first()?;
        if self.entry_cache.get(first).is_some() || !self.index.is_plain(first) {
            return None;
        }
        let cached = range.offsets.iter().position(|offset| self.entry_cache.get(*offset).is_some());
        let count = cached.unwrap_or(range.offsets.len()).min(CHUNK_ENTRIES);
        if count < range.offsets.len() {
            range.offsets.truncate(count);
            range.end = range.offsets[count - 1];
        }
        let end = Some((range.end, self.tag_at(range.end)));
        Some(Page { is_last: range.end == self.head, end, to_coalesce: range.offsets, ..page })
    }
}

/// Whether the reader may get chunks, and is so far behind that joining pays.
fn may_join(request: &ReadRequest<'_>, through: u64) -> bool {
    request.may_join && request.skips.is_empty() && through - request.cursor > SCAN_DISTANCE
}

#[cfg(test)]
mod tests;
