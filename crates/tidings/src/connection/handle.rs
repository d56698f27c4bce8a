//! The hub's handle to a connection: its waker, its transient events and its termination.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tidings_log::{TransientEvent, Waiter};
use tidings_protocol::{Subscription, body::EndReason};
use tidings_sync::{AtomicBool, Mutex, MutexGuard};
use tokio::time::Instant;

use crate::auth::{Identity, SubscribePermit};
use crate::{deferred_wake, lock};

/// Transient events that may wait for a connection.
const TRANSIENT_MAX: usize = 64;

/// Identifies a connection by 128 random bits. It is the secret with which an anonymous client changes its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub(crate) u128);

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// A request to end a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Termination {
    pub(crate) reason: EndReason,
    pub(crate) reconnect: bool,
    pub(crate) retry: Option<Duration>,
}

impl Termination {
    /// Ends a stream whose authorization has ended. A client with an expired token may reconnect with a new one.
    pub(crate) fn of_rights(reason: EndReason) -> Self {
        Self { reason, reconnect: reason == EndReason::TokenExpired, retry: None }
    }
}

/// The hub's handle to one connection.
pub(crate) struct ConnectionHandle {
    id: ConnectionId,
    identity: Arc<Identity>,
    /// A shard pushes new entries to the connection. All other events wake it.
    is_pushed: bool,
    /// A transient event or a termination waits: the connection must be polled before the next push.
    has_pending_control: AtomicBool,
    subscriptions: Arc<[Subscription]>,
    /// Set by a wake, cleared by the next poll: a second wake in between is not needed.
    is_woken: AtomicBool,
    state: Mutex<HandleState>,
}

struct HandleState {
    waker: Option<Waker>,
    /// Time since which a poll is expected.
    poll_expected_since: Option<Instant>,
    is_behind: bool,
    transient: VecDeque<TransientEvent>,
    termination: Option<Termination>,
}

impl ConnectionHandle {
    pub(crate) fn new(id: ConnectionId, permit: &SubscribePermit, is_pushed: bool) -> Arc<Self> {
        let state = HandleState {
            waker: None,
            poll_expected_since: None,
            // A connection is replaying until it has been at the head.
            is_behind: true,
            transient: VecDeque::new(),
            termination: None,
        };
        Arc::new(Self {
            id,
            is_pushed,
            has_pending_control: AtomicBool::new(false),
            identity: permit.identity().clone(),
            subscriptions: permit.subscriptions().clone(),
            is_woken: AtomicBool::new(false),
            state: Mutex::new(&lock::CONNECTION_HANDLE, state),
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whether a shard pushes new entries to the connection.
    pub(crate) fn is_pushed(&self) -> bool {
        self.is_pushed
    }

    /// Whether a transient event or a termination waits, which comes before the next push.
    pub(crate) fn has_pending_control(&self) -> bool {
        self.has_pending_control.load(Ordering::Acquire)
    }

    /// Returns the identity of the client.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    pub(crate) fn subscriptions(&self) -> &Arc<[Subscription]> {
        &self.subscriptions
    }

    /// Wakes the connection: it may have something to send.
    pub(crate) fn wake(&self) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut state = self.state();
        state.poll_expected_since.get_or_insert_with(Instant::now);
        let waker = state.waker.clone();
        drop(state);
        if let Some(waker) = waker {
            deferred_wake::wake(waker);
        }
    }

    /// Registers the waker of the connection. The caller must read the log after this call, not before.
    pub(crate) fn register_waker(&self, waker: &Waker) {
        let mut state = self.state();
        state.poll_expected_since = None;
        let is_known = state.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        let before = if is_known { None } else { state.waker.replace(waker.clone()) };
        drop(state);
        // Dropped outside the lock: a waker may drop its task, and with it another connection.
        drop(before);
        // A swap, not a store: a wake that found it set then happens before the caller reads the log.
        self.is_woken.swap(false, Ordering::AcqRel);
    }

    /// Notes that the transport took bytes: it polls again once it has sent them.
    pub(crate) fn note_handed_over(&self) {
        self.state().poll_expected_since.get_or_insert_with(Instant::now);
    }

    /// Returns the time since a wake or a hand-over without a poll: the transport takes no bytes.
    pub(crate) fn unpolled_for(&self) -> Duration {
        self.state().poll_expected_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Notes whether the connection is behind. If it is, drops its transient events and returns their number.
    pub(crate) fn set_behind(&self, is_behind: bool) -> usize {
        let mut state = self.state();
        state.is_behind = is_behind;
        if !is_behind {
            return 0;
        }
        let missed = std::mem::take(&mut state.transient).len();
        self.note_pending_control(&state);
        missed
    }

    /// Queues a transient event unless the connection is behind; returns whether it did.
    pub(crate) fn push_transient(&self, event: &TransientEvent) -> bool {
        {
            let mut state = self.state();
            if state.is_behind || state.transient.len() == TRANSIENT_MAX {
                return false;
            }
            state.transient.push_back(event.clone());
            self.note_pending_control(&state);
        }
        self.wake();
        true
    }

    /// Returns the offset after which the next transient event is sent.
    pub(crate) fn next_transient(&self) -> Option<u64> {
        self.state().transient.front().map(|event| event.after)
    }

    /// Takes the transient events up to offset `after`, at most `bytes_max` bytes; at least one if `is_first`.
    pub(crate) fn take_transient(&self, after: u64, bytes_max: usize, is_first: bool) -> Vec<Bytes> {
        let mut state = self.state();
        let mut bytes = 0;
        let fits = |(index, event): &(usize, &TransientEvent)| {
            bytes += event.frame.len();
            event.after <= after && (bytes <= bytes_max || (is_first && *index == 0))
        };
        let count = state.transient.iter().enumerate().take_while(fits).count();
        let taken = state.transient.drain(..count).map(|event| event.frame).collect();
        self.note_pending_control(&state);
        taken
    }

    /// Asks the stream to end. The first reason stays.
    pub(crate) fn end(&self, termination: Termination) {
        {
            let mut state = self.state();
            state.termination.get_or_insert(termination);
            self.note_pending_control(&state);
        }
        self.wake();
    }

    pub(crate) fn termination(&self) -> Option<Termination> {
        self.state().termination
    }

    /// Mirrors the locked state in `has_pending_control`.
    fn note_pending_control(&self, state: &HandleState) {
        let has_pending_control = state.termination.is_some() || !state.transient.is_empty();
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
