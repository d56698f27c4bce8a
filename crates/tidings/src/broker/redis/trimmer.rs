//! Retention: deletes old entries and expired rows in Redis.

use std::{sync::Arc, time::Duration};
use tidings_log::Log;

use tidings_redis::RedisError;

use super::{commands::RedisLog, shared_table::replica::TableReplica, sync_state::SyncState};

/// Pause between two trims.
const TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// Deletes entries of the log that are too old or too many. Every node trims; the second trim finds nothing to delete.
pub(crate) struct Trimmer {
    pub(super) redis_log: Arc<RedisLog>,
    pub(super) log: Arc<Log>,
    pub(super) sync_state: Arc<SyncState>,
    /// Age in milliseconds, and bytes.
    pub(super) retention: (u64, u64),
    pub(super) shared: Arc<TableReplica>,
}

impl Trimmer {
    /// Trims until it is dropped.
    pub(crate) async fn run(self) {
        loop {
            tokio::time::sleep(TRIM_INTERVAL).await;
            if let Err(fault) = self.trim().await {
                tracing::debug!(%fault, "redis was not trimmed");
            }
            if let Err(fault) = self.shared.table.sweep(self.log.now()).await {
                tracing::debug!(%fault, "expired rows were not deleted from redis");
            }
        }
    }

    /// Trims once. Entries expire by age only if the clocks of Redis and this machine agree: a wrong clock would empty the log.
    pub(super) async fn trim(&self) -> Result<(), RedisError> {
        let age_ms = self.sync_state.is_in_time().then_some(self.retention.0);
        self.redis_log.trim(age_ms, self.retention.1).await.map(drop)
    }
}
