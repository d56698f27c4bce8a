//! Comparison of a subscriber's observations, or a channel's history, with the log.

use std::collections::{BTreeMap, HashMap, HashSet};

use tidings_protocol::Subscription;
use tidings_protocol::body::GapReason;

use super::log::{LocatedEvent, ReconstructedLog};
use super::observation::{Observation, ObservedGap, SubscriberHistory};
use super::sent::{DeliveryClass, EventLabel, LogPosition};
use crate::violation::{Violation, ViolationKind};

/// Rule for gaps in a phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GapRule {
    /// No gap: no event may be missing.
    Never,
    /// One gap at every change of epoch, which loses all events.
    EachEpoch,
    /// A gap if a channel has lost an entry above the cursor: `retention_events` newer entries allow the loss.
    Trimmed {
        /// Retention, in entries of a channel.
        retention_events: usize,
    },
}

/// Rules of a phase.
pub(crate) struct PhaseRules {
    pub(crate) gaps: GapRule,
    /// Position of the last event of each channel, which every subscriber must reach.
    pub(crate) targets: Vec<LogPosition>,
}

/// Offsets of one generation that a subscriber must receive, and those that it has received.
#[derive(Default)]
struct GenerationView {
    /// First offset due; `None` before the first id of the generation.
    from: Option<u64>,
    /// Highest offset of an id.
    cursor: u64,
    received: HashMap<EventLabel, usize>,
    /// Indices in `observations` and channels of received events, by offset; only events on a single channel.
    single: BTreeMap<u64, (usize, usize)>,
    gaps: Vec<GapWindow>,
}

/// A gap, and the cursor before it.
struct GapWindow {
    /// Index in `observations`.
    at: usize,
    cursor: u64,
    /// Highest offset that can have been trimmed by then, for each channel that the gap names.
    trimmed: HashMap<usize, u64>,
}

/// Finds the violations in one subscriber's history.
pub(crate) fn compare_record(
    log: &ReconstructedLog,
    record: &SubscriberHistory,
    rules: &PhaseRules,
) -> Vec<Violation> {
    let wanted = log.channels.iter().map(|channel| record.wants(channel)).collect();
    let mut comparison = HistoryComparison {
        log,
        record,
        rules,
        wanted,
        generation: None,
        views: HashMap::new(),
        is_after_gap: false,
        violations: Vec::new(),
    };
    for (at, observations) in record.observations.iter().enumerate() {
        match observations {
            Observation::Opened => {}
            Observation::Event { label, position, skips } => comparison.event(at, *label, *position, skips),
            Observation::Position(position) => comparison.position(*position),
            Observation::Gap(gap) => comparison.gap(at, gap),
        }
    }
    comparison.missing();
    comparison.violations
}

struct HistoryComparison<'a> {
    log: &'a ReconstructedLog,
    record: &'a SubscriberHistory,
    rules: &'a PhaseRules,
    /// Whether the subscriber has each channel.
    wanted: Vec<bool>,
    /// Generation of the last id.
    generation: Option<u64>,
    views: HashMap<u64, GenerationView>,
    /// Whether a gap was observed, and no later id since then.
    is_after_gap: bool,
    violations: Vec<Violation>,
}

