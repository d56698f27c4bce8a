//! State of a node's copy of the log in Redis: what the node has seen, and whether it is in sync.

mod health;

use tidings_protocol::{Epoch, Tag};
use tidings_sync::{Mutex, MutexGuard};
use tokio::sync::watch;

use self::health::PartHealth;
pub(super) use self::health::SyncPart;
use super::append_call::LastSeen;
use crate::lock;

/// State that the appender, the replicator, the live event receiver and the capturer share.
pub(crate) struct SyncState {
    state: Mutex<SyncStateInner>,
    /// Newest offset of the node's log.
    applied: watch::Sender<u64>,
    /// Number of completed reconciliations.
    reconciled: watch::Sender<u64>,
    /// Number of requests for one.
    requested: watch::Sender<u64>,
}

#[derive(Debug)]
struct SyncStateInner {
    /// Newest epoch that the node knows.
    newest: Epoch,
    /// Newest entry that the node has read or that Redis acknowledged, with an epoch that contained it.
    seen: LastSeen,
    /// Whether `newest` began at the server that Redis is now.
    is_settled: bool,
    /// Whether the clocks of Redis and of this machine agree; `None` before the first comparison.
    is_in_time: Option<bool>,
    health: PartHealth,
}

impl SyncState {
    pub(super) fn new() -> Self {
        let state = SyncStateInner {
            newest: Epoch(0),
            seen: LastSeen { epoch: Epoch(0), offset: 0, tag: Tag(0) },
            is_settled: false,
            is_in_time: None,
            health: PartHealth::new(),
        };
        Self {
            state: Mutex::new(&lock::REDIS_SYNC_STATE, state),
            applied: watch::Sender::new(0),
            reconciled: watch::Sender::new(0),
            requested: watch::Sender::new(0),
        }
    }

    /// Whether every part works: `Err` says why one does not.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.state().health.first_reason()
    }

    pub(super) fn mark_healthy(&self, part: SyncPart) {
        self.state().health.set(part, None);
    }

    /// Notes why a part does not work. Returns whether it worked before.
    pub(super) fn mark_unhealthy(&self, part: SyncPart, reason: String) -> bool {
        self.state().health.set(part, Some(reason))
    }

    /// Returns the newest epoch and the newest entry seen, which an append shows to Redis. The epoch is 0, which Redis refuses,
    /// if Redis is another server than the one at which the epoch began.
    pub(super) fn last_seen(&self) -> LastSeen {
        let state = self.state();
        let epoch = if state.is_settled { state.newest } else { Epoch(0) };
        LastSeen { epoch, ..state.seen }
    }

    pub(super) fn newest(&self) -> Epoch {
        self.state().newest
    }

    /// Returns the newest entry seen, with an epoch that contained it. Call it before reading the head that it is compared
    /// with: entries acknowledged in between are not lost.
    pub(super) fn seen(&self) -> LastSeen {
        self.state().seen
    }

    /// Notes an entry that the node has read, or that Redis acknowledged, in this epoch.
    pub(super) fn observe(&self, entry: LastSeen) {
        let seen = &mut self.state().seen;
        if entry.offset > seen.offset {
            *seen = entry;
        }
    }

    pub(super) fn note_applied(&self, offset: u64) {
        self.applied.send_replace(offset);
    }

    pub(super) async fn wait_applied(&self, offset: u64) {
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= offset).await;
    }

    /// Notes a reconciliation: the newest epoch, and the newest entry that Redis and this node both have. `is_settled` says
    /// that the epoch began at the server that Redis is now.
    pub(super) fn note_reconciled(&self, common: LastSeen, is_settled: bool) {
        let mut state = self.state();
        (state.newest, state.is_settled) = (common.epoch, is_settled);
        // An entry that Redis acknowledged meanwhile stays; the next reconciliation tells whether it is lost.
        if common.offset >= state.seen.offset {
            state.seen = common;
        }
        drop(state);
        self.note_applied(common.offset);
        self.reconciled.send_modify(|count| *count += 1);
    }

    /// Forgets a lost entry, once an epoch row reports the loss.
    pub(super) fn forget(&self, lost: LastSeen) {
        let seen = &mut self.state().seen;
        if *seen == lost {
            (seen.offset, seen.tag) = (0, Tag(0));
        }
    }

    /// Whether the clocks of Redis and of this machine agree.
    pub(super) fn is_in_time(&self) -> bool {
        self.state().is_in_time == Some(true)
    }

    /// Sets whether the clocks agree. Returns the previous value.
    pub(super) fn set_in_time(&self, is_in_time: bool) -> Option<bool> {
        self.state().is_in_time.replace(is_in_time)
    }

    /// Requests a reconciliation, and waits until one completes.
    pub(super) async fn reconcile(&self) {
        let mut reconciled = self.reconciled.subscribe();
        reconciled.mark_unchanged();
        self.request_reconcile();
        let _ = reconciled.changed().await;
    }

    pub(crate) fn request_reconcile(&self) {
        self.requested.send_modify(|count| *count += 1);
    }

    pub(super) fn reconcile_requests(&self) -> watch::Receiver<u64> {
        self.requested.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, SyncStateInner> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests;
