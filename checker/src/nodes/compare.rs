//! Comparison of the readers' observations with publishes, responses, losses and the log.
//!
//! The log at the end is the reference:
//! - A reader receives each of its events once and in order. An event may repeat only after a gap that names one of its
//!   channels.
//! - A lost event is missing everywhere. Every reader that had it, or was due to receive it, gets a gap, unless each node
//!   that knew the event was killed before it could report the loss.
//! - A trim is reported to readers that had not received the removed entries, and otherwise only to ids from before the
//!   trim.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tidings_protocol::{EventId, Subscription};

use super::history::{
    FinalResult, InjectedLoss, NodeOutage, OperationHistory, PhaseTime, PublishedEvent, TaggedOffset,
};
use super::reader::{NodeObservation, ReaderHistory};
use super::redis_log::LogRecord;
use crate::oracle::EventLabel;
use crate::violation::{Violation, ViolationKind};

/// Time after a loss in which a node that runs and keeps its memory notices the loss and reports it.
const LOOKED_AFTER: Duration = Duration::from_secs(10);
/// Time after a loss in which a gap may repeat: a later node may report a loss that the first node did not know.
const TOLD_AFTER: Duration = Duration::from_secs(10);

/// Facts to compare.
pub(super) struct NodesOracle {
    pub(super) channels: Vec<String>,
    pub(super) published: BTreeMap<EventLabel, PublishedEvent>,
    pub(super) losses: Vec<InjectedLoss>,
    pub(super) outages: Vec<NodeOutage>,
    pub(super) log: Vec<LogRecord>,
    pub(super) readers: Vec<ReaderHistory>,
    /// Whether the phase has a single node without Redis, which reports each loss at once to every reader.
    pub(super) is_alone: bool,
}

/// Result of the comparison.
#[derive(Debug, Default)]
pub(super) struct ComparisonResult {
    pub(super) violations: Vec<Violation>,
    /// Events that were acknowledged or delivered, and are not in the log.
    pub(super) lost: u64,
    /// Reports of lost events that were due to readers.
    pub(super) due: u64,
    /// Gaps that report a known loss again.
    pub(super) again: u64,
    /// Events of a channel from after a loss that arrived before the gap: another node knew of the loss.
    pub(super) late: u64,
    /// Descriptions of the repeated and late gaps.
    pub(super) notes: Vec<String>,
}

/// An entry that is not in the log.
struct LostEntry {
    label: EventLabel,
    /// Nodes that delivered or acknowledged it, with the first time.
    known: Vec<(usize, PhaseTime)>,
}

impl NodesOracle {
    pub(super) fn new(
        history: &OperationHistory,
        log: Vec<LogRecord>,
        readers: Vec<ReaderHistory>,
        is_alone: bool,
    ) -> Self {
        Self {
            channels: history.channels.clone(),
            published: history.published(),
            losses: history.losses(),
            outages: history.outages(),
            log,
            readers,
            is_alone,
        }
    }

    /// Returns all violations and counts.
    pub(super) fn compare(&self) -> ComparisonResult {
        let mut result = ComparisonResult { violations: self.compare_log(), ..ComparisonResult::default() };
        let places: HashMap<TaggedOffset, &LogRecord> =
            self.log.iter().map(|entry| (entry.place, entry)).collect();
        let lost = self.lost(&places);
        result.lost = lost.len() as u64;
        for record in &self.readers {
            result.violations.extend(self.compare_order(record));
            self.compare_gaps(record, &mut result);
            result.violations.extend(self.compare_kept(record));
            if self.is_alone {
                result.violations.extend(self.compare_told(record));
            }
            self.compare_lost(record, &lost, &mut result);
        }
        result
    }

