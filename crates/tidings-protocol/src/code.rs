//! The stable codes of problem documents: what programs branch on where people read the detail.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $text:literal,)+) => {
        /// What went wrong, as a word that never changes its meaning.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// Returns the word on the wire.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)+
                }
            }
        }
    };
}

codes! {
    /// The body is not JSON, or not of the shape that the route takes.
    MalformedBody = "malformed_body",
    /// The body has a member that the route does not know.
    UnknownMember = "unknown_member",
    /// A message has no `data`.
    MissingData = "missing_data",
    /// The body, or what it says it is, is not UTF-8.
    InvalidUtf8 = "invalid_utf8",
    /// A channel name or pattern is outside the grammar, or a pattern where one channel is meant.
    BadChannel = "bad_channel",
    /// The name begins with `$`.
    ReservedChannel = "reserved_channel",
    /// The event name cannot be sent, or is the hub's own.
    BadEventName = "bad_event_name",
    /// The event's text is larger than `limits.event_bytes`.
    EventTooLarge = "event_too_large",
    /// The body is larger than `limits.body_bytes`.
    BodyTooLarge = "body_too_large",
    /// The request's target is longer than any may be.
    UriTooLong = "uri_too_long",
    /// The request's headers are larger, or more, than they may be.
    HeadTooLarge = "head_too_large",
    /// The batch has more messages than one may have.
    BatchTooLarge = "batch_too_large",
    /// The member is known but not built yet.
    NotAvailable = "not_available",
    /// The event names nobody to go to.
    NoAudience = "no_audience",
    /// The priority is none of the four words.
    BadPriority = "bad_priority",
    /// The time to live is not a whole number of milliseconds within its bounds.
    BadTtl = "bad_ttl",
    /// The key is empty, too long, or has control characters.
    BadKey = "bad_key",
    /// The idempotency key is empty, too long, has control characters, or goes with an event that is not stored.
    BadIdempotencyKey = "bad_idempotency_key",
    /// The idempotency key was used with other channels, event or data.
    IdempotencyConflict = "idempotency_conflict",
    /// No further idempotency key can be kept.
    IdempotencyKeysFull = "idempotency_keys_full",
    /// One idempotency key stands twice in a batch.
    DuplicateIdempotencyKey = "duplicate_idempotency_key",
    /// The publish surely did not happen.
    NotStored = "not_stored",
    /// It is unknown whether the publish happened.
    OutcomeUnknown = "outcome_unknown",
    /// More channels than one connection or message may have.
    TooManyChannels = "too_many_channels",
    /// No further stream can be opened.
    ConnectionsFull = "connections_full",
    /// The data is not an envelope of `type` and `object`.
    Envelope = "envelope",
    /// The envelope's type is not listed.
    UnknownType = "unknown_type",
    /// The `Host` is not one that an open hub answers to.
    ForbiddenHost = "forbidden_host",
    /// The `Origin` is not allowed.
    ForbiddenOrigin = "forbidden_origin",
    /// The request has no credentials, and needs them.
    CredentialsMissing = "credentials_missing",
    /// The credentials are not good: malformed, forged, not for this hub, or not yet. It does not say which.
    BadCredentials = "bad_credentials",
    /// The token was good, and its time is over.
    TokenExpired = "token_expired",
    /// The token was good, and was revoked.
    Revoked = "revoked",
    /// The rights do not allow it.
    AccessDenied = "access_denied",
    /// The backend that has the last word did not answer.
    HookUnavailable = "hook_unavailable",
    /// The keys that tokens are verified with could not be fetched yet.
    KeysUnavailable = "keys_unavailable",
    /// One user has no further stream.
    UserConnectionsFull = "user_connections_full",
    /// One address has no further stream.
    AddressConnectionsFull = "address_connections_full",
    /// More events per second than one publisher may publish.
    TooManyPublishes = "too_many_publishes",
    /// This user or address opens more streams than `limits.streams_per_second`.
    TooManyStreams = "too_many_streams",
    /// No further ticket or revocation can be kept.
    TooMany = "too_many",
    /// Nothing is there.
    NotFound = "not_found",
    /// The route does not know this method.
    MethodNotAllowed = "method_not_allowed",
    /// The route does not take this content type.
    UnsupportedMediaType = "unsupported_media_type",
    /// A query parameter is unknown, repeated, or has a bad value.
    BadQuery = "bad_query",
    /// A header is repeated or has a bad value.
    BadHeader = "bad_header",
    /// The request is not HTTP as it should be.
    BadRequest = "bad_request",
    /// The body did not arrive in time.
    BodyTimeout = "body_timeout",
    /// The node is shutting down.
    ShuttingDown = "shutting_down",
    /// The node cannot serve this now.
    Unavailable = "unavailable",
    /// A fault of the hub itself; its log says more.
    Internal = "internal",
    /// A code that this version does not know; only a reader meets it.
    Unknown = "unknown",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self::ALL.iter().copied().find(|code| code.as_str() == text).unwrap_or(Self::Unknown))
    }
}

#[cfg(test)]
mod tests;
