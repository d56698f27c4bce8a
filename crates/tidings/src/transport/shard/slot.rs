//! One slot of a shard: a connection that sends requests, or a stream.

use std::time::{Duration, Instant};

use mio::{event::Event, net::TcpStream};

use super::{
    context::{ShardContext, SlotAction, SlotState},
    request_phase::RequestPhase,
    stream_phase::StreamPhase,
};

/// Time after which a slot without a deadline is polled.
const NO_DEADLINE: Duration = Duration::from_secs(60);

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

/// Whether the client has closed both directions.
pub(super) fn is_gone(event: &Event) -> bool {
    event.is_error() || event.is_write_closed()
}
