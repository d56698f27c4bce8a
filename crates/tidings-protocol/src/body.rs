//! JSON on the wire: what publishers send, and what the hub answers and announces.

mod json;
mod members;
mod publish;
mod split;

use serde::{Deserialize, Serialize};

pub use json::parse_object;
pub use publish::{
    BATCH_MESSAGES_MAX, BodyError, JSON_DEPTH_MAX, KEY_BYTES_MAX, MESSAGE_CHANNELS_MAX, PublishBody,
    PublishMessage, TTL_MAX, ValueError, check_key, parse_publish, parse_publish_with, parse_ttl,
};

/// The answer to a publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishAnswer {
    /// An id that resumes after the event; null where the event is not stored.
    pub id: Option<String>,
    /// The event's offset, where it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
}

/// The answer to `POST /api/v1/tickets`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketAnswer {
    /// For `?ticket=`, once.
    pub ticket: String,
    /// Until when it may be used, ISO 8601.
    pub expires_at: String,
}

/// The data of a `tidings.gap` event: something is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GapNotice {
    /// The channels that lost something, or the subscriptions as asked where that is not known.
    pub channels: Vec<String>,
    /// Why.
    pub reason: GapReason,
    /// The id that the client came with; null where it could not be read.
    pub requested: Option<String>,
    /// The latest id from which nothing of what follows is missed.
    pub resumed_at: String,
}

/// Why events are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum GapReason {
    /// Retention removed them.
    Trimmed,
    /// The id is of a log that this hub does not know.
    Epoch,
    /// The entry at the id is another one.
    Diverged,
    /// The id is beyond the end of its log.
    Ahead,
    /// The id cannot be read.
    Malformed,
    /// The connection fell too far behind.
    Lagged,
}

impl GapReason {
    /// Every reason there is.
    pub const ALL: [Self; 6] =
        [Self::Trimmed, Self::Epoch, Self::Diverged, Self::Ahead, Self::Malformed, Self::Lagged];

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Epoch => "epoch",
            Self::Diverged => "diverged",
            Self::Ahead => "ahead",
            Self::Malformed => "malformed",
            Self::Lagged => "lagged",
        }
    }
}

/// The data of a `tidings.end` event: the hub closes the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndNotice {
    /// Why.
    pub reason: EndReason,
    /// Whether a reconnect makes sense.
    pub reconnect: bool,
}

/// Why the hub closes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndReason {
    /// The token ran out.
    TokenExpired,
    /// The session ended.
    SessionEnded,
    /// The rights were taken back.
    Revoked,
    /// The node shuts down.
    Shutdown,
    /// There is nothing more to say.
    Finished,
    /// The connection fell too far behind.
    Lagged,
    /// The stream reached `stream.max_age`.
    MaxAge,
}

impl EndReason {
    /// Every reason there is.
    pub const ALL: [Self; 7] = [
        Self::TokenExpired,
        Self::SessionEnded,
        Self::Revoked,
        Self::Shutdown,
        Self::Finished,
        Self::Lagged,
        Self::MaxAge,
    ];

    /// Returns the word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::SessionEnded => "session_ended",
            Self::Revoked => "revoked",
            Self::Shutdown => "shutdown",
            Self::Finished => "finished",
            Self::Lagged => "lagged",
            Self::MaxAge => "max_age",
        }
    }
}

/// The data of a `tidings.open` event, first on a stream that asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OpenNotice {
    /// The connection's id.
    pub connection_id: String,
    /// The channels and patterns that it is subscribed to.
    pub channels: Vec<String>,
    /// The cursor that the stream starts from; null where a gap that follows brings it, or where it is not known yet.
    pub position: Option<String>,
    /// The node's clock, ISO 8601.
    pub now: String,
    /// `stream.keep_alive` in seconds: how long the stream may be silent.
    pub keep_alive: serde_json::Number,
    /// The node that serves the stream, by a name that it draws at each start.
    pub node: String,
    /// The end of the credential, ISO 8601; absent where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// A page of a channel's history, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The events.
    pub events: Vec<HistoryEvent>,
    /// The id to ask the next page after; null at the end.
    pub next: Option<String>,
    /// What a stream would say is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<GapNotice>,
}

/// A stored event as history tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEvent {
    /// An id that resumes after the event.
    pub id: String,
    /// Its place in the log.
    pub offset: u64,
    /// Those of its channels that the asker may read.
    pub channels: Vec<String>,
    /// Its name; null where it has none.
    pub event: Option<String>,
    /// Its text.
    pub data: String,
    /// When it was stored, ISO 8601.
    pub published_at: String,
}

/// The channels that have connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelList {
    /// One entry per channel or pattern, as it was asked.
    pub channels: Vec<ChannelCount>,
}

/// A channel or pattern, and how many connections ask for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelCount {
    /// The channel or pattern.
    pub channel: String,
    /// Its connections.
    pub connections: usize,
}

#[cfg(test)]
mod tests;
