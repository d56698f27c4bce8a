//! Compares what a subscriber, or history, told with what the log must have been.

use std::collections::{BTreeMap, HashMap, HashSet};

use tidings_protocol::Subscription;
use tidings_protocol::body::GapReason;

use super::{GapSeen, Kind, Label, Located, Log, Place, Record, Seen};
use crate::report::{Fault, FaultKind};

/// When a phase may tell gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// Never: nothing may be missing.
    Never,
    /// Once at every change of epoch, which lost all.
    EachEpoch,
    /// Where a channel lost an entry above the cursor, which it may once so many newer ones are there.
    Trimmed {
        /// Newest entries of a channel that are kept.
        retention_events: usize,
    },
}

/// What a phase is judged by.
pub(crate) struct Rules {
    pub(crate) gaps: Gaps,
    /// The last event of every channel, by channel: everybody has to get there.
    pub(crate) targets: Vec<Place>,
}

/// A stretch of one life that a subscriber is responsible for, and what it received of it.
#[derive(Default)]
struct Stretch {
    /// First offset that it should have; none until the life's first id was seen.
    from: Option<u64>,
    /// Cursor: the highest offset that an id named.
    cursor: u64,
    received: HashMap<Label, usize>,
    /// Places in `seen` of what was received, by offset; only of events on a single channel.
    single: BTreeMap<u64, (usize, usize)>,
    gaps: Vec<GapTold>,
}

/// A gap, and the cursor that it was told at.
struct GapTold {
    /// Its place in `seen`.
    at: usize,
    cursor: u64,
    /// Per channel that it names, the highest offset that can have been trimmed by then.
    trimmed: HashMap<usize, u64>,
}

/// Finds the faults in one subscriber's record.
pub(crate) fn compare_record(log: &Log, record: &Record, rules: &Rules) -> Vec<Fault> {
    let wanted = log.channels.iter().map(|channel| record.wants(channel)).collect();
    let mut comparison = Comparison {
        log,
        record,
        rules,
        wanted,
        life: None,
        stretches: HashMap::new(),
        is_told: false,
        faults: Vec::new(),
    };
    for (at, seen) in record.seen.iter().enumerate() {
        match seen {
            Seen::Opened => {}
            Seen::Event { label, place, skips } => comparison.event(at, *label, *place, skips),
            Seen::Position(place) => comparison.position(*place),
            Seen::Gap(gap) => comparison.gap(at, gap),
        }
    }
    comparison.missing();
    comparison.faults
}

struct Comparison<'a> {
    log: &'a Log,
    record: &'a Record,
    rules: &'a Rules,
    /// Which channels the subscriber has.
    wanted: Vec<bool>,
    /// The life of the last id.
    life: Option<u64>,
    stretches: HashMap<u64, Stretch>,
    /// A gap was told, and nothing that follows it was read yet.
    is_told: bool,
    faults: Vec<Fault>,
}

