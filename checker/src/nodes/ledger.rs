//! Facts that the checker is certain of: its publishes, their answers, and the losses that it caused.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tidings_protocol::EventId;
use tidings_protocol::body::GapReason;
use tokio::time::Instant;

use crate::truth::Label;

/// When something was, since the phase began: it orders everything that the checker does and sees.
pub(super) type Moment = Duration;

/// Where an event stands: offsets come again after a loss, together with their tags they do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    pub(super) offset: u64,
    pub(super) tag: u32,
}

impl From<&EventId> for Place {
    fn from(id: &EventId) -> Self {
        Self { offset: id.offset, tag: id.tag.0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08x}", self.offset, self.tag)
    }
}

/// What is known of a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may be in the log.
    Unknown,
    /// It is, or was until it was lost.
    Acknowledged { place: Place, at: Moment, node: usize },
    /// Every attempt was answered by that it surely did not happen.
    NotStored,
}

/// An event that was sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) channels: Vec<usize>,
    pub(super) data: String,
    /// Before the first attempt.
    pub(super) begun: Moment,
    pub(super) fate: Fate,
    /// An attempt was not answered: it may land late, and once more if what it repeats was lost meanwhile.
    pub(super) is_doubtful: bool,
}

/// Events that the log was made to forget.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) what: &'static str,
    /// The gaps that may tell of it.
    pub(super) reasons: &'static [GapReason],
    /// The newest offset that it took where it is no more than a trim: readers that had what it took are told nothing.
    pub(super) trimmed: Option<u64>,
    /// From here on the log did not have them.
    pub(super) begun: Moment,
    /// What is stored later is not lost by this.
    pub(super) ended: Moment,
    /// What was left.
    pub(super) kept: BTreeSet<Place>,
}

/// Times in which a node was down, or stood still.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absence {
    pub(super) node: usize,
    pub(super) begun: Moment,
    /// Whether it came back with what it knew.
    pub(super) is_remembered: bool,
}

/// All of that, while it grows.
pub(super) struct Ledger {
    begun: Instant,
    pub(super) channels: Vec<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sent: BTreeMap<Label, Sent>,
    losses: Vec<Loss>,
    absences: Vec<Absence>,
}

impl Ledger {
    pub(super) fn new(channels: Vec<String>) -> Self {
        Self { begun: Instant::now(), channels, state: Mutex::default() }
    }

    pub(super) fn now(&self) -> Moment {
        self.begun.elapsed()
    }

    /// Notes an event that is about to be sent.
    pub(super) fn send(&self, label: Label, channels: Vec<usize>, data: String) {
        let sent = Sent { channels, data, begun: self.now(), fate: Fate::Unknown, is_doubtful: false };
        self.state().sent.insert(label, sent);
    }

    pub(super) fn settle(&self, label: Label, fate: Fate, is_doubtful: bool) {
        let mut state = self.state();
        let sent = state.sent.get_mut(&label).expect("it was sent");
        (sent.fate, sent.is_doubtful) = (fate, is_doubtful);
    }

    pub(super) fn lose(&self, loss: Loss) {
        self.state().losses.push(loss);
    }

    pub(super) fn is_absent(&self, absence: Absence) {
        self.state().absences.push(absence);
    }

    /// Compares what came under a label with what was sent.
    pub(super) fn check(&self, label: Label, data: &str) -> Result<(), String> {
        match self.state().sent.get(&label) {
            None => Err(format!("event {label} was never sent")),
            Some(sent) if sent.data != data => Err(format!("event {label} holds {data:?}")),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn sent(&self) -> BTreeMap<Label, Sent> {
        self.state().sent.clone()
    }

    pub(super) fn losses(&self) -> Vec<Loss> {
        self.state().losses.clone()
    }

    pub(super) fn absences(&self) -> Vec<Absence> {
        self.state().absences.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder panics")
    }
}
