//! Each violation, planted in constructed facts, is found.

mod log;
mod losses;
mod stream;

use std::collections::{BTreeMap, BTreeSet};

use tidings_protocol::Subscription;
use tidings_protocol::body::GapReason;

use super::*;
use crate::history::{
    DeliveryClass, EventLabel, InjectedLoss, LogPosition, NodeOutage, PhaseTime, PublishResult, SentEvent,
};
use crate::observation::{Observation, ObservedGap, ObservedItem, ReaderHistory};
use crate::violation::ViolationKind;

const NAMES: [&str; 2] = ["nodes.a", "nodes.b"];
/// The reader's channel.
const A: usize = 0;
const B: usize = 1;

fn label(number: u64) -> EventLabel {
    EventLabel { publisher: 0, number }
}

fn offset(offset: u64) -> LogPosition {
    in_generation(0, offset)
}

fn in_generation(generation: u64, offset: u64) -> LogPosition {
    LogPosition { generation, offset, tag: 7 }
}

fn second(seconds: u64) -> PhaseTime {
    PhaseTime::from_secs(seconds)
}

fn observation(seconds: u64, item: ObservedItem) -> Observation {
    Observation { at: second(seconds), node: 0, item }
}

/// An event that is received at second 0.
fn event(number: u64, position: LogPosition) -> Observation {
    observation(0, ObservedItem::Event { label: label(number), position, skips: Vec::new() })
}

fn position(position: LogPosition) -> Observation {
    observation(0, ObservedItem::Position(position))
}

/// A gap of all channels, which is received in this second.
fn gap(reason: GapReason, resumed_at: LogPosition, seconds: u64) -> Observation {
    let (channels, read_at) = (vec!["nodes.*".to_owned()], second(seconds));
    let gap = ObservedGap { reason, channels, requested: None, resumed_at, read_at };
    observation(seconds, ObservedItem::Gap(Box::new(gap)))
}

fn sent(channel: usize, class: DeliveryClass, begun: u64, result: PublishResult) -> SentEvent {
    let (channels, begun) = (vec![channel], second(begun));
    SentEvent { channels, class, name: None, data: "text".into(), begun, result, is_doubtful: false }
}

fn acknowledged(position: LogPosition, seconds: u64) -> PublishResult {
    PublishResult::Acknowledged { position, at: second(seconds), node: 0 }
}

fn record(number: u64, position: LogPosition) -> LogRecord {
    LogRecord { position, channels: vec![NAMES[A].into()], label: label(number) }
}

fn reader(observations: Vec<Observation>) -> ReaderHistory {
    let subscriptions = vec![Subscription::parse(NAMES[A]).unwrap()];
    ReaderHistory { reader: 7, subscriptions, begun: Some(second(1)), is_whole: true, observations }
}

/// One reader with these observations, and events that were sent one a second and acknowledged; the log keeps those of the
/// last generation.
fn oracle(
    events: &[(usize, DeliveryClass, LogPosition)],
    rule: LossRule,
    observations: Vec<Observation>,
) -> Oracle {
    let mut oracle = Oracle {
        channels: NAMES.map(str::to_owned).into(),
        sent: BTreeMap::new(),
        losses: Vec::new(),
        outages: Vec::new(),
        log: Vec::new(),
        unsent: Vec::new(),
        readers: vec![reader(observations)],
        closing: Vec::new(),
        rule,
    };
    for (number, &(channel, class, position)) in (0..).zip(events) {
        let result = acknowledged(position, number);
        oracle.sent.insert(label(number), sent(channel, class, number, result));
        oracle.log.retain(|record| record.position.generation == position.generation);
        oracle.log.push(LogRecord { channels: vec![NAMES[channel].into()], ..record(number, position) });
        oracle.closing = vec![label(number)];
    }
    oracle
}

/// Strict events 0, 1, … of the reader's channel at offsets 1, 2, ….
fn numbered(count: u64, rule: LossRule, observations: Vec<Observation>) -> Oracle {
    let events: Vec<_> = (1..=count).map(|number| (A, DeliveryClass::Strict, offset(number))).collect();
    oracle(&events, rule, observations)
}

fn kinds(oracle: &Oracle) -> Vec<ViolationKind> {
    oracle.compare().violations.iter().map(|violation| violation.kind).collect()
}

#[track_caller]
fn check(case: &str, oracle: &Oracle, expect: &[ViolationKind]) {
    assert_eq!(kinds(oracle), expect, "{case}: {:?}", oracle.compare().violations);
}
