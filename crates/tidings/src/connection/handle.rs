//! What the hub holds of a connection: how to wake it, and the little that it may leave there.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, atomic::Ordering},
    task::Waker,
    time::Duration,
};

use bytes::Bytes;
use tidings_protocol::{Subscription, body::EndReason};
use tokio::time::Instant;

use crate::{
    auth::{Identity, SubscribePermit},
    deferred_wake,
    log::{entry::TransientEvent, replica::Waiter},
    sync::{AtomicBool, Lock, Mutex, MutexGuard},
};

/// How many unstored events may wait for a connection that is about to be served.
const TRANSIENT_MAX: usize = 64;

/// Names a connection: 128 random bits. Knowing it is what lets an anonymous client change its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u128);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// How a stream is asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Termination {
    pub(crate) reason: EndReason,
    pub(crate) reconnect: bool,
    pub(crate) retry: Option<Duration>,
}

impl Termination {
    /// The end of a stream that may no longer be: who has a new token may come back with it.
    pub(crate) fn of_rights(reason: EndReason) -> Self {
        Self { reason, reconnect: reason == EndReason::TokenExpired, retry: None }
    }
}

/// A connection's place in the hub.
pub(crate) struct ConnectionHandle {
    id: ConnectionId,
    identity: Arc<Identity>,
    /// A shard feeds it with what is stored; it is woken for all else.
    is_pushed: bool,
    /// It has to look before it is fed again: something unstored waits, or it is asked to end.
    has_pending_control: AtomicBool,
    subscriptions: Arc<[Subscription]>,
    /// Set by a wake, cleared when the connection looks: a second wake in between is not needed.
    is_woken: AtomicBool,
    state: Mutex<HandleState>,
}

struct HandleState {
    waker: Option<Waker>,
    /// Since when it is expected to look.
    poll_expected_since: Option<Instant>,
    is_behind: bool,
    transient: VecDeque<TransientEvent>,
    ending: Option<Termination>,
}

impl ConnectionHandle {
    pub(crate) fn new(id: ConnectionId, permit: &SubscribePermit, is_pushed: bool) -> Arc<Self> {
        let waiting = HandleState {
            waker: None,
            poll_expected_since: None,
            // A connection is replaying until it has been at the head.
            is_behind: true,
            transient: VecDeque::new(),
            ending: None,
        };
        Arc::new(Self {
            id,
            is_pushed,
            has_pending_control: AtomicBool::new(false),
            identity: permit.identity().clone(),
            subscriptions: permit.subscriptions().clone(),
            is_woken: AtomicBool::new(false),
            state: Mutex::new(Lock::ConnectionHandle, waiting),
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whether a shard feeds it with what is stored.
    pub(crate) fn is_pushed(&self) -> bool {
        self.is_pushed
    }

    /// Whether something waits that comes before what it could be fed.
    pub(crate) fn has_pending_control(&self) -> bool {
        self.has_pending_control.load(Ordering::Acquire)
    }

    /// Whose it is, and on what grounds.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(crate) fn subscriptions(&self) -> &Arc<[Subscription]> {
        &self.subscriptions
    }

    /// Tells the connection that there may be something to send.
    pub(crate) fn wake(&self) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut waiting = self.state();
        waiting.poll_expected_since.get_or_insert_with(Instant::now);
        let waker = waiting.waker.clone();
        drop(waiting);
        if let Some(waker) = waker {
            deferred_wake::wake(waker);
        }
    }

    /// Asks to be woken; look at the log after this, not before.
    pub(crate) fn register_waker(&self, waker: &Waker) {
        let mut waiting = self.state();
        waiting.poll_expected_since = None;
        let is_known = waiting.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        let before = if is_known { None } else { waiting.waker.replace(waker.clone()) };
        drop(waiting);
        // A waker that goes may take its task along, and with it another connection.
        drop(before);
        // Swapped, not stored: a wake that found it set has happened before this, and so before the look.
        self.is_woken.swap(false, Ordering::AcqRel);
    }

    /// Says that bytes were handed over: a transport that passes them on looks for more soon.
    pub(crate) fn note_handed_over(&self) {
        self.state().poll_expected_since.get_or_insert_with(Instant::now);
    }

    /// For how long it has not looked although it was woken or its bytes were taken: its transport takes nothing.
    pub(crate) fn unpolled_for(&self) -> Duration {
        self.state().poll_expected_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Notes whether the connection is behind. One that is gets no unstored events: those that waited for it are
    /// dropped. Returns how many.
    pub(crate) fn set_behind(&self, is_behind: bool) -> usize {
        let mut waiting = self.state();
        waiting.is_behind = is_behind;
        if !is_behind {
            return 0;
        }
        let missed = std::mem::take(&mut waiting.transient).len();
        self.note_pending_control(&waiting);
        missed
    }

    /// Leaves an unstored event, unless the connection is behind; says whether it did.
    pub(crate) fn push_transient(&self, unstored: &TransientEvent) -> bool {
        {
            let mut waiting = self.state();
            if waiting.is_behind || waiting.transient.len() == TRANSIENT_MAX {
                return false;
            }
            waiting.transient.push_back(unstored.clone());
            self.note_pending_control(&waiting);
        }
        self.wake();
        true
    }

    /// The offset that the next unstored event comes after.
    pub(crate) fn next_transient(&self) -> Option<u64> {
        self.state().transient.front().map(|unstored| unstored.after)
    }

    /// Takes the unstored events that come after `after`: as many as `bytes_max` holds, but one where `is_first`.
    pub(crate) fn take_transient(&self, after: u64, bytes_max: usize, is_first: bool) -> Vec<Bytes> {
        let mut waiting = self.state();
        let mut bytes = 0;
        let fits = |(index, unstored): &(usize, &TransientEvent)| {
            bytes += unstored.frame.len();
            unstored.after <= after && (bytes <= bytes_max || (is_first && *index == 0))
        };
        let count = waiting.transient.iter().enumerate().take_while(fits).count();
        let taken = waiting.transient.drain(..count).map(|unstored| unstored.frame).collect();
        self.note_pending_control(&waiting);
        taken
    }

    /// Asks the stream to end; the first reason stays.
    pub(crate) fn end(&self, ending: Termination) {
        {
            let mut waiting = self.state();
            waiting.ending.get_or_insert(ending);
            self.note_pending_control(&waiting);
        }
        self.wake();
    }

    pub(crate) fn termination(&self) -> Option<Termination> {
        self.state().ending
    }

    /// Says outside the lock what is there to look at within.
    fn note_pending_control(&self, state: &HandleState) {
        let has_pending_control = state.ending.is_some() || !state.transient.is_empty();
        self.has_pending_control.store(has_pending_control, Ordering::Release);
    }

    fn state(&self) -> MutexGuard<'_, HandleState> {
        self.state.lock()
    }
}

impl Waiter for ConnectionHandle {
    fn on_barrier(&self) {
        self.wake();
    }
}

#[cfg(test)]
mod tests;
