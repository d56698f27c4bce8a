//! Epoch transitions of an open log: another node began an epoch, or the tail was truncated. Each open stream keeps the
//! number of transitions that it has applied.

use std::collections::{BTreeSet, VecDeque};

use tidings_protocol::{ChannelName, Subscription};

use super::checkpoint::{EpochRow, LostChannels};
use super::subscriptions::subscription_texts;

/// Transitions in memory. A stream that has applied none of them counts as having lost events.
const TRANSITIONS_MAX: usize = 1024;

/// All transitions since the log was opened.
#[derive(Debug, Default)]
pub(super) struct EpochTransitions {
    recent: VecDeque<Transition>,
    /// Lowest `truncate_to` of the transitions that are no longer in memory.
    forgotten: Option<u64>,
    serial: u64,
}

/// One transition.
#[derive(Debug)]
struct Transition {
    /// Cursors above this offset move down to it.
    truncate_to: u64,
    /// Losses of a stream that applies the transition.
    lost: LostChannels,
}

impl EpochTransitions {
    /// Number of transitions so far.
    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn push(&mut self, truncate_to: u64, lost: LostChannels) {
        if self.recent.len() == TRANSITIONS_MAX
            && let Some(oldest) = self.recent.pop_front()
        {
            let lowest = self.forgotten.map_or(oldest.truncate_to, |lowest| lowest.min(oldest.truncate_to));
            self.forgotten = Some(lowest);
        }
        self.recent.push_back(Transition { truncate_to, lost });
        self.serial += 1;
    }

    /// The transitions after `transitions_applied`; `None` if some are no longer in memory.
    fn after(&self, transitions_applied: u64) -> Option<impl Iterator<Item = &Transition>> {
        let unseen = usize::try_from(self.serial.saturating_sub(transitions_applied)).unwrap_or(usize::MAX);
        Some(self.recent.range(self.recent.len().checked_sub(unseen)?..))
    }

    /// Highest offset that a cursor may keep after all transitions since `transitions_applied`.
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

/// Channels of a truncated tail that no epoch reports yet.
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

    /// Whether these epochs report all of the channels.
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