    /// Compares the log with the responses.
    fn compare_log(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut stored: HashMap<EventLabel, TaggedOffset> = HashMap::new();
        let mut last: HashMap<u32, EventLabel> = HashMap::new();
        for LogRecord { place, label, .. } in &self.log {
            if let Some(other) = stored.insert(*label, *place) {
                let text = format!("the log has event {label} at {other} and at {place}");
                violations.push(Violation::new(ViolationKind::Duplicated, text));
            }
            // An event without a certain result may be stored late. So may a retry if a loss took the first copy with
            // its idempotency key.
            let may_be_late = |sent: &PublishedEvent| {
                sent.result == FinalResult::Unknown
                    || (sent.is_doubtful && self.losses_after(sent.begun).next().is_some())
            };
            if self.published.get(label).is_some_and(|sent| !may_be_late(sent)) {
                if let Some(later) = last.get(&label.publisher).filter(|last| **last > *label) {
                    let text = format!("the log has event {label} at {place}, after {later}");
                    violations.push(Violation::new(ViolationKind::Reordered, text));
                }
                last.insert(label.publisher, *label);
            }
        }
        for (label, sent) in &self.published {
            match (sent.result, stored.get(label)) {
                (FinalResult::NotStored, Some(place)) => {
                    let text = format!("event {label} was answered with not_stored and is at {place}");
                    violations.push(Violation::new(ViolationKind::WrongContent, text));
                }
                (FinalResult::Acknowledged { place, at, .. }, None)
                    if self.losses_after(sent.begun).next().is_none() =>
                {
                    let text =
                        format!("event {label} was acknowledged as {place} at {at:?}, and is not in the log");
                    violations.push(Violation::new(ViolationKind::Lost, text));
                }
                (FinalResult::Acknowledged { place, .. }, Some(other))
                    if place != *other && self.losses_after(sent.begun).next().is_none() =>
                {
                    let text = format!("event {label} was acknowledged as {place}, and is at {other}");
                    violations.push(Violation::new(ViolationKind::WrongContent, text));
                }
                _ => {}
            }
        }
        violations
    }

    fn losses_after(&self, moment: PhaseTime) -> impl Iterator<Item = &InjectedLoss> {
        self.losses.iter().filter(move |loss| loss.ended >= moment)
    }

