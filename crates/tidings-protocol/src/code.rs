//! Problem codes.

use crate::words::words;

words! {
    /// The error of a problem document, as a word that never changes its meaning.
    #[non_exhaustive]
    pub enum Code {
        /// The body is not JSON, or not of the shape that the route accepts.
        MalformedBody = "malformed_body",
        /// The body has a member that the route does not know.
        UnknownMember = "unknown_member",
        /// A message has no `data`.
        MissingData = "missing_data",
        /// The body, or text in its headers, is not UTF-8.
        InvalidUtf8 = "invalid_utf8",
        /// A channel name or pattern is outside the grammar, or a pattern stands in place of a channel.
        BadChannel = "bad_channel",
        /// The channel name begins with `$`.
        ReservedChannel = "reserved_channel",
        /// The event name cannot be sent, or is reserved for the hub.
        BadEventName = "bad_event_name",
        /// The event's data is larger than `limits.event_bytes`.
        EventTooLarge = "event_too_large",
        /// The body is larger than `limits.body_bytes`.
        BodyTooLarge = "body_too_large",
        /// The request target is too long.
        UriTooLong = "uri_too_long",
        /// The request has too many header fields, or too large ones.
        HeadTooLarge = "head_too_large",
        /// The batch has too many messages.
        BatchTooLarge = "batch_too_large",
        /// This version knows the member and does not support it.
        NotAvailable = "not_available",
        /// The event names no channel.
        NoAudience = "no_audience",
        /// The priority is none of the four words.
        BadPriority = "bad_priority",
        /// The time to live is not a whole number of milliseconds within its bounds.
        BadTtl = "bad_ttl",
        /// The key is empty, too long, or has control characters.
        BadKey = "bad_key",
        /// The idempotency key is empty, too long, has control characters, or belongs to an event that is not stored.
        BadIdempotencyKey = "bad_idempotency_key",
        /// The idempotency key was used with other channels, event or data.
        IdempotencyConflict = "idempotency_conflict",
        /// `log.idempotency_keys` is reached.
        IdempotencyKeysFull = "idempotency_keys_full",
        /// Two messages of a batch have the same idempotency key.
        DuplicateIdempotencyKey = "duplicate_idempotency_key",
        /// The publish certainly did not happen.
        NotStored = "not_stored",
        /// The publish may have happened.
        OutcomeUnknown = "outcome_unknown",
        /// One connection or message names too many channels.
        TooManyChannels = "too_many_channels",
        /// `limits.connections` is reached.
        ConnectionsFull = "connections_full",
        /// The data is not an envelope of `type` and `object`.
        Envelope = "envelope",
        /// The envelope's type is not in `channels.types`.
        UnknownType = "unknown_type",
        /// An open hub does not answer to this `Host`.
        ForbiddenHost = "forbidden_host",
        /// The `Origin` is not allowed.
        ForbiddenOrigin = "forbidden_origin",
        /// The request needs credentials and has none.
        CredentialsMissing = "credentials_missing",
        /// The credentials are invalid: malformed, forged, for another hub, or not valid yet. The answer does not say which.
        BadCredentials = "bad_credentials",
        /// The token was valid and has expired.
        TokenExpired = "token_expired",
        /// The token was valid and is revoked.
        Revoked = "revoked",
        /// The principal may not do this.
        AccessDenied = "access_denied",
        /// The hook of the backend did not answer.
        HookUnavailable = "hook_unavailable",
        /// The keys that verify tokens could not be fetched yet.
        KeysUnavailable = "keys_unavailable",
        /// `limits.connections_per_user` is reached.
        UserConnectionsFull = "user_connections_full",
        /// `limits.connections_per_address` is reached.
        AddressConnectionsFull = "address_connections_full",
        /// The publisher exceeds `limits.publishes_per_second`.
        TooManyPublishes = "too_many_publishes",
        /// The user or address exceeds `limits.streams_per_second`.
        TooManyStreams = "too_many_streams",
        /// The hub cannot keep another ticket or revocation.
        TooMany = "too_many",
        /// The route, or the thing that it names, does not exist.
        NotFound = "not_found",
        /// The route does not support this method.
        MethodNotAllowed = "method_not_allowed",
        /// The route does not accept this content type.
        UnsupportedMediaType = "unsupported_media_type",
        /// A query parameter is unknown, repeated, or has a bad value.
        BadQuery = "bad_query",
        /// A header is repeated or has a bad value.
        BadHeader = "bad_header",
        /// The request is not valid HTTP.
        BadRequest = "bad_request",
        /// The body did not arrive in time.
        BodyTimeout = "body_timeout",
        /// The node is shutting down.
        ShuttingDown = "shutting_down",
        /// The node cannot serve this now.
        Unavailable = "unavailable",
        /// An error of the hub itself; its log has the details.
        Internal = "internal",
        /// A code of a later version. Only a reader gets it.
        #[serde(other)]
        Unknown = "unknown",
    }
}

#[cfg(test)]
mod tests;
