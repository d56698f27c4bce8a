//! A simple model of a log with per-channel retention, and of its clients.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tidings_protocol::body::{GapNotice, GapReason};
use tidings_protocol::sse::{MessageEvent, Parser, StreamItem};
use tidings_protocol::{EventId, Priority, Subscription};

/// A stored event.
#[derive(Debug, Clone)]
pub(super) struct ModelEvent {
    pub(super) channels: Vec<&'static str>,
    pub(super) priority: Priority,
    pub(super) key: Option<u8>,
    pub(super) expires_at: Option<u64>,
}

/// The log.
#[derive(Debug, Default)]
pub(super) struct LogModel {
    /// Events by offset, from 1.
    pub(super) events: Vec<ModelEvent>,
    pub(super) held: BTreeMap<&'static str, VecDeque<u64>>,
    /// Trimmed events, in the order of trimming.
    pub(super) lost: Vec<(u64, &'static str)>,
    pub(super) events_max: usize,
    pub(super) now: u64,
}

impl LogModel {
    pub(super) fn head(&self) -> u64 {
        self.events.len() as u64
    }

    pub(super) fn append(&mut self, event: ModelEvent) {
        let channels = event.channels.clone();
        self.events.push(event);
        let offset = self.head();
        for channel in &channels {
            self.held.entry(channel).or_default().push_back(offset);
        }
        for channel in &channels {
            while self.held[channel].len() > self.events_max {
                let oldest = self.held.get_mut(channel).unwrap().pop_front().unwrap();
                if !self.has_expired(oldest) && !self.has_newer(oldest, channel) {
                    self.lost.push((oldest, channel));
                }
            }
        }
    }

    fn event(&self, offset: u64) -> &ModelEvent {
        &self.events[offset as usize - 1]
    }

    fn has_expired(&self, offset: u64) -> bool {
        self.event(offset).expires_at.is_some_and(|at| at <= self.now)
    }

    /// Whether a newer event of its key was published on a channel.
    fn has_newer(&self, offset: u64, channel: &str) -> bool {
        let key = self.event(offset).key;
        key.is_some()
            && self.events[offset as usize..].iter().any(|it| it.key == key && it.channels.contains(&channel))
    }

    /// Whether that newer event can still be read.
    fn holds_newer(&self, offset: u64, channel: &str) -> bool {
        let key = self.event(offset).key;
        let held = self.held.get(channel).into_iter().flatten();
        key.is_some() && held.into_iter().any(|it| *it > offset && self.event(*it).key == key)
    }

    /// Returns the channels by which a client receives an event.
    fn mine(&self, offset: u64, subscriptions: &[Subscription]) -> Vec<&'static str> {
        let channels = self.event(offset).channels.iter().copied();
        channels.filter(|channel| subscriptions.iter().any(|it| it.matches(channel))).collect()
    }
}

/// A client over all its connections.
pub(super) struct ClientModel {
    pub(super) subscriptions: std::sync::Arc<[Subscription]>,
    pub(super) parser: Parser,
    /// Offset at which the client began.
    began: u64,
    cursor: u64,
    had: BTreeSet<u64>,
    last_in_order: u64,
    /// Lost events that were reported to the client, by channel.
    gaps_reported_to: BTreeSet<(u64, &'static str)>,
    /// Head at the opening of the current connection.
    head_at_open: u64,
    /// The current connection was behind at some time.
    pub(super) was_behind: bool,
    pub(super) was_pressed: bool,
    /// Number of losses when the current bytes were requested.
    pub(super) lost_then: usize,
    pub(super) is_pressed: bool,
    pub(super) transient: BTreeMap<u64, u64>,
    pub(super) gaps: usize,
    pub(super) early: usize,
}

impl ClientModel {
    pub(super) fn new(subscriptions: std::sync::Arc<[Subscription]>, head: u64) -> Self {
        Self {
            subscriptions,
            parser: Parser::new(),
            began: head,
            cursor: head,
            had: BTreeSet::new(),
            last_in_order: 0,
            gaps_reported_to: BTreeSet::new(),
            head_at_open: head,
            // The client replays until it is at the head.
            was_behind: true,
            was_pressed: false,
            lost_then: 0,
            is_pressed: false,
            transient: BTreeMap::new(),
            gaps: 0,
            early: 0,
        }
    }

    /// Opens the next connection after the last id.
    pub(super) fn reconnect(&mut self, model: &LogModel) {
        let id = self.parser.last_event_id().to_owned();
        self.parser = Parser::new().with_last_event_id(&id);
        (self.head_at_open, self.was_behind, self.was_pressed) = (model.head(), true, false);
        self.transient.clear();
    }

    pub(super) fn feed(&mut self, model: &LogModel, bytes: &[u8]) {
        let mut items = Vec::new();
        self.parser.feed(bytes, &mut |item| items.push(item)).unwrap();
        for item in items {
            match item {
                StreamItem::Event(event) if event.name == "tidings.gap" => self.gap(model, &event),
                StreamItem::Event(event) if event.data.starts_with('u') => self.transient(&event),
                StreamItem::Event(event) => self.event(model, &event),
                StreamItem::Position(id) => {
                    self.moved(model, &id);
                }
                StreamItem::Retry(_) | StreamItem::Comment(_) => {}
            }
        }
    }

