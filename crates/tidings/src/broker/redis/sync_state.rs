//! What a node has seen of the log in Redis, and how it stands with it.

use tidings_protocol::{Epoch, Tag};
use tokio::sync::watch;

use super::LastSeen;
use crate::sync::{Lock, Mutex, MutexGuard};

/// Shared by what appends and what follows.
pub(crate) struct SyncState {
    state: Mutex<SyncStateInner>,
    /// The newest entry that the node's log has.
    placed: watch::Sender<u64>,
    /// Counts the times that the log was looked over.
    looks: watch::Sender<u64>,
    /// Counts the times that somebody asked for that.
    asked: watch::Sender<u64>,
}

#[derive(Debug)]
struct SyncStateInner {
    /// The newest epoch that is known.
    newest: Epoch,
    /// The newest entry that was seen or acknowledged, and an epoch in which it was there.
    seen: LastSeen,
    /// Why nothing can be read or followed, while that is so; before the first look nothing was read.
    unread: Option<String>,
    /// Why nothing is heard of what is not stored; before the first connection nothing was.
    unheard: Option<String>,
    /// Whether the clocks of Redis and of this machine agree; none before they were compared.
    is_in_time: Option<bool>,
    /// Whether `newest` is an epoch of the server that Redis is now.
    is_settled: bool,
    /// Why nothing can be appended; before the first write nothing was.
    unwritten: Option<String>,
    /// Why nobody is known to capture messages, where somebody should.
    uncaptured: Option<String>,
}

impl SyncState {
    pub(super) fn new() -> Self {
        let seen = LastSeen { epoch: Epoch(0), offset: 0, tag: Tag(0) };
        let unread = Some("the log was not read from redis yet".to_owned());
        let unheard = Some("redis is not heard yet".to_owned());
        let state = SyncStateInner {
            newest: Epoch(0),
            seen,
            unread,
            unheard,
            is_in_time: None,
            is_settled: false,
            unwritten: Some("nothing was written to redis yet".to_owned()),
            uncaptured: None,
        };
        Self {
            state: Mutex::new(Lock::RedisSyncState, state),
            placed: watch::Sender::new(0),
            looks: watch::Sender::new(0),
            asked: watch::Sender::new(0),
        }
    }

    /// Whether the node holds all that Redis has, hears what is sent past the log, and Redis takes more: `Err` says why not.
    pub(crate) fn health(&self) -> Result<(), String> {
        let state = self.state();
        let faults = [&state.unread, &state.unheard, &state.unwritten, &state.uncaptured];
        faults.into_iter().find_map(Clone::clone).map_or(Ok(()), Err)
    }

    /// What an append shows: the newest epoch, and the newest entry that was seen. Where Redis is another server than the one
    /// that the epoch began with, the epoch is 0, which Redis refuses.
    pub(super) fn last_seen(&self) -> LastSeen {
        let state = self.state();
        let epoch = if state.is_settled { state.newest } else { Epoch(0) };
        LastSeen { epoch, ..state.seen }
    }

    /// The newest epoch that is known.
    pub(super) fn newest(&self) -> Epoch {
        self.state().newest
    }

    /// The newest entry that was seen, in an epoch that had it. Whoever compares it with a head takes it before he asks for
    /// the head: what is acknowledged in between is not lost.
    pub(super) fn seen(&self) -> LastSeen {
        self.state().seen
    }

    /// An entry was seen, or its append was acknowledged, in this epoch.
    pub(super) fn observe(&self, entry: LastSeen) {
        let seen = &mut self.state().seen;
        if entry.offset > seen.offset {
            *seen = entry;
        }
    }

    /// The node's log goes up to there.
    pub(super) fn note_applied(&self, offset: u64) {
        self.placed.send_replace(offset);
    }

    /// Waits until the node's log goes up to there.
    pub(super) async fn wait_applied(&self, offset: u64) {
        let _ = self.placed.subscribe().wait_for(|placed| *placed >= offset).await;
    }

    /// The log was looked over: this is its newest epoch, and the newest entry that is there and was seen. `is_settled` says
    /// that the epoch is of the server that Redis is now.
    pub(super) fn note_reconciled(&self, there: LastSeen, is_settled: bool) {
        let mut state = self.state();
        (state.newest, state.is_settled) = (there.epoch, is_settled);
        // What was acknowledged meanwhile stays: whether it is lost is seen at the next look.
        if there.offset >= state.seen.offset {
            state.seen = there;
        }
        drop(state);
        self.note_applied(there.offset);
        self.looks.send_modify(|looks| *looks += 1);
    }

    /// This is no more, and that was told.
    pub(super) fn forget(&self, lost: LastSeen) {
        let seen = &mut self.state().seen;
        if *seen == lost {
            (seen.offset, seen.tag) = (0, Tag(0));
        }
    }

    pub(super) fn is_read(&self) {
        self.state().unread = None;
    }

    /// True where it was read before.
    pub(super) fn is_not_read(&self, why: String) -> bool {
        self.state().unread.replace(why).is_none()
    }

    pub(super) fn is_heard(&self) {
        self.state().unheard = None;
    }

    pub(super) fn is_not_heard(&self, why: String) {
        self.state().unheard = Some(why);
    }

    pub(super) fn is_written(&self) {
        self.state().unwritten = None;
    }

    pub(super) fn is_not_written(&self, why: String) {
        self.state().unwritten = Some(why);
    }

    /// Whether the clocks of Redis and of this machine agree.
    pub(super) fn is_in_time(&self) -> bool {
        self.state().is_in_time == Some(true)
    }

    /// The clocks agree, or do not. Answers how it was before.
    pub(super) fn set_in_time(&self, is_in_time: bool) -> Option<bool> {
        self.state().is_in_time.replace(is_in_time)
    }

    pub(super) fn is_captured(&self) {
        self.state().uncaptured = None;
    }

    pub(super) fn is_not_captured(&self, why: String) {
        self.state().uncaptured = Some(why);
    }

    /// Asks for the log to be looked over, and waits until it was.
    pub(super) async fn reconcile(&self) {
        let mut looks = self.looks.subscribe();
        looks.mark_unchanged();
        self.request_reconcile();
        let _ = looks.changed().await;
    }

    /// Asks for the log to be looked over.
    pub(crate) fn request_reconcile(&self) {
        self.asked.send_modify(|asked| *asked += 1);
    }

    pub(super) fn reconcile_requests(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, SyncStateInner> {
        self.state.lock()
    }
}

#[cfg(test)]
mod tests;
