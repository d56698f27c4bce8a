//! One thread and the streams that it serves.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
    task::Waker,
    time::Instant,
};

use mio::{Events, Interest, Token};
use slab::Slab;
use tidings_protocol::Epoch;
use tracing::error;

use super::{
    Bell, Door, Newcomer, Reader, Waiting, queue,
    reader::Request,
    stream::{Common, Feed, Next, Stream, chunk_of},
    wheel::Wheel,
};
use crate::{
    config::StreamSettings,
    connection::Lists,
    log::{Log, Newer, entry::Entry},
    metrics::Metrics,
};

/// The token of the bell; places of streams are lower.
pub(super) const BELL: Token = Token(usize::MAX);
/// Entries that are sent before sockets are looked at again.
const ENTRIES_MAX: usize = 64;
/// Streams that are sent something before sockets are looked at again, but for those of one entry.
const TOUCHED_MAX: usize = 4096;
/// Streams that may read on for themselves before those that wait for what is new are fed again.
const LOOKS_MAX: usize = 32;
/// Events of the sockets that are taken at once.
const EVENTS_MAX: usize = 1024;

/// A shard before its thread runs.
pub(crate) struct Shard {
    poll: mio::Poll,
    door: Arc<Door>,
    /// Each on its own: a slab that grows would hold twice the room.
    streams: Slab<Box<Stream>>,
    /// Who wants what, by place.
    lists: Lists<usize>,
    /// The log was fed up to here.
    fed: u64,
    /// Those who were left something; kept for its room.
    touched: Vec<usize>,
    wheel: Wheel,
    serial: u64,
    timers: u64,
    log: Arc<Log>,
    common: Common,
    /// Reads the disk, off this thread.
    reader: Arc<Reader>,
    /// What it is to be asked for before this thread sleeps.
    requests: Vec<Request>,
}

impl Shard {
    /// Makes a shard; it serves once it runs.
    ///
    /// # Errors
    /// When the system has no event queue left.
    pub(crate) fn new(
        log: Arc<Log>,
        metrics: Arc<Metrics>,
        settings: &StreamSettings,
        reader: Arc<Reader>,
    ) -> io::Result<(Self, Arc<Door>)> {
        let (poll, door) = queue()?;
        let wheel = Wheel::new(Instant::now());
        let shard = Self {
            poll,
            door: door.clone(),
            streams: Slab::new(),
            lists: Lists::default(),
            fed: 0,
            touched: Vec::new(),
            wheel,
            serial: 0,
            timers: 0,
            log,
            common: Common { metrics, write_timeout: settings.write_timeout },
            reader,
            requests: Vec::new(),
        };
        Ok((shard, door))
    }

