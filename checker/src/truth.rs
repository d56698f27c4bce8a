//! What the checker knows for certain: every event it sent, what was answered, and the order that follows from it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;
use tidings_protocol::body::GapReason;
use tidings_protocol::{EventId, Subscription};

use crate::report::{Fault, FaultKind};

mod compare;

pub(crate) use compare::{Gaps, Rules, compare_history, compare_record};

/// An event's name among all that the checker sent: it is written into the event's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub(crate) struct Label {
    /// The publisher.
    #[serde(rename = "p")]
    pub(crate) publisher: u32,
    /// The publisher's count, from 0.
    #[serde(rename = "n")]
    pub(crate) number: u64,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}n{}", self.publisher, self.number)
    }
}

/// A place in the log. A life is a span in which nothing may be lost: all restarts together where the log is on disk,
/// one epoch where it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) life: u64,
    pub(crate) offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.life == 0 {
            write!(f, "offset {}", self.offset)
        } else {
            write!(f, "offset {} of epoch {:016x}", self.offset, self.life)
        }
    }
}

/// What the contract allows to happen to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Exactly once, in order.
    Strict,
    /// `high` or `critical`: exactly once, and it may overtake.
    Urgent,
    /// `low`: at most once, in order; may be skipped for a connection that is behind.
    Low,
    /// With a key: at most once, in order; missing only where a newer one of the same channel and key exists.
    Keyed(u8),
}

/// What became of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Not answered (yet): the event may be stored.
    Unknown,
    /// Answered 2xx.
    Acknowledged,
    /// Answered, or known from the start, to be not stored.
    Refused,
}

/// An event that the checker sent.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Indices into [`Truth::channels`].
    pub(crate) channels: Vec<usize>,
    pub(crate) kind: Kind,
    pub(crate) name: Option<&'static str>,
    pub(crate) data: Arc<str>,
    /// Tick before it was first sent: nothing read at an earlier tick can be due to it.
    pub(crate) begun: u64,
    pub(crate) outcome: Outcome,
    /// Where it is in the log, at most one place a life.
    pub(crate) places: Vec<Place>,
}

/// All that was sent so far, shared by publishers and subscribers.
pub(crate) struct Truth {
    pub(crate) channels: Vec<String>,
    /// Every epoch is a life of its own.
    pub(crate) is_memory: bool,
    tick: AtomicU64,
    messages: Mutex<Vec<Vec<Message>>>,
}

impl Truth {
    pub(crate) fn new(channels: Vec<String>, publishers: usize, is_memory: bool) -> Self {
        Self {
            channels,
            is_memory,
            tick: AtomicU64::new(0),
            messages: Mutex::new(vec![Vec::new(); publishers]),
        }
    }

    /// Returns the next tick: a count that orders sends and reads of the whole checker.
    pub(crate) fn tick(&self) -> u64 {
        self.tick.fetch_add(1, Ordering::SeqCst)
    }

    /// Registers the next event of a publisher, before it is sent.
    pub(crate) fn register(
        &self,
        label: Label,
        channels: Vec<usize>,
        kind: Kind,
        name: Option<&'static str>,
        data: &str,
    ) {
        let begun = self.tick();
        let mut messages = self.lock();
        let own = &mut messages[label.publisher as usize];
        assert_eq!(own.len() as u64, label.number, "publishers number their events without a hole");
        let (outcome, places) = (Outcome::Unknown, Vec::new());
        own.push(Message { channels, kind, name, data: data.into(), begun, outcome, places });
    }

    /// Notes an answer of 2xx.
    ///
    /// # Errors
    /// The fault, where the event was acknowledged elsewhere before.
    pub(crate) fn acknowledge(&self, label: Label, place: Place) -> Result<(), Fault> {
        let mut messages = self.lock();
        let message = message_mut(&mut messages, label);
        message.outcome = Outcome::Acknowledged;
        settle(message, label, place, "its answer")
    }

    /// Notes that the event is certainly not stored.
    pub(crate) fn refuse(&self, label: Label) {
        message_mut(&mut self.lock(), label).outcome = Outcome::Refused;
    }

    /// Returns whether an event of this label was ever sent.
    pub(crate) fn knows(&self, label: Label) -> bool {
        let messages = self.lock();
        messages.get(label.publisher as usize).is_some_and(|own| label.number < own.len() as u64)
    }

