//! Streams of plain HTTP/1.1 whose sockets a shard owns: a thread with an event queue, and for each stream a place in a
//! slab. No task, no body, no buffer; a write leaves when there is something to say.

mod head;
mod reader;
mod shard;
mod stream;
mod wheel;

use std::{
    convert::Infallible,
    io,
    net::TcpStream,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake},
};

use bytes::Bytes;
use http_body::{Body, Frame};

pub(crate) use self::{head::response_head, reader::Reader, shard::Shard};
use crate::{
    connection::{Listener, Opened},
    log::page::Page,
};

/// Says that whoever sends this request can be given to a shard; among the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Offer;

/// A stream on its way from a route to a shard, among the response's extensions.
#[derive(Clone)]
pub(crate) struct Handover(Arc<Mutex<Option<Opened>>>);

impl Handover {
    pub(crate) fn new(opened: Opened) -> Self {
        Self(Arc::new(Mutex::new(Some(opened))))
    }

    /// Takes the stream out; the first who asks gets it.
    pub(crate) fn take(&self) -> Option<Opened> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The body of a response whose stream goes another way: it has no length that a router could put into the head.
pub(crate) struct Elsewhere;

impl Body for Elsewhere {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

/// The doors of all shards of a hub.
#[derive(Default)]
pub(crate) struct Doors {
    doors: Vec<Arc<Door>>,
    next: AtomicUsize,
}

impl Doors {
    pub(crate) fn new(doors: Vec<Arc<Door>>) -> Self {
        Self { doors, next: AtomicUsize::new(0) }
    }

    /// Gives a socket, with the head of its response, and its stream to one of the shards, each in turn.
    pub(crate) fn hand_over(&self, socket: TcpStream, head: Bytes, opened: Opened) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.doors[turn % self.doors.len()].put(|waiting| {
            waiting.newcomers.push(Newcomer { socket, head, opened });
        });
    }

    /// Has every shard close what is still open, and end.
    pub(crate) fn close(&self) {
        self.doors.iter().for_each(|door| door.put(|waiting| waiting.is_closed = true));
    }
}

/// A stream that a shard has not seen yet.
struct Newcomer {
    socket: TcpStream,
    head: Bytes,
    opened: Opened,
}

/// How other threads reach a shard. What waits is bounded by the number of its streams.
pub(crate) struct Door {
    waiting: Mutex<Waiting>,
    /// The shard looks at what waits before it sleeps; whoever finds this set has to wake it.
    is_asleep: AtomicBool,
    bell: mio::Waker,
    /// The log has grown.
    has_news: AtomicBool,
    /// There are streams that want to hear of it.
    has_streams: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    newcomers: Vec<Newcomer>,
    /// Streams whose seats were woken.
    woken: Vec<usize>,
    /// Stretches of the log that were read for a stream, by its place and serial number; none where that failed.
    pages: Vec<(usize, u64, Option<Page>)>,
    is_closed: bool,
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.newcomers.is_empty() && self.woken.is_empty() && self.pages.is_empty() && !self.is_closed
    }
}

impl Door {
    fn new(bell: mio::Waker) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::default(),
            is_asleep: AtomicBool::new(false),
            bell,
            has_news: AtomicBool::new(false),
            has_streams: AtomicBool::new(false),
        })
    }

    fn put(&self, put: impl FnOnce(&mut Waiting)) {
        put(&mut self.waiting());
        self.ring();
    }

    fn ring(&self) {
        if self.is_asleep.swap(false, Ordering::SeqCst) {
            // It fails where the system has no room for one more count: then the bell has rung.
            let _ = self.bell.wake();
        }
    }

    /// Takes what waits; where nothing does, whoever puts something next rings.
    fn take(&self, taken: &mut Waiting) {
        std::mem::swap(&mut *self.waiting(), taken);
    }

    /// Whether the shard may sleep now. It is said before it is looked: whoever puts something after the look rings.
    fn may_sleep(&self) -> bool {
        self.is_asleep.store(true, Ordering::SeqCst);
        let may_sleep = self.waiting().is_empty() && !self.has_news.load(Ordering::SeqCst);
        if !may_sleep {
            self.is_awake();
        }
        may_sleep
    }

    fn is_awake(&self) {
        self.is_asleep.store(false, Ordering::SeqCst);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener for Door {
    fn news(&self) {
        if self.has_streams.load(Ordering::SeqCst) && !self.has_news.swap(true, Ordering::SeqCst) {
            self.ring();
        }
    }
}

/// Wakes one stream of a shard.
struct Bell {
    door: Arc<Door>,
    place: usize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.door.put(|waiting| waiting.woken.push(self.place));
    }
}

/// Makes the event queue of a shard.
fn queue() -> io::Result<(mio::Poll, Arc<Door>)> {
    let poll = mio::Poll::new()?;
    let bell = mio::Waker::new(poll.registry(), shard::BELL)?;
    Ok((poll, Door::new(bell)))
}
