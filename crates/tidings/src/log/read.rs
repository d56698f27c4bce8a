//! A bounded stretch of the log as one connection reads it: what overtakes first, then the rest in order.

mod coalesce;

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap, HashMap},
    sync::Arc,
};

use tidings_protocol::{ChannelName, Epoch, EventId, Skip, Subscription, Tag};

use super::{
    Log,
    chunk_cache::ChunkSlice,
    entry::{Entry, Millis},
    state::LogState,
    subscriptions::{subscription_texts, wants},
};

/// Entries in a page.
pub(crate) const PAGE_ENTRIES: usize = 128;
/// Bytes of records in a page, unless one alone is larger: what a stream that replays holds in memory.
const PAGE_BYTES: u64 = 48 << 10;
/// A reader this near the head looks at the entries themselves instead of its channels.
const NEAR: u64 = 64;
/// A pattern of more channels than this is read by looking at every entry.
const MERGED_ROWS_MAX: usize = 1024;
/// Entries that one page looks at when it scans.
const SCANNED_MAX: usize = 4096;

/// What a connection asks of the log.
#[derive(Debug)]
pub(crate) struct ReadRequest<'a> {
    pub(crate) subscriptions: &'a [Subscription],
    pub(crate) cursor: u64,
    pub(crate) skips: &'a [Skip],
    /// Trims up to here are told.
    pub(crate) gaps_reported_to: u64,
    /// Breaks up to here are told.
    pub(crate) transitions_applied: u64,
    /// Nothing above this is wanted yet.
    pub(crate) through: u64,
    /// How many entries may overtake; 0 for a connection that is not behind.
    pub(crate) overtaking_max: usize,
    /// Entries may come joined.
    pub(crate) may_join: bool,
}

/// What it gets.
#[derive(Debug)]
pub(crate) struct Page {
    /// Channels that lost something above the cursor since it was last told; the page has no steps then, and ends at
    /// the latest cursor from which nothing that follows is missed.
    pub(crate) lost: BTreeSet<String>,
    /// What is sent as it is, before the steps; there are none of one where there are some of the other.
    pub(crate) parts: Vec<ChunkSlice>,
    pub(crate) steps: Vec<PageEntry>,
    /// The offsets of entries that are to be read and joined.
    to_join: Vec<u64>,
    /// What is joined is all that this channel holds there.
    shared_by: Option<ChannelName>,
    /// Where the cursor stands when every step was taken, and the tag there; none where the page was cut short.
    pub(crate) end: Option<(u64, Tag)>,
    /// The log had nothing above `end` that the asker wants.
    pub(crate) is_last: bool,
    /// Trims up to here are told after this page.
    pub(crate) gaps_reported_to: u64,
    /// Breaks up to here are told after this page. Where that is more than were told before, the page has no steps, and
    /// ends where the cursor may stand.
    pub(crate) transitions_applied: u64,
    /// What the client has above this is no more.
    pub(crate) ceiling: u64,
    /// Ids are written in this epoch.
    pub(crate) newest: Epoch,
}

impl Page {
    /// The offsets that are not at hand and must be read from the store.
    pub(crate) fn missing_offsets(&self) -> Vec<u64> {
        self.steps.iter().filter(|step| step.entry.is_none()).map(|step| step.offset).collect()
    }

    /// Fills in what an earlier page had read, so that it need not be read again.
    pub(crate) fn recall(&mut self, earlier: Vec<PageEntry>) {
        let mut known: HashMap<u64, _> =
            earlier.into_iter().filter_map(|step| Some((step.offset, step.entry?))).collect();
        for step in self.steps.iter_mut().filter(|step| step.entry.is_none()) {
            step.entry = known.remove(&step.offset);
        }
    }

    /// Fills in what was read. One that is gone ends the page before it: the reader asks again and learns why.
    pub(crate) fn fill(&mut self, read: Vec<Option<Arc<Entry>>>) {
        let mut read = read.into_iter();
        for index in 0..self.steps.len() {
            if self.steps[index].entry.is_some() {
                continue;
            }
            self.steps[index].entry = read.next().flatten();
            if self.steps[index].entry.is_none() {
                self.steps.truncate(index);
                self.is_last = false;
                self.end = None;
                return;
            }
        }
    }
}

/// One entry of a page.
#[derive(Debug)]
pub(crate) struct PageEntry {
    pub(crate) offset: u64,
    pub(crate) overtakes: bool,
    pub(crate) entry: Option<Arc<Entry>>,
}

/// The offsets of a stretch, and how far it goes.
struct OffsetRange {
    offsets: Vec<u64>,
    end: u64,
}

