//! Observations of one subscriber.

use tidings_protocol::Subscription;
use tidings_protocol::body::GapReason;

use super::sent::{EventLabel, LogPosition};

/// Observations of one subscriber, in the order in which its parser dispatched them.
pub(crate) struct SubscriberHistory {
    pub(crate) subscriber: usize,
    pub(crate) subscriptions: Vec<Subscription>,
    /// Whether its first streams requested all history, and no entry was trimmed: then every event is due.
    pub(crate) is_from_beginning: bool,
    pub(crate) observations: Vec<Observation>,
}

impl SubscriberHistory {
    pub(crate) fn wants(&self, channel: &str) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.matches(channel))
    }
}

/// One observation.
#[derive(Clone, Debug)]
pub(crate) enum Observation {
    /// The head of a stream, with status 200.
    Opened,
    /// An event. `position` is that of its id. The own offset of an event that overtook is in `skips`.
    Event { label: EventLabel, position: LogPosition, skips: Vec<u64> },
    /// A block without an event that moves the cursor.
    Position(LogPosition),
    /// A gap.
    Gap(Box<ObservedGap>),
}

/// A gap as the subscriber received it.
#[derive(Clone, Debug)]
pub(crate) struct ObservedGap {
    pub(crate) reason: GapReason,
    pub(crate) channels: Vec<String>,
    pub(crate) requested: Option<String>,
    pub(crate) resumed_at: LogPosition,
    /// Tick at which the gap was read.
    pub(crate) tick: u64,
}
