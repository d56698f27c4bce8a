//! Names of the keys and Pub/Sub channels of a hub in Redis.

/// Names of a hub's keys. The prefix in braces puts all of them into one slot of a cluster.
///
/// Redis has one set of Pub/Sub channels for all databases, so the names of channels contain the database unless it is 0.
#[derive(Debug, Clone)]
pub(super) struct RedisKeys {
    /// Stream of entries.
    pub(super) log: String,
    /// Hash with epoch, head, tag, birth and replication id.
    pub(super) meta: String,
    /// List of epoch rows.
    pub(super) epochs: String,
    /// Pub/Sub channel of node messages.
    pub(super) live: String,
    /// Capture lease.
    pub(super) lease: String,
    /// Position up to which captured messages are in the log.
    pub(super) captured: String,
    /// Set of nodes that asked for the lease without success, each with its oldest marker.
    pub(super) free: String,
    /// Pub/Sub channel of changes to shared tables.
    pub(super) changes: String,
    /// Hash with the version of each shared table.
    pub(super) versions: String,
    prefix: String,
}

impl RedisKeys {
    pub(super) fn new(prefix: &str, database: u32) -> Self {
        let of_database = if database == 0 { String::new() } else { format!(":{database}") };
        Self {
            log: format!("{{{prefix}}}:log"),
            meta: format!("{{{prefix}}}:meta"),
            epochs: format!("{{{prefix}}}:epochs"),
            live: format!("{{{prefix}}}:live{of_database}"),
            lease: format!("{{{prefix}}}:capture:lease"),
            captured: format!("{{{prefix}}}:capture:place"),
            free: format!("{{{prefix}}}:capture:free"),
            changes: format!("{{{prefix}}}:changes{of_database}"),
            versions: format!("{{{prefix}}}:state"),
            prefix: prefix.to_owned(),
        }
    }

    /// Returns the key of an idempotency key's answer. A colon in `publisher` is escaped, so that each pair has its own name.
    pub(super) fn idempotency(&self, publisher: &str, key: &str) -> String {
        let publisher = publisher.replace('%', "%25").replace(':', "%3A");
        format!("{{{}}}:key:{publisher}:{key}", self.prefix)
    }

    /// Returns the key of a shared table, or of another value that is no part of the log.
    pub(super) fn shared_table(&self, key: &str) -> String {
        format!("{{{}}}:state:{key}", self.prefix)
    }

    /// Returns the key of the expiry times of a table's rows.
    pub(super) fn ends(&self, table: &str) -> String {
        self.shared_table(&format!("{table}:ends"))
    }
}