impl Comparison<'_> {
    fn fault(&mut self, kind: FaultKind, text: &str) {
        let names: Vec<_> = self.record.subscriptions.iter().map(Subscription::as_str).collect();
        let text = format!("subscriber {} of {}: {text}", self.record.subscriber, names.join(", "));
        self.faults.push(Fault::new(kind, text));
    }

    /// Moves to the life of an id that did not come with a gap.
    fn enter(&mut self, place: Place) {
        if let Some(life) = self.life
            && life != place.life
        {
            let before = self.stretches.get(&life).map_or(0, |stretch| stretch.cursor);
            let text = format!(
                "came back with offset {before} of epoch {life:016x} and was sent {place}; expected a gap first"
            );
            self.fault(FaultKind::UnsignalledGap, &text);
        }
        self.life = Some(place.life);
    }

    fn event(&mut self, at: usize, label: Label, place: Place, skips: &[u64]) {
        self.enter(place);
        self.is_told = false;
        let message = self.log.message(label);
        if !message.channels.iter().any(|&channel| self.wanted[channel]) {
            let text =
                format!("got event {label} at {place}, of channels {}", names(self.log, &message.channels));
            self.fault(FaultKind::WrongContent, &text);
        }
        let is_urgent = message.kind == Kind::Urgent;
        let known = message.places.iter().find(|known| known.life == place.life).copied();
        if let Some(known) = known
            && known != place
            && !(is_urgent && skips.contains(&known.offset))
        {
            let text = format!("got event {label} with an id of {place}; it is at {known}");
            self.fault(FaultKind::WrongContent, &text);
        }
        let stretch = self.stretches.entry(place.life).or_default();
        let cursor = stretch.cursor;
        let own = known.unwrap_or(place);
        let is_first = stretch.from.is_none();
        // A stream begins with its position; without one, this event is where it began.
        stretch.from.get_or_insert(own.offset);
        if let [channel] = message.channels[..] {
            stretch.single.insert(own.offset, (at, channel));
        }
        let twice = stretch.received.insert(label, at);
        stretch.cursor = cursor.max(place.offset);
        if let Some(before) = twice {
            let text = format!("got event {label} at {own} again, as item {at} after item {before}");
            self.fault(FaultKind::Duplicated, &text);
        } else if !is_first && !is_urgent && place.offset <= cursor {
            let text = format!("got event {label} at {place} after the cursor was at offset {cursor}");
            self.fault(FaultKind::Reordered, &text);
        }
    }

    fn position(&mut self, place: Place) {
        self.enter(place);
        let is_from_beginning = self.record.is_from_beginning;
        let stretch = self.stretches.entry(place.life).or_default();
        let cursor = stretch.cursor;
        stretch.from.get_or_insert(if is_from_beginning { 0 } else { place.offset + 1 });
        stretch.cursor = cursor.max(place.offset);
        if place.offset < cursor {
            let text = format!("got the position {place} after the cursor was at offset {cursor}");
            self.fault(FaultKind::Reordered, &text);
        }
        // The position that a gap brought may be told again; one further on shows that what followed was read.
        self.is_told &= place.offset <= cursor;
    }

    fn gap(&mut self, at: usize, gap: &GapSeen) {
        let told = format!(
            "was told gap {} on [{}], requested {:?}, resumed at {}",
            gap.reason.as_str(),
            gap.channels.join(", "),
            gap.requested,
            gap.resumed_at
        );
        match self.rules.gaps {
            Gaps::Never => self.fault(FaultKind::SpuriousGap, &format!("{told}; nothing was missing")),
            Gaps::EachEpoch => self.epoch_gap(gap, &told),
            Gaps::Trimmed { retention_events } => self.trimmed_gap(at, gap, retention_events, &told),
        }
        self.is_told = true;
        self.life = Some(gap.resumed_at.life);
        let stretch = self.stretches.entry(gap.resumed_at.life).or_default();
        stretch.from.get_or_insert(0);
        stretch.cursor = stretch.cursor.max(gap.resumed_at.offset);
    }

    fn epoch_gap(&mut self, gap: &GapSeen, told: &str) {
        let text = match self.life {
            None => format!("{told}; it came without an id"),
            Some(life) if life == gap.resumed_at.life && !self.is_told => {
                format!("{told}; it came with an id of that epoch")
            }
            Some(_) if !matches!(gap.reason, GapReason::Epoch | GapReason::Ahead) => {
                format!("{told}; expected the reason epoch or ahead")
            }
            Some(_) => return,
        };
        self.fault(FaultKind::SpuriousGap, &text);
    }

    fn trimmed_gap(&mut self, at: usize, gap: &GapSeen, retention_events: usize, told: &str) {
        let life = gap.resumed_at.life;
        let cursor =
            self.stretches.get(&life).filter(|stretch| stretch.from.is_some()).map(|stretch| stretch.cursor);
        let Some(cursor) = cursor else {
            return self.fault(FaultKind::SpuriousGap, &format!("{told}; it came without an id"));
        };
        let mut trimmed = HashMap::new();
        let mut is_undecided = false;
        for channel in (0..self.wanted.len()).filter(|&channel| self.wanted[channel]) {
            is_undecided |= self.log.unlocated[channel].iter().any(|&begun| begun < gap.tick);
            if let Some(offset) = trimmed_up_to(self.log, life, channel, gap.tick, retention_events) {
                trimmed.insert(channel, offset);
            }
        }
        let has_lost = trimmed.values().any(|&offset| offset > cursor);
        // `lagged` is what an open stream is told whose unsent entries were trimmed.
        let is_reason = matches!(gap.reason, GapReason::Trimmed | GapReason::Lagged);
        if !is_reason || !has_lost && !is_undecided {
            let text = format!(
                "{told}; its cursor was at offset {cursor}, and nothing above it can have been trimmed: {trimmed:?} \
                 by channel"
            );
            self.fault(FaultKind::SpuriousGap, &text);
        }
        let named: Vec<_> = gap.channels.iter().filter_map(|name| Subscription::parse(name).ok()).collect();
        trimmed.retain(|&channel, _| named.iter().any(|name| name.matches(&self.log.channels[channel])));
        let stretch = self.stretches.entry(life).or_default();
        stretch.gaps.push(GapTold { at, cursor, trimmed });
    }

    /// Finds what should have come and did not.
    fn missing(&mut self) {
        let target = (0..self.wanted.len()).filter(|&channel| self.wanted[channel]);
        let target = target.map(|channel| self.rules.targets[channel]).max_by_key(|place| place.offset);
        let lives: Vec<u64> = self.stretches.keys().copied().collect();
        for life in lives {
            let stretch = self.stretches.remove(&life).expect("the key was read from the map");
            let Some(from) = stretch.from else { continue };
            let to = match target {
                Some(target) if target.life == life => target.offset,
                _ => stretch.cursor,
            };
            let missing: Vec<_> = (self.log.events(life, from, to, &self.wanted))
                .filter(|(_, label)| !stretch.received.contains_key(label))
                .collect();
            // Beyond the cursor the subscriber did not get at all: one fault tells it.
            let (passed, beyond) = missing.split_at(missing.partition_point(|(at, _)| *at <= stretch.cursor));
            for &(offset, label) in passed.iter().chain(beyond.first()) {
                self.miss(&stretch, label, Place { life, offset });
            }
        }
    }

    fn miss(&mut self, stretch: &Stretch, label: Label, place: Place) {
        let message = self.log.message(label);
        let is_allowed = match message.kind {
            Kind::Low => true,
            Kind::Keyed(_) => self.log.is_superseded(label, place),
            Kind::Strict | Kind::Urgent => false,
        };
        let channels = message.channels.iter().copied().filter(|&channel| self.wanted[channel]);
        if is_allowed || channels.clone().any(|channel| stretch.is_excused(channel, place.offset)) {
            return;
        }
        let kind = match self.rules.gaps {
            // It can only have gone with what retention removed, so a gap should have told it.
            Gaps::Trimmed { retention_events }
                if channels.clone().any(|channel| {
                    trimmed_up_to(self.log, place.life, channel, u64::MAX, retention_events)
                        .is_some_and(|offset| offset >= place.offset)
                }) =>
            {
                FaultKind::UnsignalledGap
            }
            _ => FaultKind::Lost,
        };
        let text = format!(
            "missed event {label} at {place}, of channels {}, {:?}, {:?}; it is owed from offset {} and its cursor \
             came to {}; {} gaps were told",
            names(self.log, &message.channels),
            message.kind,
            message.outcome,
            stretch.from.unwrap_or(0),
            stretch.cursor,
            stretch.gaps.len(),
        );
        self.fault(kind, &text);
    }
}

