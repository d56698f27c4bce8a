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
    DiskReaders, ForwardToHyper, ForwardedConnection,
    disk_readers::ReadJob,
    mailbox::{Inbox, Mailbox, SlotWaker, event_queue},
    pacing::PollPacing,
    request_phase::RequestPhase,
    slot::{Action, ShardContext, Slot, SlotState, is_gone},
    stream_phase::{BroadcastTick, StreamPhase, chunk_of},
    timer_wheel::TimerWheel,
};
use crate::{
    config::Settings,
    connection::{NewConnection, SubscriptionIndex},
    failpoint,
    log::{
        Log, NewEntries,
        entry::{Entry, Millis},
    },
    metrics::Metrics,
    transport::idle::IdleTimeout,
};

/// The token of the bell; places of streams are lower.
pub(super) const WAKE_TOKEN: Token = Token(usize::MAX);
/// Entries that are sent before sockets are looked at again.
const ENTRIES_MAX: usize = 64;
/// Streams that are left something before any of it is sent, but for those of one entry.
const DIRTY_MAX: usize = 4096;
/// Streams that may read on for themselves before those that wait for what is new are fed again.
const POLLS_MAX: usize = 32;
/// Events of the sockets that are taken at once.
const EVENTS_MAX: usize = 1024;

/// Closes the door when the shard ends, however it ends.
struct MailboxCloser(Arc<Mailbox>);

impl Drop for MailboxCloser {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// A shard before its thread runs.
pub(crate) struct Shard {
    poll: mio::Poll,
    mailbox: Arc<Mailbox>,
    /// None while one becomes another.
    connection_permits: Slab<Option<Slot>>,
    streams: usize,
    /// Who wants what, by place.
    subscriptions: SubscriptionIndex<usize>,
    /// The log was fed up to here.
    broadcast_offset: u64,
    /// Breaks of its order were seen up to here.
    transitions_applied: u64,
    /// Those who were left something that is still to be sent.
    dirty: Vec<usize>,
    /// How many of them are sent to before the sockets are polled again: publishes are taken while a broadcast goes out.
    pacing: PollPacing,
    /// When the first of what they were left was published.
    oldest_queued: Option<Millis>,
    timer_wheel: TimerWheel,
    serial: u64,
    timers: u64,
    /// It ends when it has no connection left.
    is_finishing: bool,
    log: Arc<Log>,
    context: ShardContext,
    /// Reads the disk, off this thread.
    reader: Arc<DiskReaders>,
    /// What it is to be asked for before this thread sleeps.
    requests: Vec<ReadJob>,
    /// Where answers wait for others.
    runtime: Handle,
    forward_to_hyper: ForwardToHyper,
}

impl Shard {
    /// Makes a shard; it serves once it runs.
    ///
    /// # Errors
    /// When the system has no event queue left.
    pub(crate) fn new(
        (log, metrics, reader): (Arc<Log>, Arc<Metrics>, Arc<DiskReaders>),
        settings: &Settings,
        router: Router,
        runtime: Handle,
        forward_to_hyper: ForwardToHyper,
    ) -> io::Result<(Self, Arc<Mailbox>)> {
        let (poll, mailbox) = event_queue()?;
        let shard = Self {
            poll,
            mailbox: mailbox.clone(),
            connection_permits: Slab::new(),
            streams: 0,
            subscriptions: SubscriptionIndex::default(),
            broadcast_offset: 0,
            transitions_applied: 0,
            dirty: Vec::new(),
            pacing: PollPacing::new(),
            oldest_queued: None,
            timer_wheel: TimerWheel::new(Instant::now()),
            serial: 0,
            timers: 0,
            is_finishing: false,
            log,
            context: ShardContext {
                metrics,
                router,
                write_timeout: settings.stream.write_timeout,
                head_timeout: settings.server.head_timeout,
                idle: IdleTimeout::new(settings.server.idle_timeout),
                is_draining: false,
            },
            reader,
            requests: Vec::new(),
            runtime,
            forward_to_hyper,
        };
        Ok((shard, mailbox))
    }

