//! How other threads reach a shard.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Wake,
};

use mio::net::TcpStream;

use super::event_loop;
use crate::{
    connection::LogObserver,
    deferred_wake::{self, Wakeable},
    log::read::Page,
    sync::{AtomicBool, Lock, Mutex, MutexGuard},
};

/// The doors of all shards of a hub.
pub(crate) struct Shards(Vec<Arc<Mailbox>>);

impl Shards {
    pub(crate) fn new(mailboxes: Vec<Arc<Mailbox>>) -> Self {
        Self(mailboxes)
    }

    /// Gives a connection to the shard that has the fewest.
    pub(crate) fn assign(&self, socket: TcpStream, peer: SocketAddr) {
        let living = self.0.iter().filter(|mailbox| !mailbox.is_closed.load(Ordering::Relaxed));
        let Some(mailbox) = living.min_by_key(|mailbox| mailbox.connections.load(Ordering::Relaxed)) else {
            return;
        };
        mailbox.connections.fetch_add(1, Ordering::Relaxed);
        mailbox.deliver(|waiting| waiting.accepted.push((socket, peer)));
    }

    /// Has every shard close each connection behind its next answer.
    pub(crate) fn drain(&self) {
        self.0.iter().for_each(|mailbox| mailbox.deliver(|waiting| waiting.is_draining = true));
    }

    /// Has every shard close the connections that wait for another request, and end when it has no connection left. No
    /// connection may be given to it after this.
    pub(crate) fn finish(&self) {
        self.0.iter().for_each(|mailbox| mailbox.deliver(|waiting| waiting.is_finishing = true));
    }

    /// Has every shard close what is still open, and end.
    pub(crate) fn close(&self) {
        self.0.iter().for_each(|mailbox| mailbox.deliver(|waiting| waiting.is_closed = true));
    }
}

/// The door of one shard. What waits is bounded by the number of its connections.
pub(crate) struct Mailbox {
    inbox: Mutex<Inbox>,
    /// How many connections the shard has, those that wait to be taken among them.
    pub(super) connections: AtomicUsize,
    /// The shard has ended: nothing is put here any more. Set while `waiting` is held.
    is_closed: AtomicBool,
    /// The shard looks at what waits before it sleeps; whoever finds this set has to wake it.
    is_asleep: AtomicBool,
    /// Ends the shard's sleep.
    wake_shard: Box<dyn Fn() + Send + Sync>,
    /// The log has grown.
    pub(super) has_new_entries: AtomicBool,
    /// There are streams that want to hear of it.
    pub(super) has_streams: AtomicBool,
}

#[derive(Default)]
pub(super) struct Inbox {
    pub(super) accepted: Vec<(TcpStream, SocketAddr)>,
    /// Streams whose seats were woken, and connections whose answers go on.
    pub(super) woken: Vec<usize>,
    /// Stretches of the log that were read for a stream, by its place and serial number; none where that failed.
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
            inbox: Mutex::new(Lock::ShardMailbox, Inbox::default()),
            connections: AtomicUsize::new(0),
            is_closed: AtomicBool::new(false),
            is_asleep: AtomicBool::new(false),
            wake_shard: Box::new(wake_shard),
            has_new_entries: AtomicBool::new(false),
            has_streams: AtomicBool::new(false),
        })
    }

    pub(super) fn deliver(self: &Arc<Self>, put: impl FnOnce(&mut Inbox)) {
        let mut waiting = self.inbox();
        if !self.is_closed.load(Ordering::Relaxed) {
            put(&mut waiting);
        }
        drop(waiting);
        deferred_wake::wake_or_defer(self);
    }

    /// The shard has ended. Closes the connections that it has not taken.
    pub(super) fn close(&self) {
        let mut waiting = self.inbox();
        self.is_closed.store(true, Ordering::Relaxed);
        let left = std::mem::take(&mut *waiting);
        drop(waiting);
        drop(left);
    }

    /// Takes what waits; where nothing does, whoever puts something next rings.
    pub(super) fn take(&self, taken: &mut Inbox) {
        std::mem::swap(&mut *self.inbox(), taken);
    }

    /// Whether the shard may sleep now. It is said before it is looked: whoever puts something after the look rings.
    pub(super) fn may_sleep(&self) -> bool {
        self.is_asleep.swap(true, Ordering::SeqCst);
        let may_sleep = self.inbox().is_empty() && !self.has_new_entries.load(Ordering::SeqCst);
        if !may_sleep {
            self.is_awake();
        }
        may_sleep
    }

    /// Swapped, as in [`Mailbox::may_sleep`], not stored: a ring that found the shard awake has then happened before this, and so
    /// before the next look.
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

/// Wakes one connection of a shard.
pub(super) struct SlotWaker {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) place: usize,
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.mailbox.deliver(|waiting| waiting.woken.push(self.place));
    }
}

/// Makes the event queue of a shard.
pub(super) fn event_queue() -> io::Result<(mio::Poll, Arc<Mailbox>)> {
    let poll = mio::Poll::new()?;
    let waker = mio::Waker::new(poll.registry(), event_loop::WAKE_TOKEN)?;
    // It fails where the system has no room for one more count: then the bell has rung.
    let ring = move || drop(waker.wake());
    Ok((poll, Mailbox::new(ring)))
}

#[cfg(test)]
mod tests;
