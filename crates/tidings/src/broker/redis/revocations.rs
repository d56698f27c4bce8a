//! Revocations in Redis: one row for each subject, which expires with its revocation.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use tidings_log::Log;
use tidings_redis::RedisError;
use tracing::warn;

use super::shared_table::replica::{TableChange, TableReplica};
use super::shared_table::row::{RowVersion, TableRow};
use super::shared_table::{ConditionalPut, PutOutcome};
use crate::auth::{ReplicationOutcome, RevocationChange, RevocationStore, StoredRevocation};
use crate::error::{Code, Error};

/// Revocations of all nodes of one Redis.
pub(crate) struct RedisRevocations {
    pub(super) replica: Arc<TableReplica>,
    pub(super) log: Arc<Log>,
}

impl RedisRevocations {
    /// Whether the node has read the revocations: `Err` says why not.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.replica.health()
    }
}

impl RevocationStore for RedisRevocations {
    fn replicate<'a>(
        &'a self,
        notes: &'a [StoredRevocation],
    ) -> BoxFuture<'a, Result<Vec<ReplicationOutcome>, Error>> {
        Box::pin(async move {
            let puts: Vec<_> = notes.iter().map(put).collect();
            let outcomes = self.replica.table.put_if(&puts, self.log.now()).await;
            let outcomes = outcomes.map_err(|fault| not_replicated(&fault))?;
            Ok(outcomes.into_iter().map(outcome).collect())
        })
    }

    fn next_change(&self) -> BoxFuture<'_, RevocationChange> {
        Box::pin(async move {
            match self.replica.next_change().await {
                TableChange::All(rows) => RevocationChange::All(
                    rows.into_iter().map(|row| (row.key, row.version.to_string(), row.value)).collect(),
                ),
                TableChange::Put(row) => RevocationChange::One(row.key, row.value),
                // Each node ends a revocation by its time, not by its row.
                TableChange::Removed(_) => RevocationChange::Nothing,
            }
        })
    }

    fn mark_stale(&self) {
        self.replica.mark_stale();
    }
}

fn put(note: &StoredRevocation) -> ConditionalPut {
    ConditionalPut {
        key: note.name.clone(),
        value: note.text.clone(),
        until: Some(note.until),
        expected: RowVersion::parse(&note.version).unwrap_or_default(),
    }
}

fn outcome(outcome: PutOutcome) -> ReplicationOutcome {
    match outcome {
        PutOutcome::Done => ReplicationOutcome::Done,
        PutOutcome::Other(row) => {
            ReplicationOutcome::Other(row.map(|TableRow { version, value, .. }| (version.to_string(), value)))
        }
        PutOutcome::Full => ReplicationOutcome::Full,
    }
}

fn not_replicated(fault: &RedisError) -> Error {
    warn!(%fault, "a revocation was not replicated to other nodes");
    let (code, detail) = match fault {
        RedisError::OutcomeUnknown(_) => (
            Code::OutcomeUnknown,
            "the revocation is in force at this node and kept here, but redis did not answer: the other nodes may not know of it yet; send it again",
        ),
        _ => (
            Code::NotStored,
            "the revocation is in force at this node and kept here, but redis does not store it now: the other nodes do not know of it yet; send it again",
        ),
    };
    Error::new(code, detail).retry_after(Duration::from_secs(1))
}
