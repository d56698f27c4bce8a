//! The locks of the client. `docs/locks.md` says what each guards.

tidings_sync::locks! {
    /// `ConnectionPool::idle`: open connections.
    REDIS_IDLE => [];
    /// `Connector::learned`: hosts of a cluster, or Sentinels.
    REDIS_HOSTS => [];
}
