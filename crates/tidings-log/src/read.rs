//! Pages: a bounded part of the log for one connection. Urgent entries come first, then the others in order.

mod coalesce;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use tidings_protocol::{ChannelName, Epoch, EventId, Skip, Subscription, Tag};

use super::Log;
use super::chunk_cache::ChunkSlice;
use super::entry::{Entry, Millis};
use super::state::LogState;
use super::subscriptions::{subscription_texts, wants};

/// Entries in a page.
pub(crate) const PAGE_ENTRIES: usize = 128;
/// Bytes of records in a page, unless one alone is larger: a stream that replays holds as much in memory.
const PAGE_BYTES: u64 = 48 << 10;
/// Offsets below the head from which a reader scans entries instead of merging its channels.
const SCAN_DISTANCE: u64 = 64;
/// Channels that a page merges; with more, it scans every entry.
const MERGED_ROWS_MAX: usize = 1024;
/// Entries that one page scans.
const SCANNED_MAX: usize = 4096;

/// Request of a connection for a page.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    pub subscriptions: &'a [Subscription],
    pub cursor: u64,
    pub skips: &'a [Skip],
    /// Trims up to this serial are reported.
    pub gaps_reported_to: u64,
    /// Transitions up to this number are applied.
    pub transitions_applied: u64,
    /// Last offset that the page may contain.
    pub through: u64,
    /// Number of entries that may overtake; 0 for a connection that is not behind.
    pub overtaking_max: usize,
    /// Whether plain entries may be joined into chunks.
    pub may_join: bool,
}

/// Entries for one connection.
#[derive(Debug)]
pub struct Page {
    /// Channels that lost entries above the cursor since the last report. The page then has no entries, and ends at the
    /// highest cursor from which no stored entry is missed.
    pub lost: BTreeSet<String>,
    /// Joined frames; empty if `entries` is not.
    pub chunks: Vec<ChunkSlice>,
    pub entries: Vec<PageEntry>,
    /// Offsets of entries to be read and joined.
    to_coalesce: Vec<u64>,
    /// Channel whose chunk cache takes the joined entries: they are all that it holds in their range.
    cached_for: Option<ChannelName>,
    /// Cursor after the page, with its tag; `None` if the page was cut short.
    pub end: Option<(u64, Tag)>,
    /// Whether the log has no entry above `end` for this connection.
    pub is_last: bool,
    /// Trims up to this serial are reported after this page.
    pub gaps_reported_to: u64,
    /// Transitions up to this number are applied after this page. If it is higher than in the request, the page has no
    /// entries, and only moves the cursor.
    pub transitions_applied: u64,
    /// Skips above this offset are void: their entries were truncated.
    pub ceiling: u64,
    /// Ids are written in this epoch.
    pub newest: Epoch,
}

impl Page {
    /// Offsets of entries that must be read from the store.
    pub(crate) fn missing_offsets(&self) -> Vec<u64> {
        self.entries.iter().filter(|entry| entry.entry.is_none()).map(|entry| entry.offset).collect()
    }

    /// Fills in entries that an earlier page has read.
    pub fn recall(&mut self, earlier: Vec<PageEntry>) {
        let mut known: HashMap<u64, _> =
            earlier.into_iter().filter_map(|entry| Some((entry.offset, entry.entry?))).collect();
        for entry in self.entries.iter_mut().filter(|entry| entry.entry.is_none()) {
            entry.entry = known.remove(&entry.offset);
        }
    }

    /// Fills in the entries that were read. A missing entry ends the page before it: the next page reports the loss.
    pub fn fill(&mut self, read: Vec<Option<Arc<Entry>>>) {
        let mut read = read.into_iter();
        for index in 0..self.entries.len() {
            if self.entries[index].entry.is_some() {
                continue;
            }
            self.entries[index].entry = read.next().flatten();
            if self.entries[index].entry.is_none() {
                self.entries.truncate(index);
                self.is_last = false;
                self.end = None;
                return;
            }
        }
    }
}

