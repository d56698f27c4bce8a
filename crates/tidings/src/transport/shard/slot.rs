//! Who has a place in a shard: a stream, or a connection that is none yet.

use std::{
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use axum::{Router, response::Response};
use bytes::Bytes;
use mio::{event::Event, net::TcpStream};

use super::{request_phase::Visitor, stream_phase::Stream};
use crate::{connection::Opened, log::read::Page, metrics::Metrics, transport::idle::Idle};

/// A place is looked at this often though it waits for nothing but others.
const UNHURRIED: Duration = Duration::from_secs(60);

/// Each on its own: a slab that grows would hold twice the room.
pub(super) enum Guest {
    Visitor(Box<Visitor>),
    Stream(Box<Stream>),
}

/// What the shard keeps of each.
pub(super) struct Watch {
    /// Tells it from those that had its place before.
    pub(super) serial: u64,
    /// What its place on the wheel is known by, and when that is; older places are void.
    pub(super) timer: (u64, Instant),
    pub(super) waker: Waker,
    /// The client has said all that it has to say.
    pub(super) is_read_closed: bool,
}

/// What to do with a guest after it was looked at.
pub(super) enum Next {
    /// It waits: for its seat, its socket, its answer or its time.
    Wait,
    /// Others first, then again.
    Again,
    /// Read this for it.
    Read(Page),
    /// It is a stream from now on.
    Stream(Bytes, Box<Opened>),
    /// It is hyper's, with what was read of it, and the answer where there is one.
    Forward(Bytes, Option<Box<Response>>),
    /// It is over.
    Close,
}

/// What a shard has that its guests use.
pub(super) struct Common {
    pub(super) metrics: Arc<Metrics>,
    pub(super) router: Router,
    pub(super) write_timeout: Duration,
    pub(super) head_timeout: Duration,
    pub(super) idle: Idle,
    /// The hub shuts down: a connection ends with its next answer.
    pub(super) is_draining: bool,
}

impl Guest {
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Visitor(visitor) => &mut visitor.socket,
            Self::Stream(stream) => &mut stream.socket,
        }
    }

    pub(super) fn watch(&self) -> &Watch {
        match self {
            Self::Visitor(visitor) => &visitor.watch,
            Self::Stream(stream) => &stream.watch,
        }
    }

    pub(super) fn watch_mut(&mut self) -> &mut Watch {
        match self {
            Self::Visitor(visitor) => &mut visitor.watch,
            Self::Stream(stream) => &mut stream.watch,
        }
    }

    pub(super) fn stream(&mut self) -> Option<&mut Stream> {
        match self {
            Self::Stream(stream) => Some(stream),
            Self::Visitor(_) => None,
        }
    }

    pub(super) fn due(&self, common: &Common) -> Instant {
        match self {
            Self::Visitor(visitor) => visitor.due(common).unwrap_or_else(|| Instant::now() + UNHURRIED),
            Self::Stream(stream) => stream.due(common),
        }
    }

    pub(super) fn serve(&mut self, common: &mut Common) -> Next {
        match self {
            Self::Visitor(visitor) => visitor.serve(common),
            Self::Stream(stream) => stream.serve(common),
        }
    }

    pub(super) fn readable(&mut self, common: &mut Common) -> Next {
        match self {
            Self::Visitor(visitor) => visitor.readable(common),
            Self::Stream(stream) => stream.read_away(),
        }
    }

    pub(super) fn tick(&mut self, common: &mut Common, now: Instant) -> Next {
        match self {
            Self::Visitor(visitor) => visitor.tick(common, now),
            Self::Stream(stream) => stream.tick(common, now),
        }
    }
}

/// Whether nobody is at the other end any more.
pub(super) fn is_gone(event: &Event) -> bool {
    event.is_error() || event.is_write_closed()
}
