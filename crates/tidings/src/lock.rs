//! The locks of the hub, from the outermost to the innermost. `docs/locks.md` says what each guards.

tidings_sync::locks! {
    /// `Committer`: the embedded log has one writer at a time.
    COMMITTER => [
        IDEMPOTENCY_KEYS, LOG_STATE, ACTIVE_FILE, SEGMENTS, UNSYNCED_FILES, REFUSED_APPEND, READ_ONLY, WATERMARK,
        MEMORY_ENTRIES, SHARDS, SUBSCRIBERS, CONNECTION_HANDLE
    ];
    /// `Log::keys`: the idempotency keys of the last window.
    IDEMPOTENCY_KEYS => [LOG_STATE, SEGMENTS];
    /// `Log::state`: head, epochs, index, newest entries.
    LOG_STATE => [READ_BARRIERS, CHUNK_CACHE, MEMORY_ENTRIES];
    /// `ReadBarriers::barriers`: read barriers of a replica, and their waiters.
    READ_BARRIERS => [];
    /// `Log::chunk_cache`: joined entries that readers share.
    CHUNK_CACHE => [];
    /// `Log::served`: the logs that served from the data directory.
    SERVED_LOGS => [];
    /// `DiskStore::begin`: work of a run before it takes events.
    RUN_BEGIN => [ACTIVE_FILE, SEGMENTS, DROPPED_RANGES, WATERMARK];
    /// `DiskStore::active`: the file that grows.
    ACTIVE_FILE => [SEGMENTS, UNSYNCED_FILES, READ_ONLY, WATERMARK];
    /// `DiskStore::segments`: the position of each record.
    SEGMENTS => [];
    /// `DiskStore::unsynced`: files to be synced.
    UNSYNCED_FILES => [];
    /// `DiskStore::refused`: error of the last append.
    REFUSED_APPEND => [];
    /// `DiskStore::read_only`: the error that made the store read-only.
    READ_ONLY => [];
    /// `DiskStore::dropped`: ranges of offsets without a file.
    DROPPED_RANGES => [];
    /// `DiskStore::watermark`: the file with the end of the written log.
    WATERMARK => [];
    /// `MemoryStore::entries`.
    MEMORY_ENTRIES => [];

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
