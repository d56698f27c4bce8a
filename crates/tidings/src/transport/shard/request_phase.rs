//! A connection that is no stream yet: the shard reads its requests and writes the responses.
//!
//! The phase ends with a request for a stream, or with a request that hyper has to serve.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use mio::net::TcpStream;
use tower_service::Service;
use tracing::error;

use super::context::{ShardContext, SlotAction, SlotState};
use super::handoff::StreamHandoff;
use super::request_parser::{REQUEST_BYTES_MAX, may_be_for_shard, parse};
use super::response::{Framing, RoutedResponse, route, write_head};
use crate::transport::{http1_framing::FramingValidator, socket::PeerInfo};

/// Bytes of one read; most requests are smaller.
const READ_BYTES: usize = 2 << 10;
/// Time that the rest of a request body has to arrive, before hyper waits for it.
const BODY_TIMEOUT: Duration = Duration::from_millis(100);

/// A connection and its current request.
pub(super) struct RequestPhase {
    pub(super) socket: TcpStream,
    pub(super) slot_state: SlotState,
    pub(super) peer: SocketAddr,
    /// Deadline of the request head; while the connection is idle, the time at which it is closed.
    pub(super) head_due: Instant,
    /// The socket may have bytes to read.
    may_read: bool,
    /// A response was written on this connection.
    has_answered: bool,
    framing: FramingValidator,
    /// Bytes of the current request.
    read: BytesMut,
    state: RequestState,
}

enum RequestState {
    Head,
    /// The head is complete, the body is not.
    Body {
        body_due: Instant,
    },
    Answering {
        request: Bytes,
        answering: Pin<Box<dyn Future<Output = RoutedResponse> + Send>>,
    },
    Writing {
        unsent: Bytes,
        refused_since: Option<Instant>,
        is_last: bool,
    },
}

impl RequestPhase {
    pub(super) fn new(socket: TcpStream, peer: SocketAddr, slot_state: SlotState, head_due: Instant) -> Self {
        Self {
            socket,
            slot_state,
            peer,
            head_due,
            may_read: true,
            has_answered: false,
            framing: FramingValidator::new(),
            read: BytesMut::new(),
            state: RequestState::Head,
        }
    }

    /// Returns the time of the next poll if nothing else happens before; `None` while the routes answer.
    pub(super) fn due(&self, context: &ShardContext) -> Option<Instant> {
        match &self.state {
            RequestState::Head => Some(self.head_due),
            RequestState::Body { body_due } => Some(*body_due),
            RequestState::Answering { .. } => None,
            RequestState::Writing { refused_since, .. } => {
                refused_since.map(|since| since + context.write_timeout)
            }
        }
    }

    /// Serves a connection whose socket became readable.
    pub(super) fn readable(&mut self, context: &mut ShardContext) -> SlotAction {
        self.may_read = true;
        self.serve(context)
    }

    /// Reads, answers and writes until the connection waits.
    pub(super) fn serve(&mut self, context: &mut ShardContext) -> SlotAction {
        loop {
            let step = match &mut self.state {
                RequestState::Head | RequestState::Body { .. } => self.read_request(context),
                RequestState::Answering { .. } => self.poll_answer(context),
                RequestState::Writing { .. } => self.write(context),
            };
            if let Some(next) = step {
                return next;
            }
        }
    }

    /// Serves the connection because of the time.
    pub(super) fn tick(&mut self, context: &mut ShardContext, now: Instant) -> SlotAction {
        if self.due(context).is_none_or(|due| due > now) {
            return SlotAction::Wait;
        }
        match self.state {
            // A request may have arrived since the last read.
            RequestState::Head if self.is_idle() => self.finish(context),
            RequestState::Head => {
                context.metrics.connections.aborted("head_timeout");
                SlotAction::Close
            }
            RequestState::Body { .. } => self.forward(),
            RequestState::Answering { .. } => SlotAction::Wait,
            RequestState::Writing { .. } => {
                context.metrics.connections.write_timeouts.inc();
                SlotAction::Close
            }
        }
    }

    /// Answers a request that has arrived, and closes an idle connection without one.
    ///
    /// A connection without any request stays: its first request may still be on its way.
    pub(super) fn finish(&mut self, context: &mut ShardContext) -> SlotAction {
        self.may_read = true;
        match self.serve(context) {
            SlotAction::Wait if self.is_idle() => SlotAction::Close,
            next => next,
        }
    }

    /// Whether the connection waits for a request after its first.
    fn is_idle(&self) -> bool {
        self.has_answered && self.read.is_empty() && matches!(self.state, RequestState::Head)
    }

    /// Whether the socket may have bytes that were not read.
    pub(super) fn may_read(&self) -> bool {
        self.may_read
    }