/// One entry of a page.
#[derive(Debug)]
pub struct PageEntry {
    pub offset: u64,
    pub overtakes: bool,
    pub entry: Option<Arc<Entry>>,
}

/// Offsets of a page, and the end of the range that was searched.
struct OffsetRange {
    offsets: Vec<u64>,
    end: u64,
}

impl Log {
    /// Reads the next page of a connection. Entries outside the cache are listed only; see [`Log::load`].
    pub fn page(&self, request: &ReadRequest<'_>) -> Page {
        let state = self.state();
        if self.is_half_changed() {
            return Page {
                is_last: true,
                transitions_applied: request.transitions_applied,
                ..state.empty_page(request, request.gaps_reported_to)
            };
        }
        if request.transitions_applied != state.transitions.serial() {
            return state.page_over_transition(request);
        }
        let through = request.through.min(state.head);
        let gaps_reported_to = state.index.trim_serial();
        if request.cursor >= through {
            // Trims above `through` are reported when the reader may go on.
            let gaps_reported_to =
                if request.cursor >= state.head { gaps_reported_to } else { request.gaps_reported_to };
            return state.empty_page(request, gaps_reported_to);
        }
        let lost = state.newly_lost(request);
        if !lost.is_empty() {
            let resumed = state.latest_safe_cursor(request.cursor, request.subscriptions);
            let end = Some((resumed, state.tag_at(resumed)));
            return Page { lost, end, is_last: false, ..state.empty_page(request, gaps_reported_to) };
        }
        if let Some(page) = self.page_of_chunks(&state, request, through, gaps_reported_to) {
            return page;
        }
        let range = state.within_bytes(state.offset_range(request, through));
        if let Some(page) = self.page_to_coalesce(&state, request, through, &range, gaps_reported_to) {
            return page;
        }
        let entries = if request.overtaking_max == 0 {
            range.offsets.iter().map(|offset| state.page_entry(*offset, false)).collect()
        } else {
            state.with_overtaking(request, &range, through, self.now())
        };
        let end = Some((range.end, state.tag_at(range.end)));
        Page { entries, end, is_last: range.end == state.head, ..state.empty_page(request, gaps_reported_to) }
    }

    /// Whether a newer event of the same key supersedes this one for a reader of `subscriptions`: in every channel through
    /// which the reader gets it.
    pub fn is_superseded(&self, entry: &Entry, subscriptions: &[Subscription]) -> bool {
        entry.key.is_some() && self.state().is_superseded(entry, subscriptions)
    }
}

impl LogState {
    pub(super) fn empty_page(&self, request: &ReadRequest<'_>, gaps_reported_to: u64) -> Page {
        Page {
            is_last: request.cursor >= self.head,
            lost: BTreeSet::new(),
            chunks: Vec::new(),
            entries: Vec::new(),
            to_coalesce: Vec::new(),
            cached_for: None,
            end: Some((request.cursor, self.tag_at(request.cursor))),
            gaps_reported_to,
            transitions_applied: self.transitions.serial(),
            ceiling: u64::MAX,
            newest: self.newest(),
        }
    }

    /// The page of a reader that has not applied the last transition: it has no entries, and moves the cursor down.
    fn page_over_transition(&self, request: &ReadRequest<'_>) -> Page {
        let ceiling = self.transitions.ceiling(request.transitions_applied);
        let cursor = request.cursor.min(ceiling).min(self.head);
        let mut lost = self.transitions.lost_since(request.transitions_applied, request.subscriptions);
        let request = ReadRequest { cursor, ..*request };
        let mut page = self.empty_page(&request, request.gaps_reported_to);
        (page.ceiling, page.is_last) = (ceiling, false);
        if !lost.is_empty() {
            lost.append(&mut self.newly_lost(&request));
            let resumed = self.latest_safe_cursor(cursor, request.subscriptions);
            page.end = Some((resumed, self.tag_at(resumed)));
            (page.lost, page.gaps_reported_to) = (lost, self.index.trim_serial());
        }
        page
    }

