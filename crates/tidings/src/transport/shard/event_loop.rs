//! The thread of one shard: its event queue, and the slots of its connections.

mod broadcast;

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
use tokio::runtime::Handle;
use tracing::error;

use super::{
    context::{ShardContext, SlotAction, SlotState},
    disk_readers::{DiskReaders, ReadJob},
    forward::{ForwardToHyper, ForwardedConnection},
    mailbox::{Inbox, Mailbox, SlotWaker, WAKE_TOKEN, event_queue},
    pacing::PollPacing,
    request_phase::RequestPhase,
    slot::{Slot, is_gone},
    stream_phase::StreamPhase,
    timer_wheel::TimerWheel,
};
use crate::{
    config::Settings,
    connection::{SubscriptionIndex, driver::NewConnection},
    failpoint,
    log::{Log, entry::Millis},
    metrics::Metrics,
    transport::idle::IdleTimeout,
};

/// Slots that are served in a row before the next part of a broadcast.
const SERVED_MAX: usize = 32;
/// Socket events that one poll returns.
const EVENTS_MAX: usize = 1024;

/// Closes the mailbox when the shard thread ends, also by a panic.
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
    /// `None` while a connection becomes a stream.
    slots: Slab<Option<Slot>>,
    streams: usize,
    /// Keys of the streams by subscription.
    subscriptions: SubscriptionIndex<usize>,
    /// Offset of the last entry that was broadcast.
    broadcast_offset: u64,
    /// Epoch transitions of the log that the broadcast has passed.
    transitions_applied: u64,
    /// Keys of the streams with queued chunks.
    dirty: Vec<usize>,
    /// Number of queues that are sent between two polls of the sockets: publishes are read while a broadcast goes out.
    pacing: PollPacing,
    /// Publish time of the oldest queued entry.
    oldest_queued: Option<Millis>,
    timer_wheel: TimerWheel,
    serial: u64,
    timers: u64,
    /// The thread ends when the shard has no connection left.
    is_finishing: bool,
    log: Arc<Log>,
    context: ShardContext,
    /// Threads that read the disk for this one.
    readers: Arc<DiskReaders>,
    /// Jobs that are submitted to the readers before this thread sleeps.
    jobs: Vec<ReadJob>,
    /// Runtime of the routes' timers and tasks.
    runtime: Handle,
    forward_to_hyper: ForwardToHyper,
}

impl Shard {
    /// Makes a shard and its mailbox. It serves when [`Shard::run`] is called.
    ///
    /// # Errors
    /// If the system has no event queue left.
    pub(crate) fn new(
        (log, metrics, readers): (Arc<Log>, Arc<Metrics>, Arc<DiskReaders>),
        settings: &Settings,
        router: Router,
        runtime: Handle,
        forward_to_hyper: ForwardToHyper,
    ) -> io::Result<(Self, Arc<Mailbox>)> {
        let (poll, mailbox) = event_queue()?;
        let shard = Self {
            poll,
            mailbox: mailbox.clone(),
            slots: Slab::new(),
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
            readers,
            jobs: Vec::new(),
            runtime,
            forward_to_hyper,
        };
        Ok((shard, mailbox))
    }

