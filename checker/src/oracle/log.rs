//! The log, reconstructed from responses, history and streams.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::observation::{Observation, SubscriberHistory};
use super::sent::{
    DeliveryClass, EventLabel, LogPosition, OperationResult, Oracle, SentEvent, message_mut, settle,
};
use crate::violation::{Violation, ViolationKind};

/// An event of a channel's history, with its position.
pub(crate) type LocatedEvent = (EventLabel, LogPosition);

/// The log as responses, history and streams imply it.
pub(crate) struct ReconstructedLog {
    pub(crate) channels: Vec<String>,
    pub(crate) messages: Vec<Vec<SentEvent>>,
    pub(crate) generations: HashMap<u64, BTreeMap<u64, EventLabel>>,
    /// Entries of each generation and channel, oldest first.
    entries: HashMap<(u64, usize), Vec<ChannelEntry>>,
    /// Ticks of events with an unknown result and no position, by channel.
    pub(crate) unlocated: Vec<Vec<u64>>,
}

/// An entry of one channel in one generation.
#[derive(Clone, Copy, Debug)]
struct ChannelEntry {
    offset: u64,
    /// Tick before its first send.
    begun: u64,
    /// Lowest such tick of this and all later entries of the channel.
    begun_from_here: u64,
}

impl ReconstructedLog {
    /// Builds the log, and returns contradictions between its sources.
    pub(crate) fn build(
        oracle: &Oracle,
        records: &[SubscriberHistory],
        history: &[LocatedEvent],
    ) -> (Self, Vec<Violation>) {
        let mut messages = oracle.messages();
        let mut violations = Vec::new();
        let streams = records.iter().flat_map(|record| {
            record.observations.iter().filter_map(move |observations| match observations {
                Observation::Event { label, position, skips } => {
                    Some((*label, *position, skips.is_empty(), record.subscriber))
                }
                _ => None,
            })
        });
        for (label, position) in history {
            let message = message_mut(&mut messages, *label);
            violations.extend(settle(message, *label, *position, "history").err());
        }
        let mut reported = HashSet::new();
        for (label, position, is_plain, subscriber) in streams {
            let message = message_mut(&mut messages, label);
            // An event that overtook has the id of the cursor, not of its own position.
            if message.kind == DeliveryClass::Urgent || !is_plain && !message.positions.is_empty() {
                continue;
            }
            if let Err(violation) =
                settle(message, label, position, &format!("the stream of subscriber {subscriber}"))
                && reported.insert((label, position))
            {
                violations.push(violation);
            }
        }
        let mut log = Self {
            channels: oracle.channels.clone(),
            unlocated: vec![Vec::new(); oracle.channels.len()],
            generations: HashMap::new(),
            entries: HashMap::new(),
            messages,
        };
        log.order(&mut violations);
        log.list_entries();
        (log, violations)
    }

    fn order(&mut self, violations: &mut Vec<Violation>) {
        for (publisher, own) in (0..).zip(&self.messages) {
            for (number, message) in (0..).zip(own) {
                let label = EventLabel { publisher, number };
                if message.outcome == OperationResult::Refused && !message.positions.is_empty() {
                    let position = message.positions[0];
                    let text = format!("event {label} was refused as not stored, and is at {position}");
                    violations.push(Violation::new(ViolationKind::WrongContent, text));
                }
                if message.outcome == OperationResult::Unknown && message.positions.is_empty() {
                    message.channels.iter().for_each(|&channel| self.unlocated[channel].push(message.begun));
                }
                for position in &message.positions {
                    let generation = self.generations.entry(position.generation).or_default();
                    if let Some(other) = generation.insert(position.offset, label) {
                        let text = format!("events {other} and {label} are both at {position}");
                        violations.push(Violation::new(ViolationKind::WrongContent, text));
                    }
                }
            }
        }
    }

    fn list_entries(&mut self) {
        let mut entries: HashMap<_, Vec<ChannelEntry>> = HashMap::new();
        for (&generation, labels) in &self.generations {
            for (&offset, &label) in labels {
                let SentEvent { channels, begun, .. } = self.message(label);
                let entry = ChannelEntry { offset, begun: *begun, begun_from_here: *begun };
                channels
                    .iter()
                    .for_each(|&channel| entries.entry((generation, channel)).or_default().push(entry));
            }
        }
        for entries in entries.values_mut() {
            let mut earliest = u64::MAX;
            for entry in entries.iter_mut().rev() {
                earliest = earliest.min(entry.begun);
                entry.begun_from_here = earliest;
            }
        }
        self.entries = entries;
    }

    /// Offsets of a channel's entries that were sent before a tick, newest first.
    pub(crate) fn sent_before(
        &self,
        generation: u64,
        channel: usize,
        tick: u64,
    ) -> impl Iterator<Item = u64> {
        let entries = self.entries.get(&(generation, channel)).map_or(&[][..], Vec::as_slice);
        let end = entries.partition_point(|entry| entry.begun_from_here < tick);
        entries[..end].iter().rev().filter(move |entry| entry.begun < tick).map(|entry| entry.offset)
    }

    pub(crate) fn message(&self, label: EventLabel) -> &SentEvent {
        &self.messages[label.publisher as usize][usize::try_from(label.number).expect("a count in memory")]
    }

    /// Events of a generation between two offsets, both included, that have a wanted channel.
    pub(crate) fn events<'a>(
        &'a self,
        generation: u64,
        from: u64,
        to: u64,
        wanted: &'a [bool],
    ) -> impl Iterator<Item = (u64, EventLabel)> + 'a {
        let range = self
            .generations
            .get(&generation)
            .filter(|_| from <= to)
            .map(|generation| generation.range(from..=to));
        range
            .into_iter()
            .flatten()
            .map(|(offset, label)| (*offset, *label))
            .filter(|(_, label)| self.message(*label).channels.iter().any(|&channel| wanted[channel]))
    }

    /// Whether the delivery class allows that the event is missing.
    pub(crate) fn may_be_missing(&self, label: EventLabel, position: LogPosition) -> bool {
        match self.message(label).kind {
            DeliveryClass::Low => true,
            DeliveryClass::Keyed(_) => self.is_superseded(label, position),
            DeliveryClass::Strict | DeliveryClass::Urgent => false,
        }
    }

    /// Whether a newer event has the event's channel and key.
    fn is_superseded(&self, label: EventLabel, position: LogPosition) -> bool {
        let message = self.message(label);
        let later = self
            .generations
            .get(&position.generation)
            .into_iter()
            .flat_map(|generation| generation.range(position.offset + 1..));
        let is_newer = |other: &SentEvent| other.kind == message.kind && other.channels == message.channels;
        later.into_iter().any(|(_, label)| is_newer(self.message(*label)))
            || self.messages.iter().flatten().any(|other| {
                is_newer(other) && other.outcome == OperationResult::Unknown && other.positions.is_empty()
            })
    }
}
