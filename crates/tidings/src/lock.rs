//! The locks of the hub, from the outermost to the innermost; those of the log are below them. `docs/locks.md` says what
//! each guards.

use tidings_log::lock as log;

tidings_sync::locks! {
    /// `Committer`: the embedded log has one writer at a time.
    COMMITTER => [
        SHARDS, SUBSCRIBERS, CONNECTION_HANDLE, log::IDEMPOTENCY_KEYS, log::LOG_STATE, log::ACTIVE_FILE, log::SEGMENTS,
        log::UNSYNCED_FILES, log::REFUSED_APPEND, log::READ_ONLY, log::WATERMARK, log::MEMORY_ENTRIES
    ];

    /// `Subscribers::shards`: the shards that are told of new entries.
    SHARDS => [];
    /// `Subscribers::lists`: connections by subscription.
    SUBSCRIBERS => [CONNECTION_HANDLE];
    /// `Subscribers::stirred`: subscriptions that came or went.
    INTEREST_CHANGES => [];
    /// `ConnectionHandle::waiting`: what is left for one connection.
    CONNECTION_HANDLE => [];

    /// `Mailbox::inbox`: messages of other threads to a shard.
    SHARD_MAILBOX => [];
    /// `DiskReaders::queue`: pages to be read from the store.
    READ_QUEUE => [];
    /// `Backpressure::waiting`: wakers of streams whose socket is full.
    SOCKET_WAITERS => [];
    /// `StreamHandoff`: a stream on its way from its route to its shard.
    STREAM_HANDOFF => [];
    /// The response that a shard gives hyper with a connection.
    EARLY_RESPONSE => [];

    /// `Publisher::broker`: none once the hub takes no more publishes.
    BROKER => [];
    /// `HubInner::tls`: the certificate of new connections.
    CERTIFICATE => [];
    /// `HubInner::close`: the last step of shutdown.
    CLOSE => [];

    /// `Authorizer::rules`: the `[auth]` that is in force.
    AUTH_POLICY => [];
    /// `Revocations::active`.
    REVOCATIONS => [];
    /// `Revocations::journal`: the file of revocations.
    REVOCATION_JOURNAL => [];
    /// `Tickets`.
    TICKETS => [];
    /// `Jwks::cached`: the keys of the identity provider.
    PROVIDER_KEYS => [];
    /// `HookClient::state`: answers of the hook, and questions under way.
    HOOK_ANSWERS => [];
    /// `limits::ConnectionLimits`: streams by user, or by address.
    STREAM_COUNTS => [];
    /// `RateLimiter::counted` of publishers.
    PUBLISH_RATES => [];
    /// `RateLimiter::counted` of streams.
    STREAM_RATES => [];

    /// `broker::redis::SyncState`: the state of this node's copy of the log in Redis.
    REDIS_SYNC_STATE => [];
    /// `broker::redis::TableReplica`: this node's copy of a shared table.
    REDIS_TABLE => [];
    /// `broker::redis::capture::CaptureBuffer`: messages to be captured.
    CAPTURE_BUFFER => [];
}

#[cfg(test)]
mod tests;
