//! One thread and the connections that it serves.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    task::Waker,
    time::Instant,
};

use axum::{Router, response::Response};
use bytes::Bytes;
use mio::{Events, Interest, Token, net::TcpStream};
use slab::Slab;
use tidings_protocol::Epoch;
use tokio::runtime::Handle;
use tracing::error;

use super::{
    Forwarded, Onward, Reader,
    disk_readers::Request,
    mailbox::{Bell, Door, Waiting, queue},
    pacing::PollPacing,
    request_phase::Visitor,
    slot::{Common, Guest, Next, Watch, is_gone},
    stream_phase::{Feed, Stream, chunk_of},
    timer_wheel::Wheel,
};
use crate::{
    config::Settings,
    connection::{Lists, Opened},
    failpoint,
    log::{
        Log, Newer,
        entry::{Entry, Millis},
    },
    metrics::Metrics,
    transport::idle::Idle,
};

/// The token of the bell; places of streams are lower.
pub(super) const BELL: Token = Token(usize::MAX);
/// Entries that are sent before sockets are looked at again.
const ENTRIES_MAX: usize = 64;
/// Streams that are left something before any of it is sent, but for those of one entry.
const TOUCHED_MAX: usize = 4096;
/// Streams that may read on for themselves before those that wait for what is new are fed again.
const LOOKS_MAX: usize = 32;
/// Events of the sockets that are taken at once.
const EVENTS_MAX: usize = 1024;

