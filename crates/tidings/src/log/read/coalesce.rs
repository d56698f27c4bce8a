//! Stretches as runs: what readers who may be sent everything as it is share, and what the store is asked for many at once.

use std::collections::{HashMap, hash_map::Entry as EventResult};

use tidings_protocol::{ChannelName, Subscription};

use super::{Log, NEAR, OffsetRange, PAGE_BYTES, Page, ReadRequest};
use crate::log::{
    chunk_cache::{CHUNK_BYTES, CHUNK_ENTRIES, Chunk, ChunkBuilder, ChunkSlice},
    index::ChannelIndex,
    state::LogState,
    store::{RawEntry, StoredOffset},
};

impl Page {
    /// Whether something of it must be read from the store first; see [`Log::complete`].
    pub(crate) fn needs_store(&self) -> bool {
        !self.to_join.is_empty() || self.steps.iter().any(|step| step.entry.is_none())
    }

    /// Empties a page that was made before the order broke: the reader asks again.
    fn void_unless(&mut self, transitions_applied: u64) {
        if self.transitions_applied != transitions_applied {
            self.parts.clear();
            self.steps.clear();
            self.to_join.clear();
            (self.end, self.is_last) = (None, false);
        }
    }

    /// Takes what was read of the entries to join.
    fn take(&mut self, part: ChunkSlice) {
        if self.to_join.last() != Some(&part.end.0) {
            (self.end, self.is_last) = (Some(part.end), false);
        }
        self.to_join.clear();
        self.parts.push(part);
    }
}

impl Log {
    /// The page of a reader of one channel that takes it in runs; none where it has to look at each entry.
    pub(super) fn page_of_chunks(
        &self,
        state: &LogState,
        ask: &ReadRequest<'_>,
        through: u64,
        gaps_reported_to: u64,
    ) -> Option<Page> {
        let [Subscription::Channel(channel)] = ask.subscriptions else { return None };
        let row = state.index.channel(channel.as_str())?;
        let is_hurried = row.urgent_above(ask.cursor).next().is_some_and(|urgent| urgent.offset <= through);
        if !may_join(ask, through) || (is_hurried && ask.overtaking_max > 0) {
            return None;
        }
        let mut page = Page { is_last: false, ..state.empty_page(ask, gaps_reported_to) };
        let (mut cursor, mut bytes) = (ask.cursor, 0);
        while let Some(first) = row.above(cursor).next().copied().filter(|first| *first <= through) {
            let Some(part) = self.cached_slice(state, row, first, through) else {
                if !page.parts.is_empty() {
                    return Some(page);
                }
                let offsets = row.above(cursor).copied().take_while(|offset| *offset <= through);
                let stretch =
                    OffsetRange { offsets: offsets.take(CHUNK_ENTRIES + 1).collect(), end: through };
                page.shared_by = Some(channel.clone());
                return state.to_join(stretch, page);
            };
            bytes += part.frames.len();
            if bytes > PAGE_BYTES as usize && !page.parts.is_empty() {
                return Some(page);
            }
            cursor = part.end.0;
            page.end = Some(part.end);
            page.parts.push(part);
        }
        (page.end, page.is_last) = (Some((through, state.tag_at(through))), through == state.head);
        Some(page)
    }

    /// The page of a reader of several channels that takes it in runs.
    pub(super) fn page_to_coalesce(
        &self,
        state: &LogState,
        ask: &ReadRequest<'_>,
        through: u64,
        stretch: &OffsetRange,
        gaps_reported_to: u64,
    ) -> Option<Page> {
        let is_single = matches!(ask.subscriptions, [Subscription::Channel(_)]);
        if is_single || !may_join(ask, through) || stretch.offsets.is_empty() {
            return None;
        }
        if ask.overtaking_max > 0 && !state.urgent(ask, through).is_empty() {
            return None;
        }
        let stretch = OffsetRange { offsets: stretch.offsets.clone(), end: stretch.end };
        state.to_join(stretch, state.empty_page(ask, gaps_reported_to))
    }

