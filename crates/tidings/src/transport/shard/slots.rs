//! The connections of a shard: a slot for each, the timer of each slot, and the streams by subscription.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Interest, Registry, Token, net::TcpStream};
use slab::Slab;
use tidings_protocol::ChannelName;

use super::context::{ShardContext, SlotAction, SlotState};
use super::mailbox::{Mailbox, SlotWaker};
use super::request_phase::RequestPhase;
use super::stream_phase::StreamPhase;
use super::timer_wheel::TimerWheel;
use crate::connection::{SubscriptionIndex, driver::NewConnection};

/// Time after which a slot without a deadline is polled.
const NO_DEADLINE: Duration = Duration::from_secs(60);

/// All slots of a shard.
pub(super) struct Slots {
    /// `None` while a connection becomes a stream.
    slots: Slab<Option<Slot>>,
    streams: usize,
    /// Keys of the streams by subscription.
    subscriptions: SubscriptionIndex<usize>,
    pub(super) timer_wheel: TimerWheel,
    serial: u64,
    timers: u64,
}

/// Phases of a connection. Boxed: a slab that grows would hold twice their size.
pub(super) enum Slot {
    Request(Box<RequestPhase>),
    Stream(Box<StreamPhase>),
}

impl Slot {
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Request(request) => &mut request.socket,
            Self::Stream(stream) => &mut stream.socket,
        }
    }

    pub(super) fn state(&self) -> &SlotState {
        match self {
            Self::Request(request) => &request.slot_state,
            Self::Stream(stream) => &stream.slot_state,
        }
    }

    pub(super) fn state_mut(&mut self) -> &mut SlotState {
        match self {
            Self::Request(request) => &mut request.slot_state,
            Self::Stream(stream) => &mut stream.slot_state,
        }
    }

    pub(super) fn stream(&mut self) -> Option<&mut StreamPhase> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Request(_) => None,
        }
    }

    /// Returns the time of the next poll if nothing else happens before.
    pub(super) fn due(&self, context: &ShardContext) -> Instant {
        match self {
            Self::Request(request) => request.due(context).unwrap_or_else(|| Instant::now() + NO_DEADLINE),
            Self::Stream(stream) => stream.due(context),
        }
    }

    pub(super) fn serve(&mut self, context: &mut ShardContext) -> SlotAction {
        match self {
            Self::Request(request) => request.serve(context),
            Self::Stream(stream) => stream.serve(context),
        }
    }

    pub(super) fn readable(&mut self, context: &mut ShardContext) -> SlotAction {
        match self {
            Self::Request(request) => request.readable(context),
            Self::Stream(stream) => stream.discard_input(),
        }
    }

    pub(super) fn tick(&mut self, context: &mut ShardContext, now: Instant) -> SlotAction {
        match self {
            Self::Request(request) => request.tick(context, now),
            Self::Stream(stream) => stream.tick(context, now),
        }
    }
}

impl Slots {
    pub(super) fn new() -> Self {
        Self {
            slots: Slab::new(),
            streams: 0,
            subscriptions: SubscriptionIndex::default(),
            timer_wheel: TimerWheel::new(Instant::now()),
            serial: 0,
            timers: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn has_streams(&self) -> bool {
        self.streams > 0
    }

    /// Returns the keys of all slots.
    pub(super) fn keys(&self) -> Vec<usize> {
        self.slots.iter().map(|(key, _)| key).collect()
    }

    /// Gives a new connection a slot.
    ///
    /// # Errors
    /// If the event queue does not take the socket.
    pub(super) fn accept(
        &mut self,
        mut socket: TcpStream,
        peer: SocketAddr,
        registry: &Registry,
        mailbox: &Arc<Mailbox>,
        head_timeout: Duration,
    ) -> io::Result<()> {
        let entry = self.slots.vacant_entry();
        let key = entry.key();
        registry.register(&mut socket, Token(key), Interest::READABLE | Interest::WRITABLE)?;
        self.serial += 1;
        let now = Instant::now();
        let slot_state = SlotState {
            serial: self.serial,
            timer: (0, now),
            waker: Waker::from(Arc::new(SlotWaker { mailbox: mailbox.clone(), key })),
            is_read_closed: false,
        };
        let head_due = now + head_timeout;
        entry.insert(Some(Slot::Request(Box::new(RequestPhase::new(socket, peer, slot_state, head_due)))));
        self.arm(key, head_due);
        Ok(())
    }

    /// Polls a slot; returns its serial number and its next task, or `None` if the slot is empty.
    pub(super) fn poll(
        &mut self,
        key: usize,
        context: &mut ShardContext,
        poll: impl FnOnce(&mut Slot, &mut ShardContext) -> SlotAction,
    ) -> Option<(u64, SlotAction)> {
        let slot = self.slots.get_mut(key).and_then(Option::as_mut)?;
        let action = poll(slot, context);
        let (due, slot_state) = (slot.due(context), slot.state());
        let serial = slot_state.serial;
        if due < slot_state.timer.1 {
            self.arm(key, due);
        }
        Some((serial, action))
    }

    /// Makes a connection a stream; returns whether its socket may have bytes to read.
    pub(super) fn begin_stream(&mut self, key: usize, head: Bytes, stream: NewConnection) -> Option<bool> {
        let Some(Slot::Request(request)) = self.slots.get_mut(key).and_then(Option::take) else {
            return None;
        };
        self.streams += 1;
        let may_read = request.may_read();
        let RequestPhase { socket, slot_state, .. } = *request;
        let stream = StreamPhase::new(socket, head, stream, slot_state);
        for subscription in stream.subscriptions().iter() {
            self.subscriptions.add(subscription, key);
        }
        self.slots[key] = Some(Slot::Stream(Box::new(stream)));
        Some(may_read)
    }

    /// Calls `act` for each stream that subscribes to a channel.
    pub(super) fn for_each_stream(
        &mut self,
        channel: &ChannelName,
        act: &mut dyn FnMut(usize, &mut StreamPhase),
    ) {
        let Self { slots, subscriptions, .. } = self;
        subscriptions.for_each_match(channel, &mut |key| {
            if let Some(stream) = slots.get_mut(*key).and_then(Option::as_mut).and_then(Slot::stream) {
                act(*key, stream);
            }
        });
    }

    /// Empties a slot.
    pub(super) fn remove(&mut self, key: usize, registry: &Registry) -> Option<Slot> {
        let mut slot = self.slots.try_remove(key).flatten()?;
        let _ = registry.deregister(slot.socket());
        if let Some(stream) = slot.stream() {
            for subscription in stream.subscriptions().iter() {
                self.subscriptions.remove(subscription, |other| *other == key);
            }
            self.streams -= 1;
        }
        Some(slot)
    }

    /// Returns the time at which a slot is due, if `timer` is its newest timer.
    pub(super) fn due(&self, key: usize, timer: u64, context: &ShardContext) -> Option<Instant> {
        let slot = self.slots.get(key)?.as_ref()?;
        (slot.state().timer.0 == timer).then(|| slot.due(context))
    }

    /// Arms the timer of a slot.
    pub(super) fn arm(&mut self, key: usize, due: Instant) {
        self.timers += 1;
        let timer = self.timers;
        if let Some(slot) = &mut self.slots[key] {
            slot.state_mut().timer = (timer, due);
        }
        self.timer_wheel.arm(key, timer, due);
    }
}
