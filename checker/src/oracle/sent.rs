//! Events that the checker sent, and their results.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;
use tidings_protocol::EventId;

use crate::violation::{Violation, ViolationKind};

/// Identity of an event, which its data contain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
pub(crate) struct EventLabel {
    /// The publisher.
    #[serde(rename = "p")]
    pub(crate) publisher: u32,
    /// Number among the publisher's events, from 0.
    #[serde(rename = "n")]
    pub(crate) number: u64,
}

impl fmt::Display for EventLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}n{}", self.publisher, self.number)
    }
}

/// A position in the log. A generation is a span without allowed losses: all restarts if the log is on disk, one
/// epoch if it is in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogPosition {
    pub(crate) generation: u64,
    pub(crate) offset: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.generation == 0 {
            write!(f, "offset {}", self.offset)
        } else {
            write!(f, "offset {} of epoch {:016x}", self.offset, self.generation)
        }
    }
}

/// Delivery that the promise allows for an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryClass {
    /// Exactly once, in order.
    Strict,
    /// Priority `high` or `critical`: exactly once, and it may overtake.
    Urgent,
    /// Priority `low`: at most once, in order; may be skipped for a connection that is behind.
    Low,
    /// With a key: at most once, in order; may be missing only if a newer event has its channel and key.
    Keyed(u8),
}

/// Result of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperationResult {
    /// No answer, or an answer without a certain result: the event may be stored.
    Unknown,
    /// Answered with 2xx.
    Acknowledged,
    /// Certainly not stored.
    Refused,
}

/// An event that the checker sent.
#[derive(Clone, Debug)]
pub(crate) struct SentEvent {
    /// Indices into [`Oracle::channels`].
    pub(crate) channels: Vec<usize>,
    pub(crate) kind: DeliveryClass,
    pub(crate) name: Option<&'static str>,
    pub(crate) data: Arc<str>,
    /// Tick before its first send: an earlier observation cannot be due to it.
    pub(crate) begun: u64,
    pub(crate) outcome: OperationResult,
    /// Positions in the log, at most one in each generation.
    pub(crate) positions: Vec<LogPosition>,
}

/// All events sent so far, shared by publishers and subscribers.
pub(crate) struct Oracle {
    pub(crate) channels: Vec<String>,
    /// Whether every epoch is a generation.
    pub(crate) is_memory: bool,
    tick: AtomicU64,
    messages: Mutex<Vec<Vec<SentEvent>>>,
}

impl Oracle {
    pub(crate) fn new(channels: Vec<String>, publishers: usize, is_memory: bool) -> Self {
        Self {
            channels,
            is_memory,
            tick: AtomicU64::new(0),
            messages: Mutex::new(vec![Vec::new(); publishers]),
        }
    }

    /// Returns the next tick: a count that orders all sends and reads of the checker.
    pub(crate) fn tick(&self) -> u64 {
        self.tick.fetch_add(1, Ordering::SeqCst)
    }

    /// Registers a publisher's next event before it is sent.
    pub(crate) fn register(
        &self,
        label: EventLabel,
        channels: Vec<usize>,
        kind: DeliveryClass,
        name: Option<&'static str>,
        data: &str,
    ) {
        let begun = self.tick();
        let mut messages = self.lock();
        let own = &mut messages[label.publisher as usize];
        assert_eq!(own.len() as u64, label.number, "publishers number their events without a hole");
        let (outcome, positions) = (OperationResult::Unknown, Vec::new());
        own.push(SentEvent { channels, kind, name, data: data.into(), begun, outcome, positions });
    }

    /// Records a 2xx response.
    ///
    /// # Errors
    /// The event was acknowledged at another position.
    pub(crate) fn acknowledge(&self, label: EventLabel, position: LogPosition) -> Result<(), Violation> {
        let mut messages = self.lock();
        let message = message_mut(&mut messages, label);
        message.outcome = OperationResult::Acknowledged;
        settle(message, label, position, "its answer")
    }

    /// Records that the event is certainly not stored.
    pub(crate) fn refuse(&self, label: EventLabel) {
        message_mut(&mut self.lock(), label).outcome = OperationResult::Refused;
    }

    /// Whether an event of this label was sent.
    pub(crate) fn knows(&self, label: EventLabel) -> bool {
        let messages = self.lock();
        messages.get(label.publisher as usize).is_some_and(|own| label.number < own.len() as u64)
    }

    /// Compares received content with the sent one.
    ///
    /// # Errors
    /// The difference.
    pub(crate) fn check_content(
        &self,
        label: EventLabel,
        name: Option<&str>,
        data: &str,
    ) -> Result<(), String> {
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

    /// Position of an id.
    pub(crate) fn position(&self, id: &EventId) -> LogPosition {
        LogPosition { generation: if self.is_memory { id.epoch.0 } else { 0 }, offset: id.offset }
    }

    /// All events, at the end.
    pub(crate) fn messages(&self) -> Vec<Vec<SentEvent>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<SentEvent>>> {
        self.messages.lock().expect("no holder panics")
    }
}

pub(super) fn message_mut(messages: &mut [Vec<SentEvent>], label: EventLabel) -> &mut SentEvent {
    let number = usize::try_from(label.number).expect("a count of events in memory");
    &mut messages[label.publisher as usize][number]
}

/// Adds a position of an event, which has at most one in each generation.
pub(super) fn settle(
    message: &mut SentEvent,
    label: EventLabel,
    position: LogPosition,
    witness: &str,
) -> Result<(), Violation> {
    match message.positions.iter().find(|known| known.generation == position.generation) {
        None => message.positions.push(position),
        Some(known) if *known == position => {}
        Some(known) => {
            return Err(Violation::new(
                ViolationKind::Duplicated,
                format!("event {label} is at {known} and, by {witness}, also at {position}"),
            ));
        }
    }
    Ok(())
}

/// Parses the label in an event's data.
pub(crate) fn label_of(data: &str) -> Option<EventLabel> {
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