impl Log {
    /// Reads the next stretch for a connection. What is not at hand is named only; see [`Page::missing`].
    pub(crate) fn page(&self, ask: &ReadRequest<'_>) -> Page {
        let state = self.state();
        if self.is_half_changed() {
            return Page {
                is_last: true,
                transitions_applied: ask.transitions_applied,
                ..state.empty_page(ask, ask.gaps_reported_to)
            };
        }
        if ask.transitions_applied != state.transitions.serial() {
            return state.page_over_transition(ask);
        }
        let through = ask.through.min(state.head);
        let gaps_reported_to = state.index.trim_serial();
        if ask.cursor >= through {
            // What was trimmed above a reader that is held back is told when it goes on.
            let gaps_reported_to =
                if ask.cursor >= state.head { gaps_reported_to } else { ask.gaps_reported_to };
            return state.empty_page(ask, gaps_reported_to);
        }
        let lost = state.newly_lost(ask);
        if !lost.is_empty() {
            let resumed = state.latest_safe_cursor(ask.cursor, ask.subscriptions);
            let end = Some((resumed, state.tag_at(resumed)));
            return Page { lost, end, is_last: false, ..state.empty_page(ask, gaps_reported_to) };
        }
        if let Some(page) = self.page_of_chunks(&state, ask, through, gaps_reported_to) {
            return page;
        }
        let stretch = state.within_bytes(state.offset_range(ask, through));
        if let Some(page) = self.page_to_coalesce(&state, ask, through, &stretch, gaps_reported_to) {
            return page;
        }
        let steps = if ask.overtaking_max == 0 {
            stretch.offsets.iter().map(|offset| state.page_entry(*offset, false)).collect()
        } else {
            state.with_overtaking(ask, &stretch, through, self.now())
        };
        let end = Some((stretch.end, state.tag_at(stretch.end)));
        Page { steps, end, is_last: stretch.end == state.head, ..state.empty_page(ask, gaps_reported_to) }
    }

    /// Whether a newer event of its key makes this one needless for a reader of `subscriptions`: one in every
    /// channel that the reader has it by.
    pub(crate) fn is_superseded(&self, entry: &Entry, subscriptions: &[Subscription]) -> bool {
        entry.key.is_some() && self.state().is_superseded(entry, subscriptions)
    }
}

impl LogState {
    pub(super) fn empty_page(&self, ask: &ReadRequest<'_>, gaps_reported_to: u64) -> Page {
        Page {
            is_last: ask.cursor >= self.head,
            lost: BTreeSet::new(),
            parts: Vec::new(),
            steps: Vec::new(),
            to_join: Vec::new(),
            shared_by: None,
            end: Some((ask.cursor, self.tag_at(ask.cursor))),
            gaps_reported_to,
            transitions_applied: self.transitions.serial(),
            ceiling: u64::MAX,
            newest: self.newest(),
        }
    }

