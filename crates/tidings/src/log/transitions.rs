//! Where the order of a log broke while it was open: an epoch began elsewhere, or the end was cut off. Open streams keep
//! the number of the last break that they have seen.

use std::collections::{BTreeSet, VecDeque};

use tidings_protocol::{ChannelName, Subscription};

use super::{
    checkpoint::{EpochRow, LostChannels},
    subscriptions::subscription_texts,
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

    pub(super) fn push(&mut self, down_to: u64, lost: LostChannels) {
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
    pub(super) fn ceiling(&self, transitions_applied: u64) -> u64 {
        let recent = match self.after(transitions_applied) {
            Some(transitions) => return transitions.map(|it| it.truncate_to).min().unwrap_or(u64::MAX),
            None => self.recent.iter().map(|it| it.truncate_to).min(),
        };
        recent.into_iter().chain(self.forgotten).min().unwrap_or(u64::MAX)
    }

    pub(super) fn lost_since(
        &self,
        transitions_applied: u64,
        subscriptions: &[Subscription],
    ) -> BTreeSet<String> {
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
    /// The names of the channels that lost entries.
    pub(super) fn channel_names(&self) -> Vec<String> {
        self.channels.iter().map(ToString::to_string).collect()
    }

    pub(super) fn add(&mut self, channels: &[ChannelName]) {
        self.channels.extend(channels.iter().cloned());
    }

    /// Whether what was cut off is told with these rows.
    pub(super) fn is_covered_by(&self, rows: &[EpochRow]) -> bool {
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

#[cfg(test)]
mod tests;