    /// Compares what was received under a label with what was sent.
    ///
    /// # Errors
    /// How they differ.
    pub(crate) fn check_content(&self, label: Label, name: Option<&str>, data: &str) -> Result<(), String> {
        let messages = self.lock();
        let message = messages
            .get(label.publisher as usize)
            .and_then(|own| own.get(usize::try_from(label.number).ok()?))
            .ok_or_else(|| format!("event {label} was never sent"))?;
        if message.name != name {
            return Err(format!("event {label} is named {name:?}; it was sent as {:?}", message.name));
        }
        if *message.data != *data {
            let (found, sent) = (shorten(data), shorten(&message.data));
            return Err(format!("event {label} holds {found:?}; it was sent as {sent:?}"));
        }
        Ok(())
    }

    /// Reads an id's place.
    pub(crate) fn place(&self, id: &EventId) -> Place {
        Place { life: if self.is_memory { id.epoch.0 } else { 0 }, offset: id.offset }
    }

    /// Takes out what is known, at the end.
    pub(crate) fn messages(&self) -> Vec<Vec<Message>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Message>>> {
        self.messages.lock().expect("no holder panics")
    }
}

fn message_mut(messages: &mut [Vec<Message>], label: Label) -> &mut Message {
    let number = usize::try_from(label.number).expect("a count of events in memory");
    &mut messages[label.publisher as usize][number]
}

/// Adds a place to an event, of which it may have one a life.
fn settle(message: &mut Message, label: Label, place: Place, witness: &str) -> Result<(), Fault> {
    match message.places.iter().find(|known| known.life == place.life) {
        None => message.places.push(place),
        Some(known) if *known == place => {}
        Some(known) => {
            return Err(Fault::new(
                FaultKind::Duplicated,
                format!("event {label} is at {known} and, by {witness}, also at {place}"),
            ));
        }
    }
    Ok(())
}

/// What one subscriber saw, in order; only what the parser dispatched.
pub(crate) struct Record {
    pub(crate) subscriber: usize,
    pub(crate) subscriptions: Vec<Subscription>,
    /// Its first streams asked for all history, and nothing was trimmed: so everything is expected.
    pub(crate) is_from_beginning: bool,
    pub(crate) seen: Vec<Seen>,
}

impl Record {
    pub(crate) fn wants(&self, channel: &str) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.matches(channel))
    }
}

/// One thing that a subscriber saw.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// A stream was answered 200.
    Opened,
    /// An event. `place` is that of its id, which is the event's own unless it overtook: then `skips` holds that.
    Event { label: Label, place: Place, skips: Vec<u64> },
    /// A block that only moves the cursor.
    Position(Place),
    /// A gap.
    Gap(Box<GapSeen>),
}

/// A gap as a subscriber was told it.
#[derive(Clone, Debug)]
pub(crate) struct GapSeen {
    pub(crate) reason: GapReason,
    pub(crate) channels: Vec<String>,
    pub(crate) requested: Option<String>,
    pub(crate) resumed_at: Place,
    /// Tick at which it was read.
    pub(crate) tick: u64,
}

/// The order of the log, as acknowledged answers, history and streams bear witness to it.
pub(crate) struct Log {
    pub(crate) channels: Vec<String>,
    pub(crate) messages: Vec<Vec<Message>>,
    pub(crate) lives: HashMap<u64, BTreeMap<u64, Label>>,
    /// The entries of each life and channel, oldest first.
    entries: HashMap<(u64, usize), Vec<ChannelEntry>>,
    /// Events of unknown fate that nobody saw, by their ticks, a list per channel.
    pub(crate) unlocated: Vec<Vec<u64>>,
}

/// An entry of one channel in one life.
#[derive(Clone, Copy, Debug)]
struct ChannelEntry {
    offset: u64,
    /// Tick before it was first sent.
    begun: u64,
    /// The earliest such tick of this and all later entries of the channel.
    begun_from_here: u64,
}

