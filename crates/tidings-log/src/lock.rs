//! The locks of the log, from the outermost to the innermost. `docs/locks.md` says what each guards.

tidings_sync::locks! {
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
    /// `Opening::state`: progress of the opening, and its waiters.
    OPENING => [];
}