    /// Serves until its door is closed, or until it has finished.
    pub(crate) fn run(mut self) {
        let runtime = self.runtime.clone();
        let _within = runtime.enter();
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let _leaving = MailboxCloser(self.mailbox.clone());
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut taken = Inbox::default();
        let mut again = Vec::new();
        let mut due = Vec::new();
        while !taken.is_closed && !self.is_finished() {
            failpoint::hit(&name);
            self.reader.submit(&mut self.requests);
            let must_hurry = !again.is_empty() || !self.dirty.is_empty() || !self.mailbox.may_sleep();
            let sleep = if must_hurry {
                Some(std::time::Duration::ZERO)
            } else {
                self.timer_wheel.sleep(Instant::now())
            };
            if let Err(error) = self.poll.poll(&mut events, sleep)
                && error.kind() != io::ErrorKind::Interrupted
            {
                error!(%error, "a shard's event queue failed");
                return;
            }
            self.mailbox.is_awake();
            self.mailbox.take(&mut taken);
            self.pacing.note_poll(!events.is_empty() || !taken.is_empty());
            self.handle_inbox(&mut taken, &mut again);
            // What is unstored, and ends, were looked at before.
            self.broadcast(&mut again);
            for (count, place) in std::mem::take(&mut again).into_iter().enumerate() {
                if count % POLLS_MAX == POLLS_MAX - 1 {
                    self.broadcast(&mut again);
                }
                self.poll_slot(place, &mut again, Slot::serve);
            }
            for (count, event) in events.iter().enumerate() {
                if count % POLLS_MAX == POLLS_MAX - 1 {
                    self.broadcast(&mut again);
                }
                self.socket_event(event, &mut again);
            }
            let now = Instant::now();
            self.timer_wheel.expire(now, &mut due);
            for (place, timer) in due.drain(..) {
                self.tick(place, timer, now, &mut again);
            }
        }
    }

    fn handle_inbox(&mut self, taken: &mut Inbox, again: &mut Vec<usize>) {
        self.context.is_draining |= std::mem::take(&mut taken.is_draining);
        for (socket, peer) in taken.accepted.drain(..) {
            self.accept(socket, peer);
        }
        for (count, (place, serial, page)) in taken.pages.drain(..).enumerate() {
            if count % POLLS_MAX == POLLS_MAX - 1 {
                self.broadcast(again);
            }
            self.poll_slot(place, again, |slot, common| match slot.stream() {
                Some(stream) if stream.watch.serial == serial => stream.on_page_read(page, common),
                _ => Action::Wait,
            });
        }
        for place in taken.woken.drain(..) {
            self.poll_slot(place, again, Slot::serve);
        }
        if std::mem::take(&mut taken.is_finishing) {
            self.finish(again);
        }
    }

    fn finish(&mut self, again: &mut Vec<usize>) {
        self.is_finishing = true;
        for place in self.occupied_slots() {
            self.poll_slot(place, again, |slot, common| match slot {
                Slot::Request(request) => request.finish(common),
                Slot::Stream(_) => Action::Wait,
            });
        }
    }

    /// Whether there is nothing left to do, and nothing will come.
    fn is_finished(&self) -> bool {
        self.is_finishing && self.connection_permits.is_empty()
    }

    fn occupied_slots(&self) -> Vec<usize> {
        self.connection_permits.iter().map(|(place, _)| place).collect()
    }

    /// Sends what is new to those who wait for it, to some of them at a time.
    fn broadcast(&mut self, again: &mut Vec<usize>) {
        if self.dirty.is_empty() && !self.mailbox.has_new_entries.load(Ordering::Relaxed) {
            return;
        }
        let feed = BroadcastTick { now: Instant::now(), now_millis: self.log.now() };
        if self.dirty.is_empty() {
            self.enqueue_new_entries(&feed, again);
        }
        let later = self.dirty.len().saturating_sub(self.pacing.writes());
        let mut now = self.dirty.split_off(later);
        for place in now.drain(..) {
            self.poll_slot(place, again, |slot, common| match slot.stream() {
                Some(stream) => stream.send_queued(&feed, common),
                None => Action::Wait,
            });
        }
        if self.dirty.is_empty() {
            // Its room is kept.
            self.dirty = now;
            if let Some(published_at) = self.oldest_queued.take() {
                self.context.metrics.events.delivery_lag(self.log.now().saturating_sub(published_at));
            }
        }
    }