impl Log {
    /// Puts the log together, and returns what contradicts itself.
    pub(crate) fn build(truth: &Truth, records: &[Record], history: &[Located]) -> (Self, Vec<Fault>) {
        let mut messages = truth.messages();
        let mut faults = Vec::new();
        let streams = records.iter().flat_map(|record| {
            record.seen.iter().filter_map(move |seen| match seen {
                Seen::Event { label, place, skips } => {
                    Some((*label, *place, skips.is_empty(), record.subscriber))
                }
                _ => None,
            })
        });
        for (label, place) in history {
            let message = message_mut(&mut messages, *label);
            faults.extend(settle(message, *label, *place, "history").err());
        }
        let mut told = HashSet::new();
        for (label, place, is_plain, subscriber) in streams {
            let message = message_mut(&mut messages, label);
            // The id of an event that overtook is that of the cursor, so it does not say where the event is.
            if message.kind == Kind::Urgent || !is_plain && !message.places.is_empty() {
                continue;
            }
            if let Err(fault) =
                settle(message, label, place, &format!("what subscriber {subscriber} received"))
                && told.insert((label, place))
            {
                faults.push(fault);
            }
        }
        let mut log = Self {
            channels: truth.channels.clone(),
            unlocated: vec![Vec::new(); truth.channels.len()],
            lives: HashMap::new(),
            entries: HashMap::new(),
            messages,
        };
        log.order(&mut faults);
        log.list_entries();
        (log, faults)
    }

    fn order(&mut self, faults: &mut Vec<Fault>) {
        for (publisher, own) in (0..).zip(&self.messages) {
            for (number, message) in (0..).zip(own) {
                let label = Label { publisher, number };
                if message.outcome == Outcome::Refused && !message.places.is_empty() {
                    let place = message.places[0];
                    let text = format!("event {label} was refused as not stored, and is at {place}");
                    faults.push(Fault::new(FaultKind::WrongContent, text));
                }
                if message.outcome == Outcome::Unknown && message.places.is_empty() {
                    message.channels.iter().for_each(|&channel| self.unlocated[channel].push(message.begun));
                }
                for place in &message.places {
                    let life = self.lives.entry(place.life).or_default();
                    if let Some(other) = life.insert(place.offset, label) {
                        let text = format!("events {other} and {label} are both at {place}");
                        faults.push(Fault::new(FaultKind::WrongContent, text));
                    }
                }
            }
        }
    }

    fn list_entries(&mut self) {
        let mut entries: HashMap<_, Vec<ChannelEntry>> = HashMap::new();
        for (&life, labels) in &self.lives {
            for (&offset, &label) in labels {
                let Message { channels, begun, .. } = self.message(label);
                let entry = ChannelEntry { offset, begun: *begun, begun_from_here: *begun };
                channels.iter().for_each(|&channel| entries.entry((life, channel)).or_default().push(entry));
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

    /// Returns the offsets of a channel's entries that were sent before a tick, newest first.
    pub(crate) fn sent_before(&self, life: u64, channel: usize, tick: u64) -> impl Iterator<Item = u64> {
        let entries = self.entries.get(&(life, channel)).map_or(&[][..], Vec::as_slice);
        let end = entries.partition_point(|entry| entry.begun_from_here < tick);
        entries[..end].iter().rev().filter(move |entry| entry.begun < tick).map(|entry| entry.offset)
    }

    pub(crate) fn message(&self, label: Label) -> &Message {
        &self.messages[label.publisher as usize][usize::try_from(label.number).expect("a count in memory")]
    }

    /// Returns the events of a life from `from` to `to`, both included, that carry a channel the filter wants.
    pub(crate) fn events<'a>(
        &'a self,
        life: u64,
        from: u64,
        to: u64,
        wanted: &'a [bool],
    ) -> impl Iterator<Item = (u64, Label)> + 'a {
        let range = self.lives.get(&life).filter(|_| from <= to).map(|life| life.range(from..=to));
        range
            .into_iter()
            .flatten()
            .map(|(offset, label)| (*offset, *label))
            .filter(|(_, label)| self.message(*label).channels.iter().any(|&channel| wanted[channel]))
    }

    /// Returns whether the event may be missing because a newer one has its channel and key.
    pub(crate) fn is_superseded(&self, label: Label, place: Place) -> bool {
        let message = self.message(label);
        let later = self.lives.get(&place.life).into_iter().flat_map(|life| life.range(place.offset + 1..));
        let is_newer = |other: &Message| other.kind == message.kind && other.channels == message.channels;
        later.into_iter().any(|(_, label)| is_newer(self.message(*label)))
            || self
                .messages
                .iter()
                .flatten()
                .any(|other| is_newer(other) && other.outcome == Outcome::Unknown && other.places.is_empty())
    }
}

/// An event that history told, and where.
pub(crate) type Located = (Label, Place);

/// Reads the label that every event's data begins with.
pub(crate) fn label_of(data: &str) -> Option<Label> {
    let line = data.split('\n').next().unwrap_or_default();
    serde_json::from_str(line).ok()
}

fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(120).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
