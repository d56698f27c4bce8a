//! One connection that is no stream yet: its requests are read and answered here, until it asks for a stream, or for
//! something that is hyper's.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use mio::net::TcpStream;
use tower_service::Service;
use tracing::error;

use super::{
    ShardOffer,
    request_parser::{REQUEST_BYTES_MAX, may_be_ours, parse},
    response::{RoutedResponse, route},
    response_head::{Framing, write_head},
    slot::{Action, ShardContext, SlotState},
};
use crate::transport::{http1_framing::FramingValidator, socket::PeerInfo};

/// Read at once; what most requests fit.
const READ_BYTES: usize = 2 << 10;
/// How long the rest of a request may be in coming before hyper waits for it.
const PATIENCE: Duration = Duration::from_millis(100);

/// A connection and the request that it is at.
pub(super) struct RequestPhase {
    pub(super) socket: TcpStream,
    pub(super) watch: SlotState,
    pub(super) peer: SocketAddr,
    /// When a head must be whole; while the connection is idle, when it is closed.
    pub(super) head_due: Instant,
    /// There may be something to read.
    may_read: bool,
    /// A request of it was answered.
    has_answered: bool,
    framing: FramingValidator,
    /// What was read of a request.
    read: BytesMut,
    state: RequestState,
}

enum RequestState {
    Head,
    /// The head is whole, the body is not.
    Body {
        patience_ends: Instant,
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
    pub(super) fn new(socket: TcpStream, peer: SocketAddr, watch: SlotState, head_due: Instant) -> Self {
        Self {
            socket,
            watch,
            peer,
            head_due,
            may_read: true,
            has_answered: false,
            framing: FramingValidator::new(),
            read: BytesMut::new(),
            state: RequestState::Head,
        }
    }

    /// When it is to be looked at though nothing else happens; none while only its answer is waited for.
    pub(super) fn due(&self, common: &ShardContext) -> Option<Instant> {
        match &self.state {
            RequestState::Head => Some(self.head_due),
            RequestState::Body { patience_ends } => Some(*patience_ends),
            RequestState::Answering { .. } => None,
            RequestState::Writing { refused_since, .. } => {
                refused_since.map(|since| since + common.write_timeout)
            }
        }
    }

    /// Its socket has something to read.
    pub(super) fn readable(&mut self, common: &mut ShardContext) -> Action {
        self.may_read = true;
        self.serve(common)
    }

    /// Goes on as far as it can.
    pub(super) fn serve(&mut self, common: &mut ShardContext) -> Action {
        loop {
            let step = match &mut self.state {
                RequestState::Head | RequestState::Body { .. } => self.read_request(common),
                RequestState::Answering { .. } => self.poll_answer(common),
                RequestState::Writing { .. } => self.write(common),
            };
            if let Some(next) = step {
                return next;
            }
        }
    }

    /// Looks at it because of the time.
    pub(super) fn tick(&mut self, common: &mut ShardContext, now: Instant) -> Action {
        if self.due(common).is_none_or(|due| due > now) {
            return Action::Wait;
        }
        match self.state {
            // A request may have come since the socket was last looked at.
            RequestState::Head if self.is_idle() => self.finish(common),
            RequestState::Head => {
                common.metrics.connections.aborted("head_timeout");
                Action::Close
            }
            RequestState::Body { .. } => self.forward(),
            RequestState::Answering { .. } => Action::Wait,
            RequestState::Writing { .. } => {
                common.metrics.connections.write_timeout();
                Action::Close
            }
        }
    }

    /// Answers what has come, and closes a kept-alive connection on which nothing has. The first request of a connection
    /// may still be on its way.
    pub(super) fn finish(&mut self, common: &mut ShardContext) -> Action {
        self.may_read = true;
        match self.serve(common) {
            Action::Wait if self.is_idle() => Action::Close,
            next => next,
        }
    }

    /// Whether it waits for another request.
    fn is_idle(&self) -> bool {
        self.has_answered && self.read.is_empty() && matches!(self.state, RequestState::Head)
    }

    /// Whether its client may have sent something that was not looked at.
    pub(super) fn may_read(&self) -> bool {
        self.may_read
    }

    /// Reads, and asks the routes once a request is whole. None where it is to go on at once.
    fn read_request(&mut self, common: &mut ShardContext) -> Option<Action> {
        if !self.may_read {
            return Some(Action::Wait);
        }
        let judged = self.read.len();
        let was_idle = self.is_idle();
        match self.read_more() {
            Ok(0) if self.read.is_empty() => return Some(Action::Close),
            // What hyper says of a request that ends early is its own business.
            Ok(0) => return Some(self.forward()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.may_read = false;
                return Some(Action::Wait);
            }
            Err(_) => return Some(Action::Close),
        }
        if was_idle {
            self.head_due = Instant::now() + common.head_timeout;
        }
        let is_good = self.framing.feed(&self.read[judged..]).is_ok() && may_be_ours(&self.read);
        if !is_good || self.read.len() > REQUEST_BYTES_MAX {
            return Some(self.forward());
        }
        if self.framing.is_opening() {
            return None;
        }
        match self.framing.body_left() {
            Some(0) => {}
            // The bytes that were read are within the bound; the length that a head names may be nearly any number.
            Some(left) if left <= (REQUEST_BYTES_MAX - self.read.len()) as u64 => {
                if let RequestState::Head = self.state {
                    self.state = RequestState::Body { patience_ends: Instant::now() + PATIENCE };
                }
                return None;
            }
            _ => return Some(self.forward()),
        }
        let bytes = self.read.split().freeze();
        self.read = BytesMut::new();
        let Some(mut request) = parse(&bytes) else { return Some(Action::Forward(bytes, None)) };
        request.extensions_mut().insert(PeerInfo { peer: self.peer, is_tls: false });
        request.extensions_mut().insert(ShardOffer);
        let answering = Box::pin(route(common.router.call(request)));
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
                    // What fills less than it might has emptied the socket, unless that was its end.
                    self.may_read = count == READ_BYTES || count == 0 || self.watch.is_read_closed;
                    self.read.extend_from_slice(&bytes[..count]);
                    return Ok(count);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn poll_answer(&mut self, common: &mut ShardContext) -> Option<Action> {
        let RequestState::Answering { request, answering } = &mut self.state else {
            return Some(Action::Wait);
        };
        let mut context = Context::from_waker(&self.watch.waker);
        // A panic ends the connection that it was for, as it does where each has a task.
        let polled = catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(&mut context)));
        let Ok(polled) = polled else {
            error!("answering a request panicked; its connection is closed");
            common.metrics.panics.request();
            return Some(Action::Close);
        };
        let Poll::Ready(answer) = polled else { return Some(Action::Wait) };
        let request = std::mem::take(request);
        match answer {
            RoutedResponse::Stream(head, opened) => Some(Action::Stream(head, opened)),
            RoutedResponse::Other(response) => Some(Action::Forward(request, Some(response))),
            RoutedResponse::Whole(mut parts, body) => {
                let is_last = common.is_draining;
                if !is_last {
                    common.idle.announce(&mut parts.headers);
                }
                let framing = Framing::Whole { body: &body, is_last };
                let unsent = write_head(parts.status, &parts.headers, framing);
                self.state = RequestState::Writing { unsent, refused_since: None, is_last };
                None
            }
        }
    }

    fn write(&mut self, common: &ShardContext) -> Option<Action> {
        let RequestState::Writing { unsent, refused_since, is_last } = &mut self.state else {
            return Some(Action::Wait);
        };
        while !unsent.is_empty() {
            match self.socket.write(unsent) {
                Ok(0) => return Some(Action::Close),
                Ok(written) => {
                    *unsent = unsent.slice(written..);
                    *refused_since = None;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if refused_since.is_none() {
                        *refused_since = Some(Instant::now());
                        common.metrics.connections.socket_backpressure();
                    }
                    return Some(Action::Wait);
                }
                Err(_) => return Some(Action::Close),
            }
        }
        if *is_last {
            let _ = self.socket.shutdown(Shutdown::Write);
            return Some(Action::Close);
        }
        (self.framing, self.has_answered) = (FramingValidator::new(), true);
        self.state = RequestState::Head;
        self.head_due = Instant::now() + common.idle.patience;
        None
    }

    /// Leaves it to hyper, with what was read.
    fn forward(&mut self) -> Action {
        Action::Forward(self.read.split().freeze(), None)
    }
}