    /// The page of a reader that has not seen the last break: it has no steps, and moves the cursor where it may stand.
    fn page_over_transition(&self, ask: &ReadRequest<'_>) -> Page {
        let ceiling = self.transitions.ceiling(ask.transitions_applied);
        let cursor = ask.cursor.min(ceiling).min(self.head);
        let mut lost = self.transitions.lost_since(ask.transitions_applied, ask.subscriptions);
        let ask = ReadRequest { cursor, ..*ask };
        let mut page = self.empty_page(&ask, ask.gaps_reported_to);
        (page.ceiling, page.is_last) = (ceiling, false);
        if !lost.is_empty() {
            lost.append(&mut self.newly_lost(&ask));
            let resumed = self.latest_safe_cursor(cursor, ask.subscriptions);
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

    /// The channels of the asker that lost something above its cursor and that it was not told of.
    pub(super) fn newly_lost(&self, ask: &ReadRequest<'_>) -> BTreeSet<String> {
        if self.index.trim_serial() == ask.gaps_reported_to || self.index.highest_trim() <= ask.cursor {
            return BTreeSet::new();
        }
        let is_had = |offset: u64| ask.skips.iter().any(|skip| skip.offset == offset);
        match self.index.trims_after(ask.gaps_reported_to) {
            Some(trims) => trims
                .filter(|(trim, _)| trim.offset > ask.cursor && !is_had(trim.offset))
                .filter(|(_, name)| wants(ask.subscriptions, name))
                .map(|(_, name)| name.to_string())
                .collect(),
            None => {
                let rows =
                    ask.subscriptions.iter().flat_map(|subscription| self.index.selected(subscription));
                let lost = rows
                    .filter(|row| row.trim().offset > ask.cursor && row.trim().serial > ask.gaps_reported_to);
                let mut lost: BTreeSet<String> = lost.map(|row| row.name.to_string()).collect();
                if self.index.default_trim().offset > ask.cursor
                    && self.index.default_trim().serial > ask.gaps_reported_to
                {
                    lost.extend(subscription_texts(ask.subscriptions));
                }
                lost
            }
        }
    }

    fn offset_range(&self, ask: &ReadRequest<'_>, through: u64) -> OffsetRange {
        if through - ask.cursor <= NEAR {
            return self.scan(ask, through);
        }
        let mut heads = BinaryHeap::new();
        for row in ask.subscriptions.iter().flat_map(|subscription| self.index.selected(subscription)) {
            let mut above = row.above(ask.cursor).copied();
            if let Some(offset) = above.next() {
                heads.push(Reverse((offset, row.name.as_str())));
                if heads.len() > MERGED_ROWS_MAX {
                    return self.scan(ask, through);
                }
            }
        }
        self.merge(heads, through)
    }

    /// Ends a stretch where its records are enough for one page.
    fn within_bytes(&self, mut stretch: OffsetRange) -> OffsetRange {
        let mut bytes = 0;
        for (index, offset) in stretch.offsets.iter().enumerate() {
            bytes += self.index.record_bytes(*offset);
            if bytes > PAGE_BYTES && index > 0 {
                stretch.offsets.truncate(index);
                stretch.end = stretch.offsets[index - 1];
                break;
            }
        }
        stretch
    }

    /// Walks the lists of a few channels side by side.
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

    /// Looks at every entry, by its labels.
    fn scan(&self, ask: &ReadRequest<'_>, through: u64) -> OffsetRange {
        let mut offsets = Vec::new();
        let mut entries = self.index.above(ask.cursor).take_while(|offset| *offset <= through);
        let mut end = through;
        for (looked_at, offset) in entries.by_ref().enumerate() {
            if self.is_held_for(offset, ask.subscriptions) {
                offsets.push(offset);
            }
            if offsets.len() == PAGE_ENTRIES || looked_at == SCANNED_MAX {
                end = offset;
                break;
            }
        }
        OffsetRange { offsets, end }
    }

    pub(super) fn is_held_for(&self, offset: u64, subscriptions: &[Subscription]) -> bool {
        self.index.channels_of(offset).any(|channel| wants(subscriptions, channel))
    }

    /// Puts the urgent entries of all that is pending before the stretch.
    fn with_overtaking(
        &self,
        ask: &ReadRequest<'_>,
        stretch: &OffsetRange,
        through: u64,
        now: Millis,
    ) -> Vec<PageEntry> {
        // Those that will not be sent leave the room in ids to others.
        let is_needless = |offset: u64| {
            self.entry_cache
                .get(offset)
                .is_some_and(|entry| entry.has_expired(now) || self.is_superseded(entry, ask.subscriptions))
        };
        let is_skipped = |offset: u64| ask.skips.iter().any(|skip| skip.offset == offset);
        let mut pending = stretch.offsets.iter().copied().filter(|offset| !is_skipped(*offset)).peekable();
        let mut steps = Vec::with_capacity(stretch.offsets.len());
        let mut overtaken = BTreeSet::new();
        for urgent in self.urgent(ask, through) {
            if is_skipped(urgent) {
                continue;
            }
            while pending.peek().is_some_and(|next| overtaken.contains(next)) {
                pending.next();
            }
            if pending.peek() == Some(&urgent) {
                pending.next();
                steps.push(self.page_entry(urgent, false));
            } else if is_needless(urgent) {
                continue;
            } else if overtaken.len() < ask.overtaking_max && urgent - ask.cursor <= EventId::DISTANCE_MAX {
                overtaken.insert(urgent);
                steps.push(self.page_entry(urgent, true));
            } else {
                break;
            }
        }
        steps.extend(
            pending.filter(|offset| !overtaken.contains(offset)).map(|offset| self.page_entry(offset, false)),
        );
        steps
    }

    /// Urgent offsets above the cursor: critical ones first, each kind in order.
    fn urgent(&self, ask: &ReadRequest<'_>, through: u64) -> Vec<u64> {
        let rows_max = MERGED_ROWS_MAX;
        let mut found = BTreeSet::new();
        let rows = ask.subscriptions.iter().flat_map(|subscription| self.index.selected(subscription));
        for (index, row) in rows.enumerate() {
            if index == rows_max {
                // Too many channels: the newest urgent entries of the whole log will do.
                let recent = self.index.recent_urgent_above(ask.cursor);
                let mine = recent.filter(|entry| self.is_held_for(entry.offset, ask.subscriptions));
                found.extend(mine.map(|entry| (!entry.is_critical, entry.offset)));
                break;
            }
            // More can overtake at once than an id holds only where they are in order, too.
            found.extend(
                row.urgent_above(ask.cursor).take(PAGE_ENTRIES).map(|it| (!it.is_critical, it.offset)),
            );
            found.extend(
                row.urgent_above(ask.cursor)
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