    fn event(&mut self, model: &LogModel, event: &MessageEvent) {
        let offset: u64 = event.data.lines().next().unwrap().parse().unwrap();
        let mine = model.mine(offset, &self.subscriptions);
        assert!(!mine.is_empty(), "event {offset} is of other channels");
        assert!(offset > self.began, "event {offset} was before {}", self.began);
        assert!(self.had.insert(offset), "event {offset} came twice");
        assert!(offset > self.last_in_order, "event {offset} came after {}", self.last_in_order);
        assert!(!model.has_expired(offset), "event {offset} has expired");
        let is_needless = mine.iter().all(|channel| model.holds_newer(offset, channel));
        assert!(!(self.is_pressed && is_needless), "event {offset} is not the newest of its key");
        let untold = model.lost[..self.lost_then].iter().find(|(lost, channel)| {
            (self.cursor + 1..offset).contains(lost) && self.misses(model, *lost, channel)
        });
        assert_eq!(untold, None, "event {offset} came before the gap");
        let is_urgent = model.event(offset).priority >= Priority::High;
        if !is_urgent {
            self.last_in_order = offset;
        }
        let id = self.moved(model, &event.last_event_id);
        assert!(id.offset == offset || is_urgent, "event {offset} has id {id}");
        self.early += usize::from(id.offset != offset);
    }

    /// Whether a loss in one channel must be reported to the client.
    fn misses(&self, model: &LogModel, lost: u64, channel: &'static str) -> bool {
        let mine = model.mine(lost, &self.subscriptions);
        mine.contains(&channel)
            && !self.had.contains(&lost)
            && !self.gaps_reported_to.contains(&(lost, channel))
            && !model.has_expired(lost)
            && !self.may_skip(model, lost)
            // An event that another of its channels retains is received by that channel.
            && mine.iter().all(|other| model.lost.contains(&(lost, other)))
            && !mine.iter().all(|channel| model.has_newer(lost, channel))
    }

    fn may_skip(&self, model: &LogModel, offset: u64) -> bool {
        self.was_pressed && model.event(offset).priority == Priority::Low && offset > self.head_at_open
    }

    fn moved(&mut self, model: &LogModel, text: &str) -> EventId {
        let id: EventId = text.parse().unwrap_or_else(|error| panic!("{error}"));
        assert!(text.len() <= EventId::BYTES_MAX && id.skips.len() <= EventId::SKIPS_MAX);
        assert!(id.offset >= self.cursor, "id {text} went back from {}", self.cursor);
        for offset in self.cursor.max(self.began) + 1..=id.offset {
            self.pass(model, offset);
        }
        self.cursor = id.offset;
        let ahead: Vec<u64> = self.had.range(self.cursor + 1..).copied().collect();
        let skips: Vec<u64> = id.skips.iter().map(|skip| skip.offset).collect();
        assert_eq!(ahead, skips, "id {text} does not say what was sent");
        id
    }

    /// Checks that an event before the cursor was received, or may be missing.
    fn pass(&self, model: &LogModel, offset: u64) {
        let mine = model.mine(offset, &self.subscriptions);
        if mine.is_empty() || self.had.contains(&offset) || model.has_expired(offset) {
            return;
        }
        if self.may_skip(model, offset) {
            return;
        }
        for channel in mine {
            let is_told = self.gaps_reported_to.contains(&(offset, channel));
            let is_replaced = self.was_behind && model.has_newer(offset, channel);
            assert!(is_told || is_replaced, "event {offset} was lost silently in {channel}");
        }
    }

    fn gap(&mut self, model: &LogModel, event: &MessageEvent) {
        let notice: GapNotice = serde_json::from_str(&event.data).unwrap();
        assert_eq!(notice.resumed_at, event.last_event_id);
        assert!(!notice.channels.is_empty());
        for channel in &notice.channels {
            let lost: Vec<_> = model
                .lost
                .iter()
                .copied()
                .filter(|(lost, of)| of == channel && *lost > self.cursor)
                // A channel keeps its last loss only, and not whether that event had overtaken.
                .filter(|(lost, _)| notice.reason == GapReason::Trimmed || !self.had.contains(lost))
                .collect();
            assert!(!lost.is_empty(), "{channel} lost nothing above {}: {notice:?}", self.cursor);
            self.gaps_reported_to.extend(lost);
        }
        self.gaps += 1;
        self.moved(model, &event.last_event_id);
    }

    fn transient(&mut self, event: &MessageEvent) {
        let number: u64 = event.data[1..].parse().unwrap();
        let after = self.transient.remove(&number).expect("it was offered once");
        assert!(self.last_in_order <= after, "transient {number} came after {}", self.last_in_order);
    }

    /// Checks that the client has received all events, and has the position of the head.
    pub(super) fn is_at_head(&self, model: &LogModel) {
        assert_eq!(self.cursor, model.head());
        assert_eq!(self.transient, BTreeMap::new());
    }
}
