//! What the hub holds of a connection: how to wake it, and the little that it may leave there.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tidings_protocol::{Subscription, body::EndReason};

use crate::log::entry::Unstored;

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

/// A connection's place in the hub.
pub(crate) struct Seat {
    id: ConnectionId,
    subscriptions: Arc<[Subscription]>,
    /// Set by a wake, cleared when the connection looks: a second wake in between is not needed.
    is_woken: AtomicBool,
    is_behind: AtomicBool,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    waker: Option<Waker>,
    woken_at: Option<Instant>,
    unstored: VecDeque<Unstored>,
    ending: Option<Ending>,
}

impl Seat {
    pub(crate) fn new(id: ConnectionId, subscriptions: Arc<[Subscription]>) -> Arc<Self> {
        Arc::new(Self {
            id,
            subscriptions,
            is_woken: AtomicBool::new(false),
            // A connection is replaying until it has been at the head.
            is_behind: AtomicBool::new(true),
            waiting: Mutex::default(),
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
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
        waiting.woken_at = Some(Instant::now());
        let waker = waiting.waker.clone();
        drop(waiting);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Asks to be woken; look at the log after this, not before.
    pub(crate) fn listen(&self, waker: &Waker) {
        let mut waiting = self.waiting();
        waiting.woken_at = None;
        match &mut waiting.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
        drop(waiting);
        self.is_woken.store(false, Ordering::Release);
    }

    /// For how long it has been woken without looking: its transport takes nothing.
    pub(crate) fn unheard_for(&self) -> Duration {
        self.waiting().woken_at.map_or(Duration::ZERO, |woken_at| woken_at.elapsed())
    }

    pub(crate) fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Release);
    }

    /// Leaves an unstored event, unless the connection is behind; says whether it did.
    pub(crate) fn offer(&self, unstored: &Unstored) -> bool {
        if self.is_behind.load(Ordering::Acquire) {
            return false;
        }
        {
            let mut waiting = self.waiting();
            if waiting.unstored.len() == UNSTORED_MAX {
                return false;
            }
            waiting.unstored.push_back(unstored.clone());
        }
        self.wake();
        true
    }

    /// The offset that the next unstored event comes after.
    pub(crate) fn next_unstored(&self) -> Option<u64> {
        self.waiting().unstored.front().map(|unstored| unstored.after)
    }

    /// Takes the unstored events that come after `after`.
    pub(crate) fn take_unstored(&self, after: u64) -> Vec<Bytes> {
        let mut waiting = self.waiting();
        let count = waiting.unstored.iter().take_while(|unstored| unstored.after <= after).count();
        waiting.unstored.drain(..count).map(|unstored| unstored.frame).collect()
    }

    /// Asks the stream to end; the first reason stays.
    pub(crate) fn end(&self, ending: Ending) {
        self.waiting().ending.get_or_insert(ending);
        self.wake();
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        self.waiting().ending
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
