//! Notifications of a subscriber.

use std::time::Duration;

use tidings_protocol::body::{EndNotice, GapNotice};

/// A notification of a [`Subscriber`](crate::Subscriber).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notification {
    /// An event of one of the channels.
    Event(Event),
    /// Events are lost; the stored ones follow.
    Gap(GapNotice),
    /// The id to resume from, without an event.
    Position(String),
    /// The hub ends the stream. With `reconnect` the subscriber reconnects, otherwise it ends.
    End(EndNotice),
    /// The stream broke or did not open; the subscriber tries again.
    Reconnecting(Reconnecting),
}

/// An event as its publisher sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event {
    /// The event's name; `message` if the publisher gave none.
    pub name: String,
    /// The event's data.
    pub data: String,
    /// The id to resume from after this event. A transient event has the id of the event before it. `None` if the stream
    /// has named no id yet.
    pub id: Option<String>,
}

/// Reason and time of a reconnect.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reconnecting {
    /// The error as text, e.g. `hub closed the stream`.
    pub reason: String,
    /// The delay before the next attempt.
    pub after: Duration,
}
