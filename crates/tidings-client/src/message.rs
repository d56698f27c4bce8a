//! An event before it is published.

use std::time::Duration;

use serde::Serialize;
use tidings_protocol::{ChannelName, EventName, Priority};

use crate::Error;

/// An event to publish, built up field by field.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    pub(crate) channels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) event: Option<String>,
    pub(crate) data: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "priority_word")]
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

impl Message {
    /// An event without a name and with empty data for `channel`.
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

    /// Sends the same event to a further channel; a connection gets it once.
    #[must_use]
    pub fn also_to(mut self, channel: impl Into<String>) -> Self {
        self.channels.push(channel.into());
        self
    }

    /// The event's name. Default: none, which subscribers see as `message`.
    #[must_use]
    pub fn event(mut self, name: impl Into<String>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// The event's data, sent verbatim. Default: empty.
    #[must_use]
    pub fn data(mut self, data: impl Into<String>) -> Self {
        self.data = data.into();
        self
    }

    /// How the event competes on a connection that is behind. Default: normal.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// On a connection that is behind, only the newest event of a key is sent. Default: none.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// After this time the event is not delivered any more. Sent in whole milliseconds. Default: none.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Whether the event is kept for those who resume. Default: true.
    #[must_use]
    pub fn store(mut self, store: bool) -> Self {
        self.store = store;
        self
    }

    /// Makes a repeat harmless: the hub answers it as it answered the first. Default: none.
    #[must_use]
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Refuses here what the hub would refuse, where the rule needs no setting of the hub.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for channel in &self.channels {
            ChannelName::parse(channel)
                .map_err(|fault| Error::input(fault.to_string()).with_source(fault))?;
        }
        if let Some(name) = &self.event {
            EventName::parse(name).map_err(|fault| Error::input(fault.to_string()).with_source(fault))?;
        }
        Ok(())
    }

    /// The query of `POST /api/v1/events/{channel}`, with its question mark; empty where nothing is set.
    pub(crate) fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(name) = &self.event {
            query.append_pair("event", name);
        }
        if let Some(priority) = self.priority {
            query.append_pair("priority", priority.as_str());
        }
        if let Some(key) = &self.key {
            query.append_pair("key", key);
        }
        if let Some(ttl) = self.ttl {
            query.append_pair("ttl", &ttl.as_millis().to_string());
        }
        if !self.store {
            query.append_pair("store", "false");
        }
        let query = query.finish();
        if query.is_empty() { query } else { format!("?{query}") }
    }
}

/// Serde's signature for `skip_serializing_if`.
fn is_true(value: &bool) -> bool {
    *value
}

fn priority_word<S: serde::Serializer>(value: &Option<Priority>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(|priority| priority.as_str()).serialize(serializer)
}

fn milliseconds<S: serde::Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    value.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)).serialize(serializer)
}
