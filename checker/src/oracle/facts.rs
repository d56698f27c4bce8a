//! Facts to compare, and the result of the comparison.

use std::collections::BTreeMap;

use crate::history::{
    EventLabel, History, HistoryRecords, InjectedLoss, LogPosition, NodeOutage, PhaseTime, SentEvent,
};
use crate::observation::ReaderHistory;
use crate::violation::{Violation, ViolationKind};

/// Losses that a phase allows, each of which its readers learn by a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LossRule {
    /// No event may be missing.
    Never,
    /// Every change of epoch loses all events.
    EachEpoch,
    /// Retention removes entries that have `retention_events` newer ones in their channel.
    Trimmed {
        /// Retention, in entries of a channel.
        retention_events: usize,
    },
    /// Faults lose entries, and the checker records each loss.
    Injected {
        /// Whether the phase has a single node without Redis, which reports each loss at once to every reader.
        is_alone: bool,
    },
}

/// An entry of the log at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogRecord {
    pub(crate) position: LogPosition,
    /// Channels whose histories have it.
    pub(crate) channels: Vec<String>,
    pub(crate) label: EventLabel,
}

/// Facts to compare.
pub(crate) struct Oracle {
    pub(super) channels: Vec<String>,
    pub(super) sent: BTreeMap<EventLabel, SentEvent>,
    pub(super) losses: Vec<InjectedLoss>,
    pub(super) outages: Vec<NodeOutage>,
    pub(super) log: Vec<LogRecord>,
    /// Entries of the log that were never sent.
    pub(super) unsent: Vec<LogRecord>,
    pub(super) readers: Vec<ReaderHistory>,
    /// The last events of all channels, which every reader must reach.
    pub(super) closing: Vec<EventLabel>,
    pub(super) rule: LossRule,
}

/// Result of the comparison.
#[derive(Debug, Default)]
pub(crate) struct ComparisonResult {
    pub(crate) violations: Vec<Violation>,
    /// Events that were acknowledged or delivered, and that a loss took.
    pub(crate) lost: u64,
    /// Reports of lost events that were due to readers.
    pub(crate) due: u64,
    /// Gaps that report a known loss again.
    pub(crate) again: u64,
    /// Events of a channel from after a loss that arrived before the gap: another node knew of the loss.
    pub(crate) late: u64,
    /// Descriptions of the repeated and late gaps.
    pub(crate) notes: Vec<String>,
}

impl ComparisonResult {
    pub(super) fn add(&mut self, kind: ViolationKind, text: String) {
        self.violations.push(Violation::new(kind, text));
    }
}

impl Oracle {
    pub(crate) fn new(
        history: &History,
        log: Vec<LogRecord>,
        readers: Vec<ReaderHistory>,
        closing: Vec<EventLabel>,
        rule: LossRule,
    ) -> Self {
        let HistoryRecords { sent, losses, outages, .. } = history.records();
        let (log, unsent) = log.into_iter().partition(|record| sent.contains_key(&record.label));
        let channels = history.channels.clone();
        Self { channels, sent, losses, outages, log, unsent, readers, closing, rule }
    }

    /// Whether offsets only rise within a generation: no loss takes entries out of it.
    pub(super) fn has_rising_offsets(&self) -> bool {
        !matches!(self.rule, LossRule::Injected { .. })
    }

    pub(super) fn losses_after(&self, moment: PhaseTime) -> impl Iterator<Item = &InjectedLoss> {
        self.losses.iter().filter(move |loss| loss.ended >= moment)
    }

    /// Names of an event's channels.
    pub(super) fn names(&self, label: EventLabel) -> impl Iterator<Item = &str> {
        self.sent[&label].channels.iter().map(|&channel| self.channels[channel].as_str())
    }

    pub(super) fn wants(&self, record: &ReaderHistory, label: EventLabel) -> bool {
        self.names(label).any(|name| record.wants(name))
    }
}