/// Closes the door when the shard ends, however it ends.
struct Leaving(Arc<Door>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// A shard before its thread runs.
pub(crate) struct Shard {
    poll: mio::Poll,
    door: Arc<Door>,
    /// None while one becomes another.
    guests: Slab<Option<Guest>>,
    streams: usize,
    /// Who wants what, by place.
    lists: Lists<usize>,
    /// The log was fed up to here.
    fed: u64,
    /// Breaks of its order were seen up to here.
    seen: u64,
    /// Those who were left something that is still to be sent.
    touched: Vec<usize>,
    /// How many of them are sent to before the sockets are polled again: publishes are taken while a broadcast goes out.
    pacing: PollPacing,
    /// When the first of what they were left was published.
    oldest_queued: Option<Millis>,
    wheel: Wheel,
    serial: u64,
    timers: u64,
    /// It ends when it has no connection left.
    is_finishing: bool,
    log: Arc<Log>,
    common: Common,
    /// Reads the disk, off this thread.
    reader: Arc<Reader>,
    /// What it is to be asked for before this thread sleeps.
    requests: Vec<Request>,
    /// Where answers wait for others.
    runtime: Handle,
    onward: Onward,
}

impl Shard {
    /// Makes a shard; it serves once it runs.
    ///
    /// # Errors
    /// When the system has no event queue left.
    pub(crate) fn new(
        (log, metrics, reader): (Arc<Log>, Arc<Metrics>, Arc<Reader>),
        settings: &Settings,
        router: Router,
        runtime: Handle,
        onward: Onward,
    ) -> io::Result<(Self, Arc<Door>)> {
        let (poll, door) = queue()?;
        let shard = Self {
            poll,
            door: door.clone(),
            guests: Slab::new(),
            streams: 0,
            lists: Lists::default(),
            fed: 0,
            seen: 0,
            touched: Vec::new(),
            pacing: PollPacing::new(),
            oldest_queued: None,
            wheel: Wheel::new(Instant::now()),
            serial: 0,
            timers: 0,
            is_finishing: false,
            log,
            common: Common {
                metrics,
                router,
                write_timeout: settings.stream.write_timeout,
                head_timeout: settings.server.head_timeout,
                idle: Idle::new(settings.server.idle_timeout),
                is_draining: false,
            },
            reader,
            requests: Vec::new(),
            runtime,
            onward,
        };
        Ok((shard, door))
    }

    /// Serves until its door is closed, or until it has finished.
    pub(crate) fn run(mut self) {
        let runtime = self.runtime.clone();
        let _within = runtime.enter();
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let _leaving = Leaving(self.door.clone());
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut taken = Waiting::default();
        let mut again = Vec::new();
        let mut due = Vec::new();
        while !taken.is_closed && !self.is_finished() {
            failpoint::hit(&name);
            self.reader.ask(&mut self.requests);
            let must_hurry = !again.is_empty() || !self.touched.is_empty() || !self.door.may_sleep();
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
            self.pacing.note_poll(!events.is_empty() || !taken.is_empty());
            self.take(&mut taken, &mut again);
            // What is unstored, and ends, were looked at before.
            self.feed(&mut again);
            for (count, place) in std::mem::take(&mut again).into_iter().enumerate() {
                if count % LOOKS_MAX == LOOKS_MAX - 1 {
                    self.feed(&mut again);
                }
                self.look(place, &mut again, Guest::serve);
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
        self.common.is_draining |= std::mem::take(&mut taken.is_draining);
        for (socket, peer) in taken.newcomers.drain(..) {
            self.welcome(socket, peer);
        }
        for (count, (place, serial, page)) in taken.pages.drain(..).enumerate() {
            if count % LOOKS_MAX == LOOKS_MAX - 1 {
                self.feed(again);
            }
            self.look(place, again, |guest, common| match guest.stream() {
                Some(stream) if stream.watch.serial == serial => stream.read(page, common),
                _ => Next::Wait,
            });
        }
        for place in taken.woken.drain(..) {
            self.look(place, again, Guest::serve);
        }
        if std::mem::take(&mut taken.is_finishing) {
            self.finish(again);
        }
    }

    fn finish(&mut self, again: &mut Vec<usize>) {
        self.is_finishing = true;
        for place in self.places() {
            self.look(place, again, |guest, common| match guest {
                Guest::Visitor(visitor) => visitor.finish(common),
                Guest::Stream(_) => Next::Wait,
            });
        }
    }

    /// Whether there is nothing left to do, and nothing will come.
    fn is_finished(&self) -> bool {
        self.is_finishing && self.guests.is_empty()
    }

    fn places(&self) -> Vec<usize> {
        self.guests.iter().map(|(place, _)| place).collect()
    }

    /// Sends what is new to those who wait for it, to some of them at a time.
    fn feed(&mut self, again: &mut Vec<usize>) {
        if self.touched.is_empty() && !self.door.has_news.load(Ordering::Relaxed) {
            return;
        }
        let feed = Feed { now: Instant::now(), now_millis: self.log.now() };
        if self.touched.is_empty() {
            self.queue_news(&feed, again);
        }
        let later = self.touched.len().saturating_sub(self.pacing.writes());
        let mut now = self.touched.split_off(later);
        for place in now.drain(..) {
            self.look(place, again, |guest, common| match guest.stream() {
                Some(stream) => stream.send_queued(&feed, common),
                None => Next::Wait,
            });
        }
        if self.touched.is_empty() {
            // Its room is kept.
            self.touched = now;
            if let Some(published_at) = self.oldest_queued.take() {
                self.common.metrics.delivery_lag(self.log.now().saturating_sub(published_at));
            }
        }
    }

    /// Leaves what is new with those who wait for it.
    fn queue_news(&mut self, feed: &Feed, again: &mut Vec<usize>) {
        if !self.door.has_news.swap(false, Ordering::SeqCst) {
            return;
        }
        let Newer { entries, head, newest, seen } = self.log.newer(self.fed, self.seen, ENTRIES_MAX);
        let Some(entries) = entries else {
            // So much came at once that it is no longer at hand: each reads for itself.
            (self.fed, self.seen) = (head, seen);
            for place in self.places() {
                self.look(place, again, |guest, common| match guest.stream() {
                    Some(stream) => stream.serve(common),
                    None => Next::Wait,
                });
            }
            return;
        };
        for entry in &entries {
            self.queue(entry, newest, feed);
            self.fed = entry.offset;
            if self.touched.len() > TOUCHED_MAX {
                break;
            }
        }
        if self.fed < head {
            self.door.has_news.store(true, Ordering::SeqCst);
        }
    }

    /// Leaves an entry with everyone who wants it and waits for it.
    fn queue(&mut self, entry: &Entry, newest: Epoch, feed: &Feed) {
        let Self { lists, guests, touched, oldest_queued, .. } = self;
        // One for all, and none where nobody wants it.
        let mut chunk = None;
        for channel in &entry.channels {
            lists.each(channel, &mut |place| {
                let chunk = chunk.get_or_insert_with(|| chunk_of(&entry.frame(newest, &[])));
                let stream = guests.get_mut(*place).and_then(Option::as_mut).and_then(Guest::stream);
                if stream.is_some_and(|stream| stream.queue(entry, chunk, feed)) {
                    touched.push(*place);
                    oldest_queued.get_or_insert(entry.published_at);
                }
            });
        }
    }

    /// Gives a new connection a place.
    fn welcome(&mut self, mut socket: TcpStream, peer: SocketAddr) {
        let entry = self.guests.vacant_entry();
        let place = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(place), interest) {
            error!(%error, "a socket could not be watched; its client comes back by itself");
            return self.left();
        }
        self.serial += 1;
        let now = Instant::now();
        let watch = Watch {
            serial: self.serial,
            timer: (0, now),
            waker: Waker::from(Arc::new(Bell { door: self.door.clone(), place })),
            is_read_closed: false,
        };
        let head_due = now + self.common.head_timeout;
        entry.insert(Some(Guest::Visitor(Box::new(Visitor::new(socket, peer, watch, head_due)))));
        self.arm(place, head_due);
    }

    /// Makes a stream of a connection that asked for one.
    fn begin(&mut self, place: usize, head: Bytes, opened: Opened, again: &mut Vec<usize>) {
        let Some(Guest::Visitor(visitor)) = self.guests.get_mut(place).and_then(Option::take) else { return };
        if self.streams == 0 {
            // Nobody was there to hear of what came before.
            self.door.has_streams.store(true, Ordering::SeqCst);
            self.fed = self.log.head().offset;
        }
        self.streams += 1;
        let may_read = visitor.may_read();
        let Visitor { socket, watch, .. } = *visitor;
        let stream = Stream::new(socket, head, opened, watch);
        for subscription in stream.subscriptions().iter() {
            self.lists.add(subscription, place);
        }
        self.guests[place] = Some(Guest::Stream(Box::new(stream)));
        self.look(place, again, Guest::serve);
        if may_read {
            self.look(place, again, Guest::readable);
        }
    }

    fn socket_event(&mut self, event: &mio::event::Event, again: &mut Vec<usize>) {
        let Token(place) = event.token();
        if event.token() == BELL {
            return;
        }
        if is_gone(event) {
            return self.look(place, again, |_, _| Next::Close);
        }
        if event.is_readable() || event.is_read_closed() {
            self.look(place, again, |guest, common| {
                guest.watch_mut().is_read_closed |= event.is_read_closed();
                guest.readable(common)
            });
        }
        if event.is_writable() {
            self.look(place, again, Guest::serve);
        }
    }

    fn tick(&mut self, place: usize, timer: u64, now: Instant, again: &mut Vec<usize>) {
        let Some(due) = self.due(place, timer) else { return };
        if due <= now {
            self.look(place, again, |guest, common| guest.tick(common, now));
        }
        if let Some(due) = self.due(place, timer) {
            self.arm(place, due);
        }
    }

    /// When a guest is due, if this is its timer.
    fn due(&self, place: usize, timer: u64) -> Option<Instant> {
        let guest = self.guests.get(place)?.as_ref()?;
        (guest.watch().timer.0 == timer).then(|| guest.due(&self.common))
    }

    fn arm(&mut self, place: usize, due: Instant) {
        self.timers += 1;
        let timer = self.timers;
        if let Some(guest) = &mut self.guests[place] {
            guest.watch_mut().timer = (timer, due);
        }
        self.wheel.arm(place, timer, due);
    }

    fn look(
        &mut self,
        place: usize,
        again: &mut Vec<usize>,
        look: impl FnOnce(&mut Guest, &mut Common) -> Next,
    ) {
        let Some(guest) = self.guests.get_mut(place).and_then(Option::as_mut) else { return };
        let next = look(guest, &mut self.common);
        let (due, watch) = (guest.due(&self.common), guest.watch());
        let serial = watch.serial;
        if due < watch.timer.1 {
            self.arm(place, due);
        }
        match next {
            Next::Wait => {}
            Next::Again => again.push(place),
            Next::Read(page) => {
                let door = self.door.clone();
                self.requests.push(Request { door, place, serial, page });
            }
            Next::Stream(head, opened) => self.begin(place, head, *opened, again),
            Next::Forward(read, answered) => self.forward(place, read, answered),
            Next::Close => drop(self.leave(place)),
        }
    }

    fn forward(&mut self, place: usize, read: Bytes, answered: Option<Box<Response>>) {
        let Some(Guest::Visitor(visitor)) = self.leave(place) else { return };
        let Visitor { socket, peer, head_due, .. } = *visitor;
        let answered = answered.map(|response| *response);
        (self.onward)(Forwarded { socket: socket.into(), peer, read, answered, head_due });
    }

    /// Takes a guest from its place.
    fn leave(&mut self, place: usize) -> Option<Guest> {
        let mut guest = self.guests.try_remove(place).flatten()?;
        let _ = self.poll.registry().deregister(guest.socket());
        if let Some(stream) = guest.stream() {
            for subscription in stream.subscriptions().iter() {
                self.lists.remove(subscription, |other| *other == place);
            }
            self.streams -= 1;
            self.door.has_streams.store(self.streams > 0, Ordering::SeqCst);
        }
        self.left();
        Some(guest)
    }

    /// One connection fewer.
    fn left(&self) {
        self.door.guests.fetch_sub(1, Ordering::Relaxed);
    }
}
