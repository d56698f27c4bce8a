//! Plain connections, whose sockets a shard owns: a thread with an event queue, and for each connection a place in a slab.
//! It answers publishes, and asks for streams, as the routes have it, and serves the streams: no task, no body, no buffer;
//! a write leaves when there is something to say. What asks for anything else is hyper's.

mod disk_readers;
mod event_loop;
mod mailbox;
mod pacing;
mod request_parser;
mod request_phase;
mod response;
mod response_head;
mod slot;
mod stream_phase;
mod timer_wheel;

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpStream},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::response::Response;
use bytes::Bytes;
use http_body::{Body, Frame};

pub(crate) use self::{disk_readers::DiskReaders, event_loop::Shard, mailbox::Shards};
use crate::{
    connection::NewConnection,
    sync::{Lock, Mutex},
};

/// Says that a shard has the socket that this request came by; among the request's extensions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShardOffer;

/// A stream on its way from a route to its shard, among the response's extensions.
#[derive(Clone)]
pub(crate) struct StreamHandoff(Arc<Mutex<Option<NewConnection>>>);

impl StreamHandoff {
    pub(crate) fn new(opened: NewConnection) -> Self {
        Self(Arc::new(Mutex::new(Lock::StreamHandoff, Some(opened))))
    }

    /// Takes the stream out; the first who asks gets it.
    pub(crate) fn take(&self) -> Option<NewConnection> {
        self.0.lock().take()
    }
}

/// The body of a response whose stream goes another way: it has no length that a router could put into the head.
pub(crate) struct DetachedBody;

impl Body for DetachedBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

/// A connection that is hyper's from now on.
pub(crate) struct ForwardedConnection {
    pub(crate) socket: TcpStream,
    pub(crate) peer: SocketAddr,
    /// What was read of it, to be read again.
    pub(crate) read: Bytes,
    /// The answer to the request that was read, where there is one.
    pub(crate) answered: Option<Response>,
    /// When its next head must be whole.
    pub(crate) head_due: Instant,
}

/// Takes connections that are hyper's.
pub(crate) type ForwardToHyper = Arc<dyn Fn(ForwardedConnection) + Send + Sync>;