    fn is_superseded(&self, entry: &Entry, subscriptions: &[Subscription]) -> bool {
        let Some(key) = &entry.key else { return false };
        let has_newer = |channel: &ChannelName| {
            self.index.channel(channel.as_str()).is_some_and(|row| row.has_newer(key, entry.offset))
        };
        let mut mine = entry.channels.iter().filter(|channel| wants(subscriptions, channel)).peekable();
        mine.peek().is_some() && mine.all(has_newer)
    }

    fn page_entry(&self, offset: u64, overtakes: bool) -> PageEntry {
        PageEntry { offset, overtakes, entry: self.entry_cache.get(offset).cloned() }
    }

    /// Channels of the reader that lost entries above its cursor and are not reported yet.
    pub(super) fn newly_lost(&self, request: &ReadRequest<'_>) -> BTreeSet<String> {
        if self.index.trim_serial() == request.gaps_reported_to || self.index.highest_trim() <= request.cursor
        {
            return BTreeSet::new();
        }
        let is_had = |offset: u64| request.skips.iter().any(|skip| skip.offset == offset);
        match self.index.trims_after(request.gaps_reported_to) {
            Some(trims) => trims
                .filter(|(trim, _)| trim.offset > request.cursor && !is_had(trim.offset))
                .filter(|(_, name)| wants(request.subscriptions, name))
                .map(|(_, name)| name.to_string())
                .collect(),
            None => {
                let rows =
                    request.subscriptions.iter().flat_map(|subscription| self.index.selected(subscription));
                let lost = rows.filter(|row| {
                    row.trim().offset > request.cursor && row.trim().serial > request.gaps_reported_to
                });
                let mut lost: BTreeSet<String> = lost.map(|row| row.name.to_string()).collect();
                if self.index.default_trim().offset > request.cursor
                    && self.index.default_trim().serial > request.gaps_reported_to
                {
                    lost.extend(subscription_texts(request.subscriptions));
                }
                lost
            }
        }
    }

    fn offset_range(&self, request: &ReadRequest<'_>, through: u64) -> OffsetRange {
        if through - request.cursor <= SCAN_DISTANCE {
            return self.scan(request, through);
        }
        let mut heads = BinaryHeap::new();
        for row in request.subscriptions.iter().flat_map(|subscription| self.index.selected(subscription)) {
            let mut above = row.above(request.cursor).copied();
            if let Some(offset) = above.next() {
                heads.push(Reverse((offset, row.name.as_str())));
                if heads.len() > MERGED_ROWS_MAX {
                    return self.scan(request, through);
                }
            }
        }
        self.merge(heads, through)
    }

    /// Ends a range when its records are enough for one page.
    fn within_bytes(&self, mut range: OffsetRange) -> OffsetRange {
        let mut bytes = 0;
        for (index, offset) in range.offsets.iter().enumerate() {
            bytes += self.index.record_bytes(*offset);
            if bytes > PAGE_BYTES && index > 0 {
                range.offsets.truncate(index);
                range.end = range.offsets[index - 1];
                break;
            }
        }
        range
    }

    /// Merges the offsets of a few channels.
    fn merge(&self, mut heads: BinaryHeap<Reverse<(u64, &str)>>, through: u64) -> OffsetRange {
        let mut lists: HashMap<&str, _> = HashMap::with_capacity(heads.len());
        let mut offsets: Vec<u64> = Vec::new();
        while let Some(Reverse((offset, name))) = heads.pop() {
            if offset > through {
                continue;
            }
            if offsets.last() != Some(&offset) {
                if offsets.len() == PAGE_ENTRIES {
                    return OffsetRange { end: offsets[PAGE_ENTRIES - 1], offsets };
                }
                offsets.push(offset);
            }
            let list = lists.entry(name).or_insert_with(|| {
                let mut list = self.index.channel(name).expect("the row was just read").above(offset - 1);
                list.next();
                list
            });
            if let Some(next) = list.next() {
                heads.push(Reverse((*next, name)));
            }
        }
        OffsetRange { offsets, end: through }
    }

