//! Publishing: check, stamp, append, answer.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tidings_log::{Idempotency, Millis, NewEntry, SHORT_BYTES_MAX, millis};
use tidings_protocol::body::{KEY_BYTES_MAX, MESSAGE_CHANNELS_MAX, PublishMessage, parse_object};
use tidings_protocol::{ChannelName, EventName, Priority};
use tidings_sync::RwLock;
use tokio::sync::Semaphore;

use crate::auth::{PUBLISHER_BYTES_MAX, PublishPermit};
use crate::broker::embedded::EmbeddedBroker;
use crate::broker::{self, PendingEvent, PublishOutcome};
use crate::config::{Envelope, Settings};
use crate::error::{Code, Error};
use crate::lock;
use crate::metrics::Metrics;

/// Time that a publish may wait for room.
const DEADLINE: Duration = Duration::from_secs(5);
/// KiB of text, names and keys of waiting publishes: bound of memory on a slow disk.
const WAITING_KIB_MAX: usize = 64 << 10;

// A publisher's name is stored beside its idempotency keys.
const _: () = assert!(PUBLISHER_BYTES_MAX <= SHORT_BYTES_MAX);

/// Broker of this node.
pub(crate) enum Broker {
    Embedded(EmbeddedBroker),
    #[cfg(feature = "redis")]
    Redis(broker::redis::RedisBroker),
}

/// Accepts publishes for one hub.
pub(crate) struct Publisher {
    /// `None` once the hub takes no more publishes.
    broker: RwLock<Option<Arc<Broker>>>,
    metrics: Arc<Metrics>,
    event_bytes_max: u64,
    envelope: Envelope,
    types: Vec<String>,
    waiting: Semaphore,
    now: Box<dyn Fn() -> Millis + Send + Sync>,
}

impl Publisher {
    pub(crate) fn new(
        broker: Broker,
        metrics: Arc<Metrics>,
        settings: &Settings,
        now: impl Fn() -> Millis + Send + Sync + 'static,
    ) -> Self {
        Self {
            broker: RwLock::new(&lock::BROKER, Some(Arc::new(broker))),
            metrics,
            event_bytes_max: settings.limits.event_bytes,
            envelope: settings.channels.envelope,
            types: settings.channels.types.clone(),
            waiting: Semaphore::new(WAITING_KIB_MAX),
            now: Box::new(now),
        }
    }

    /// Publishes messages together, or none of them, and returns the outcome of each.
    ///
    /// # Errors
    /// See [`Code`]; an idempotency conflict has the index of its message.
    pub(crate) async fn publish(
        &self,
        permit: &PublishPermit,
        messages: Vec<CheckedMessage>,
    ) -> Result<Vec<PublishOutcome>, Error> {
        let now = (self.now)();
        let items: Vec<PendingEvent> =
            messages.into_iter().map(|message| message.item(permit, now)).collect();
        let bytes = items.iter().map(|item| item.entry.record_bytes()).sum();
        let outcome = self.metrics.log.publishes.time(self.append(items, bytes)).await;
        if outcome.is_err() {
            self.metrics.log.publishes_refused.inc();
        }
        outcome
    }

    /// Passes checked events with `bytes` bytes of text to the broker, once there is room for them.
    async fn append(&self, items: Vec<PendingEvent>, bytes: usize) -> Result<Vec<PublishOutcome>, Error> {
        let kib = (bytes >> 10).clamp(1, WAITING_KIB_MAX) as u32;
        let _room = tokio::time::timeout(DEADLINE, self.waiting.acquire_many(kib)).await.map_err(|_| {
            Error::new(Code::NotStored, "too much text waits for the log; try again")
                .retry_after(Duration::from_secs(1))
        })?;
        let broker = self.broker.read().clone();
        let broker = broker.ok_or_else(broker::shutting_down)?;
        match &*broker {
            Broker::Embedded(broker) => broker.append(items).await,
            #[cfg(feature = "redis")]
            Broker::Redis(broker) => broker.append(items).await,
        }
    }

    /// Refuses further publishes; the writer ends when the publishes in progress have their answers.
    pub(crate) fn close(&self) {
        self.broker.replace(None);
    }

    /// Checks a message against the limits and the envelope.
    ///
    /// # Errors
    /// The first fault of the message.
    pub(crate) fn check(&self, message: PublishMessage) -> Result<CheckedMessage, Error> {
        if message.data.len() as u64 > self.event_bytes_max {
            return Err(Error::new(
                Code::EventTooLarge,
                format!(
                    "event is {} bytes; limit is {} (limits.event_bytes); send a link to what is large",
                    message.data.len(),
                    self.event_bytes_max
                ),
            )
            .limit("event_bytes"));
        }
        let channels = message.channels.len();
        if !(1..=MESSAGE_CHANNELS_MAX).contains(&channels) {
            let detail = format!(
                "event names {channels} channels; limit is 1 to {MESSAGE_CHANNELS_MAX}; send several"
            );
            return Err(Error::new(Code::TooManyChannels, detail));
        }
        for (key, code) in [(&message.key, Code::BadKey), (&message.idempotency_key, Code::BadIdempotencyKey)]
        {
            if let Some(key) = key.as_ref().filter(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
                let length = key.len();
                return Err(Error::new(
                    code,
                    format!("key is {length} bytes; it may be 1 to {KEY_BYTES_MAX}"),
                ));
            }
        }
        if self.envelope == Envelope::Strict {
            self.check_envelope(&message.data)?;
        }
        Ok(CheckedMessage(message))
    }

