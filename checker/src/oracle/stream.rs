//! Comparison of a reader's observations with the entries of the log: content, order, repeats, and events that are due.

use std::collections::{BTreeMap, HashMap};

use tidings_protocol::body::GapReason;

use super::entries::LogEntries;
use super::facts::{ComparisonResult, LossRule, Oracle};
use super::retention::Retention;
use crate::history::{DeliveryClass, EventLabel, LogPosition, PhaseTime, PublishResult};
use crate::observation::{Observation, ObservedGap, ObservedItem, ReaderHistory};
use crate::violation::ViolationKind;

/// Finds the violations in one reader's observations.
pub(super) fn compare(
    oracle: &Oracle,
    entries: &LogEntries,
    retention: Option<&Retention>,
    record: &ReaderHistory,
    result: &mut ComparisonResult,
) {
    let wanted = oracle.channels.iter().map(|channel| record.wants(channel)).collect();
    let mut comparison = StreamComparison {
        oracle,
        entries,
        retention,
        record,
        wanted,
        generation: None,
        views: HashMap::new(),
        is_after_gap: false,
        result,
    };
    for (at, observation) in record.observations.iter().enumerate() {
        match &observation.item {
            ObservedItem::Event { label, position, skips } => comparison.event(at, *label, *position, skips),
            ObservedItem::Position(position) => comparison.position(*position),
            ObservedItem::Gap(gap) => comparison.gap(at, gap),
        }
    }
    if oracle.has_rising_offsets() {
        comparison.find_missing();
    }
}

/// Offsets of one generation that a reader must receive, and those that it has received.
#[derive(Default)]
struct GenerationView {
    /// First offset due; `None` before the first id of the generation.
    from: Option<u64>,
    /// Highest offset of an id.
    cursor: u64,
    /// Index in the observations, by event.
    received: HashMap<EventLabel, usize>,
    /// Indices in the observations and channels of received events, by offset; only events on a single channel.
    single: BTreeMap<u64, (usize, usize)>,
    gaps: Vec<GapWindow>,
}

/// A gap after a trim, and the cursor before it.
struct GapWindow {
    /// Index in the observations.
    at: usize,
    cursor: u64,
    /// Highest offset that can have been trimmed by then, for each channel that the gap names.
    trimmed: HashMap<usize, u64>,
}

struct StreamComparison<'a> {
    oracle: &'a Oracle,
    entries: &'a LogEntries,
    /// Only in a phase that trims.
    retention: Option<&'a Retention>,
    record: &'a ReaderHistory,
    /// Whether the reader has each channel.
    wanted: Vec<bool>,
    /// Generation of the last id.
    generation: Option<u64>,
    views: HashMap<u64, GenerationView>,
    /// Whether a gap was observed, and no later id since then.
    is_after_gap: bool,
    result: &'a mut ComparisonResult,
}