    /// Checks the channels of every entry.
    fn scan(&self, request: &ReadRequest<'_>, through: u64) -> OffsetRange {
        let mut offsets = Vec::new();
        let mut entries = self.index.above(request.cursor).take_while(|offset| *offset <= through);
        let mut end = through;
        for (scanned, offset) in entries.by_ref().enumerate() {
            if self.is_held_for(offset, request.subscriptions) {
                offsets.push(offset);
            }
            if offsets.len() == PAGE_ENTRIES || scanned == SCANNED_MAX {
                end = offset;
                break;
            }
        }
        OffsetRange { offsets, end }
    }

    pub(super) fn is_held_for(&self, offset: u64, subscriptions: &[Subscription]) -> bool {
        self.index.channels_of(offset).any(|channel| wants(subscriptions, channel))
    }

    /// Puts the urgent entries of all pending ones before the others.
    fn with_overtaking(
        &self,
        request: &ReadRequest<'_>,
        range: &OffsetRange,
        through: u64,
        now: Millis,
    ) -> Vec<PageEntry> {
        // An entry that will not be sent must not take a skip of the id.
        let is_needless = |offset: u64| {
            self.entry_cache.get(offset).is_some_and(|entry| {
                entry.has_expired(now) || self.is_superseded(entry, request.subscriptions)
            })
        };
        let is_skipped = |offset: u64| request.skips.iter().any(|skip| skip.offset == offset);
        let mut pending = range.offsets.iter().copied().filter(|offset| !is_skipped(*offset)).peekable();
        let mut entries = Vec::with_capacity(range.offsets.len());
        let mut overtaken = BTreeSet::new();
        for urgent in self.urgent(request, through) {
            if is_skipped(urgent) {
                continue;
            }
            while pending.peek().is_some_and(|next| overtaken.contains(next)) {
                pending.next();
            }
            if pending.peek() == Some(&urgent) {
                pending.next();
                entries.push(self.page_entry(urgent, false));
            } else if is_needless(urgent) {
                continue;
            } else if overtaken.len() < request.overtaking_max
                && urgent - request.cursor <= EventId::DISTANCE_MAX
            {
                overtaken.insert(urgent);
                entries.push(self.page_entry(urgent, true));
            } else {
                break;
            }
        }
        entries.extend(
            pending.filter(|offset| !overtaken.contains(offset)).map(|offset| self.page_entry(offset, false)),
        );
        entries
    }

    /// Urgent offsets above the cursor: critical ones first, each priority in order.
    fn urgent(&self, request: &ReadRequest<'_>, through: u64) -> Vec<u64> {
        let rows_max = MERGED_ROWS_MAX;
        let mut found = BTreeSet::new();
        let rows = request.subscriptions.iter().flat_map(|subscription| self.index.selected(subscription));
        for (index, row) in rows.enumerate() {
            if index == rows_max {
                // With too many channels, only the newest urgent entries of the log are checked.
                let recent = self.index.recent_urgent_above(request.cursor);
                let mine = recent.filter(|entry| self.is_held_for(entry.offset, request.subscriptions));
                found.extend(mine.map(|entry| (!entry.is_critical, entry.offset)));
                break;
            }
            found.extend(
                row.urgent_above(request.cursor).take(PAGE_ENTRIES).map(|it| (!it.is_critical, it.offset)),
            );
            found.extend(
                row.urgent_above(request.cursor)
                    .filter(|it| it.is_critical)
                    .take(PAGE_ENTRIES)
                    .map(|it| (false, it.offset)),
            );
        }
        found.into_iter().map(|(_, offset)| offset).filter(|offset| *offset <= through).collect()
    }
}

#[cfg(test)]
mod tests;
