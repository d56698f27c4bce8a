//! JSON bodies: publishes, answers of the hub, and the data of its control events.

mod error;
mod json;
mod members;
mod message;
mod publish;
mod split;
mod values;

use serde::{Deserialize, Serialize};

use crate::words::words;

pub use error::BodyError;
pub use json::parse_object;
pub use message::{JSON_DEPTH_MAX, MESSAGE_CHANNELS_MAX, PublishMessage};
pub use publish::{BATCH_MESSAGES_MAX, PublishBody, parse_publish, parse_publish_with};
pub use values::{KEY_BYTES_MAX, TTL_MAX, ValueError, check_key, parse_ttl};

/// The answer to a publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishAnswer {
    /// An id that resumes after the event; null if the event is not stored.
    pub id: Option<String>,
    /// The event's offset, if it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// The answer to `POST /api/v1/tickets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketAnswer {
    /// The value of `?ticket=`, for one request.
    pub ticket: String,
    /// The end of its validity, ISO 8601.
    pub expires_at: String,
}

/// The data of a `tidings.gap` event: events are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapNotice {
    /// The channels that lost events, or the requested subscriptions if the channels are unknown.
    pub channels: Vec<String>,
    /// The reason.
    pub reason: GapReason,
    /// The id of the request; null if it could not be read.
    pub requested: Option<String>,
    /// The latest id from which the stream is complete.
    pub resumed_at: String,
}

words! {
    /// The reason of a gap.
    #[non_exhaustive]
    pub enum GapReason {
        /// Retention removed the events.
        Trimmed = "trimmed",
        /// The id is of a log that this hub does not know.
        Epoch = "epoch",
        /// The log has another entry at the id.
        Diverged = "diverged",
        /// The id is beyond the end of its log.
        Ahead = "ahead",
        /// The id cannot be read.
        Malformed = "malformed",
        /// The connection fell too far behind.
        Lagged = "lagged",
    }
}

/// The data of a `tidings.end` event: the hub closes the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndNotice {
    /// The reason.
    pub reason: EndReason,
    /// Whether the client should reconnect.
    pub reconnect: bool,
}

words! {
    /// The reason why the hub closes a stream.
    #[non_exhaustive]
    pub enum EndReason {
        /// The token expired.
        TokenExpired = "token_expired",
        /// The session ended.
        SessionEnded = "session_ended",
        /// The authorization was revoked.
        Revoked = "revoked",
        /// The node shuts down.
        Shutdown = "shutdown",
        /// The stream is complete.
        Finished = "finished",
        /// The connection fell too far behind.
        Lagged = "lagged",
        /// The stream reached `stream.max_age`.
        MaxAge = "max_age",
    }
}

/// The data of a `tidings.open` event, the first of a stream that asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenNotice {
    /// The connection's id.
    pub connection_id: String,
    /// The channels and patterns of its subscriptions.
    pub channels: Vec<String>,
    /// The cursor at the start of the stream; null if a following gap brings it, or if it is not known yet.
    pub position: Option<String>,
    /// The node's clock, ISO 8601.
    pub now: String,
    /// `stream.keep_alive` in seconds.
    pub keep_alive: serde_json::Number,
    /// The node that serves the stream, by a name that it generates at each start.
    pub node: String,
    /// The end of the credential, ISO 8601; absent if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A page of a channel's history, oldest event first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The events.
    pub events: Vec<HistoryEvent>,
    /// The id to request the next page after; null at the end.
    pub next: Option<String>,
    /// The gap that a stream would report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapNotice>,
}

/// A stored event in the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEvent {
    /// An id that resumes after the event.
    pub id: String,
    /// Its offset in the log.
    pub offset: u64,
    /// Those of its channels that the client may read.
    pub channels: Vec<String>,
    /// Its name; null if it has none.
    pub event: Option<String>,
    /// Its data.
    pub data: String,
    /// The time at which it was stored, ISO 8601.
    pub published_at: String,
}

/// The channels that have connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelList {
    /// One entry per channel or pattern, as requested.
    pub channels: Vec<ChannelCount>,
}

/// The number of connections of a channel or pattern.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelCount {
    /// The channel or pattern.
    pub channel: String,
    /// Its connections.
    pub connections: usize,
}

#[cfg(test)]
mod tests;
