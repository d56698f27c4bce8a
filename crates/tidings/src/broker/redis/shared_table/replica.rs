//! What a node knows of a table, and what it learns: from messages at once, and from the table's version for certain.

use std::{collections::VecDeque, sync::Arc};

use serde::Deserialize;
use tokio::sync::Notify;
use tracing::warn;

use super::{ConditionalPut, PutOutcome, RowVersion, SharedTable, TableRow};
use crate::{
    broker::redis::{RedisError, SyncState},
    sync::{Lock, Mutex, MutexGuard},
};

/// Messages that wait; past them the table is read as a whole.
const MESSAGES_MAX: usize = 1000;

/// What is new in a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TableChange {
    /// This is all that is there.
    All(Vec<TableRow>),
    Put(TableRow),
    Removed(String),
}

/// Keeps up with one table, for one reader.
pub(crate) struct TableReplica {
    table: SharedTable,
    pub(in crate::broker::redis) sync_state: Arc<SyncState>,
    state: Mutex<ReplicaState>,
    /// Rings when there may be something to do.
    waker: Notify,
}

#[derive(Default)]
struct ReplicaState {
    /// What the reader knows; none where that is not sure.
    known: Option<RowVersion>,
    /// What the last look found, until it is compared.
    found: Option<RowVersion>,
    messages: VecDeque<ChangeMessage>,
    /// A look was asked for, and has not come.
    has_asked: bool,
    /// The reader was given the table as a whole, and has come back since.
    is_given: bool,
    is_read: bool,
}

impl ReplicaState {
    fn taken(&mut self) {
        self.is_read |= self.is_given;
    }

    /// The first message that follows on what is known, and whether another was missed.
    fn next_message(&mut self) -> (Option<TableChange>, bool) {
        let mut has_pending_control = false;
        while let Some(ChangeMessage(_, before, after, key, row)) = self.messages.pop_front() {
            let (Some(before), Some(after)) = (RowVersion::parse(&before), RowVersion::parse(&after)) else {
                continue;
            };
            if self.known == Some(before) {
                self.known = Some(after);
                if row.is_empty() {
                    return (Some(TableChange::Removed(key)), has_pending_control);
                }
                match TableRow::parse(&key, &row) {
                    Some(row) => return (Some(TableChange::Put(row)), has_pending_control),
                    None => continue,
                }
            }
            has_pending_control |= self.known != Some(after) && !std::mem::replace(&mut self.has_asked, true);
        }
        (None, has_pending_control)
    }
}

/// A change as it goes over Pub/Sub: the table, its version before and after, the row's key, the row or nothing.
#[derive(Debug, Deserialize)]
struct ChangeMessage(String, String, String, String, String);

impl TableReplica {
    pub(in crate::broker::redis) fn new(table: SharedTable, sync_state: Arc<SyncState>) -> Self {
        Self {
            table,
            sync_state,
            state: Mutex::new(Lock::RedisTable, ReplicaState::default()),
            waker: Notify::new(),
        }
    }

    /// What is new since the last call, whose news are taken for done. Whoever drops the call loses nothing but time.
    pub(crate) async fn next_change(&self) -> TableChange {
        self.state().taken();
        loop {
            let waker = self.waker.notified();
            if let Some(news) = self.next_message() {
                return news;
            }
            if let Some(found) = self.has_to_read() {
                // A table without a version has no rows. It has no keys either, for which a node of a cluster would not answer
                // while it marks their slot as on its way.
                let read =
                    if found == RowVersion(0) { Ok((found, Vec::new())) } else { self.table.all().await };
                match read {
                    Ok((version, rows)) => {
                        let mut state = self.state();
                        (state.known, state.is_given) = (Some(version), true);
                        return TableChange::All(rows);
                    }
                    // The next look asks again.
                    Err(fault) => warn!(%fault, "what all nodes share was not read from redis"),
                }
            }
            waker.await;
        }
    }

    /// Puts rows, each if what is there is as expected.
    pub(crate) async fn put_if(
        &self,
        puts: &[ConditionalPut],
        now: u64,
    ) -> Result<Vec<PutOutcome>, RedisError> {
        self.table.put_if(puts, now).await
    }

    /// Has the table read as a whole at the next look.
    pub(crate) fn mark_stale(&self) {
        self.state().known = None;
    }

    /// Whether the table was read: `Err` says that it was not.
    pub(crate) fn health(&self) -> Result<(), String> {
        let is_read = self.state().is_read;
        if is_read { Ok(()) } else { Err("what all nodes share was not read from redis yet".to_owned()) }
    }

    /// A message was heard.
    pub(in crate::broker::redis) fn heard(&self, payload: &[u8]) {
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

    /// Messages may have been missed.
    pub(in crate::broker::redis) fn on_resubscribed(&self) {
        self.sync_state.request_reconcile();
    }

    /// Redis was looked over, and has these versions.
    pub(in crate::broker::redis) fn found(&self, versions: &[(String, RowVersion)]) {
        let version = versions.iter().find(|(name, _)| name == self.table.name);
        let mut state = self.state();
        state.found = Some(version.map(|(_, version)| *version).unwrap_or_default());
        state.has_asked = false;
        drop(state);
        self.waker.notify_one();
    }

    /// Takes away rows whose time is over.
    pub(in crate::broker::redis) async fn sweep(&self, now: u64) -> Result<(), RedisError> {
        self.table.sweep(now).await
    }

    /// The first message that follows on what is known. One that does not, and does not lead there either, says that
    /// another was missed.
    fn next_message(&self) -> Option<TableChange> {
        let (news, has_pending_control) = self.state().next_message();
        if has_pending_control {
            self.sync_state.request_reconcile();
        }
        news
    }

    /// The version that was found, where it is another than is known.
    fn has_to_read(&self) -> Option<RowVersion> {
        let mut state = self.state();
        let found = state.found.take();
        found.filter(|_| found != state.known)
    }

    fn state(&self) -> MutexGuard<'_, ReplicaState> {
        self.state.lock()
    }
}
