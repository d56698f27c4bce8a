//! Entries that retention can have removed from a channel by some time.

use std::collections::HashMap;

use super::entries::LogEntries;
use super::facts::Oracle;
use crate::history::PhaseTime;

/// Entries by generation and channel, in a phase that trims.
pub(super) struct Retention {
    retention_events: usize,
    /// Oldest first.
    entries: HashMap<(u64, usize), Vec<ChannelEntry>>,
    /// Times at which events with an unknown result and no position were begun, by channel.
    unlocated: Vec<Vec<PhaseTime>>,
}

/// An entry of one channel in one generation.
#[derive(Clone, Copy, Debug)]
struct ChannelEntry {
    offset: u64,
    /// Time before its first send.
    begun: PhaseTime,
    /// Earliest such time of this and all later entries of the channel.
    begun_from_here: PhaseTime,
}

impl Retention {
    pub(super) fn build(oracle: &Oracle, log: &LogEntries, retention_events: usize) -> Self {
        let mut entries: HashMap<_, Vec<ChannelEntry>> = HashMap::new();
        for (position, entry) in &log.by_position {
            let event = &oracle.sent[&entry.label];
            let (offset, begun) = (position.offset, event.begun);
            for &channel in &event.channels {
                let own = entries.entry((position.generation, channel)).or_default();
                own.push(ChannelEntry { offset, begun, begun_from_here: begun });
            }
        }
        for entries in entries.values_mut() {
            let mut earliest = PhaseTime::MAX;
            for entry in entries.iter_mut().rev() {
                earliest = earliest.min(entry.begun);
                entry.begun_from_here = earliest;
            }
        }
        let mut unlocated = vec![Vec::new(); oracle.channels.len()];
        for (_, event) in oracle.sent.iter().filter(|(label, _)| log.is_unlocated(oracle, **label)) {
            event.channels.iter().for_each(|&channel| unlocated[channel].push(event.begun));
        }
        Self { retention_events, entries, unlocated }
    }

    /// Number of a channel's events without a position that can have been stored before `at`.
    pub(super) fn unlocated_before(&self, channel: usize, at: PhaseTime) -> usize {
        self.unlocated[channel].iter().filter(|&&begun| begun < at).count()
    }

    /// Highest offset of a channel that can have been trimmed before `at`.
    ///
    /// Any event begun before then may be in the log, answered or not. Events without a position count as well.
    pub(super) fn trimmed_up_to(&self, generation: u64, channel: usize, at: PhaseTime) -> Option<u64> {
        let entries = self.entries.get(&(generation, channel))?;
        let end = entries.partition_point(|entry| entry.begun_from_here < at);
        let newest_first = entries[..end].iter().rev().filter(|entry| entry.begun < at);
        let newer_min = self.retention_events.saturating_sub(self.unlocated_before(channel, at));
        newest_first.map(|entry| entry.offset).nth(newer_min)
    }
}
