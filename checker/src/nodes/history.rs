//! History of a phase: publishes, their results, losses and outages that the checker caused, and the schedule of faults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tidings_protocol::EventId;
use tidings_protocol::body::GapReason;
use tokio::time::Instant;

use crate::oracle::EventLabel;

/// Time since the begin of the phase. It orders all operations and observations.
pub(super) type PhaseTime = Duration;

/// Offset and tag of an entry: after a loss offsets repeat, their tags do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct TaggedOffset {
    pub(super) offset: u64,
    pub(super) tag: u32,
}

impl From<&EventId> for TaggedOffset {
    fn from(id: &EventId) -> Self {
        Self { offset: id.offset, tag: id.tag.0 }
    }
}

impl fmt::Display for TaggedOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.offset, self.tag)
    }
}

/// Result of a publish after all its attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FinalResult {
    /// The event may be in the log.
    Unknown,
    /// The event is in the log, unless it was lost.
    Acknowledged { place: TaggedOffset, at: PhaseTime, node: usize },
    /// Every attempt was answered as not stored.
    NotStored,
}

/// An event that was sent.
#[derive(Clone, Debug)]
pub(super) struct PublishedEvent {
    pub(super) channels: Vec<usize>,
    pub(super) data: String,
    /// Before the first attempt.
    pub(super) begun: PhaseTime,
    pub(super) result: FinalResult,
    /// Whether an attempt was not answered: it may be stored late, also a second time if a loss took the first.
    pub(super) is_doubtful: bool,
}

/// A loss of entries that the checker caused.
#[derive(Clone, Debug)]
pub(super) struct InjectedLoss {
    pub(super) fault: &'static str,
    /// Reasons of gaps that may report it.
    pub(super) reasons: &'static [GapReason],
    /// Newest removed offset, if the loss is a trim: readers that had the removed entries get no gap.
    pub(super) trimmed: Option<u64>,
    /// Earliest time of the loss.
    pub(super) begun: PhaseTime,
    /// Entries stored after this time are not lost by it.
    pub(super) ended: PhaseTime,
    /// Remaining entries.
    pub(super) kept: BTreeSet<TaggedOffset>,
}

/// A time in which a node was down or stopped.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeOutage {
    pub(super) node: usize,
    pub(super) begun: PhaseTime,
    /// Whether the node kept its memory.
    pub(super) keeps_memory: bool,
}

/// The history of one phase, while it grows.
pub(super) struct OperationHistory {
    begun: Instant,
    pub(super) channels: Vec<String>,
    records: Mutex<HistoryRecords>,
}

#[derive(Default)]
struct HistoryRecords {
    published: BTreeMap<EventLabel, PublishedEvent>,
    losses: Vec<InjectedLoss>,
    outages: Vec<NodeOutage>,
    schedule: Vec<(PhaseTime, String)>,
}

impl OperationHistory {
    pub(super) fn new(channels: Vec<String>) -> Self {
        Self { begun: Instant::now(), channels, records: Mutex::default() }
    }

    pub(super) fn now(&self) -> PhaseTime {
        self.begun.elapsed()
    }

    /// Records an event before its first attempt.
    pub(super) fn begin_publish(&self, label: EventLabel, channels: Vec<usize>, data: String) {
        let (begun, result) = (self.now(), FinalResult::Unknown);
        let event = PublishedEvent { channels, data, begun, result, is_doubtful: false };
        self.records().published.insert(label, event);
    }

    /// Records the result of a publish.
    pub(super) fn complete_publish(&self, label: EventLabel, result: FinalResult, is_doubtful: bool) {
        let mut records = self.records();
        let event = records.published.get_mut(&label).expect("the event was recorded before");
        (event.result, event.is_doubtful) = (result, is_doubtful);
    }

    pub(super) fn add_loss(&self, loss: InjectedLoss) {
        self.records().losses.push(loss);
    }

    pub(super) fn add_outage(&self, outage: NodeOutage) {
        self.records().outages.push(outage);
    }

    /// Compares received data with the data sent under a label.
    pub(super) fn check_data(&self, label: EventLabel, data: &str) -> Result<(), String> {
        match self.records().published.get(&label) {
            None => Err(format!("event {label} was never sent")),
            Some(event) if event.data != data => Err(format!("event {label} has data {data:?}")),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn published(&self) -> BTreeMap<EventLabel, PublishedEvent> {
        self.records().published.clone()
    }

    pub(super) fn losses(&self) -> Vec<InjectedLoss> {
        self.records().losses.clone()
    }

    pub(super) fn outages(&self) -> Vec<NodeOutage> {
        self.records().outages.clone()
    }

    /// Adds a line to the schedule.
    pub(super) fn note(&self, text: impl Into<String>) {
        self.records().schedule.push((self.now(), text.into()));
    }

    /// Writes the schedule to a file and returns its path.
    pub(super) fn write_schedule(&self, directory: &Path) -> PathBuf {
        let path = directory.join("schedule.log");
        let records = self.records();
        let lines = records.schedule.iter().map(|(at, text)| format!("{:9.3} s {text}\n", at.as_secs_f64()));
        if let Err(error) = std::fs::write(&path, lines.collect::<String>()) {
            eprintln!("{} cannot be written: {error}", path.display());
        }
        path
    }

    fn records(&self) -> MutexGuard<'_, HistoryRecords> {
        self.records.lock().expect("no holder panics")
    }
}
