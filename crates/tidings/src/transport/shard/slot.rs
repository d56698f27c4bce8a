//! Who has a place in a shard: a stream, or a connection that is none yet.

use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use axum::{Router, response::Response};
use bytes::Bytes;
use mio::{event::Event, net::TcpStream};

use super::{request_phase::RequestPhase, stream_phase::StreamPhase};
use crate::{connection::NewConnection, log::read::Page, metrics::Metrics, transport::idle::IdleTimeout};

/// A place is looked at this often though it waits for nothing but others.
const NO_DEADLINE: Duration = Duration::from_secs(60);

/// Each on its own: a slab that grows would hold twice the room.
pub(super) enum Slot {
    Request(Box<RequestPhase>),
    Stream(Box<StreamPhase>),
}

/// What the shard keeps of each.
pub(super) struct SlotState {
    /// Tells it from those that had its place before.
    pub(super) serial: u64,
    /// What its place on the wheel is known by, and when that is; older places are void.
    pub(super) timer: (u64, Instant),
    pub(super) waker: Waker,
    /// The client has said all that it has to say.
    pub(super) is_read_closed: bool,
}

/// What to do with a guest after it was looked at.
pub(super) enum Action {
    /// It waits: for its seat, its socket, its answer or its time.
    Wait,
    /// Others first, then again.
    Again,
    /// Read this for it.
    Read(Page),
    /// It is a stream from now on.
    Stream(Bytes, Box<NewConnection>),
    /// It is hyper's, with what was read of it, and the answer where there is one.
    Forward(Bytes, Option<Box<Response>>),
    /// It is over.
    Close,
}

/// What a shard has that its guests use.
pub(super) struct ShardContext {
    pub(super) metrics: Arc<Metrics>,
    pub(super) router: Router,
    pub(super) write_timeout: Duration,
    pub(super) head_timeout: Duration,
    pub(super) idle: IdleTimeout,
    /// The hub shuts down: a connection ends with its next answer.
    pub(super) is_draining: bool,
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
            Self::Request(request) => &request.watch,
            Self::Stream(stream) => &stream.watch,
        }
    }

    pub(super) fn state_mut(&mut self) -> &mut SlotState {
        match self {
            Self::Request(request) => &mut request.watch,
            Self::Stream(stream) => &mut stream.watch,
        }
    }

    pub(super) fn stream(&mut self) -> Option<&mut StreamPhase> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Request(_) => None,
        }
    }

    pub(super) fn due(&self, common: &ShardContext) -> Instant {
        match self {
            Self::Request(request) => request.due(common).unwrap_or_else(|| Instant::now() + NO_DEADLINE),
            Self::Stream(stream) => stream.due(common),
        }
    }

    pub(super) fn serve(&mut self, common: &mut ShardContext) -> Action {
        match self {
            Self::Request(request) => request.serve(common),
            Self::Stream(stream) => stream.serve(common),
        }
    }

    pub(super) fn readable(&mut self, common: &mut ShardContext) -> Action {
        match self {
            Self::Request(request) => request.readable(common),
            Self::Stream(stream) => stream.discard_input(),
        }
    }

    pub(super) fn tick(&mut self, common: &mut ShardContext, now: Instant) -> Action {
        match self {
            Self::Request(request) => request.tick(common, now),
            Self::Stream(stream) => stream.tick(common, now),
        }
    }
}

/// Whether nobody is at the other end any more.
pub(super) fn is_gone(event: &Event) -> bool {
    event.is_error() || event.is_write_closed()
}
