//! Comparison of the log at the end with publishes and responses.

use std::collections::{HashMap, HashSet};

use super::entries::LogEntries;
use super::facts::{ComparisonResult, LossRule, Oracle};
use crate::history::{EventLabel, LogPosition, PublishResult, SentEvent};
use crate::violation::ViolationKind;

/// Finds entries that are missing, in a wrong order, of wrong channels or refused.
pub(super) fn compare(oracle: &Oracle, entries: &LogEntries, result: &mut ComparisonResult) {
    for record in &oracle.unsent {
        result.add(ViolationKind::WrongContent, format!("the log has {record:?}, which was never sent"));
    }
    for (label, event) in &oracle.sent {
        if let (PublishResult::NotStored, Some(position)) = (event.result, entries.positions(*label).first())
        {
            let text = format!("event {label} was answered with not_stored and is at {position}");
            result.add(ViolationKind::WrongContent, text);
        }
    }
    compare_order(oracle, result);
    for (channel, name) in oracle.channels.iter().enumerate() {
        compare_channel(oracle, entries, channel, name, result);
    }
}

/// The events of a publisher are in the order in which they were sent.
fn compare_order(oracle: &Oracle, result: &mut ComparisonResult) {
    let mut last: HashMap<u32, EventLabel> = HashMap::new();
    // An event without a certain result may be stored late. So may a retry if a loss took the first copy with its
    // idempotency key.
    let may_be_late = |event: &SentEvent| {
        event.result == PublishResult::Unknown
            || event.is_doubtful && oracle.losses_after(event.begun).next().is_some()
    };
    for record in oracle.log.iter().filter(|record| !may_be_late(&oracle.sent[&record.label])) {
        let label = record.label;
        if let Some(later) = last.insert(label.publisher, label).filter(|last| *last > label) {
            let text = format!("the log has event {label} at {}, after {later}", record.position);
            result.add(ViolationKind::Reordered, text);
        }
    }
}

fn compare_channel(
    oracle: &Oracle,
    entries: &LogEntries,
    channel: usize,
    name: &str,
    result: &mut ComparisonResult,
) {
    let is_of_channel = |label: &EventLabel| oracle.sent[label].channels.contains(&channel);
    let records = oracle.log.iter().filter(|record| record.channels.iter().any(|other| other == name));
    let mut kept = HashSet::new();
    for record in records {
        kept.insert(record.position);
        if !is_of_channel(&record.label) {
            let text = format!("history of {name} has event {} of other channels", record.label);
            result.add(ViolationKind::WrongContent, text);
        }
    }
    let generation = oracle.log.last().map(|record| record.position.generation);
    let is_due = |position: &LogPosition, label: &EventLabel| {
        is_of_channel(label)
            && generation.is_none_or(|generation| generation == position.generation)
            && oracle.losses_after(oracle.sent[label].begun).next().is_none()
    };
    let due = entries.by_position.iter().map(|(position, entry)| (*position, entry.label));
    let due: Vec<_> = due.filter(|(position, label)| is_due(position, label)).collect();
    // Trimming begins with the oldest entry, and keeps the newest ones of the retention.
    let trimmed = due.iter().take_while(|(position, _)| !kept.contains(position)).count();
    let trimmed_max = match oracle.rule {
        LossRule::Trimmed { retention_events } => {
            let unlocated = oracle.sent.keys().filter(|label| is_of_channel(label));
            let unlocated = unlocated.filter(|label| entries.is_unlocated(oracle, **label)).count();
            due.len().saturating_sub(retention_events.saturating_sub(unlocated))
        }
        _ => 0,
    };
    for &(position, label) in &due[trimmed.min(trimmed_max)..] {
        if !kept.contains(&position) && !entries.may_be_missing(oracle, label, position) {
            let publish = oracle.sent[&label].result;
            let text = format!("event {label} at {position} is not in the history of {name}; {publish:?}");
            result.add(ViolationKind::Lost, text);
        }
    }
}
