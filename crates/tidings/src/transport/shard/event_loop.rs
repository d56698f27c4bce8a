//! The thread of one shard: it serves the sockets and the mailbox, and broadcasts new entries of the log to idle streams.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::{Router, response::Response};
use bytes::Bytes;
use mio::{Events, Token, event::Event};
use tidings_log::{Entry, Log, Millis, NewEntries};
use tidings_protocol::Epoch;
use tokio::runtime::Handle;
use tracing::error;

use super::chunk_writer::chunk_of;
use super::context::{ShardContext, SlotAction};
use super::disk_readers::{DiskReaders, ReadJob};
use super::forward::{ForwardToHyper, ForwardedConnection};
use super::mailbox::{Inbox, Mailbox, WAKE_TOKEN, event_queue};
use super::pacing::PollPacing;
use super::request_phase::RequestPhase;
use super::slots::{Slot, Slots};
use super::stream_phase::{BroadcastTick, StreamPhase};
use crate::config::Settings;
use crate::connection::driver::NewConnection;
use crate::failpoint;
use crate::metrics::Metrics;
use crate::transport::idle::IdleTimeout;

/// Slots that are served in a row before the next part of a broadcast.
const SERVED_MAX: usize = 32;
/// Socket events that one poll returns.
const EVENTS_MAX: usize = 1024;
/// Entries that are enqueued before the shard polls its sockets again.
const ENTRIES_MAX: usize = 64;
/// Streams with a queued chunk, above which no further entry is enqueued.
const DIRTY_MAX: usize = 4096;

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
    slots: Slots,
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
            slots: Slots::new(),
            broadcast_offset: 0,
            transitions_applied: 0,
            dirty: Vec::new(),
            pacing: PollPacing::new(),
            oldest_queued: None,
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
            let sleep =
                if must_hurry { Some(Duration::ZERO) } else { self.slots.timer_wheel.sleep(Instant::now()) };
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
            self.slots.timer_wheel.expire(now, &mut due);
            for (key, timer) in due.drain(..) {
                self.tick(key, timer, now, &mut runnable);
            }
        }
    }

    fn handle_inbox(&mut self, taken: &mut Inbox, runnable: &mut Vec<usize>) {
        self.context.is_draining |= std::mem::take(&mut taken.is_draining);
        for (socket, peer) in taken.accepted.drain(..) {
            let (registry, head_timeout) = (self.poll.registry(), self.context.head_timeout);
            if let Err(error) = self.slots.accept(socket, peer, registry, &self.mailbox, head_timeout) {
                error!(%error, "registering a socket failed; its client reconnects");
                self.release_connection();
            }
        }
        for (count, (key, serial, page)) in taken.pages.drain(..).enumerate() {
            if count % SERVED_MAX == SERVED_MAX - 1 {
                self.broadcast(runnable);
            }
            self.poll_stream(key, runnable, |stream, context| {
                if stream.slot_state.serial == serial {
                    stream.on_page_loaded(page, context)
                } else {
                    SlotAction::Wait
                }
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
        for key in self.slots.keys() {
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

    /// Sends new entries to some of the idle streams; the next call goes on with the others.
    fn broadcast(&mut self, runnable: &mut Vec<usize>) {
        if self.dirty.is_empty() && !self.mailbox.has_new_entries.load(Ordering::Relaxed) {
            return;
        }
        let tick = BroadcastTick { now: Instant::now(), now_millis: self.log.now() };
        if self.dirty.is_empty() {
            self.enqueue_new_entries(&tick, runnable);
        }
        let later = self.dirty.len().saturating_sub(self.pacing.writes());
        let mut now = self.dirty.split_off(later);
        for key in now.drain(..) {
            self.poll_stream(key, runnable, |stream, context| stream.send_queued(&tick, context));
        }
        if self.dirty.is_empty() {
            // Keeps the capacity.
            self.dirty = now;
            if let Some(published_at) = self.oldest_queued.take() {
                self.context.metrics.events.delivery_lag(self.log.now().saturating_sub(published_at));
            }
        }
    }

    /// Enqueues the entries that were appended since the last call.
    fn enqueue_new_entries(&mut self, tick: &BroadcastTick, runnable: &mut Vec<usize>) {
        if !self.mailbox.has_new_entries.swap(false, Ordering::SeqCst) {
            return;
        }
        let NewEntries { entries, head, newest, seen } =
            self.log.entries_after(self.broadcast_offset, self.transitions_applied, ENTRIES_MAX);
        let Some(entries) = entries else {
            // The log's cache has dropped some of the new entries: each stream reads them for itself.
            (self.broadcast_offset, self.transitions_applied) = (head, seen);
            for key in self.slots.keys() {
                self.poll_stream(key, runnable, StreamPhase::serve);
            }
            return;
        };
        for entry in &entries {
            self.enqueue(entry, newest, tick);
            self.broadcast_offset = entry.offset;
            if self.dirty.len() > DIRTY_MAX {
                break;
            }
        }
        if self.broadcast_offset < head {
            self.mailbox.has_new_entries.store(true, Ordering::SeqCst);
        }
    }

    /// Enqueues an entry for each idle stream that subscribes to it.
    fn enqueue(&mut self, entry: &Entry, newest: Epoch, tick: &BroadcastTick) {
        let Self { slots, dirty, oldest_queued, .. } = self;
        // All streams share one chunk. It is not encoded if no stream subscribes.
        let mut chunk = None;
        for channel in &entry.channels {
            slots.for_each_stream(channel, &mut |key, stream| {
                let chunk = chunk.get_or_insert_with(|| chunk_of(&entry.frame(newest, &[])));
                if stream.enqueue(entry, chunk, tick) {
                    dirty.push(key);
                    oldest_queued.get_or_insert(entry.published_at);
                }
            });
        }
    }

    /// Makes a connection a stream.
    fn begin_stream(&mut self, key: usize, head: Bytes, stream: NewConnection, runnable: &mut Vec<usize>) {
        if !self.slots.has_streams() {
            // Without streams the mailbox did not note new entries.
            self.mailbox.has_streams.store(true, Ordering::SeqCst);
            self.broadcast_offset = self.log.head().offset;
        }
        let Some(may_read) = self.slots.begin_stream(key, head, stream) else { return };
        self.poll_slot(key, runnable, Slot::serve);
        if may_read {
            self.poll_slot(key, runnable, Slot::readable);
        }
    }

    fn socket_event(&mut self, event: &Event, runnable: &mut Vec<usize>) {
        let Token(key) = event.token();
        if event.token() == WAKE_TOKEN {
            return;
        }
        // The client has closed both directions.
        if event.is_error() || event.is_write_closed() {
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
        let Some(due) = self.slots.due(key, timer, &self.context) else { return };
        if due <= now {
            self.poll_slot(key, runnable, |slot, context| slot.tick(context, now));
        }
        if let Some(due) = self.slots.due(key, timer, &self.context) {
            self.slots.arm(key, due);
        }
    }

    fn poll_slot(
        &mut self,
        key: usize,
        runnable: &mut Vec<usize>,
        poll: impl FnOnce(&mut Slot, &mut ShardContext) -> SlotAction,
    ) {
        let Some((serial, action)) = self.slots.poll(key, &mut self.context, poll) else { return };
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

    /// Polls a slot if it is a stream.
    fn poll_stream(
        &mut self,
        key: usize,
        runnable: &mut Vec<usize>,
        poll: impl FnOnce(&mut StreamPhase, &ShardContext) -> SlotAction,
    ) {
        self.poll_slot(key, runnable, |slot, context| match slot.stream() {
            Some(stream) => poll(stream, context),
            None => SlotAction::Wait,
        });
    }

    fn remove_slot(&mut self, key: usize) -> Option<Slot> {
        let slot = self.slots.remove(key, self.poll.registry())?;
        self.mailbox.has_streams.store(self.slots.has_streams(), Ordering::SeqCst);
        self.release_connection();
        Some(slot)
    }

    fn release_connection(&self) {
        self.mailbox.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