    /// Between two gaps offsets rise and no event repeats; an event repeats only after a gap of one of its channels.
    fn compare_order(&self, record: &ReaderHistory) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut above = None;
        let mut had: HashMap<EventLabel, (usize, TaggedOffset)> = HashMap::new();
        for (index, observations) in record.observations.iter().enumerate() {
            let NodeObservation::Event { label, place, at, node } = observations else {
                above = None;
                continue;
            };
            let report = |kind, text: String| {
                let (seconds, name) = (at.as_secs_f64(), record.name());
                let text =
                    format!("{name}: event {label} at {place} from node {node} at {seconds:.3} s {text}");
                Violation::new(kind, text)
            };
            if let Some((before, other)) = had.insert(*label, (index, *place)) {
                let names = self.names(*label);
                let between = &record.observations[before..index];
                if !between.iter().any(|observations| names.iter().any(|name| observations.names(name))) {
                    violations.push(report(
                        ViolationKind::Duplicated,
                        format!("came before, at {other}, and no gap between"),
                    ));
                }
            } else if above.is_some_and(|above| place.offset <= above) {
                violations.push(report(ViolationKind::Reordered, format!("came after {above:?}")));
            }
            if self.published.get(label).is_some_and(|sent| sent.result == FinalResult::NotStored) {
                violations
                    .push(report(ViolationKind::WrongContent, "was answered with not_stored".to_owned()));
            }
            above = Some(place.offset);
        }
        violations
    }

    /// Each gap has a cause: a loss that was not reported to the reader before.
    fn compare_gaps(&self, record: &ReaderHistory, result: &mut ComparisonResult) {
        let mut told: HashMap<&str, PhaseTime> = HashMap::new();
        let told_after = if self.is_alone { Duration::ZERO } else { TOLD_AFTER };
        for (index, observations) in record.observations.iter().enumerate() {
            let NodeObservation::Gap { reason, channels, requested, at, node } = observations else {
                continue;
            };
            // A client that was cut after a gap gets it again.
            let is_repeated =
                index > 0 && matches!(record.observations[index - 1], NodeObservation::Gap { .. });
            let names = self.channels.iter().filter(|name| record.wants(name) && observations.names(name));
            let (mut has_cause, mut is_new) = (false, false);
            for name in names {
                let before = told.insert(name, *at).or(record.begun).unwrap_or_default();
                let mut causes =
                    self.losses.iter().filter(|loss| loss.begun <= *at && loss.explains(observations));
                is_new |= causes.clone().any(|loss| loss.ended >= before || loss.trimmed.is_some());
                has_cause |= is_new
                    || causes.any(|loss| *at <= loss.ended + told_after || self.is_alone && is_repeated);
            }
            if has_cause && !is_new {
                result.again += 1;
                let (name, seconds) = (record.name(), at.as_secs_f64());
                result
                    .notes
                    .push(format!("{name}: gap repeated at {seconds:.3} s by node {node}: {observations:?}"));
            }
            if !has_cause {
                let (name, seconds) = (record.name(), at.as_secs_f64());
                let text = format!(
                    "{name}: gap {} of {} for {requested:?} from node {node} at {seconds:.3} s",
                    reason.as_str(),
                    channels.join(", "),
                );
                result.violations.push(Violation::new(ViolationKind::SpuriousGap, text));
            }
        }
    }

    /// After each loss, a reader with an id from before it gets a gap before any other item.
    fn compare_told(&self, record: &ReaderHistory) -> Vec<Violation> {
        let mut violations = Vec::new();
        for loss in &self.losses {
            let first = record.observations.iter().find(|observations| observations.at() > loss.ended);
            let first = first.filter(|_| record.had_id_before(loss.begun));
            if let Some(NodeObservation::Event { label, at, .. }) = first {
                let (ended, at) = (loss.ended.as_secs_f64(), at.as_secs_f64());
                let (name, fault) = (record.name(), loss.fault);
                let text = format!(
                    "{name}: got event {label} at {at:.3} s, after {fault} until {ended:.3} s, and no gap before"
                );
                violations.push(Violation::new(ViolationKind::UnsignalledGap, text));
            }
        }
        violations
    }

    /// Each event in the log was delivered to every reader that was due to receive it.
    fn compare_kept(&self, record: &ReaderHistory) -> Vec<Violation> {
        let Some(begun) = record.begun.filter(|_| record.is_whole) else { return Vec::new() };
        let had: BTreeSet<TaggedOffset> =
            record.observations.iter().filter_map(NodeObservation::place).collect();
        let is_due = |entry: &&LogRecord| {
            entry.channels.iter().any(|name| record.wants(name))
                && self.published.get(&entry.label).is_some_and(|sent| sent.begun >= begun)
        };
        let missing: Vec<_> =
            self.log.iter().filter(is_due).filter(|entry| !had.contains(&entry.place)).collect();
        let Some(first) = missing.first() else { return Vec::new() };
        let text = format!(
            "{}: {} events did not come, the first is {} at {} of {}, sent at {:.3} s",
            record.name(),
            missing.len(),
            first.label,
            first.place,
            first.channels.join(", "),
            self.published[&first.label].begun.as_secs_f64()
        );
        vec![Violation::new(ViolationKind::Lost, text)]
    }

    /// Entries that are not in the log, and the nodes that knew them.
    fn lost(&self, kept: &HashMap<TaggedOffset, &LogRecord>) -> BTreeMap<TaggedOffset, LostEntry> {
        let mut lost: BTreeMap<TaggedOffset, LostEntry> = BTreeMap::new();
        let mut add = |place: TaggedOffset, label: EventLabel, node: usize, at: PhaseTime| {
            if !kept.contains_key(&place) {
                let known = &mut lost.entry(place).or_insert(LostEntry { label, known: Vec::new() }).known;
                match known.iter_mut().find(|(other, _)| *other == node) {
                    Some((_, first)) => *first = at.min(*first),
                    None => known.push((node, at)),
                }
            }
        };
        for (label, sent) in &self.published {
            if let FinalResult::Acknowledged { place, at, node } = sent.result {
                add(place, *label, node, at);
            }
        }
        for observations in self.readers.iter().flat_map(|record| &record.observations) {
            if let NodeObservation::Event { label, place, at, node } = observations {
                add(*place, *label, *node, *at);
            }
        }
        lost
    }

    /// A reader that had a lost event, or was due to receive it, has a gap of its channels after the loss.
    fn compare_lost(
        &self,
        record: &ReaderHistory,
        lost: &BTreeMap<TaggedOffset, LostEntry>,
        result: &mut ComparisonResult,
    ) {
        let Some(begun) = record.begun.filter(|_| record.is_whole) else { return };
        let had: HashMap<TaggedOffset, PhaseTime> = record
            .observations
            .iter()
            .filter_map(|observations| Some((observations.place()?, observations.at())))
            .collect();
        let mut late = BTreeSet::new();
        for (place, it) in lost {
            let Some(sent) = self.published.get(&it.label) else { continue };
            let had_at = had.get(place);
            let event = || format!("{}: event {} at {place}", record.name(), it.label);
            let Some(loss) = self.loss_of(*place, it, sent) else {
                if had_at.is_some() {
                    let text = format!("{} is not in the log, though no loss took it", event());
                    result.violations.push(Violation::new(ViolationKind::Lost, text));
                }
                continue;
            };
            let is_due = match (had_at, loss.trimmed) {
                (Some(_), trimmed) => trimmed.is_none(),
                // The log itself reports a trim, whatever the nodes know. A reader without an id has no position in
                // it.
                (None, Some(_)) => sent.begun >= begun && record.had_id_before(loss.begun),
                (None, None) => sent.begun >= begun && self.keeps_memory(it, loss),
            };
            if !is_due {
                continue;
            }
            let since = had_at.map_or(loss.begun, |at| loss.begun.max(*at));
            for name in self.names(it.label).into_iter().filter(|name| record.wants(name)) {
                result.due += 1;
                if let Some(gap) = record
                    .observations
                    .iter()
                    .position(|observations| observations.at() >= since && observations.names(name))
                {
                    late.extend(
                        self.is_late(&record.observations[..gap], name, loss).then_some((loss.begun, name)),
                    );
                    continue;
                }
                let had = had_at.map(|at| format!("had at {:.3} s", at.as_secs_f64()));
                let text = format!(
                    "{} of {name}, sent at {:.3} s, was lost by {} at {:.3} s; it was {}, and there is no gap",
                    event(),
                    sent.begun.as_secs_f64(),
                    loss.fault,
                    loss.begun.as_secs_f64(),
                    had.unwrap_or("due".into()),
                );
                result.violations.push(Violation::new(ViolationKind::UnsignalledGap, text));
            }
        }
        result.late += late.len() as u64;
        let note = |(loss, name): &(PhaseTime, &str)| {
            format!("{}: the loss of {name} at {:.3} s was reported late", record.name(), loss.as_secs_f64())
        };
        result.notes.extend(late.iter().map(note));
    }

    /// Whether an event of this channel from after a loss arrived before the gap.
    fn is_late(&self, before_gap: &[NodeObservation], name: &str, loss: &InjectedLoss) -> bool {
        let is_from_after = |observations: &NodeObservation| {
            let NodeObservation::Event { label, .. } = observations else { return false };
            self.names(*label).contains(&name) && self.published[label].begun > loss.ended
        };
        before_gap.iter().rev().take_while(|observations| observations.at() > loss.ended).any(is_from_after)
    }

    /// Returns the loss that took an entry: the first that did not keep it, after the last that did.
    fn loss_of(&self, place: TaggedOffset, lost: &LostEntry, sent: &PublishedEvent) -> Option<&InjectedLoss> {
        let kept = self.losses.iter().rposition(|loss| loss.kept.contains(&place));
        let known = lost.known.iter().map(|(_, at)| *at).min().unwrap_or_default();
        match kept {
            Some(kept) => self.losses.get(kept + 1),
            None => {
                // Losses after its earliest store that could have taken it.
                let could = |loss: &&InjectedLoss| {
                    loss.ended >= sent.begun && loss.trimmed.is_none_or(|trimmed| place.offset <= trimmed)
                };
                self.losses
                    .iter()
                    .filter(could)
                    .find(|loss| loss.ended >= known)
                    .or_else(|| self.losses.iter().rfind(could))
            }
        }
    }

    /// Whether a node that knew the entry ran on until it had to report the loss.
    fn keeps_memory(&self, lost: &LostEntry, loss: &InjectedLoss) -> bool {
        let until = loss.ended + LOOKED_AFTER;
        lost.known.iter().any(|(node, at)| {
            let hurts = |outage: &&NodeOutage| {
                outage.node == *node && !outage.keeps_memory && outage.begun >= *at && outage.begun <= until
            };
            *at <= loss.ended && !self.outages.iter().any(|outage| hurts(&outage))
        })
    }

    fn names(&self, label: EventLabel) -> Vec<&str> {
        let channels = self.published.get(&label).map(|sent| &sent.channels[..]).unwrap_or_default();
        channels.iter().map(|&channel| self.channels[channel].as_str()).collect()
    }
}

impl InjectedLoss {
    /// Whether a gap may report this loss; a trim only if the reader's id is from before it.
    fn explains(&self, gap: &NodeObservation) -> bool {
        let NodeObservation::Gap { reason, requested, .. } = gap else { return false };
        let offset = || requested.as_ref()?.parse::<EventId>().ok().map(|id| id.offset);
        self.reasons.contains(reason)
            && self.trimmed.is_none_or(|trimmed| offset().is_some_and(|offset| offset < trimmed))
    }
}

impl ReaderHistory {
    fn had_id_before(&self, moment: PhaseTime) -> bool {
        self.observations
            .iter()
            .any(|observations| observations.place().is_some() && observations.at() < moment)
    }
}

impl NodeObservation {
    fn place(&self) -> Option<TaggedOffset> {
        match self {
            Self::Event { place, .. } => Some(*place),
            Self::Gap { .. } => None,
        }
    }

    /// Whether this is a gap that names a channel.
    fn names(&self, channel: &str) -> bool {
        let Self::Gap { channels, .. } = self else { return false };
        let names = |text: &String| Subscription::parse(text).is_ok_and(|named| named.matches(channel));
        channels.iter().any(names)
    }
}

#[cfg(test)]
mod tests;
