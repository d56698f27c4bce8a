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
    auth::{Caller, SubscribePermit},
    deferred_wake,
    log::{entry::Unstored, replica::Waiter},
    sync::{AtomicBool, Lock, Mutex, MutexGuard},
};

/// How many unstored events may wait for a connection that is about to be served.
const UNSTORED_MAX: usize = 64;

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
pub(crate) struct Ending {
    pub(crate) reason: EndReason,
    pub(crate) reconnect: bool,
    pub(crate) retry: Option<Duration>,
}

impl Ending {
    /// The end of a stream that may no longer be: who has a new token may come back with it.
    pub(crate) fn of_rights(reason: EndReason) -> Self {
        Self { reason, reconnect: reason == EndReason::TokenExpired, retry: None }
    }
}

/// A connection's place in the hub.
pub(crate) struct Seat {
    id: ConnectionId,
    caller: Arc<Caller>,
    /// A shard feeds it with what is stored; it is woken for all else.
    is_fed: bool,
    /// It has to look before it is fed again: something unstored waits, or it is asked to end.
    must_look: AtomicBool,
    subscriptions: Arc<[Subscription]>,
    /// Set by a wake, cleared when the connection looks: a second wake in between is not needed.
    is_woken: AtomicBool,
    waiting: Mutex<Waiting>,
}

struct Waiting {
    waker: Option<Waker>,
    /// Since when it is expected to look.
    due_since: Option<Instant>,
    is_behind: bool,
    unstored: VecDeque<Unstored>,
    ending: Option<Ending>,
}

impl Seat {
    pub(crate) fn new(id: ConnectionId, permit: &SubscribePermit, is_fed: bool) -> Arc<Self> {
        let waiting = Waiting {
            waker: None,
            due_since: None,
            // A connection is replaying until it has been at the head.
            is_behind: true,
            unstored: VecDeque::new(),
            ending: None,
        };
        Arc::new(Self {
            id,
            is_fed,
            must_look: AtomicBool::new(false),
            caller: permit.caller().clone(),
            subscriptions: permit.subscriptions().clone(),
            is_woken: AtomicBool::new(false),
            waiting: Mutex::new(Lock::Seat, waiting),
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    /// Whether a shard feeds it with what is stored.
    pub(crate) fn is_fed(&self) -> bool {
        self.is_fed
    }

    /// Whether something waits that comes before what it could be fed.
    pub(crate) fn must_look(&self) -> bool {
        self.must_look.load(Ordering::Acquire)
    }

    /// Whose it is, and on what grounds.
    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    pub(crate) fn subscriptions(&self) -> &Arc<[Subscription]> {
        &self.subscriptions
    }

    /// Tells the connection that there may be something to send.
    pub(crate) fn wake(&self) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut waiting = self.waiting();
        waiting.due_since.get_or_insert_with(Instant::now);
        let waker = waiting.waker.clone();
        drop(waiting);
        if let Some(waker) = waker {
            deferred_wake::wake(waker);
        }
    }

    /// Asks to be woken; look at the log after this, not before.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut waiting = self.waiting();
        waiting.due_since = None;
        let is_known = waiting.waker.as_ref().is_some_and(|known| known.will_wake(waker));
        let before = if is_known { None } else { waiting.waker.replace(waker.clone()) };
        drop(waiting);
        // A waker that goes may take its task along, and with it another connection.
        drop(before);
        // Swapped, not stored: a wake that found it set has happened before this, and so before the look.
        self.is_woken.swap(false, Ordering::AcqRel);
    }

    /// Says that bytes were handed over: a transport that passes them on looks for more soon.
    pub(crate) fn expect_look(&self) {
        self.waiting().due_since.get_or_insert_with(Instant::now);
    }

    /// For how long it has not looked although it was woken or its bytes were taken: its transport takes nothing.
    pub(crate) fn unheard_for(&self) -> Duration {
        self.waiting().due_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Notes whether the connection is behind. One that is gets no unstored events: those that waited for it are
    /// dropped. Returns how many.
    pub(crate) fn set_behind(&self, is_behind: bool) -> usize {
        let mut waiting = self.waiting();
        waiting.is_behind = is_behind;
        if !is_behind {
            return 0;
        }
        let missed = std::mem::take(&mut waiting.unstored).len();
        self.note(&waiting);
        missed
    }

    /// Leaves an unstored event, unless the connection is behind; says whether it did.
    pub(crate) fn offer(&self, unstored: &Unstored) -> bool {
        {
            let mut waiting = self.waiting();
            if waiting.is_behind || waiting.unstored.len() == UNSTORED_MAX {
                return false;
            }
            waiting.unstored.push_back(unstored.clone());
            self.note(&waiting);
        }
        self.wake();
        true
    }

    /// The offset that the next unstored event comes after.
    pub(crate) fn next_unstored(&self) -> Option<u64> {
        self.waiting().unstored.front().map(|unstored| unstored.after)
    }

    /// Takes the unstored events that come after `after`: as many as `bytes_max` holds, but one where `is_first`.
    pub(crate) fn take_unstored(&self, after: u64, bytes_max: usize, is_first: bool) -> Vec<Bytes> {
        let mut waiting = self.waiting();
        let mut bytes = 0;
        let fits = |(index, unstored): &(usize, &Unstored)| {
            bytes += unstored.frame.len();
            unstored.after <= after && (bytes <= bytes_max || (is_first && *index == 0))
        };
        let count = waiting.unstored.iter().enumerate().take_while(fits).count();
        let taken = waiting.unstored.drain(..count).map(|unstored| unstored.frame).collect();
        self.note(&waiting);
        taken
    }

    /// Asks the stream to end; the first reason stays.
    pub(crate) fn end(&self, ending: Ending) {
        {
            let mut waiting = self.waiting();
            waiting.ending.get_or_insert(ending);
            self.note(&waiting);
        }
        self.wake();
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.waiting().ending
    }

    /// Says outside the lock what is there to look at within.
    fn note(&self, waiting: &Waiting) {
        let must_look = waiting.ending.is_some() || !waiting.unstored.is_empty();
        self.must_look.store(must_look, Ordering::Release);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock()
    }
}

impl Waiter for Seat {
    fn answered(&self) {
        self.wake();
    }
}

#[cfg(test)]
mod tests;