    /// Serves until the mailbox is closed, or until the shard has finished.
    pub(crate) fn run(mut self) {
        let runtime = self.runtime.clone();
        let _within = runtime.enter();
        let name = std::thread::current().name().unwrap_or_default().to_owned();
        let _leaving = MailboxCloser(self.mailbox.clone());
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut taken = Inbox::default();
        let mut runnable = Vec::new();
        let mut due = Vec::new();
        while !taken.is_closed && !self.is_finished() {
            failpoint::hit(&name);
            self.readers.submit(&mut self.jobs);
            let must_hurry = !runnable.is_empty() || !self.dirty.is_empty() || !self.mailbox.may_sleep();
            let sleep = if must_hurry {
                Some(std::time::Duration::ZERO)
            } else {
                self.timer_wheel.sleep(Instant::now())
            };
            if let Err(error) = self.poll.poll(&mut events, sleep)
                && error.kind() != io::ErrorKind::Interrupted
            {
                error!(%error, "the event queue of a shard failed");
                return;
            }
            self.mailbox.is_awake();
            self.mailbox.take(&mut taken);
            self.pacing.note_poll(!events.is_empty() || !taken.is_empty());
            self.handle_inbox(&mut taken, &mut runnable);
            // Streams with transient events or a termination were served from the inbox.
            self.broadcast(&mut runnable);
            for (count, key) in std::mem::take(&mut runnable).into_iter().enumerate() {
                if count % SERVED_MAX == SERVED_MAX - 1 {
                    self.broadcast(&mut runnable);
                }
                self.poll_slot(key, &mut runnable, Slot::serve);
            }
            for (count, event) in events.iter().enumerate() {
                if count % SERVED_MAX == SERVED_MAX - 1 {
                    self.broadcast(&mut runnable);
                }
                self.socket_event(event, &mut runnable);
            }
            let now = Instant::now();
            self.timer_wheel.expire(now, &mut due);
            for (key, timer) in due.drain(..) {
                self.tick(key, timer, now, &mut runnable);
            }
        }
    }

    fn handle_inbox(&mut self, taken: &mut Inbox, runnable: &mut Vec<usize>) {
        self.context.is_draining |= std::mem::take(&mut taken.is_draining);
        for (socket, peer) in taken.accepted.drain(..) {
            self.accept(socket, peer);
        }
        for (count, (key, serial, page)) in taken.pages.drain(..).enumerate() {
            if count % SERVED_MAX == SERVED_MAX - 1 {
                self.broadcast(runnable);
            }
            self.poll_slot(key, runnable, |slot, context| match slot.stream() {
                Some(stream) if stream.slot_state.serial == serial => stream.on_page_loaded(page, context),
                _ => SlotAction::Wait,
            });
        }
        for key in taken.woken.drain(..) {
            self.poll_slot(key, runnable, Slot::serve);
        }
        if std::mem::take(&mut taken.is_finishing) {
            self.finish(runnable);
        }
    }

    fn finish(&mut self, runnable: &mut Vec<usize>) {
        self.is_finishing = true;
        for key in self.occupied_slots() {
            self.poll_slot(key, runnable, |slot, context| match slot {
                Slot::Request(request) => request.finish(context),
                Slot::Stream(_) => SlotAction::Wait,
            });
        }
    }

    /// Whether no connection is left, and none will be assigned.
    fn is_finished(&self) -> bool {
        self.is_finishing && self.slots.is_empty()
    }

    fn occupied_slots(&self) -> Vec<usize> {
        self.slots.iter().map(|(key, _)| key).collect()
    }

