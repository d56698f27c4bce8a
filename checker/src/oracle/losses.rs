//! Comparison of gaps with the losses that the checker caused.
//!
//! - A lost event is missing everywhere. Every reader that had it, or was due to receive it, gets a gap, unless each node
//!   that knew the event was killed before it could report the loss.
//! - A trim is reported to readers that had not received the removed entries, and otherwise only to ids from before the
//!   trim.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tidings_protocol::EventId;

use super::entries::{LogEntries, LogEntry};
use super::facts::{ComparisonResult, LogRecord, Oracle};
use crate::history::{InjectedLoss, LogPosition, NodeOutage, PhaseTime, SentEvent};
use crate::observation::{Observation, ObservedGap, ReaderHistory};
use crate::violation::ViolationKind;

/// Time after a loss in which a node that runs and keeps its memory notices the loss and reports it.
const NOTICED_AFTER: Duration = Duration::from_secs(10);
/// Time after a loss in which a gap may repeat: a later node may report a loss that the first node did not know.
const REPEATED_AFTER: Duration = Duration::from_secs(10);

/// Compares the gaps of every reader with the losses, and the events that it received with the log.
pub(super) fn compare(oracle: &Oracle, entries: &LogEntries, is_alone: bool, result: &mut ComparisonResult) {
    result.lost = entries.by_position.values().filter(|entry| !entry.is_kept).count() as u64;
    for record in &oracle.readers {
        let mut comparison = LossComparison { oracle, entries, is_alone, record, result };
        comparison.compare_gaps();
        comparison.compare_kept();
        if is_alone {
            comparison.compare_first();
        }
        comparison.compare_lost();
    }
}

struct LossComparison<'a> {
    oracle: &'a Oracle,
    entries: &'a LogEntries,
    is_alone: bool,
    record: &'a ReaderHistory,
    result: &'a mut ComparisonResult,
}

impl<'a> LossComparison<'a> {
    fn violation(&mut self, kind: ViolationKind, text: &str) {
        self.result.add(kind, format!("{}: {text}", self.record.name()));
    }

    /// Each gap has a cause: a loss that was not reported to the reader before.
    fn compare_gaps(&mut self) {
        let mut reported: HashMap<&str, PhaseTime> = HashMap::new();
        let repeated_after = if self.is_alone { Duration::ZERO } else { REPEATED_AFTER };
        let mut is_after_gap = false;
        for observation in &self.record.observations {
            // A client that was cut after a gap gets it again.
            let is_repeated = is_after_gap;
            is_after_gap = observation.gap().is_some();
            let Some(gap) = observation.gap() else { continue };
            let at = observation.at;
            let (mut has_cause, mut is_new) = (false, false);
            let names = self.oracle.channels.iter().filter(|name| self.record.wants(name) && gap.names(name));
            for name in names {
                let before = reported.insert(name, at).or(self.record.begun).unwrap_or_default();
                let mut causes =
                    self.oracle.losses.iter().filter(|loss| loss.begun <= at && loss.explains(gap));
                is_new |= causes.clone().any(|loss| loss.ended >= before || loss.trimmed.is_some());
                has_cause |= is_new
                    || causes.any(|loss| at <= loss.ended + repeated_after || self.is_alone && is_repeated);
            }
            if has_cause && !is_new {
                self.result.again += 1;
                let text = format!("{}: gap repeated: {observation:?}", self.record.name());
                self.result.notes.push(text);
            }
            if !has_cause {
                self.violation(ViolationKind::SpuriousGap, &format!("no loss explains {observation:?}"));
            }
        }
    }

    /// After each loss, a reader with an id from before it gets a gap before any event.
    fn compare_first(&mut self) {
        for loss in &self.oracle.losses {
            let mut later = self.record.observations.iter().filter(|observation| observation.at > loss.ended);
            let first =
                later.find(|observation| observation.event().is_some() || observation.gap().is_some());
            let first = first.filter(|_| self.record.had_event_before(loss.begun));
            if let Some((label, _)) = first.and_then(Observation::event) {
                let (fault, ended) = (loss.fault, loss.ended.as_secs_f64());
                let text = format!("got event {label} after {fault} until {ended:.3} s, and no gap before");
                self.violation(ViolationKind::UnsignalledGap, &text);
            }
        }
    }

    /// Each event in the log was delivered to every reader that was due to receive it.
    fn compare_kept(&mut self) {
        let Some(begun) = self.record.begun.filter(|_| self.record.is_whole) else { return };
        let had: BTreeSet<LogPosition> = self.record.events().map(|(position, _)| position).collect();
        let is_due = |entry: &&LogRecord| {
            entry.channels.iter().any(|name| self.record.wants(name))
                && self.oracle.sent[&entry.label].begun >= begun
        };
        let due = self.oracle.log.iter().filter(is_due);
        let missing: Vec<_> = due.filter(|entry| !had.contains(&entry.position)).collect();
        if let Some(first) = missing.first() {
            let text = format!(
                "{} events did not come, the first is {} at {} of {}, sent at {:.3} s",
                missing.len(),
                first.label,
                first.position,
                first.channels.join(", "),
                self.oracle.sent[&first.label].begun.as_secs_f64()
            );
            self.violation(ViolationKind::Lost, &text);
        }
    }