    /// A part that is kept, or that can be joined of what is in memory.
    fn cached_slice(
        &self,
        state: &LogState,
        row: &ChannelIndex,
        first: u64,
        through: u64,
    ) -> Option<ChunkSlice> {
        if let Some(part) = self.chunk_cache().get(&row.name, first, through) {
            return Some(part);
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
        let run = builder.finish()?;
        self.chunk_cache().insert(&row.name, &run);
        run.slice(first, through)
    }

    /// Reads what pages miss; those that miss the same share it. It may read the disk.
    ///
    /// An entry that cannot be read back is given up, and its channels have lost it.
    pub(crate) fn load(&self, pages: &mut [Page]) {
        self.coalesce(pages);
        for page in &mut *pages {
            if !page.to_join.is_empty() {
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
        let mut joiners: Vec<ChunkBuilder> = Vec::new();
        let mut wanted = Vec::new();
        let mut known: HashMap<(ChannelName, u64), usize> = HashMap::new();
        let mut joiner_of = vec![None; pages.len()];
        for (page, joiner_of) in pages.iter_mut().zip(&mut joiner_of) {
            let (Some(first), Some(last)) = (page.to_join.first(), page.to_join.last()) else { continue };
            if let Some(channel) = &page.shared_by {
                // Somebody may have read it meanwhile.
                if let Some(part) = self.chunk_cache().get(channel, *first, *last) {
                    page.take(part);
                    continue;
                }
                match known.entry((channel.clone(), *first)) {
                    EventResult::Occupied(slot) => {
                        *joiner_of = Some(*slot.get());
                        continue;
                    }
                    EventResult::Vacant(slot) => slot.insert(joiners.len()),
                };
            }
            *joiner_of = Some(joiners.len());
            let by = joiners.len() as u32;
            wanted.extend(page.to_join.iter().map(|offset| StoredOffset { offset: *offset, by }));
            joiners.push(ChunkBuilder::new(newest));
        }
        wanted.sort_unstable();
        self.store().read_raw(&wanted, newest, CHUNK_BYTES, &mut |by, raw| joiners[by].push(raw));
        let chunk_cache: Vec<Option<Chunk>> = joiners.into_iter().map(ChunkBuilder::finish).collect();
        // What was read before the order broke is for nobody.
        let state = self.state();
        for ((channel, _), builder) in known {
            if let Some(run) =
                chunk_cache[builder].as_ref().filter(|_| state.transitions.serial() == transitions_applied)
            {
                self.chunk_cache().insert(&channel, run);
            }
        }
        drop(state);
        for (page, builder) in pages.iter_mut().zip(joiner_of) {
            let (Some(builder), Some(first)) = (builder, page.to_join.first()) else { continue };
            let last = page.to_join[page.to_join.len() - 1];
            if let Some(part) = chunk_cache[builder].as_ref().and_then(|run| run.slice(*first, last)) {
                page.take(part);
            }
        }
    }

    /// Turns a page whose first entry belongs to no run into one of single entries.
    fn name_each(&self, page: &mut Page) {
        let state = self.state();
        let offsets = std::mem::take(&mut page.to_join);
        let count = offsets.len();
        let Some(last) = offsets.last().copied() else { return };
        let stretch = state.within_bytes(OffsetRange { offsets, end: last });
        if stretch.offsets.len() < count {
            (page.end, page.is_last) = (Some((stretch.end, state.tag_at(stretch.end))), false);
        }
        page.steps = stretch.offsets.iter().map(|offset| state.page_entry(*offset, false)).collect();
    }
}

impl LogState {
    /// Names what of a stretch is to be read and joined; none where it begins with what is at hand, or with what is not
    /// for everybody as it is.
    fn to_join(&self, mut stretch: OffsetRange, page: Page) -> Option<Page> {
        let first = *stretch.offsets.first()?;
        if self.entry_cache.get(first).is_some() || !self.index.is_plain(first) {
            return None;
        }
        let at_hand = stretch.offsets.iter().position(|offset| self.entry_cache.get(*offset).is_some());
        let count = at_hand.unwrap_or(stretch.offsets.len()).min(CHUNK_ENTRIES);
        if count < stretch.offsets.len() {
            stretch.offsets.truncate(count);
            stretch.end = stretch.offsets[count - 1];
        }
        let end = Some((stretch.end, self.tag_at(stretch.end)));
        Some(Page { is_last: stretch.end == self.head, end, to_join: stretch.offsets, ..page })
    }
}

/// Whether the reader may be sent every plain entry as it is, and there is so much of them that it is worth it.
fn may_join(ask: &ReadRequest<'_>, through: u64) -> bool {
    ask.may_join && ask.skips.is_empty() && through - ask.cursor > NEAR
}

#[cfg(test)]
mod tests;
