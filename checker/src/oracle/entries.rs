//! All entries that the log had: those at the end, and those that responses and streams imply.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::facts::{ComparisonResult, Oracle};
use crate::history::{DeliveryClass, EventLabel, LogPosition, PhaseTime, PublishResult, SentEvent};
use crate::observation::ObservedItem;
use crate::violation::ViolationKind;

/// An entry of the log.
pub(super) struct LogEntry {
    pub(super) label: EventLabel,
    /// Whether it is in the log at the end.
    pub(super) is_kept: bool,
    /// Nodes that delivered or acknowledged it, with the first time.
    pub(super) known: Vec<(usize, PhaseTime)>,
}

/// The entries, by position and by event.
#[derive(Default)]
pub(super) struct LogEntries {
    pub(super) by_position: BTreeMap<LogPosition, LogEntry>,
    by_label: HashMap<EventLabel, Vec<LogPosition>>,
}

impl LogEntries {
    /// Collects the entries, and reports contradictions between their sources.
    pub(super) fn build(oracle: &Oracle, result: &mut ComparisonResult) -> Self {
        let mut entries = Self::default();
        for record in &oracle.log {
            entries.add(oracle, record.label, record.position, None, result);
        }
        for (label, event) in &oracle.sent {
            if let PublishResult::Acknowledged { position, at, node } = event.result {
                entries.add(oracle, *label, position, Some((node, at)), result);
            }
        }
        let mut seen = HashSet::new();
        for observation in oracle.readers.iter().flat_map(|record| &record.observations) {
            let ObservedItem::Event { label, position, skips } = &observation.item else { continue };
            // An event that overtook has the id of the cursor, not of its own position.
            let overtook = !skips.is_empty() && entries.by_label.contains_key(label);
            if oracle.sent[label].class == DeliveryClass::Urgent || overtook {
                continue;
            }
            let witness = (observation.node, observation.at);
            if seen.insert((*label, *position)) {
                entries.add(oracle, *label, *position, Some(witness), result);
            } else if let Some(entry) = entries.by_position.get_mut(position) {
                entry.add_witness(witness);
            }
        }
        if oracle.has_rising_offsets() {
            entries.find_shared_offsets(result);
        }
        entries
    }

    /// Adds the position of an event. The log has each event once; a retry may store it again after a loss.
    fn add(
        &mut self,
        oracle: &Oracle,
        label: EventLabel,
        position: LogPosition,
        witness: Option<(usize, PhaseTime)>,
        result: &mut ComparisonResult,
    ) {
        let known = self.by_label.entry(label).or_default();
        let is_unique = || {
            witness.is_none()
                || oracle.has_rising_offsets()
                || oracle.losses_after(oracle.sent[&label].begun).next().is_none()
        };
        let other = known.iter().find(|other| other.generation == position.generation);
        if let Some(other) = other.filter(|other| **other != position && is_unique()) {
            let text = format!("the log has event {label} at {other} and at {position}");
            return result.add(ViolationKind::Duplicated, text);
        }
        let is_new = !known.contains(&position);
        known.extend(is_new.then_some(position));
        let new = LogEntry { label, is_kept: witness.is_none(), known: Vec::new() };
        let entry = self.by_position.entry(position).or_insert(new);
        witness.into_iter().for_each(|witness| entry.add_witness(witness));
        if is_new && entry.label != label {
            let text = format!("events {} and {label} are both at {position}", entry.label);
            result.add(ViolationKind::WrongContent, text);
        }
    }

    fn find_shared_offsets(&self, result: &mut ComparisonResult) {
        let next = self.by_position.iter().skip(1);
        for ((position, entry), (other, second)) in self.by_position.iter().zip(next) {
            if (position.generation, position.offset) == (other.generation, other.offset) {
                let text = format!(
                    "events {} at {position} and {} at {other} share an offset",
                    entry.label, second.label
                );
                result.add(ViolationKind::WrongContent, text);
            }
        }
    }

    /// Position of an event in a generation; in phases with injected losses any of its positions.
    pub(super) fn position(&self, label: EventLabel, generation: u64) -> Option<LogPosition> {
        self.by_label.get(&label)?.iter().find(|position| position.generation == generation).copied()
    }

    /// Positions of an event, at most one in each generation unless a loss took it.
    pub(super) fn positions(&self, label: EventLabel) -> &[LogPosition] {
        self.by_label.get(&label).map_or(&[], Vec::as_slice)
    }

    /// Whether the event may be at any position: its result is unknown, and no source has a position.
    pub(super) fn is_unlocated(&self, oracle: &Oracle, label: EventLabel) -> bool {
        oracle.sent[&label].result == PublishResult::Unknown && self.positions(label).is_empty()
    }

    /// Whether the delivery class allows that the event is missing.
    pub(super) fn may_be_missing(&self, oracle: &Oracle, label: EventLabel, position: LogPosition) -> bool {
        let event = &oracle.sent[&label];
        let is_newer = |other: &SentEvent| other.class == event.class && other.channels == event.channels;
        match event.class {
            DeliveryClass::Strict | DeliveryClass::Urgent => return false,
            DeliveryClass::Low => return true,
            DeliveryClass::Keyed(_) => {}
        }
        // A newer event with its channel and key supersedes it.
        let LogPosition { generation, offset, .. } = position;
        let mut later = self.between(generation, offset + 1, u64::MAX);
        let mut unlocated = oracle.sent.iter().filter(|(label, _)| self.is_unlocated(oracle, **label));
        later.any(|(_, label)| is_newer(&oracle.sent[&label])) || unlocated.any(|(_, other)| is_newer(other))
    }

    /// Events of a generation between two offsets, both included.
    pub(super) fn between(
        &self,
        generation: u64,
        from: u64,
        to: u64,
    ) -> impl Iterator<Item = (LogPosition, EventLabel)> {
        let bound = |offset, tag| LogPosition { generation, offset, tag };
        let range = (from <= to)
            .then(|| self.by_position.range(bound(from, 0)..=bound(to, u32::MAX)))
            .into_iter()
            .flatten();
        range.map(|(position, entry)| (*position, entry.label))
    }
}

impl LogEntry {
    fn add_witness(&mut self, (node, at): (usize, PhaseTime)) {
        match self.known.iter_mut().find(|(other, _)| *other == node) {
            Some((_, first)) => *first = at.min(*first),
            None => self.known.push((node, at)),
        }
    }
}
