//! An event before it is published.

use std::time::Duration;

use serde::Serialize;
use tidings_protocol::{ChannelName, EventName, Priority};

use crate::error::Error;

/// An event to publish, built field by field.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[must_use = "a message does nothing until it is published"]
pub struct Message {
    pub(crate) channels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<String>,
    pub(crate) data: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) priority: Option<Priority>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "milliseconds", rename = "ttl")]
    pub(crate) ttl: Option<Duration>,
    #[serde(skip_serializing_if = "is_true")]
    pub(crate) store: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) idempotency_key: Option<String>,
}

/// The setters of a message, for each type that holds one.
macro_rules! message_setters {
    ($self:ident, $message:expr) => {
        /// Sets the event's name. Default: none, which subscribers see as `message`.
        pub fn event(mut $self, name: impl Into<String>) -> Self {
            $message.event = Some(name.into());
            $self
        }

        /// Sets the event's data, sent verbatim. Default: empty.
        pub fn data(mut $self, data: impl Into<String>) -> Self {
            $message.data = data.into();
            $self
        }

        /// Sets the event's priority on connections that are behind. Default: normal.
        pub fn priority(mut $self, priority: tidings_protocol::Priority) -> Self {
            $message.priority = Some(priority);
            $self
        }

        /// Sets the event's key: a connection that is behind gets only the newest event of a key. Default: none.
        pub fn key(mut $self, key: impl Into<String>) -> Self {
            $message.key = Some(key.into());
            $self
        }

        /// Sets the event's time to live, sent in whole milliseconds. Later the event is not delivered. Default: none.
        pub fn ttl(mut $self, ttl: std::time::Duration) -> Self {
            $message.ttl = Some(ttl);
            $self
        }

        /// Sets whether the event is stored, so that clients that resume get it. Default: true.
        pub fn store(mut $self, store: bool) -> Self {
            $message.store = store;
            $self
        }

        /// Sets a key that makes repeats harmless: the hub repeats the first answer, so the client retries. Default: none.
        pub fn idempotency_key(mut $self, key: impl Into<String>) -> Self {
            $message.idempotency_key = Some(key.into());
            $self
        }
    };
}

pub(crate) use message_setters;

impl Message {
    /// Creates an event for `channel`, without a name and with empty data.
    pub fn new(channel: impl Into<String>) -> Self {
        Self {
            channels: vec![channel.into()],
            event: None,
            data: String::new(),
            priority: None,
            key: None,
            ttl: None,
            store: true,
            idempotency_key: None,
        }
    }

    /// Adds a channel. A connection gets the event once.
    pub fn also_to(mut self, channel: impl Into<String>) -> Self {
        self.channels.push(channel.into());
        self
    }

    message_setters!(self, self);

    /// Checks the rules of the hub that no setting changes.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for channel in &self.channels {
            ChannelName::parse(channel).map_err(Error::invalid)?;
        }
        if let Some(name) = &self.event {
            EventName::parse(name).map_err(Error::invalid)?;
        }
        Ok(())
    }

    /// Returns the query of `POST /api/v1/events/{channel}` with its question mark; empty if no parameter is set.
    pub(crate) fn query(&self) -> String {
        let ttl = self.ttl.map(|ttl| ttl.as_millis().to_string());
        let parameters = [
            ("event", self.event.as_deref()),
            ("priority", self.priority.map(Priority::as_str)),
            ("key", self.key.as_deref()),
            ("ttl", ttl.as_deref()),
            ("store", (!self.store).then_some("false")),
        ];
        let given = parameters.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(given).finish();
        if query.is_empty() { query } else { format!("?{query}") }
    }
}

/// Returns whether the value is true, in serde's signature of `skip_serializing_if`.
fn is_true(value: &bool) -> bool {
    *value
}

fn milliseconds<S: serde::Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}