    /// A reader that had a lost event, or was due to receive it, has a gap of its channels after the loss.
    fn compare_lost(&mut self) {
        let Some(begun) = self.record.begun.filter(|_| self.record.is_whole) else { return };
        let had: HashMap<LogPosition, PhaseTime> = self.record.events().collect();
        let mut late = BTreeSet::new();
        for (position, entry) in self.entries.by_position.iter().filter(|(_, entry)| !entry.is_kept) {
            let event = &self.oracle.sent[&entry.label];
            let had_at = had.get(position).copied();
            let Some(loss) = self.loss_of(*position, entry, event) else {
                if had_at.is_some() {
                    let text = format!(
                        "event {} at {position} is not in the log, though no loss took it",
                        entry.label
                    );
                    self.violation(ViolationKind::Lost, &text);
                }
                continue;
            };
            let is_due = match (had_at, loss.trimmed) {
                (Some(_), trimmed) => trimmed.is_none(),
                // The log itself reports a trim, whatever the nodes know. A reader without an id has no position in
                // it.
                (None, Some(_)) => event.begun >= begun && self.record.had_event_before(loss.begun),
                (None, None) => event.begun >= begun && self.keeps_memory(entry, loss),
            };
            let names = self.oracle.names(entry.label).filter(|name| is_due && self.record.wants(name));
            for name in names.collect::<Vec<_>>() {
                self.result.due += 1;
                let since = had_at.map_or(loss.begun, |at| loss.begun.max(at));
                let mut gaps = self.record.observations.iter();
                let gap = gaps.position(|observation| observation.at >= since && observation.reports(name));
                if let Some(gap) = gap {
                    let is_late = self.is_late(&self.record.observations[..gap], name, loss);
                    late.extend(is_late.then_some((loss.begun, name)));
                    continue;
                }
                let text = format!(
                    "event {} at {position} of {name}, sent at {:?}, had at {had_at:?}, was lost by {} at {:?}, and there \
                     is no gap",
                    entry.label, event.begun, loss.fault, loss.begun,
                );
                self.violation(ViolationKind::UnsignalledGap, &text);
            }
        }
        self.result.late += late.len() as u64;
        let reader = self.record.name();
        let note = |(loss, name)| format!("{reader}: the loss of {name} at {loss:?} was reported late");
        self.result.notes.extend(late.into_iter().map(note));
    }

    /// Whether an event of this channel from after a loss arrived before the gap.
    fn is_late(&self, before_gap: &[Observation], name: &str, loss: &InjectedLoss) -> bool {
        let later = before_gap.iter().rev().take_while(|observation| observation.at > loss.ended);
        later.filter_map(Observation::event).any(|(label, _)| {
            self.oracle.sent[&label].begun > loss.ended && self.oracle.names(label).any(|other| other == name)
        })
    }

    /// Returns the loss that took an entry: the first that did not keep it, after the last that did.
    fn loss_of(&self, position: LogPosition, lost: &LogEntry, event: &SentEvent) -> Option<&'a InjectedLoss> {
        let losses = &self.oracle.losses;
        if let Some(kept) = losses.iter().rposition(|loss| loss.kept.contains(&position)) {
            return losses.get(kept + 1);
        }
        let known = lost.known.iter().map(|(_, at)| *at).min().unwrap_or_default();
        // Losses after its earliest store that could have taken it.
        let could = |loss: &&InjectedLoss| {
            loss.ended >= event.begun && loss.trimmed.is_none_or(|trimmed| position.offset <= trimmed)
        };
        let after_known = losses.iter().filter(could).find(|loss| loss.ended >= known);
        after_known.or_else(|| losses.iter().rfind(could))
    }

    /// Whether a node that knew the entry ran on until it had to report the loss.
    fn keeps_memory(&self, lost: &LogEntry, loss: &InjectedLoss) -> bool {
        let until = loss.ended + NOTICED_AFTER;
        lost.known.iter().any(|(node, at)| {
            let hurts = |outage: &NodeOutage| {
                outage.node == *node && !outage.keeps_memory && outage.begun >= *at && outage.begun <= until
            };
            *at <= loss.ended && !self.oracle.outages.iter().any(hurts)
        })
    }
}

impl InjectedLoss {
    /// Whether a gap may report this loss; a trim only if the reader's id is from before it.
    fn explains(&self, gap: &ObservedGap) -> bool {
        let offset = || gap.requested.as_ref()?.parse::<EventId>().ok().map(|id| id.offset);
        self.reasons.contains(&gap.reason)
            && self.trimmed.is_none_or(|trimmed| offset().is_some_and(|offset| offset < trimmed))
    }
}

impl ReaderHistory {
    /// Positions of the received events, with the last time of each.
    fn events(&self) -> impl Iterator<Item = (LogPosition, PhaseTime)> {
        self.observations.iter().filter_map(|observation| Some((observation.event()?.1, observation.at)))
    }

    fn had_event_before(&self, moment: PhaseTime) -> bool {
        self.events().any(|(_, at)| at < moment)
    }
}
