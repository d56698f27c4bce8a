//! Options of a stream, its timers, and the members of its open event.

use std::time::Duration;

use tidings_log::Start;
use tidings_protocol::body::EndReason;

/// Form in which a stream writes its position if no event carries it: when it opens, and in keep-alives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PositionStyle {
    /// A named event with empty data. Every browser's `EventSource` keeps its id.
    Event,
    /// A block with an `id` and no data. A conforming client keeps the id; Firefox and WebKit do not.
    Id,
    /// No position. Several client libraries hand their application an empty message for a position.
    #[default]
    None,
}

/// Options of one stream.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Position at which the stream begins. Default: [`Start::Now`].
    pub start: Start,
    /// Form of the positions. Default: [`PositionStyle::None`].
    pub positions: PositionStyle,
    /// Whether the stream begins with `tidings.open`. Default: no.
    pub open_event: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { start: Start::Now, positions: PositionStyle::default(), open_event: false }
    }
}

/// Members of `tidings.open` about the node and the client's credential.
pub(crate) struct OpenEvent {
    /// ISO 8601.
    pub(crate) now: String,
    /// Seconds.
    pub(crate) keep_alive: serde_json::Number,
    pub(crate) node: String,
    /// ISO 8601; `None` if the credential does not expire.
    pub(crate) expires_at: Option<String>,
}

/// Timers of one stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamTimers {
    /// Silence after which a comment is sent, and age of the last id at which the position is sent. Includes the jitter.
    pub(crate) keep_alive: Duration,
    pub(crate) max_age: Option<Duration>,
    /// Time until the client's credentials expire.
    pub(crate) time_left: Option<Duration>,
    /// Time that the client waits before it reconnects.
    pub(crate) retry: Duration,
}

impl StreamTimers {
    /// Returns the time until the stream ends by itself, and the reason.
    pub(crate) fn ends_in(&self) -> Option<(Duration, EndReason)> {
        let max_age = self.max_age.map(|age| (age, EndReason::MaxAge));
        let expiry = self.time_left.map(|left| (left, EndReason::TokenExpired));
        max_age.into_iter().chain(expiry).min_by_key(|(left, _)| *left)
    }
}