    /// Reads, and calls the routes once a request is complete. `None` continues the loop of [`RequestPhase::serve`].
    fn read_request(&mut self, context: &mut ShardContext) -> Option<SlotAction> {
        if !self.may_read {
            return Some(SlotAction::Wait);
        }
        let validated = self.read.len();
        let was_idle = self.is_idle();
        match self.read_more() {
            Ok(0) if self.read.is_empty() => return Some(SlotAction::Close),
            // hyper answers a request that ends early.
            Ok(0) => return Some(self.forward()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.may_read = false;
                return Some(SlotAction::Wait);
            }
            Err(_) => return Some(SlotAction::Close),
        }
        if was_idle {
            self.head_due = Instant::now() + context.head_timeout;
        }
        let is_valid = self.framing.feed(&self.read[validated..]).is_ok() && may_be_for_shard(&self.read);
        if !is_valid || self.read.len() > REQUEST_BYTES_MAX {
            return Some(self.forward());
        }
        if self.framing.is_opening() {
            return None;
        }
        match self.framing.body_left() {
            Some(0) => {}
            // No overflow: the bytes read are within the bound. The length that the head names may be any number.
            Some(left) if left <= (REQUEST_BYTES_MAX - self.read.len()) as u64 => {
                if let RequestState::Head = self.state {
                    self.state = RequestState::Body { body_due: Instant::now() + BODY_TIMEOUT };
                }
                return None;
            }
            _ => return Some(self.forward()),
        }
        let bytes = self.read.split().freeze();
        self.read = BytesMut::new();
        let Some(mut request) = parse(&bytes) else { return Some(SlotAction::Forward(bytes, None)) };
        request.extensions_mut().insert(PeerInfo { peer: self.peer, is_tls: false });
        StreamHandoff::offer(request.extensions_mut());
        let answering = Box::pin(route(context.router.call(request)));
        self.state = RequestState::Answering { request: bytes, answering };
        None
    }

    /// Reads once.
    fn read_more(&mut self) -> io::Result<usize> {
        let mut bytes = [0; READ_BYTES];
        loop {
            match self.socket.read(&mut bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(count) => {
                    // A read that is not full has emptied the socket, unless it was the end.
                    self.may_read = count == READ_BYTES || count == 0 || self.slot_state.is_read_closed;
                    self.read.extend_from_slice(&bytes[..count]);
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn poll_answer(&mut self, context: &mut ShardContext) -> Option<SlotAction> {
        let RequestState::Answering { request, answering } = &mut self.state else {
            return Some(SlotAction::Wait);
        };
        let mut task_context = Context::from_waker(&self.slot_state.waker);
        // A panic ends this connection only, as a panic in hyper's task of a connection does.
        let polled = catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(&mut task_context)));
        let Ok(polled) = polled else {
            error!("answering a request panicked; its connection is closed");
            context.metrics.panics.requests.inc();
            return Some(SlotAction::Close);
        };
        let Poll::Ready(answer) = polled else { return Some(SlotAction::Wait) };
        let request = std::mem::take(request);
        match answer {
            RoutedResponse::Stream(head, stream) => Some(SlotAction::Stream(head, stream)),
            RoutedResponse::Other(response) => Some(SlotAction::Forward(request, Some(response))),
            RoutedResponse::Whole(mut parts, body) => {
                let is_last = context.is_draining;
                if !is_last {
                    context.idle.announce(&mut parts.headers);
                }
                let framing = Framing::Whole { body: &body, is_last };
                let unsent = write_head(parts.status, &parts.headers, framing);
                self.state = RequestState::Writing { unsent, refused_since: None, is_last };
                None
            }
        }
    }

    fn write(&mut self, context: &ShardContext) -> Option<SlotAction> {
        let RequestState::Writing { unsent, refused_since, is_last } = &mut self.state else {
            return Some(SlotAction::Wait);
        };
        while !unsent.is_empty() {
            match self.socket.write(unsent) {
                Ok(0) => return Some(SlotAction::Close),
                Ok(written) => {
                    *unsent = unsent.slice(written..);
                    *refused_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if refused_since.is_none() {
                        *refused_since = Some(Instant::now());
                        context.metrics.connections.socket_backpressure.inc();
                    }
                    return Some(SlotAction::Wait);
                }
                Err(_) => return Some(SlotAction::Close),
            }
        }
        if *is_last {
            let _ = self.socket.shutdown(Shutdown::Write);
            return Some(SlotAction::Close);
        }
        (self.framing, self.has_answered) = (FramingValidator::new(), true);
        self.state = RequestState::Head;
        self.head_due = Instant::now() + context.idle.closes_after;
        None
    }

    /// Forwards the connection to hyper, with the bytes that were read.
    fn forward(&mut self) -> SlotAction {
        SlotAction::Forward(self.read.split().freeze(), None)
    }
}
