//! Settings of a log.

use std::time::Duration;

use tidings_protocol::{words, words_from_str};

/// Settings of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// Durability of accepted publishes. Default: [`Durability::Interval`].
    pub durability: Durability,
    /// Time for which an event is kept. Default: 24 h.
    pub retention_age: Duration,
    /// Bytes of stored events that are kept, with their index. Default: 1 GiB.
    pub retention_bytes: u64,
    /// Events of each channel that are kept. Default: 10,000.
    pub retention_events: u64,
    /// Bytes of the newest events that are held in memory for reads. Default: 64 MiB.
    pub cache_bytes: u64,
    /// Time for which a repeated idempotency key gets the first answer. Default: 10 min.
    pub idempotency_window: Duration,
    /// Idempotency keys that are remembered; above it a publish with a key is refused. Default: 1,000,000.
    pub idempotency_keys: u64,
}

words! {
    /// Durability of an accepted publish.
    pub enum Durability {
        /// In memory only: a restart loses all events, and reports a gap to clients that resume.
        Memory = "memory",
        /// Written before the answer, synced every second: survives a crash of the process.
        Interval = "interval",
        /// Synced before the answer: survives a crash of the machine.
        Fsync = "fsync",
    }
}

words_from_str!(Durability);

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            durability: Durability::Interval,
            retention_age: Duration::from_hours(24),
            retention_bytes: 1 << 30,
            retention_events: 10_000,
            cache_bytes: 64 << 20,
            idempotency_window: Duration::from_mins(10),
            idempotency_keys: 1_000_000,
        }
    }
}