    /// Checks that data is the envelope: an object with `type` and `object` only.
    fn check_envelope(&self, data: &str) -> Result<(), Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct EnvelopeMessage {
            r#type: String,
            object: serde_json::Value,
        }
        let message: EnvelopeMessage = parse_object(data.as_bytes()).map_err(|error| {
            Error::new(
                Code::Envelope,
                format!("data is not {{\"type\": string, \"object\": object or string}}: {error} (channels.envelope = \"strict\")"),
            )
        })?;
        if !message.object.is_object() && !message.object.is_string() {
            return Err(Error::new(
                Code::Envelope,
                "`object` is neither an object nor a string (channels.envelope = \"strict\")",
            ));
        }
        if !self.types.is_empty() && !self.types.contains(&message.r#type) {
            return Err(Error::new(
                Code::UnknownType,
                format!("type {:?} is not one of channels.types: {}", message.r#type, self.types.join(", ")),
            ));
        }
        Ok(())
    }
}

/// A message within the limits; only [`Publisher::check`] creates it.
#[derive(Debug)]
pub(crate) struct CheckedMessage(PublishMessage);

impl CheckedMessage {
    /// Channels of the message.
    pub(crate) fn channels(&self) -> &[ChannelName] {
        &self.0.channels
    }

    fn item(self, permit: &PublishPermit, now: Millis) -> PendingEvent {
        let Self(message) = self;
        let idempotency = message.idempotency_key.map(|key| Idempotency {
            publisher: permit.publisher().clone(),
            key: key.into(),
            fingerprint: fingerprint(&message.channels, message.event.as_ref(), &message.data),
        });
        let expires_at = message.ttl.map(|ttl| now.saturating_add(millis(ttl)));
        let entry = NewEntry {
            channels: message.channels.into(),
            event: message.event,
            data: message.data.into(),
            priority: message.priority,
            key: message.key.map(Into::into),
            published_at: now,
            expires_at,
            idempotency,
        };
        PendingEvent { entry, is_stored: message.store }
    }
}

/// Hash of the content that a repeat must share with the first publish.
fn fingerprint(channels: &[ChannelName], event: Option<&EventName>, data: &str) -> [u8; 16] {
    let mut channels: Vec<&str> = channels.iter().map(ChannelName::as_str).collect();
    channels.sort_unstable();
    let mut hash = Sha256::new();
    for text in channels.iter().copied().chain([event.map_or("", EventName::as_str), data]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    let digest = hash.finalize();
    digest[..16].try_into().expect("a SHA-256 digest has 32 bytes")
}

/// An event that the host application publishes.
#[derive(Debug, Clone)]
#[must_use = "an event is published by `Hub::publish`"]
pub struct Publication(PublishMessage);

impl Publication {
    /// An event with this text for one channel.
    pub fn new(channel: ChannelName, data: impl Into<String>) -> Self {
        Self(PublishMessage {
            channels: vec![channel],
            event: None,
            data: data.into(),
            priority: Priority::Normal,
            key: None,
            ttl: None,
            store: true,
            idempotency_key: None,
        })
    }

    /// Adds a channel; a subscriber of both gets the event once.
    pub fn and(mut self, channel: ChannelName) -> Self {
        if !self.0.channels.contains(&channel) {
            self.0.channels.push(channel);
        }
        self
    }

    /// Sets the name of the event. Default: unnamed; `onmessage` gets it.
    pub fn event(mut self, name: EventName) -> Self {
        self.0.event = Some(name);
        self
    }

    /// Sets the priority for connections that are behind. Default: normal.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.0.priority = priority;
        self
    }

    /// Sets a key: a connection that is behind gets only the newest event of a key. Default: none.
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.key = Some(key.into());
        self
    }

    /// Sets the time after which no subscriber gets the event any more. Default: never.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.0.ttl = Some(ttl);
        self
    }

    /// Sets whether the event is stored for clients that resume. Default: yes.
    pub fn store(mut self, store: bool) -> Self {
        self.0.store = store;
        self
    }

    /// Sets the idempotency key: a repeat with the same key gets the answer of the first publish. Default: none.
    pub fn idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.0.idempotency_key = Some(key.into());
        self
    }

    pub(crate) fn into_message(self) -> PublishMessage {
        self.0
    }
}
