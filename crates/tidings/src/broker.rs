//! What carries the log between nodes; the embedded one serves a single node and needs nothing beside it.

pub(crate) mod embedded;
#[cfg(feature = "redis")]
pub(crate) mod redis;

use std::{borrow::Cow, collections::HashSet, sync::Arc, time::Duration};

use tidings_protocol::{ChannelName, EventId, Subscription};
use tokio::sync::watch;

use crate::{
    error::{Code, Error},
    log::entry::{Entry, NewEntry, TransientEvent},
};

/// Puts what is published where the log is.
pub(crate) enum Broker {
    Embedded(embedded::EmbeddedBroker),
    #[cfg(feature = "redis")]
    Redis(redis::RedisBroker),
}

impl Broker {
    /// Appends events and waits until they are kept. Dropping the future does not take them back.
    ///
    /// # Errors
    /// `not_stored` where they surely are not kept, `outcome_unknown` where nobody knows in time.
    pub(crate) async fn append(&self, items: Vec<PendingEvent>) -> Result<Vec<PublishOutcome>, Error> {
        match self {
            Self::Embedded(broker) => broker.append(items).await,
            #[cfg(feature = "redis")]
            Self::Redis(broker) => broker.append(items).await,
        }
    }
}

/// Who is told of new entries, once they are kept.
pub(crate) trait DeliverySink: Send + Sync {
    /// Entries stand in the log.
    fn on_appended(&self, entries: &[Arc<Entry>]);
    /// An event that is in no log is left with those who want it; they send it when they have what was stored before
    /// it. Returns how many were behind and did not get it.
    fn deliver_transient(&self, channels: &[ChannelName], transient: &TransientEvent) -> usize;
    /// What such an event waited for stands in the log.
    fn wake(&self, channels: &[ChannelName]);
    /// The log has another past than before, or its ids are written otherwise: everybody looks.
    fn wake_all(&self);
    /// The channels and patterns that somebody wants, for the one who asks: all of them, or what has changed since he asked.
    fn take_interest_changes(&self) -> InterestChange;
    /// Counts the times that these have changed.
    fn interest(&self) -> watch::Receiver<u64>;
}

/// Channels and patterns that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum InterestChange {
    All(Vec<Subscription>),
    /// With each whether it is wanted now.
    Changes(Vec<(Subscription, bool)>),
}

/// The idempotency keys of publishes that go into the log together: a repeat waits until its first is there.
#[derive(Default)]
struct InFlightKeys(HashSet<(Arc<str>, Arc<str>)>);

impl InFlightKeys {
    fn add(&mut self, draft: &NewEntry) {
        if let Some(it) = &draft.idempotency {
            self.0.insert((it.publisher.clone(), it.key.clone()));
        }
    }

    fn contains_any_of(&self, items: &[PendingEvent]) -> bool {
        let keys = items.iter().filter_map(|item| item.draft.idempotency.as_ref());
        keys.into_iter().any(|it| self.0.contains(&(it.publisher.clone(), it.key.clone())))
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// Nothing was kept, and it may be tried again.
fn not_stored(detail: impl Into<Cow<'static, str>>) -> Error {
    Error::new(Code::NotStored, detail).retry_after(Duration::from_secs(1))
}

/// The node stores nothing more.
pub(crate) fn shutting_down() -> Error {
    not_stored("the hub is shutting down; nothing was stored; try again in a moment, or at another node")
}

/// One event on its way into the log, or past it.
#[derive(Debug)]
pub(crate) struct PendingEvent {
    pub(crate) draft: NewEntry,
    pub(crate) is_stored: bool,
}

/// What became of a published event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It stands in the log; the id resumes after it.
    Stored(EventId),
    /// It went to those who were there.
    NotStored,
}

impl PublishOutcome {
    /// The id of a stored event.
    #[must_use]
    pub fn id(&self) -> Option<&EventId> {
        match self {
            Self::Stored(id) => Some(id),
            Self::NotStored => None,
        }
    }
}