impl HistoryComparison<'_> {
    fn violation(&mut self, kind: ViolationKind, text: &str) {
        let names: Vec<_> = self.record.subscriptions.iter().map(Subscription::as_str).collect();
        let text = format!("subscriber {} of {}: {text}", self.record.subscriber, names.join(", "));
        self.violations.push(Violation::new(kind, text));
    }

    /// Moves to the generation of an id that did not come with a gap.
    fn enter(&mut self, position: LogPosition) {
        if let Some(generation) = self.generation
            && generation != position.generation
        {
            let before = self.views.get(&generation).map_or(0, |view| view.cursor);
            let text = format!(
                "came back with offset {before} of epoch {generation:016x} and was sent {position}; expected a gap first"
            );
            self.violation(ViolationKind::UnsignalledGap, &text);
        }
        self.generation = Some(position.generation);
    }

    fn event(&mut self, at: usize, label: EventLabel, position: LogPosition, skips: &[u64]) {
        self.enter(position);
        self.is_after_gap = false;
        let message = self.log.message(label);
        if !message.channels.iter().any(|&channel| self.wanted[channel]) {
            let text = format!(
                "got event {label} at {position}, of channels {}",
                names(self.log, &message.channels)
            );
            self.violation(ViolationKind::WrongContent, &text);
        }
        let is_urgent = message.kind == DeliveryClass::Urgent;
        let known = message.positions.iter().find(|known| known.generation == position.generation).copied();
        if let Some(known) = known
            && known != position
            && !(is_urgent && skips.contains(&known.offset))
        {
            let text = format!("got event {label} with an id of {position}; it is at {known}");
            self.violation(ViolationKind::WrongContent, &text);
        }
        let view = self.views.entry(position.generation).or_default();
        let cursor = view.cursor;
        let own = known.unwrap_or(position);
        let is_first = view.from.is_none();
        // A stream begins with its position; without one, it begins with this event.
        view.from.get_or_insert(own.offset);
        if let [channel] = message.channels[..] {
            view.single.insert(own.offset, (at, channel));
        }
        let twice = view.received.insert(label, at);
        view.cursor = cursor.max(position.offset);
        if let Some(before) = twice {
            let text = format!("got event {label} at {own} again, as item {at} after item {before}");
            self.violation(ViolationKind::Duplicated, &text);
        } else if !is_first && !is_urgent && position.offset <= cursor {
            let text = format!("got event {label} at {position} after the cursor was at offset {cursor}");
            self.violation(ViolationKind::Reordered, &text);
        }
    }

    fn position(&mut self, position: LogPosition) {
        self.enter(position);
        let is_from_beginning = self.record.is_from_beginning;
        let view = self.views.entry(position.generation).or_default();
        let cursor = view.cursor;
        view.from.get_or_insert(if is_from_beginning { 0 } else { position.offset + 1 });
        view.cursor = cursor.max(position.offset);
        if position.offset < cursor {
            let text = format!("got the position {position} after the cursor was at offset {cursor}");
            self.violation(ViolationKind::Reordered, &text);
        }
        // The position of a gap may be repeated. A later one shows that the subscriber read what follows the gap.
        self.is_after_gap &= position.offset <= cursor;
    }

    fn gap(&mut self, at: usize, gap: &ObservedGap) {
        let description = format!(
            "got gap {} on [{}], requested {:?}, resumed at {}",
            gap.reason.as_str(),
            gap.channels.join(", "),
            gap.requested,
            gap.resumed_at
        );
        match self.rules.gaps {
            GapRule::Never => {
                self.violation(ViolationKind::SpuriousGap, &format!("{description}; no event was missing"));
            }
            GapRule::EachEpoch => self.epoch_gap(gap, &description),
            GapRule::Trimmed { retention_events } => {
                self.trimmed_gap(at, gap, retention_events, &description);
            }
        }
        self.is_after_gap = true;
        self.generation = Some(gap.resumed_at.generation);
        let view = self.views.entry(gap.resumed_at.generation).or_default();
        view.from.get_or_insert(0);
        view.cursor = view.cursor.max(gap.resumed_at.offset);
    }

    fn epoch_gap(&mut self, gap: &ObservedGap, description: &str) {
        let text = match self.generation {
            None => format!("{description}; it came without an id"),
            Some(generation) if generation == gap.resumed_at.generation && !self.is_after_gap => {
                format!("{description}; it came with an id of that epoch")
            }
            Some(_) if !matches!(gap.reason, GapReason::Epoch | GapReason::Ahead) => {
                format!("{description}; expected the reason epoch or ahead")
            }
            Some(_) => return,
        };
        self.violation(ViolationKind::SpuriousGap, &text);
    }

    fn trimmed_gap(&mut self, at: usize, gap: &ObservedGap, retention_events: usize, description: &str) {
        let generation = gap.resumed_at.generation;
        let cursor = self.views.get(&generation).filter(|view| view.from.is_some()).map(|view| view.cursor);
        let Some(cursor) = cursor else {
            return self
                .violation(ViolationKind::SpuriousGap, &format!("{description}; it came without an id"));
        };
        let mut trimmed = HashMap::new();
        let mut is_undecided = false;
        for channel in (0..self.wanted.len()).filter(|&channel| self.wanted[channel]) {
            is_undecided |= self.log.unlocated[channel].iter().any(|&begun| begun < gap.tick);
            if let Some(offset) = trimmed_up_to(self.log, generation, channel, gap.tick, retention_events) {
                trimmed.insert(channel, offset);
            }
        }
        let has_lost = trimmed.values().any(|&offset| offset > cursor);
        // An open stream gets a gap `lagged` when its unsent entries are trimmed.
        let is_reason = matches!(gap.reason, GapReason::Trimmed | GapReason::Lagged);
        if !is_reason || !has_lost && !is_undecided {
            let text = format!(
                "{description}; its cursor was at offset {cursor}, and no entry above it can have been trimmed: {trimmed:?} \
                 by channel"
            );
            self.violation(ViolationKind::SpuriousGap, &text);
        }
        let named: Vec<_> = gap.channels.iter().filter_map(|name| Subscription::parse(name).ok()).collect();
        trimmed.retain(|&channel, _| named.iter().any(|name| name.matches(&self.log.channels[channel])));
        let view = self.views.entry(generation).or_default();
        view.gaps.push(GapWindow { at, cursor, trimmed });
    }

    /// Finds events that are due and missing.
    fn missing(&mut self) {
        let target = (0..self.wanted.len()).filter(|&channel| self.wanted[channel]);
        let target = target.map(|channel| self.rules.targets[channel]).max_by_key(|position| position.offset);
        let generations: Vec<u64> = self.views.keys().copied().collect();
        for generation in generations {
            let view = self.views.remove(&generation).expect("the key was read from the map");
            let Some(from) = view.from else { continue };
            let to = match target {
                Some(target) if target.generation == generation => target.offset,
                _ => view.cursor,
            };
            let missing: Vec<_> = (self.log.events(generation, from, to, &self.wanted))
                .filter(|(_, label)| !view.received.contains_key(label))
                .collect();
            // Of the events beyond the cursor, one violation reports the first.
            let (passed, beyond) = missing.split_at(missing.partition_point(|(at, _)| *at <= view.cursor));
            for &(offset, label) in passed.iter().chain(beyond.first()) {
                self.miss(&view, label, LogPosition { generation, offset });
            }
        }
    }

    fn miss(&mut self, view: &GenerationView, label: EventLabel, position: LogPosition) {
        let message = self.log.message(label);
        let is_allowed = self.log.may_be_missing(label, position);
        let channels = message.channels.iter().copied().filter(|&channel| self.wanted[channel]);
        if is_allowed || channels.clone().any(|channel| view.is_excused(channel, position.offset)) {
            return;
        }
        let kind = match self.rules.gaps {
            // Retention can have removed the event, so a gap should have reported it.
            GapRule::Trimmed { retention_events }
                if channels.clone().any(|channel| {
                    trimmed_up_to(self.log, position.generation, channel, u64::MAX, retention_events)
                        .is_some_and(|offset| offset >= position.offset)
                }) =>
            {
                ViolationKind::UnsignalledGap
            }
            _ => ViolationKind::Lost,
        };
        let text = format!(
            "missed event {label} at {position}, of channels {}, {:?}, {:?}; it is owed from offset {} and its cursor \
             came to {}; {} gaps were received",
            names(self.log, &message.channels),
            message.kind,
            message.outcome,
            view.from.unwrap_or(0),
            view.cursor,
            view.gaps.len(),
        );
        self.violation(kind, &text);
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

/// Highest offset of a channel that can have been trimmed before a tick.
///
/// Any event sent before the tick may be in the log, answered or not. Events without a position count as well.
fn trimmed_up_to(
    log: &ReconstructedLog,
    generation: u64,
    channel: usize,
    tick: u64,
    retention_events: usize,
) -> Option<u64> {
    let unseen = log.unlocated[channel].iter().filter(|&&begun| begun < tick).count();
    let newer_min = retention_events.saturating_sub(unseen);
    log.sent_before(generation, channel, tick).nth(newer_min)
}

/// Finds the violations in a channel's history after the last publish.
pub(crate) fn compare_history(
    log: &ReconstructedLog,
    channel: usize,
    history: &[LocatedEvent],
    rules: &PhaseRules,
) -> Vec<Violation> {
    let target = rules.targets[channel];
    let wanted: Vec<bool> = (0..log.channels.len()).map(|at| at == channel).collect();
    let expected: Vec<_> = log.events(target.generation, 0, u64::MAX, &wanted).collect();
    let name = &log.channels[channel];
    let mut violations = Vec::new();
    let mut violation =
        |kind, text| violations.push(Violation::new(kind, format!("history of {name}: {text}")));
    let mut known = HashSet::new();
    for pair in history.windows(2) {
        if pair[0].1.offset >= pair[1].1.offset {
            violation(
                ViolationKind::Reordered,
                format!("{} at {} comes before {} at {}", pair[0].0, pair[0].1, pair[1].0, pair[1].1),
            );
        }
    }
    for (label, position) in history {
        if !known.insert(label) {
            violation(ViolationKind::Duplicated, format!("event {label} at {position} comes twice"));
        }
        if !log.message(*label).channels.contains(&channel) {
            violation(
                ViolationKind::WrongContent,
                format!("event {label} at {position} is of other channels"),
            );
        }
    }
    // Trimming begins with the oldest entry, and keeps the newest ones of the retention.
    let oldest = history.first().map_or(u64::MAX, |(_, position)| position.offset);
    let trimmed = expected.iter().filter(|(offset, _)| *offset < oldest).count();
    let trimmed_max = match rules.gaps {
        GapRule::Trimmed { retention_events } => {
            expected.len().saturating_sub(retention_events.saturating_sub(log.unlocated[channel].len()))
        }
        GapRule::Never | GapRule::EachEpoch => 0,
    };
    for &(offset, label) in &expected[trimmed.min(trimmed_max)..] {
        let position = LogPosition { generation: target.generation, offset };
        let is_allowed = log.may_be_missing(label, position);
        if !known.contains(&label) && !is_allowed {
            violation(
                ViolationKind::Lost,
                format!("event {label} at {position} is missing; {} others are there", history.len()),
            );
        }
    }
    violations
}

fn names(log: &ReconstructedLog, channels: &[usize]) -> String {
    let names: Vec<_> = channels.iter().map(|&channel| log.channels[channel].as_str()).collect();
    names.join(", ")
}