    /// Leaves what is new with those who wait for it.
    fn enqueue_new_entries(&mut self, feed: &BroadcastTick, again: &mut Vec<usize>) {
        if !self.mailbox.has_new_entries.swap(false, Ordering::SeqCst) {
            return;
        }
        let NewEntries { entries, head, newest, seen } =
            self.log.entries_after(self.broadcast_offset, self.transitions_applied, ENTRIES_MAX);
        let Some(entries) = entries else {
            // So much came at once that it is no longer at hand: each reads for itself.
            (self.broadcast_offset, self.transitions_applied) = (head, seen);
            for place in self.occupied_slots() {
                self.poll_slot(place, again, |slot, common| match slot.stream() {
                    Some(stream) => stream.serve(common),
                    None => Action::Wait,
                });
            }
            return;
        };
        for entry in &entries {
            self.enqueue(entry, newest, feed);
            self.broadcast_offset = entry.offset;
            if self.dirty.len() > DIRTY_MAX {
                break;
            }
        }
        if self.broadcast_offset < head {
            self.mailbox.has_new_entries.store(true, Ordering::SeqCst);
        }
    }

    /// Leaves an entry with everyone who wants it and waits for it.
    fn enqueue(&mut self, entry: &Entry, newest: Epoch, feed: &BroadcastTick) {
        let Self { subscriptions: lists, connection_permits: guests, dirty: touched, oldest_queued, .. } =
            self;
        // One for all, and none where nobody wants it.
        let mut chunk = None;
        for channel in &entry.channels {
            lists.for_each_match(channel, &mut |place| {
                let chunk = chunk.get_or_insert_with(|| chunk_of(&entry.frame(newest, &[])));
                let stream = guests.get_mut(*place).and_then(Option::as_mut).and_then(Slot::stream);
                if stream.is_some_and(|stream| stream.enqueue(entry, chunk, feed)) {
                    touched.push(*place);
                    oldest_queued.get_or_insert(entry.published_at);
                }
            });
        }
    }

    /// Gives a new connection a place.
    fn accept(&mut self, mut socket: TcpStream, peer: SocketAddr) {
        let entry = self.connection_permits.vacant_entry();
        let place = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(place), interest) {
            error!(%error, "a socket could not be watched; its client comes back by itself");
            return self.close_mailbox_if_empty();
        }
        self.serial += 1;
        let now = Instant::now();
        let watch = SlotState {
            serial: self.serial,
            timer: (0, now),
            waker: Waker::from(Arc::new(SlotWaker { mailbox: self.mailbox.clone(), place })),
            is_read_closed: false,
        };
        let head_due = now + self.context.head_timeout;
        entry.insert(Some(Slot::Request(Box::new(RequestPhase::new(socket, peer, watch, head_due)))));
        self.arm(place, head_due);
    }

    /// Makes a stream of a connection that asked for one.
    fn begin_stream(&mut self, place: usize, head: Bytes, opened: NewConnection, again: &mut Vec<usize>) {
        let Some(Slot::Request(request)) = self.connection_permits.get_mut(place).and_then(Option::take)
        else {
            return;
        };
        if self.streams == 0 {
            // Nobody was there to hear of what came before.
            self.mailbox.has_streams.store(true, Ordering::SeqCst);
            self.broadcast_offset = self.log.head().offset;
        }
        self.streams += 1;
        let may_read = request.may_read();
        let RequestPhase { socket, watch, .. } = *request;
        let stream = StreamPhase::new(socket, head, opened, watch);
        for subscription in stream.subscriptions().iter() {
            self.subscriptions.add(subscription, place);
        }
        self.connection_permits[place] = Some(Slot::Stream(Box::new(stream)));
        self.poll_slot(place, again, Slot::serve);
        if may_read {
            self.poll_slot(place, again, Slot::readable);
        }
    }

