//! Types that every broker shares: events on their way into the log, their outcome, and the receiver of new entries.

use std::{borrow::Cow, sync::Arc, time::Duration};

use tidings_log::{Entry, Log, NewEntry, OpenProgress, TransientEvent};
use tidings_protocol::{ChannelName, EventId, Subscription};
use tokio::{sync::watch, time::timeout};

use crate::error::{Code, Error};

/// Receives new entries, once they are stored.
pub(crate) trait DeliverySink: Send + Sync {
    /// Wakes the connections that subscribe to these entries. The log holds them already.
    fn on_appended(&self, entries: &[Arc<Entry>]);
    /// Hands an event that is in no log to its subscribers. A connection sends it after the entries that were stored before it.
    /// Returns the number of connections that were behind and dropped the event.
    fn deliver_transient(&self, channels: &[ChannelName], transient: &TransientEvent) -> usize;
    /// Wakes the subscribers of these channels: the log holds the entries that a transient event waited for.
    fn wake(&self, channels: &[ChannelName]);
    /// Wakes every connection: the history of the log changed, or the epoch in its ids.
    fn wake_all(&self);
    /// Returns the channels and patterns that connections subscribe to: all of them, or the changes since the last call.
    fn take_interest_changes(&self) -> InterestChange;
    /// Counter of these changes.
    fn interest(&self) -> watch::Receiver<u64>;
}

/// Channels and patterns that connections subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InterestChange {
    All(Vec<Subscription>),
    /// Each with whether a connection subscribes to it now.
    Changes(Vec<(Subscription, bool)>),
}

/// Error of a publish of which nothing was stored, so that the publisher may retry it.
pub(super) fn not_stored(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Code::NotStored, detail).retry_after(Duration::from_secs(1))
}

/// Error of a publish that comes after the node stopped to store events.
pub(crate) fn shutting_down() -> Error {
    not_stored("the hub is shutting down; nothing was stored; try again in a moment, or at another node")
}

/// Event of a publish: on its way into the log if it is to be stored, else past the log.
#[derive(Debug)]
pub(crate) struct PendingEvent {
    pub(crate) entry: NewEntry,
    pub(crate) is_stored: bool,
}

/// Outcome of one published event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The log holds the event; a client that resumes with this id gets the events after it.
    Stored(EventId),
    /// The event was sent to the subscribers of that moment.
    NotStored,
}

impl PublishOutcome {
    /// Returns the id of a stored event.
    #[must_use]
    pub fn id(&self) -> Option<&EventId> {
        match self {
            Self::Stored(id) => Some(id),
            Self::NotStored => None,
        }
    }
}

/// Waits until the log is open, for as long as a request may.
///
/// # Errors
/// The progress, if the log is not open by then.
pub(crate) async fn opened_soon(log: &Log) -> Result<(), OpenProgress> {
    const REQUEST_WAIT: Duration = Duration::from_secs(5);
    if log.opening().is_open() {
        return Ok(());
    }
    let opened = timeout(REQUEST_WAIT, log.opening().wait()).await;
    if matches!(opened, Ok(Ok(()))) { Ok(()) } else { Err(log.opening().progress()) }
}
