//! What a node has seen of the log in Redis, and how it stands with it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tidings_protocol::{Epoch, Tag};
use tokio::sync::watch;

use super::Witness;

/// Shared by what appends and what follows.
pub(crate) struct Sight {
    state: Mutex<State>,
    /// Counts the times that the log was looked over.
    looks: watch::Sender<u64>,
    /// Counts the times that somebody asked for that.
    asked: watch::Sender<u64>,
}

#[derive(Debug)]
struct State {
    /// The newest epoch, and the newest entry that was seen or acknowledged.
    witness: Witness,
    /// Why nothing can be read or followed, while that is so; before the first look nothing was read.
    unread: Option<String>,
    /// Why nothing can be appended.
    unwritten: Option<String>,
}

impl Sight {
    pub(super) fn new() -> Self {
        let witness = Witness { epoch: Epoch(0), offset: 0, tag: Tag(0) };
        let unread = Some("the log was not read from redis yet".to_owned());
        Self {
            state: Mutex::new(State { witness, unread, unwritten: None }),
            looks: watch::Sender::new(0),
            asked: watch::Sender::new(0),
        }
    }

    /// Whether the node holds all that Redis has, and Redis takes more: `Err` says why not.
    pub(crate) fn standing(&self) -> Result<(), String> {
        let state = self.state();
        state.unread.clone().or_else(|| state.unwritten.clone()).map_or(Ok(()), Err)
    }

    pub(super) fn witness(&self) -> Witness {
        self.state().witness
    }

    /// An entry was seen, or its append was acknowledged, in the newest epoch.
    pub(super) fn has_seen(&self, offset: u64, tag: Tag) {
        let witness = &mut self.state().witness;
        if offset > witness.offset {
            (witness.offset, witness.tag) = (offset, tag);
        }
    }

    /// The log was looked over: this is its newest epoch, and the newest entry that is there and was seen.
    pub(super) fn looked(&self, witness: Witness) {
        self.state().witness = witness;
        self.looks.send_modify(|looks| *looks += 1);
    }

    /// What was seen is no more, and that was told.
    pub(super) fn forget(&self) {
        let witness = &mut self.state().witness;
        (witness.offset, witness.tag) = (0, Tag(0));
    }

    pub(super) fn is_read(&self) {
        self.state().unread = None;
    }

    /// True where it was read before.
    pub(super) fn is_not_read(&self, why: String) -> bool {
        self.state().unread.replace(why).is_none()
    }

    pub(super) fn is_written(&self) {
        self.state().unwritten = None;
    }

    pub(super) fn is_not_written(&self, why: String) {
        self.state().unwritten = Some(why);
    }

    pub(super) fn can_be_written(&self) -> bool {
        self.state().unwritten.is_none()
    }

    /// Asks for the log to be looked over, and waits until it was.
    pub(super) async fn look_over(&self) {
        let mut looks = self.looks.subscribe();
        looks.mark_unchanged();
        self.ask();
        let _ = looks.changed().await;
    }

    /// Asks for the log to be looked over.
    pub(crate) fn ask(&self) {
        self.asked.send_modify(|asked| *asked += 1);
    }

    pub(super) fn asked(&self) -> watch::Receiver<u64> {
        self.asked.subscribe()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