    fn socket_event(&mut self, event: &mio::event::Event, again: &mut Vec<usize>) {
        let Token(place) = event.token();
        if event.token() == WAKE_TOKEN {
            return;
        }
        if is_gone(event) {
            return self.poll_slot(place, again, |_, _| Action::Close);
        }
        if event.is_readable() || event.is_read_closed() {
            self.poll_slot(place, again, |slot, common| {
                slot.state_mut().is_read_closed |= event.is_read_closed();
                slot.readable(common)
            });
        }
        if event.is_writable() {
            self.poll_slot(place, again, Slot::serve);
        }
    }

    fn tick(&mut self, place: usize, timer: u64, now: Instant, again: &mut Vec<usize>) {
        let Some(due) = self.due(place, timer) else { return };
        if due <= now {
            self.poll_slot(place, again, |slot, common| slot.tick(common, now));
        }
        if let Some(due) = self.due(place, timer) {
            self.arm(place, due);
        }
    }

    /// When a guest is due, if this is its timer.
    fn due(&self, place: usize, timer: u64) -> Option<Instant> {
        let slot = self.connection_permits.get(place)?.as_ref()?;
        (slot.state().timer.0 == timer).then(|| slot.due(&self.context))
    }

    fn arm(&mut self, place: usize, due: Instant) {
        self.timers += 1;
        let timer = self.timers;
        if let Some(slot) = &mut self.connection_permits[place] {
            slot.state_mut().timer = (timer, due);
        }
        self.timer_wheel.arm(place, timer, due);
    }

    fn poll_slot(
        &mut self,
        place: usize,
        again: &mut Vec<usize>,
        look: impl FnOnce(&mut Slot, &mut ShardContext) -> Action,
    ) {
        let Some(slot) = self.connection_permits.get_mut(place).and_then(Option::as_mut) else { return };
        let next = look(slot, &mut self.context);
        let (due, watch) = (slot.due(&self.context), slot.state());
        let serial = watch.serial;
        if due < watch.timer.1 {
            self.arm(place, due);
        }
        match next {
            Action::Wait => {}
            Action::Again => again.push(place),
            Action::Read(page) => {
                let mailbox = self.mailbox.clone();
                self.requests.push(ReadJob { mailbox, place, serial, page });
            }
            Action::Stream(head, opened) => self.begin_stream(place, head, *opened, again),
            Action::Forward(read, answered) => self.forward(place, read, answered),
            Action::Close => drop(self.remove_slot(place)),
        }
    }

    fn forward(&mut self, place: usize, read: Bytes, answered: Option<Box<Response>>) {
        let Some(Slot::Request(request)) = self.remove_slot(place) else { return };
        let RequestPhase { socket, peer, head_due, .. } = *request;
        let answered = answered.map(|response| *response);
        (self.forward_to_hyper)(ForwardedConnection {
            socket: socket.into(),
            peer,
            read,
            answered,
            head_due,
        });
    }

    /// Takes a guest from its place.
    fn remove_slot(&mut self, place: usize) -> Option<Slot> {
        let mut slot = self.connection_permits.try_remove(place).flatten()?;
        let _ = self.poll.registry().deregister(slot.socket());
        if let Some(stream) = slot.stream() {
            for subscription in stream.subscriptions().iter() {
                self.subscriptions.remove(subscription, |other| *other == place);
            }
            self.streams -= 1;
            self.mailbox.has_streams.store(self.streams > 0, Ordering::SeqCst);
        }
        self.close_mailbox_if_empty();
        Some(slot)
    }

    /// One connection fewer.
    fn close_mailbox_if_empty(&self) {
        self.mailbox.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