    /// Gives a new connection a slot.
    fn accept(&mut self, mut socket: TcpStream, peer: SocketAddr) {
        let entry = self.slots.vacant_entry();
        let key = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut socket, Token(key), interest) {
            error!(%error, "registering a socket failed; its client reconnects");
            return self.release_connection();
        }
        self.serial += 1;
        let now = Instant::now();
        let slot_state = SlotState {
            serial: self.serial,
            timer: (0, now),
            waker: Waker::from(Arc::new(SlotWaker { mailbox: self.mailbox.clone(), key })),
            is_read_closed: false,
        };
        let head_due = now + self.context.head_timeout;
        entry.insert(Some(Slot::Request(Box::new(RequestPhase::new(socket, peer, slot_state, head_due)))));
        self.arm(key, head_due);
    }

    /// Makes a connection a stream.
    fn begin_stream(&mut self, key: usize, head: Bytes, stream: NewConnection, runnable: &mut Vec<usize>) {
        let Some(Slot::Request(request)) = self.slots.get_mut(key).and_then(Option::take) else {
            return;
        };
        if self.streams == 0 {
            // Without streams the mailbox did not note new entries.
            self.mailbox.has_streams.store(true, Ordering::SeqCst);
            self.broadcast_offset = self.log.head().offset;
        }
        self.streams += 1;
        let may_read = request.may_read();
        let RequestPhase { socket, slot_state, .. } = *request;
        let stream = StreamPhase::new(socket, head, stream, slot_state);
        for subscription in stream.subscriptions().iter() {
            self.subscriptions.add(subscription, key);
        }
        self.slots[key] = Some(Slot::Stream(Box::new(stream)));
        self.poll_slot(key, runnable, Slot::serve);
        if may_read {
            self.poll_slot(key, runnable, Slot::readable);
        }
    }

    fn socket_event(&mut self, event: &mio::event::Event, runnable: &mut Vec<usize>) {
        let Token(key) = event.token();
        if event.token() == WAKE_TOKEN {
            return;
        }
        if is_gone(event) {
            return self.poll_slot(key, runnable, |_, _| SlotAction::Close);
        }
        if event.is_readable() || event.is_read_closed() {
            self.poll_slot(key, runnable, |slot, context| {
                slot.state_mut().is_read_closed |= event.is_read_closed();
                slot.readable(context)
            });
        }
        if event.is_writable() {
            self.poll_slot(key, runnable, Slot::serve);
        }
    }

    fn tick(&mut self, key: usize, timer: u64, now: Instant, runnable: &mut Vec<usize>) {
        let Some(due) = self.due(key, timer) else { return };
        if due <= now {
            self.poll_slot(key, runnable, |slot, context| slot.tick(context, now));
        }
        if let Some(due) = self.due(key, timer) {
            self.arm(key, due);
        }
    }

    /// Returns the time at which a slot is due, if `timer` is its newest timer.
    fn due(&self, key: usize, timer: u64) -> Option<Instant> {
        let slot = self.slots.get(key)?.as_ref()?;
        (slot.state().timer.0 == timer).then(|| slot.due(&self.context))
    }

    fn arm(&mut self, key: usize, due: Instant) {
        self.timers += 1;
        let timer = self.timers;
        if let Some(slot) = &mut self.slots[key] {
            slot.state_mut().timer = (timer, due);
        }
        self.timer_wheel.arm(key, timer, due);
    }

    fn poll_slot(
        &mut self,
        key: usize,
        runnable: &mut Vec<usize>,
        poll: impl FnOnce(&mut Slot, &mut ShardContext) -> SlotAction,
    ) {
        let Some(slot) = self.slots.get_mut(key).and_then(Option::as_mut) else { return };
        let action = poll(slot, &mut self.context);
        let (due, slot_state) = (slot.due(&self.context), slot.state());
        let serial = slot_state.serial;
        if due < slot_state.timer.1 {
            self.arm(key, due);
        }
        match action {
            SlotAction::Wait => {}
            SlotAction::Again => runnable.push(key),
            SlotAction::Load(page) => {
                let mailbox = self.mailbox.clone();
                self.jobs.push(ReadJob { mailbox, key, serial, page });
            }
            SlotAction::Stream(head, stream) => self.begin_stream(key, head, *stream, runnable),
            SlotAction::Forward(read, response) => self.forward(key, read, response),
            SlotAction::Close => drop(self.remove_slot(key)),
        }
    }

    fn forward(&mut self, key: usize, read: Bytes, response: Option<Box<Response>>) {
        let Some(Slot::Request(request)) = self.remove_slot(key) else { return };
        let RequestPhase { socket, peer, head_due, .. } = *request;
        let response = response.map(|response| *response);
        (self.forward_to_hyper)(ForwardedConnection {
            socket: socket.into(),
            peer,
            read,
            response,
            head_due,
        });
    }

    /// Empties a slot.
    fn remove_slot(&mut self, key: usize) -> Option<Slot> {
        let mut slot = self.slots.try_remove(key).flatten()?;
        let _ = self.poll.registry().deregister(slot.socket());
        if let Some(stream) = slot.stream() {
            for subscription in stream.subscriptions().iter() {
                self.subscriptions.remove(subscription, |other| *other == key);
            }
            self.streams -= 1;
            self.mailbox.has_streams.store(self.streams > 0, Ordering::SeqCst);
        }
        self.release_connection();
        Some(slot)
    }

    fn release_connection(&self) {
        self.mailbox.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
