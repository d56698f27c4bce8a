//! Where the order of a log broke while it was open: an epoch began elsewhere, or the end was cut off. Open streams keep
//! the number of the last break that they have seen.

use std::{
    collections::{BTreeSet, VecDeque},
    mem::take,
};

use tidings_protocol::{ChannelName, Subscription};

use super::{
    LogState,
    checkpoint::{EpochRow, LostChannels},
    read::{Page, ReadRequest, wants},
    resume::subscription_texts,
};

/// How many breaks are at hand for open streams; who has not looked for longer counts as having lost something.
const BREAKS_MAX: usize = 1024;

/// All breaks since the log was opened.
#[derive(Debug, Default)]
pub(super) struct EpochTransitions {
    recent: VecDeque<Transition>,
    /// The lowest place that any break which is not at hand goes down to.
    forgotten: Option<u64>,
    serial: u64,
}

/// One of them.
#[derive(Debug)]
struct Transition {
    /// A cursor above this goes down to it.
    truncate_to: u64,
    /// What whoever crosses it has missed.
    lost: LostChannels,
}

impl EpochTransitions {
    /// How many there were.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    fn push(&mut self, down_to: u64, lost: LostChannels) {
        if self.recent.len() == BREAKS_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            let lowest = self.forgotten.map_or(oldest.truncate_to, |lowest| lowest.min(oldest.truncate_to));
            self.forgotten = Some(lowest);
        }
        self.recent.push_back(Transition { truncate_to: down_to, lost });
        self.serial += 1;
    }

    /// Those after `transitions_applied`; none of them where some are not at hand.
    fn after(&self, transitions_applied: u64) -> Option<impl Iterator<Item = &Transition>> {
        let unseen = usize::try_from(self.serial.saturating_sub(transitions_applied)).unwrap_or(usize::MAX);
        Some(self.recent.range(self.recent.len().checked_sub(unseen)?..))
    }

    /// The highest place that a cursor may keep over everything after `transitions_applied`.
    fn ceiling(&self, transitions_applied: u64) -> u64 {
        let recent = match self.after(transitions_applied) {
            Some(transitions) => return transitions.map(|it| it.truncate_to).min().unwrap_or(u64::MAX),
            None => self.recent.iter().map(|it| it.truncate_to).min(),
        };
        recent.into_iter().chain(self.forgotten).min().unwrap_or(u64::MAX)
    }

    fn lost_since(&self, transitions_applied: u64, subscriptions: &[Subscription]) -> BTreeSet<String> {
        match self.after(transitions_applied) {
            Some(transitions) => transitions.flat_map(|it| it.lost.of(subscriptions)).collect(),
            None => subscription_texts(subscriptions).into_iter().collect(),
        }
    }
}

/// An end that was cut off and that no epoch accounts for yet.
#[derive(Debug, Default)]
pub(super) struct TruncatedTail {
    channels: BTreeSet<ChannelName>,
}

impl TruncatedTail {
    pub(super) fn add(&mut self, channels: &[ChannelName]) {
        self.channels.extend(channels.iter().cloned());
    }

    /// Whether what was cut off is told with these rows.
    fn is_covered_by(&self, rows: &[EpochRow]) -> bool {
        rows.iter().any(|row| row.lost == LostChannels::All)
            || self.channels.iter().all(|channel| {
                let names = rows.iter().filter_map(|row| match &row.lost {
                    LostChannels::Channels(names) => Some(names),
                    LostChannels::None | LostChannels::All => None,
                });
                names.flatten().any(|name| name == channel.as_str())
            })
    }
}

impl LogState {
    /// Notes epochs that began elsewhere.
    pub(super) fn note_epochs(&mut self, rows: &[EpochRow]) {
        for row in rows {
            self.transitions.push(row.begins_after, row.lost.clone());
        }
        if self.cut.as_ref().is_some_and(|cut| cut.is_covered_by(rows)) {
            self.cut = None;
        }
    }

    /// Notes that ids are written in another epoch, though none began, or that the end is now here.
    pub(super) fn note_truncation(&mut self, offset: u64) {
        self.transitions.push(offset, LostChannels::None);
    }

    /// Tells of an end that was cut off, before anything takes its place, where no epoch has.
    pub(super) fn report_truncated_tail(&mut self) {
        if let Some(cut) = take(&mut self.cut).filter(|cut| !cut.channels.is_empty()) {
            let names = cut.channels.iter().map(ToString::to_string).collect();
            self.transitions.push(u64::MAX, LostChannels::Channels(names));
        }
    }

    /// The page of a reader that has not seen the last break: it has no steps, and moves the cursor where it may stand.
    pub(super) fn page_over_transition(&self, ask: &ReadRequest<'_>) -> Page {
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
}

impl LostChannels {
    /// The names that a reader of `subscriptions` has lost, or its subscriptions where names are not known.
    pub(super) fn of(&self, subscriptions: &[Subscription]) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::All => subscription_texts(subscriptions),
            Self::Channels(names) => {
                let mine = |name: &&String| {
                    ChannelName::parse(name).is_ok_and(|channel| wants(subscriptions, &channel))
                };
                names.iter().filter(mine).cloned().collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
