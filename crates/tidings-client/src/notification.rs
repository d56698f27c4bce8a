//! What a subscription hands to its caller.

use std::time::Duration;

use tidings_protocol::body::{EndNotice, GapNotice};

/// One thing that a subscription has to say.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notification {
    /// An event of one of the channels.
    Event(Event),
    /// Events are missing and cannot be had any more; what can be had follows.
    Gap(GapNotice),
    /// The place that a resume would start from, told without an event.
    Position(String),
    /// The hub ends the stream. With `reconnect` the subscription goes on by itself, otherwise it is over.
    End(EndNotice),
    /// The stream broke or could not be opened; the subscription tries again by itself.
    Reconnecting(Reconnecting),
}

/// An event as a publisher sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The event's name; `message` if the publisher gave none.
    pub name: String,
    /// The event's data.
    pub data: String,
    /// Where to resume after this event. An event that is not stored carries the id of what came before it;
    /// `None` where the stream has named no id yet.
    pub id: Option<String>,
}

/// Why a subscription connects again, and when.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reconnecting {
    /// The fault in words, e.g. `hub closed the stream`.
    pub reason: String,
    /// How long the subscription waits before the next attempt.
    pub after: Duration,
}