impl Stretch {
    /// Returns whether a gap told that this entry of a channel may be missing.
    fn is_excused(&self, channel: usize, offset: u64) -> bool {
        self.gaps.iter().enumerate().any(|(index, gap)| {
            let next = self.gaps.get(index + 1).map_or(usize::MAX, |next| next.at);
            // Trimming goes from the oldest: what came of this channel after the gap was kept, and so is all above it.
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

/// Returns the highest offset of a channel that can have been trimmed before a tick: so many newer ones may be there.
///
/// What was sent before the tick may be in the log by then, answered or not; what was never seen counts as there, too.
fn trimmed_up_to(log: &Log, life: u64, channel: usize, tick: u64, retention_events: usize) -> Option<u64> {
    let unseen = log.unlocated[channel].iter().filter(|&&begun| begun < tick).count();
    let newer_min = retention_events.saturating_sub(unseen);
    log.sent_before(life, channel, tick).nth(newer_min)
}

/// Finds the faults in what history told of one channel after everything was published.
pub(crate) fn compare_history(log: &Log, channel: usize, told: &[Located], rules: &Rules) -> Vec<Fault> {
    let target = rules.targets[channel];
    let wanted: Vec<bool> = (0..log.channels.len()).map(|at| at == channel).collect();
    let expected: Vec<_> = log.events(target.life, 0, u64::MAX, &wanted).collect();
    let name = &log.channels[channel];
    let mut faults = Vec::new();
    let mut fault = |kind, text| faults.push(Fault::new(kind, format!("history of {name}: {text}")));
    let mut known = HashSet::new();
    for pair in told.windows(2) {
        if pair[0].1.offset >= pair[1].1.offset {
            fault(
                FaultKind::Reordered,
                format!("{} at {} comes before {} at {}", pair[0].0, pair[0].1, pair[1].0, pair[1].1),
            );
        }
    }
    for (label, place) in told {
        if !known.insert(label) {
            fault(FaultKind::Duplicated, format!("event {label} at {place} comes twice"));
        }
        if !log.message(*label).channels.contains(&channel) {
            fault(FaultKind::WrongContent, format!("event {label} at {place} is of other channels"));
        }
    }
    // What is trimmed goes from the oldest, and never one of the newest that retention keeps.
    let oldest = told.first().map_or(u64::MAX, |(_, place)| place.offset);
    let trimmed = expected.iter().filter(|(offset, _)| *offset < oldest).count();
    let trimmed_max = match rules.gaps {
        Gaps::Trimmed { retention_events } => {
            expected.len().saturating_sub(retention_events.saturating_sub(log.unlocated[channel].len()))
        }
        Gaps::Never | Gaps::EachEpoch => 0,
    };
    for &(offset, label) in &expected[trimmed.min(trimmed_max)..] {
        let place = Place { life: target.life, offset };
        let is_allowed = match log.message(label).kind {
            Kind::Low => true,
            Kind::Keyed(_) => log.is_superseded(label, place),
            Kind::Strict | Kind::Urgent => false,
        };
        if !known.contains(&label) && !is_allowed {
            fault(
                FaultKind::Lost,
                format!("event {label} at {place} is missing; {} others are there", told.len()),
            );
        }
    }
    faults
}

fn names(log: &Log, channels: &[usize]) -> String {
    let names: Vec<_> = channels.iter().map(|&channel| log.channels[channel].as_str()).collect();
    names.join(", ")
}
