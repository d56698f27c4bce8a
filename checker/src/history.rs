//! History of a phase: events sent, their results, losses and outages that the checker caused, and the schedule of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde::Deserialize;
use tidings_protocol::EventId;
use tidings_protocol::body::GapReason;
use tokio::time::Instant;

/// Time since the begin of the phase. It orders all operations and observations.
pub(crate) type PhaseTime = Duration;

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

impl EventLabel {
    /// Parses the label in an event's data.
    pub(crate) fn parse(data: &str) -> Option<Self> {
        serde_json::from_str(data.split('\n').next()?).ok()
    }
}

impl fmt::Display for EventLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}n{}", self.publisher, self.number)
    }
}

/// A position in the log. After a loss offsets repeat, their tags do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LogPosition {
    /// Epoch of a log in memory, whose restarts lose all events; otherwise 0.
    pub(crate) generation: u64,
    pub(crate) offset: u64,
    pub(crate) tag: u32,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.offset, self.tag)?;
        if self.generation == 0 { Ok(()) } else { write!(f, " of epoch {:016x}", self.generation) }
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

/// Result of a publish after all its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PublishResult {
    /// The event may be in the log.
    Unknown,
    /// The event is in the log, unless it was lost.
    Acknowledged { position: LogPosition, at: PhaseTime, node: usize },
    /// Every attempt was answered as not stored.
    NotStored,
}

/// An event that was sent.
#[derive(Clone, Debug)]
pub(crate) struct SentEvent {
    /// Indices into [`History::channels`].
    pub(crate) channels: Vec<usize>,
    pub(crate) class: DeliveryClass,
    pub(crate) name: Option<&'static str>,
    pub(crate) data: Arc<str>,
    /// Before the first attempt: an earlier observation cannot be due to the event.
    pub(crate) begun: PhaseTime,
    pub(crate) result: PublishResult,
    /// Whether an attempt was not answered: it may be stored late, also a second time if a loss took the first.
    pub(crate) is_doubtful: bool,
}

/// A loss of entries that the checker caused.
#[derive(Clone, Debug)]
pub(crate) struct InjectedLoss {
    pub(crate) fault: &'static str,
    /// Reasons of gaps that may report it.
    pub(crate) reasons: &'static [GapReason],
    /// Newest removed offset, if the loss is a trim: readers that had the removed entries get no gap.
    pub(crate) trimmed: Option<u64>,
    /// Earliest time of the loss.
    pub(crate) begun: PhaseTime,
    /// Entries stored after this time are not lost by it.
    pub(crate) ended: PhaseTime,
    /// Remaining entries.
    pub(crate) kept: BTreeSet<LogPosition>,
}

/// A time in which a node was down or stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NodeOutage {
    pub(crate) node: usize,
    pub(crate) begun: PhaseTime,
    /// Whether the node kept its memory.
    pub(crate) keeps_memory: bool,
}

/// The history of one phase, while it grows.
pub(crate) struct History {
    begun: Instant,
    pub(crate) channels: Vec<String>,
    /// Whether each epoch is a generation of the log.
    has_generations: bool,
    records: Mutex<HistoryRecords>,
}

/// Records of a history.
#[derive(Clone, Default)]
pub(crate) struct HistoryRecords {
    pub(crate) sent: BTreeMap<EventLabel, SentEvent>,
    pub(crate) losses: Vec<InjectedLoss>,
    pub(crate) outages: Vec<NodeOutage>,
    schedule: Vec<(PhaseTime, String)>,
}

impl History {
    pub(crate) fn new(channels: Vec<String>, has_generations: bool) -> Self {
        Self { begun: Instant::now(), channels, has_generations, records: Mutex::default() }
    }

    pub(crate) fn now(&self) -> PhaseTime {
        self.begun.elapsed()
    }

    /// Position of an id.
    pub(crate) fn position(&self, id: &EventId) -> LogPosition {
        let generation = if self.has_generations { id.epoch.0 } else { 0 };
        LogPosition { generation, offset: id.offset, tag: id.tag.0 }
    }

    /// Records an event before its first attempt.
    pub(crate) fn begin_publish(
        &self,
        label: EventLabel,
        channels: &[usize],
        class: DeliveryClass,
        name: Option<&'static str>,
        data: &str,
    ) {
        let (channels, data, result) = (channels.to_vec(), data.into(), PublishResult::Unknown);
        let begun = self.now();
        let event = SentEvent { channels, class, name, data, begun, result, is_doubtful: false };
        self.lock().sent.insert(label, event);
    }

    /// Records the result of a publish.
    pub(crate) fn complete_publish(&self, label: EventLabel, result: PublishResult, is_doubtful: bool) {
        let mut records = self.lock();
        let event = records.sent.get_mut(&label).expect("the event was recorded before");
        (event.result, event.is_doubtful) = (result, is_doubtful);
    }

    /// Compares received content with the sent one.
    pub(crate) fn check_content(
        &self,
        label: EventLabel,
        name: Option<&str>,
        data: &str,
    ) -> Result<(), String> {
        let shorten = |text: &str| text.chars().take(120).collect::<String>();
        match self.lock().sent.get(&label) {
            None => Err(format!("event {label} was never sent")),
            Some(event) if event.name != name => {
                Err(format!("event {label} is named {name:?}; it was sent as {:?}", event.name))
            }
            Some(event) if *event.data != *data => {
                let (found, sent) = (shorten(data), shorten(&event.data));
                Err(format!("event {label} has data {found:?}; it was sent with {sent:?}"))
            }
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn add_loss(&self, loss: InjectedLoss) {
        self.lock().losses.push(loss);
    }

    pub(crate) fn add_outage(&self, outage: NodeOutage) {
        self.lock().outages.push(outage);
    }

    /// Returns all records so far.
    pub(crate) fn records(&self) -> HistoryRecords {
        self.lock().clone()
    }

    /// Adds a line to the schedule.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.lock().schedule.push((self.now(), text.into()));
    }

    /// Writes the schedule to a file and returns its path.
    pub(crate) fn write_schedule(&self, directory: &Path) -> PathBuf {
        let path = directory.join("schedule.log");
        let records = self.lock();
        let lines = records.schedule.iter().map(|(at, text)| format!("{:9.3} s {text}\n", at.as_secs_f64()));
        if let Err(error) = std::fs::write(&path, lines.collect::<String>()) {
            eprintln!("{} cannot be written: {error}", path.display());
        }
        path
    }

    fn lock(&self) -> MutexGuard<'_, HistoryRecords> {
        self.records.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests;
