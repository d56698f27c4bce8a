//! Observations of one reader.

use tidings_protocol::Subscription;
use tidings_protocol::body::GapReason;

use crate::history::{EventLabel, LogPosition, PhaseTime};

/// Observations of a reader since it last began without an id, in the order in which its parser dispatched them.
#[derive(Clone, Debug)]
pub(crate) struct ReaderHistory {
    pub(crate) reader: usize,
    pub(crate) subscriptions: Vec<Subscription>,
    /// Time of its first id, if it has one; 0 for a reader that requests all history.
    pub(crate) begun: Option<PhaseTime>,
    /// Whether the reader received the last events.
    pub(crate) is_whole: bool,
    pub(crate) observations: Vec<Observation>,
}

impl ReaderHistory {
    pub(crate) fn name(&self) -> String {
        let names: Vec<_> = self.subscriptions.iter().map(Subscription::as_str).collect();
        format!("reader {} of {}", self.reader, names.join(", "))
    }

    pub(crate) fn wants(&self, channel: &str) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.matches(channel))
    }
}

/// One observation.
#[derive(Clone, Debug)]
pub(crate) struct Observation {
    /// With a single node the start of the stream: all content of a stream is older than the next end of the node,
    /// though a slow reader takes it later.
    pub(crate) at: PhaseTime,
    pub(crate) node: usize,
    pub(crate) item: ObservedItem,
}

/// Item of a stream.
#[derive(Clone, Debug)]
pub(crate) enum ObservedItem {
    /// An event. `position` is that of its id. The own offset of an event that overtook is in `skips`.
    Event {
        label: EventLabel,
        position: LogPosition,
        skips: Vec<u64>,
    },
    /// A block without an event that moves the cursor.
    Position(LogPosition),
    Gap(Box<ObservedGap>),
}

/// A gap as the reader received it.
#[derive(Clone, Debug)]
pub(crate) struct ObservedGap {
    pub(crate) reason: GapReason,
    pub(crate) channels: Vec<String>,
    pub(crate) requested: Option<String>,
    pub(crate) resumed_at: LogPosition,
    pub(crate) read_at: PhaseTime,
}

impl ObservedGap {
    /// Whether the gap names a channel.
    pub(crate) fn names(&self, channel: &str) -> bool {
        self.channels.iter().any(|text| Subscription::parse(text).is_ok_and(|named| named.matches(channel)))
    }
}

impl Observation {
    pub(crate) fn event(&self) -> Option<(EventLabel, LogPosition)> {
        match self.item {
            ObservedItem::Event { label, position, .. } => Some((label, position)),
            _ => None,
        }
    }

    pub(crate) fn gap(&self) -> Option<&ObservedGap> {
        match &self.item {
            ObservedItem::Gap(gap) => Some(gap),
            _ => None,
        }
    }

    /// Whether this is a gap that names a channel.
    pub(crate) fn reports(&self, channel: &str) -> bool {
        self.gap().is_some_and(|gap| gap.names(channel))
    }
}