    /// Serves until its door is closed.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut taken = Waiting::default();
        let mut again = Vec::new();
        let mut due = Vec::new();
        while !taken.is_closed {
            self.reader.ask(&mut self.requests);
            let must_hurry = !again.is_empty() || !self.door.may_sleep();
            let sleep =
                if must_hurry { Some(std::time::Duration::ZERO) } else { self.wheel.sleep(Instant::now()) };
            if let Err(error) = self.poll.poll(&mut events, sleep)
                && error.kind() != io::ErrorKind::Interrupted
            {
                error!(%error, "a shard's event queue failed");
                return;
            }
            self.door.is_awake();
            self.door.take(&mut taken);
            self.take(&mut taken, &mut again);
            // What is unstored, and ends, were looked at before.
            self.feed(&mut again);
            for (count, place) in std::mem::take(&mut again).into_iter().enumerate() {
                if count % LOOKS_MAX == LOOKS_MAX - 1 {
                    self.feed(&mut again);
                }
                self.look(place, &mut again, |stream, common| stream.serve(common));
            }
            for (count, event) in events.iter().enumerate() {
                if count % LOOKS_MAX == LOOKS_MAX - 1 {
                    self.feed(&mut again);
                }
                self.socket_event(event, &mut again);
            }
            let now = Instant::now();
            self.wheel.turn(now, &mut due);
            for (place, timer) in due.drain(..) {
                self.tick(place, timer, now, &mut again);
            }
        }
    }

    fn take(&mut self, taken: &mut Waiting, again: &mut Vec<usize>) {
        for newcomer in taken.newcomers.drain(..) {
            self.seat(newcomer, again);
        }
        for (count, (place, serial, page)) in taken.pages.drain(..).enumerate() {
            if count % LOOKS_MAX == LOOKS_MAX - 1 {
                self.feed(again);
            }
            if self.streams.get(place).is_some_and(|stream| stream.serial == serial) {
                self.look(place, again, |stream, common| stream.read(page, common));
            }
        }
        for place in taken.woken.drain(..) {
            self.look(place, again, |stream, common| stream.serve(common));
        }
    }

    /// Sends what is new to those who wait for it.
    fn feed(&mut self, again: &mut Vec<usize>) {
        if !self.door.has_news.swap(false, Ordering::SeqCst) {
            return;
        }
        let Newer { entries, head, newest } = self.log.newer(self.fed, ENTRIES_MAX);
        let Some(entries) = entries else {
            // So much came at once that it is no longer at hand: each reads for itself.
            self.fed = head;
            let places: Vec<usize> = self.streams.iter().map(|(place, _)| place).collect();
            for place in places {
                self.look(place, again, |stream, common| stream.serve(common));
            }
            return;
        };
        let feed = Feed { now: Instant::now(), now_millis: self.log.now() };
        let mut touched = std::mem::take(&mut self.touched);
        for entry in &entries {
            self.queue(entry, newest, &feed, &mut touched);
            self.fed = entry.offset;
            if touched.len() > TOUCHED_MAX {
                break;
            }
        }
        for place in touched.drain(..) {
            self.look(place, again, |stream, common| stream.send_queued(&feed, common));
        }
        self.touched = touched;
        if self.fed < head {
            self.door.has_news.store(true, Ordering::SeqCst);
        }
    }

    /// Leaves an entry with everyone who wants it and waits for it; notes who had none before.
    fn queue(&mut self, entry: &Entry, newest: Epoch, feed: &Feed, touched: &mut Vec<usize>) {
        let Self { lists, streams, .. } = self;
        // One for all, and none where nobody wants it.
        let mut chunk = None;
        for channel in &entry.channels {
            lists.each(channel, &mut |place| {
                let chunk = chunk.get_or_insert_with(|| chunk_of(&entry.frame(newest, &[])));
                if streams.get_mut(*place).is_some_and(|stream| stream.queue(entry, chunk, feed)) {
                    touched.push(*place);
                }
            });
        }
    }

    fn seat(&mut self, Newcomer { socket, head, opened }: Newcomer, again: &mut Vec<usize>) {
        if self.streams.is_empty() {
            // Nobody was there to hear of what came before.
            self.door.has_streams.store(true, Ordering::SeqCst);
            self.fed = self.log.head().offset;
        }
        let entry = self.streams.vacant_entry();
        let place = entry.key();
        let mut socket = mio::net::TcpStream::from_std(socket);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(place), interest) {
            return error!(%error, "a socket could not be watched; its client comes back by itself");
        }
        self.serial += 1;
        let waker = Waker::from(Arc::new(Bell { door: self.door.clone(), place }));
        let stream = Stream::new(socket, head, opened.connection, &opened.times, self.serial, waker);
        let subscriptions = stream.subscriptions();
        entry.insert(Box::new(stream));
        for subscription in subscriptions.iter() {
            self.lists.add(subscription, place);
        }
        let due = self.streams[place].due(&self.common);
        self.arm(place, due);
        self.look(place, again, |stream, common| stream.serve(common));
    }

    fn socket_event(&mut self, event: &mio::event::Event, again: &mut Vec<usize>) {
        let Token(place) = event.token();
        if event.token() == BELL {
            return;
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.look(place, again, |stream, _| stream.read_away());
        }
        if event.is_writable() {
            self.look(place, again, |stream, common| stream.serve(common));
        }
    }

    fn tick(&mut self, place: usize, timer: u64, now: Instant, again: &mut Vec<usize>) {
        let Some(stream) = self.streams.get(place).filter(|stream| stream.timer.0 == timer) else { return };
        let is_due = stream.due(&self.common) <= now;
        if is_due {
            self.look(place, again, |stream, common| stream.tick(common, now));
        }
        if let Some(stream) = self.streams.get(place).filter(|stream| stream.timer.0 == timer) {
            let due = stream.due(&self.common);
            self.arm(place, due);
        }
    }

    fn arm(&mut self, place: usize, due: Instant) {
        self.timers += 1;
        self.streams[place].timer = (self.timers, due);
        self.wheel.arm(place, self.timers, due);
    }

    fn look(
        &mut self,
        place: usize,
        again: &mut Vec<usize>,
        look: impl FnOnce(&mut Stream, &Common) -> Next,
    ) {
        let Some(stream) = self.streams.get_mut(place) else { return };
        let next = look(stream, &self.common);
        let (due, serial) = (stream.due(&self.common), stream.serial);
        if due < stream.timer.1 {
            self.arm(place, due);
        }
        match next {
            Next::Wait => {}
            Next::Again => again.push(place),
            Next::Read(page) => {
                let door = self.door.clone();
                self.requests.push(Request { door, place, serial, page });
            }
            Next::Close => {
                let mut stream = self.streams.remove(place);
                let _ = self.poll.registry().deregister(&mut stream.socket);
                for subscription in stream.subscriptions().iter() {
                    self.lists.remove(subscription, |other| *other == place);
                }
                self.door.has_streams.store(!self.streams.is_empty(), Ordering::SeqCst);
            }
        }
    }
}