impl StreamComparison<'_> {
    fn violation(&mut self, kind: ViolationKind, text: &str) {
        self.result.add(kind, format!("{}: {text}", self.record.name()));
    }

    /// Moves to the generation of an id that did not come with a gap.
    fn enter(&mut self, position: LogPosition) {
        let last = self.generation.replace(position.generation);
        if let Some(last) = last.filter(|last| *last != position.generation) {
            let before = self.views.get(&last).map_or(0, |view| view.cursor);
            let text = format!(
                "came back with offset {before} of epoch {last:016x} and was sent {position}; expected a gap first"
            );
            self.violation(ViolationKind::UnsignalledGap, &text);
        }
    }

    fn event(&mut self, at: usize, label: EventLabel, position: LogPosition, skips: &[u64]) {
        self.enter(position);
        self.is_after_gap = false;
        let event = &self.oracle.sent[&label];
        if !event.channels.iter().any(|&channel| self.wanted[channel]) {
            let text = format!("got event {label} at {position}, of channels {}", self.names(label));
            self.violation(ViolationKind::WrongContent, &text);
        }
        if event.result == PublishResult::NotStored {
            let text = format!("got event {label} at {position}, which was answered with not_stored");
            self.violation(ViolationKind::WrongContent, &text);
        }
        let is_urgent = event.class == DeliveryClass::Urgent;
        let known = self.entries.position(label, position.generation);
        if let Some(known) = known
            && !self.entries.positions(label).contains(&position)
            && !(is_urgent && skips.contains(&known.offset))
        {
            let text = format!("got event {label} with an id of {position}; it is at {known}");
            self.violation(ViolationKind::WrongContent, &text);
        }
        let own = if self.oracle.has_rising_offsets() { known.unwrap_or(position) } else { position };
        let view = self.views.entry(position.generation).or_default();
        let (cursor, is_first) = (view.cursor, view.from.is_none());
        // A stream begins with its position; without one, it begins with this event.
        view.from.get_or_insert(own.offset);
        view.cursor = cursor.max(position.offset);
        if let [channel] = event.channels[..] {
            view.single.insert(own.offset, (at, channel));
        }
        let before = view.received.insert(label, at);
        if let Some(before) = before {
            if !self.may_repeat(label, &self.record.observations[before..at]) {
                let text = format!("got event {label} at {own} again, as item {at} after item {before}");
                self.violation(ViolationKind::Duplicated, &text);
            }
        } else if !is_first && !is_urgent && position.offset <= cursor {
            let text = format!("got event {label} at {position} after the cursor was at offset {cursor}");
            self.violation(ViolationKind::Reordered, &text);
        }
    }

    /// Whether an event may repeat: after a gap of its channels, if its first copy can have been lost.
    fn may_repeat(&self, label: EventLabel, between: &[Observation]) -> bool {
        let is_reported = |name: &str| between.iter().any(|observation| observation.reports(name));
        !self.oracle.has_rising_offsets() && self.oracle.names(label).any(is_reported)
    }

    fn position(&mut self, position: LogPosition) {
        if !self.oracle.has_rising_offsets() {
            return;
        }
        self.enter(position);
        let is_from_beginning = self.record.begun == Some(PhaseTime::ZERO);
        let view = self.views.entry(position.generation).or_default();
        let cursor = view.cursor;
        view.from.get_or_insert(if is_from_beginning { 0 } else { position.offset + 1 });
        view.cursor = cursor.max(position.offset);
        if position.offset < cursor {
            let text = format!("got the position {position} after the cursor was at offset {cursor}");
            self.violation(ViolationKind::Reordered, &text);
        }
        // The position of a gap may be repeated. A later one shows that the reader read what follows the gap.
        self.is_after_gap &= position.offset <= cursor;
    }

    fn gap(&mut self, at: usize, gap: &ObservedGap) {
        let ObservedGap { reason, channels, requested, resumed_at, .. } = gap;
        let (reason, names) = (reason.as_str(), channels.join(", "));
        let description =
            format!("got gap {reason} on [{names}], requested {requested:?}, resumed at {resumed_at}");
        let fault = match self.oracle.rule {
            LossRule::Never => Some("no event was missing".to_owned()),
            LossRule::EachEpoch => self.fault_of_epoch_gap(gap).map(str::to_owned),
            LossRule::Trimmed { .. } => self.fault_of_trimmed_gap(at, gap),
            // After a loss offsets repeat. The gap is compared with the losses.
            LossRule::Injected { .. } => {
                self.views.entry(resumed_at.generation).or_default().cursor = 0;
                return;
            }
        };
        if let Some(fault) = fault {
            self.violation(ViolationKind::SpuriousGap, &format!("{description}; {fault}"));
        }
        self.is_after_gap = true;
        self.generation = Some(resumed_at.generation);
        let view = self.views.entry(resumed_at.generation).or_default();
        view.from.get_or_insert(0);
        view.cursor = view.cursor.max(resumed_at.offset);
    }

    fn fault_of_epoch_gap(&self, gap: &ObservedGap) -> Option<&'static str> {
        match self.generation {
            None => Some("it came without an id"),
            Some(generation) if generation == gap.resumed_at.generation && !self.is_after_gap => {
                Some("it came with an id of that epoch")
            }
            Some(_) if !matches!(gap.reason, GapReason::Epoch | GapReason::Ahead) => {
                Some("expected the reason epoch or ahead")
            }
            Some(_) => None,
        }
    }

    fn fault_of_trimmed_gap(&mut self, at: usize, gap: &ObservedGap) -> Option<String> {
        let retention = self.retention.expect("the phase trims");
        let generation = gap.resumed_at.generation;
        let view = self.views.get_mut(&generation).filter(|view| view.from.is_some());
        let Some(view) = view else { return Some("it came without an id".to_owned()) };
        let cursor = view.cursor;
        let mut trimmed = HashMap::new();
        let mut is_undecided = false;
        for channel in (0..self.wanted.len()).filter(|&channel| self.wanted[channel]) {
            is_undecided |= retention.unlocated_before(channel, gap.read_at) > 0;
            if let Some(offset) = retention.trimmed_up_to(generation, channel, gap.read_at) {
                trimmed.insert(channel, offset);
            }
        }
        let has_lost = trimmed.values().any(|&offset| offset > cursor);
        // An open stream gets a gap `lagged` when its unsent entries are trimmed.
        let is_reason = matches!(gap.reason, GapReason::Trimmed | GapReason::Lagged);
        let is_wrong = !is_reason || !has_lost && !is_undecided;
        let fault = is_wrong.then(|| {
            format!("its cursor was at offset {cursor}, and no entry above it can have been trimmed: {trimmed:?} by channel")
        });
        trimmed.retain(|&channel, _| gap.names(&self.oracle.channels[channel]));
        view.gaps.push(GapWindow { at, cursor, trimmed });
        fault
    }

    /// Finds events that are due and missing.
    fn find_missing(&mut self) {
        let closing = self.oracle.closing.iter().filter(|label| self.oracle.wants(self.record, **label));
        let positions = closing.flat_map(|label| self.entries.positions(*label).last());
        let target = positions.copied().max_by_key(|position| position.offset);
        for (generation, view) in std::mem::take(&mut self.views) {
            let Some(from) = view.from else { continue };
            let to = target.filter(|target| self.record.is_whole && target.generation == generation);
            let to = to.map_or(view.cursor, |target| target.offset.max(view.cursor));
            let due = self.entries.between(generation, from, to);
            let is_missing =
                |label| self.oracle.wants(self.record, label) && !view.received.contains_key(&label);
            let missing: Vec<_> = due.filter(|(_, label)| is_missing(*label)).collect();
            // Of the events beyond the cursor, one violation reports the first.
            let end = missing.partition_point(|(position, _)| position.offset <= view.cursor);
            for &(position, label) in missing.iter().take(end + 1) {
                self.miss(&view, label, position);
            }
        }
    }

    fn miss(&mut self, view: &GenerationView, label: EventLabel, position: LogPosition) {
        let event = &self.oracle.sent[&label];
        let channels: Vec<_> =
            event.channels.iter().copied().filter(|&channel| self.wanted[channel]).collect();
        if self.entries.may_be_missing(self.oracle, label, position)
            || channels.iter().any(|&channel| view.is_excused(channel, position.offset))
        {
            return;
        }
        // If retention can have removed the event, a gap should have reported it.
        let trimmed_up_to =
            |&channel: &usize| self.retention?.trimmed_up_to(position.generation, channel, PhaseTime::MAX);
        let is_trimmed = channels.iter().filter_map(trimmed_up_to).any(|offset| offset >= position.offset);
        let kind = if is_trimmed { ViolationKind::UnsignalledGap } else { ViolationKind::Lost };
        let text = format!(
            "missed event {label} at {position}, of channels {}, {:?}, {:?}; it is owed from offset {} and its cursor \
             came to {}; {} gaps were received",
            self.names(label),
            event.class,
            event.result,
            view.from.unwrap_or(0),
            view.cursor,
            view.gaps.len(),
        );
        self.violation(kind, &text);
    }

    fn names(&self, label: EventLabel) -> String {
        self.oracle.names(label).collect::<Vec<_>>().join(", ")
    }
}

impl GenerationView {
    /// Whether a gap explains that this entry of a channel is missing.
    fn is_excused(&self, channel: usize, offset: u64) -> bool {
        self.gaps.iter().enumerate().any(|(index, gap)| {
            let next = self.gaps.get(index + 1).map_or(usize::MAX, |next| next.at);
            // Trimming begins with the oldest entry. An entry received after the gap was kept, and so are all above
            // it.
            let has_kept_below = || {
                let mut below = self.single.range(..offset);
                below.any(|(_, &(at, other))| other == channel && (gap.at..next).contains(&at))
            };
            gap.cursor < offset
                && gap.trimmed.get(&channel).is_some_and(|&trimmed| offset <= trimmed)
                && !has_kept_below()
        })
    }
}
