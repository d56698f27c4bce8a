//! The mailbox by which other threads reach a shard.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use mio::{Token, net::TcpStream};
use tidings_log::Page;
use tidings_sync::{AtomicBool, Mutex, MutexGuard};

use crate::connection::LogObserver;
use crate::deferred_wake::{self, Wakeable};
use crate::lock;

/// Token of the wake-up from the mailbox; keys of slots are lower.
pub(super) const WAKE_TOKEN: Token = Token(usize::MAX);

/// Mailboxes of all shards of a hub.
pub(crate) struct Shards(Vec<Arc<Mailbox>>);

impl Shards {
    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self(mailboxes)
    }

    /// Assigns a connection to the shard with the fewest.
    pub(crate) fn assign(&self, socket: TcpStream, peer: SocketAddr) {
        let living = self.0.iter().filter(|mailbox| !mailbox.is_closed.load(Ordering::Relaxed));
        let Some(mailbox) = living.min_by_key(|mailbox| mailbox.connections.load(Ordering::Relaxed)) else {
            return;
        };
        mailbox.connections.fetch_add(1, Ordering::Relaxed);
        mailbox.deliver(|inbox| inbox.accepted.push((socket, peer)));
    }

    /// Makes each shard close each connection after its next response.
    pub(crate) fn drain(&self) {
        self.0.iter().for_each(|mailbox| mailbox.deliver(|inbox| inbox.is_draining = true));
    }

    /// Makes each shard close the connections without a request, and end when it has no connection left.
    ///
    /// No connection may be assigned after this.
    pub(crate) fn finish(&self) {
        self.0.iter().for_each(|mailbox| mailbox.deliver(|inbox| inbox.is_finishing = true));
    }

    /// Makes each shard close all connections, and end.
    pub(crate) fn close(&self) {
        self.0.iter().for_each(|mailbox| mailbox.deliver(|inbox| inbox.is_closed = true));
    }
}

/// The mailbox of one shard. The number of the shard's connections bounds its contents.
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    /// Connections of the shard, and those in the inbox.
    pub(super) connections: AtomicUsize,
    /// The shard thread has ended: nothing is delivered any more. Set while `inbox` is locked.
    is_closed: AtomicBool,
    /// The shard thread sleeps, or is about to. A thread that delivers and finds this set wakes it.
    is_asleep: AtomicBool,
    /// Ends the sleep of the shard thread.
    wake_shard: Box<dyn Fn() + Send + Sync>,
    /// Entries were appended to the log.
    pub(super) has_new_entries: AtomicBool,
    /// The shard has streams, which need new entries.
    pub(super) has_streams: AtomicBool,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) accepted: Vec<(TcpStream, SocketAddr)>,
    /// Keys of streams whose handles were woken, and of connections whose responses may be ready.
    pub(super) woken: Vec<usize>,
    /// Pages that were loaded, by key and serial number of their stream; `None` if loading panicked.
    pub(super) pages: Vec<(usize, u64, Option<Page>)>,
    pub(super) is_draining: bool,
    pub(super) is_finishing: bool,
    pub(super) is_closed: bool,
}

impl Inbox {
    pub(super) fn is_empty(&self) -> bool {
        self.accepted.is_empty()
            && self.woken.is_empty()
            && self.pages.is_empty()
            && !self.is_draining
            && !self.is_finishing
            && !self.is_closed
    }
}

impl Mailbox {
    fn new(wake_shard: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            inbox: Mutex::new(&lock::SHARD_MAILBOX, Inbox::default()),
            connections: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            is_asleep: AtomicBool::new(false),
            wake_shard: Box::new(wake_shard),
            has_new_entries: AtomicBool::new(false),
            has_streams: AtomicBool::new(false),
        })
    }

    pub(super) fn deliver(self: &Arc<Self>, put: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.inbox();
        if !self.is_closed.load(Ordering::Relaxed) {
            put(&mut inbox);
        }
        drop(inbox);
        deferred_wake::wake_or_defer(self);
    }

    /// Closes the mailbox, and the connections in the inbox.
    pub(super) fn close(&self) {
        let mut inbox = self.inbox();
        self.is_closed.store(true, Ordering::Relaxed);
        let left = std::mem::take(&mut *inbox);
        drop(inbox);
        drop(left);
    }

    /// Takes the inbox. `taken` must be empty.
    pub(super) fn take(&self, taken: &mut Inbox) {
        std::mem::swap(&mut *self.inbox(), taken);
    }

    /// Whether the shard thread may sleep now.
    ///
    /// `is_asleep` is set before the inbox is read: a thread that delivers after the read finds it set.
    pub(super) fn may_sleep(&self) -> bool {
        self.is_asleep.swap(true, Ordering::SeqCst);
        let may_sleep = self.inbox().is_empty() && !self.has_new_entries.load(Ordering::SeqCst);
        if !may_sleep {
            self.is_awake();
        }
        may_sleep
    }

    /// Notes that the shard thread is awake.
    ///
    /// A swap, as in [`Mailbox::may_sleep`], not a store: a wake that found the shard awake then happens before the next take.
    pub(super) fn is_awake(&self) {
        self.is_asleep.swap(false, Ordering::SeqCst);
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock()
    }
}

impl Wakeable for Mailbox {
    fn wake(&self) {
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            (self.wake_shard)();
        }
    }
}

impl LogObserver for Mailbox {
    fn on_append(self: Arc<Self>) {
        if self.has_streams.load(Ordering::SeqCst) && !self.has_new_entries.swap(true, Ordering::SeqCst) {
            deferred_wake::wake_or_defer(&self);
        }
    }
}

/// Waker of one slot.
pub(super) struct SlotWaker {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) key: usize,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.deliver(|inbox| inbox.woken.push(self.key));
    }
}

/// Makes the event queue of a shard, and its mailbox.
pub(super) fn event_queue() -> io::Result<(mio::Poll, Arc<Mailbox>)> {
    let poll = mio::Poll::new()?;
    let waker = mio::Waker::new(poll.registry(), WAKE_TOKEN)?;
    // It fails only if the counter of wake-ups is full: then a wake-up is pending.
    let wake = move || drop(waker.wake());
    Ok((poll, Mailbox::new(wake)))
}

#[cfg(test)]
mod tests;
