//! A node's copy of a shared table. Messages update it at once; the version of the table shows missed messages.

use std::{collections::VecDeque, sync::Arc};

use serde::Deserialize;
use tidings_sync::{Mutex, MutexGuard};
use tokio::sync::Notify;
use tracing::warn;

use super::SharedTable;
use super::row::{RowVersion, TableRow};
use crate::{broker::redis::sync_state::SyncState, lock};

/// Messages that wait. If there are more, the whole table is read again.
const MESSAGES_MAX: usize = 1000;

/// Change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableChange {
    /// All rows of the table.
    All(Vec<TableRow>),
    Put(TableRow),
    Removed(String),
}

/// Copy of one table, for one reader.
pub(crate) struct TableReplica {
    pub(in crate::broker::redis) table: SharedTable,
    pub(in crate::broker::redis) sync_state: Arc<SyncState>,
    state: Mutex<ReplicaState>,
    /// Notified when there may be a change.
    waker: Notify,
}

#[derive(Default)]
struct ReplicaState {
    /// Version that the reader has; `None` if it is unsure.
    known: Option<RowVersion>,
    /// Version that the last reconciliation found, until it is compared.
    found: Option<RowVersion>,
    messages: VecDeque<ChangeMessage>,
    /// A reconciliation was requested and has not run.
    has_asked: bool,
    /// The reader got the whole table.
    is_given: bool,
    /// The reader has applied the whole table.
    is_read: bool,
}

impl ReplicaState {
    fn taken(&mut self) {
        self.is_read |= self.is_given;
    }

    /// Returns the first message that continues the known version, and whether to request a reconciliation.
    fn next_message(&mut self) -> (Option<TableChange>, bool) {
        let mut needs_reconcile = false;
        while let Some(ChangeMessage(_, before, after, key, row)) = self.messages.pop_front() {
            let (Some(before), Some(after)) = (RowVersion::parse(&before), RowVersion::parse(&after)) else {
                continue;
            };
            if self.known == Some(before) {
                self.known = Some(after);
                if row.is_empty() {
                    return (Some(TableChange::Removed(key)), needs_reconcile);
                }
                match TableRow::parse(&key, &row) {
                    Some(row) => return (Some(TableChange::Put(row)), needs_reconcile),
                    None => continue,
                }
            }
            needs_reconcile |= self.known != Some(after) && !std::mem::replace(&mut self.has_asked, true);
        }
        (None, needs_reconcile)
    }
}

/// A change as a Pub/Sub message: table, its version before and after, key of the row, row (empty if deleted).
#[derive(Debug, Deserialize)]
struct ChangeMessage(String, String, String, String, String);

impl TableReplica {
    pub(in crate::broker::redis) fn new(table: SharedTable, sync_state: Arc<SyncState>) -> Self {
        Self {
            table,
            sync_state,
            state: Mutex::new(&lock::REDIS_TABLE, ReplicaState::default()),
            waker: Notify::new(),
        }
    }

    /// Returns the next change. Calling it again acknowledges the previous change. Cancel-safe.
    pub(crate) async fn next_change(&self) -> TableChange {
        self.state().taken();
        loop {
            let waker = self.waker.notified();
            if let Some(change) = self.next_message() {
                return change;
            }
            if let Some(found) = self.has_to_read() {
                // A table of version 0 has no rows and no keys. A cluster node refuses missing keys while their slot is moved.
                let read =
                    if found == RowVersion(0) { Ok((found, Vec::new())) } else { self.table.all().await };
                match read {
                    Ok((version, rows)) => {
                        let mut state = self.state();
                        (state.known, state.is_given) = (Some(version), true);
                        return TableChange::All(rows);
                    }
                    // The next reconciliation tries again.
                    Err(fault) => warn!(%fault, "a shared table was not read from redis"),
                }
            }
            waker.await;
        }
    }

    /// Makes the next reconciliation read the whole table.
    pub(crate) fn mark_stale(&self) {
        self.state().known = None;
    }

    /// Whether the table was read: `Err` says that it was not.
    pub(crate) fn health(&self) -> Result<(), String> {
        let is_read = self.state().is_read;
        if is_read { Ok(()) } else { Err("a shared table was not read from redis yet".to_owned()) }
    }

    /// Notes a message of the change channel.
    pub(in crate::broker::redis) fn on_message(&self, payload: &[u8]) {
        let Ok(message) = serde_json::from_slice::<ChangeMessage>(payload) else { return };
        if message.0 != self.table.name {
            return;
        }
        let mut state = self.state();
        if state.messages.len() < MESSAGES_MAX {
            state.messages.push_back(message);
        } else {
            state.known = None;
            state.messages.clear();
        }
        drop(state);
        self.waker.notify_one();
    }

    /// Requests a reconciliation, because messages may have been missed.
    pub(in crate::broker::redis) fn on_resubscribed(&self) {
        self.sync_state.request_reconcile();
    }

    /// Notes the versions that a reconciliation found.
    pub(in crate::broker::redis) fn found(&self, versions: &[(String, RowVersion)]) {
        let version = versions.iter().find(|(name, _)| name == self.table.name);
        let mut state = self.state();
        state.found = Some(version.map(|(_, version)| *version).unwrap_or_default());
        state.has_asked = false;
        drop(state);
        self.waker.notify_one();
    }

    /// Returns the first message that continues the known version. Another message means that one was missed, unless it leads to
    /// the known version.
    fn next_message(&self) -> Option<TableChange> {
        let (change, needs_reconcile) = self.state().next_message();
        if needs_reconcile {
            self.sync_state.request_reconcile();
        }
        change
    }

    /// Returns the version that a reconciliation found, if it differs from the known one.
    fn has_to_read(&self) -> Option<RowVersion> {
        let mut state = self.state();
        let found = state.found.take();
        found.filter(|_| found != state.known)
    }

    fn state(&self) -> MutexGuard<'_, ReplicaState> {
        self.state.lock()
    }
}
