//! The names of the locks, and their order.

/// Makes [`Lock`] of rows `name => [locks that may be taken while it is held];`.
macro_rules! locks {
    ($($(#[$doc:meta])* $lock:ident => [$($inner:ident),*];)*) => {
        /// A lock of the hub, from the outermost to the innermost. `docs/locks.md` says what each guards.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "some are of the Redis broker"))]
        pub(crate) enum Lock {
            $($(#[$doc])* $lock,)*
        }

        impl Lock {
            #[cfg(test)]
            const ALL: &[Self] = &[$(Self::$lock,)*];

            /// The locks that a thread may take while it holds this one: all of them are below it.
            #[cfg(any(test, debug_assertions))]
            const fn inner(self) -> &'static [Self] {
                match self {
                    $(Self::$lock => &[$(Self::$inner),*],)*
                }
            }
        }
    };
}

locks! {
    /// `Committer`: the embedded log has one writer at a time.
    Committer => [
        IdempotencyKeys, LogState, ActiveFile, Segments, UnsyncedFiles, RefusedAppend, ReadOnly, Watermark,
        MemoryEntries, Shards, Subscribers, ConnectionHandle
    ];
    /// `Log::keys`: the idempotency keys of the last window.
    IdempotencyKeys => [LogState, Segments];
    /// `Log::state`: head, epochs, index, newest entries.
    LogState => [ReadBarriers, ChunkCache, MemoryEntries];
    /// `ReadBarriers::barriers`: read barriers of a replica, and their waiters.
    ReadBarriers => [];
    /// `Log::chunk_cache`: joined entries that readers share.
    ChunkCache => [];
    /// `Log::served`: the logs that served from the data directory.
    ServedLogs => [];
    /// `DiskStore::begin`: work of a run before it takes events.
    RunBegin => [ActiveFile, Segments, DroppedRanges, Watermark];
    /// `DiskStore::active`: the file that grows.
    ActiveFile => [Segments, UnsyncedFiles, ReadOnly, Watermark];
    /// `DiskStore::segments`: the position of each record.
    Segments => [];
    /// `DiskStore::unsynced`: files to be synced.
    UnsyncedFiles => [];
    /// `DiskStore::refused`: error of the last append.
    RefusedAppend => [];
    /// `DiskStore::read_only`: the error that made the store read-only.
    ReadOnly => [];
    /// `DiskStore::dropped`: ranges of offsets without a file.
    DroppedRanges => [];
    /// `DiskStore::watermark`: the file with the end of the written log.
    Watermark => [];
    /// `MemoryStore::entries`.
    MemoryEntries => [];

    /// `Subscribers::shards`: the shards that are told of new entries.
    Shards => [];
    /// `Subscribers::lists`: connections by subscription.
    Subscribers => [ConnectionHandle];
    /// `Subscribers::stirred`: subscriptions that came or went.
    InterestChanges => [];
    /// `ConnectionHandle::waiting`: what is left for one connection.
    ConnectionHandle => [];

    /// `Mailbox::inbox`: messages of other threads to a shard.
    ShardMailbox => [];
    /// `DiskReaders::queue`: pages to be read from the store.
    ReadQueue => [];
    /// `Backpressure::waiting`: wakers of streams whose socket is full.
    SocketWaiters => [];
    /// `StreamHandoff`: a stream on its way from its route to its shard.
    StreamHandoff => [];
    /// The response that a shard gives hyper with a connection.
    EarlyResponse => [];

    /// `Publisher::broker`: none once the hub takes no more publishes.
    Broker => [];
    /// `HubInner::tls`: the certificate of new connections.
    Certificate => [];
    /// `HubInner::close`: the last step of shutdown.
    Close => [];

    /// `Authorizer::rules`: the `[auth]` that is in force.
    AuthPolicy => [];
    /// `Revocations::active`.
    Revocations => [];
    /// `Revocations::journal`: the file of revocations.
    RevocationJournal => [];
    /// `Tickets`.
    Tickets => [];
    /// `Jwks::cached`: the keys of the identity provider.
    ProviderKeys => [];
    /// `HookClient::state`: answers of the hook, and questions under way.
    HookAnswers => [];
    /// `limits::ConnectionLimits`: streams by user, or by address.
    StreamCounts => [];
    /// `RateLimiter::counted` of publishers.
    PublishRates => [];
    /// `RateLimiter::counted` of streams.
    StreamRates => [];

    /// `broker::redis::SyncState`: the state of this node's copy of the log in Redis.
    RedisSyncState => [];
    /// `broker::redis::TableReplica`: this node's copy of a shared table.
    RedisTable => [];
    /// `broker::redis::capture::CaptureBuffer`: messages to be captured.
    CaptureBuffer => [];
    /// `broker::redis::ConnectionPool::idle`: open connections.
    RedisIdle => [];
    /// `broker::redis::Connector::nodes`: hosts of a cluster.
    RedisHosts => [];
}

impl Lock {
    /// Whether a thread that holds this lock may take `other`.
    #[cfg(debug_assertions)]
    pub(super) fn allows(self, other: Self) -> bool {
        self.inner().contains(&other)
    }
}

#[cfg(test)]
mod tests;
