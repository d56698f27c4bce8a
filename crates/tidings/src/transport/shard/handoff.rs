//! The handoff of a new stream from a route to the shard that owns the client's socket.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Extensions;
use http_body::{Body, Frame};
use tidings_sync::Mutex;

use crate::{connection::driver::NewConnection, lock};

/// A place for one new stream.
///
/// - In the extensions of a request it is empty: the shard offers to take a stream.
/// - In the extensions of the response it holds the stream that the route opened.
/// - As the body of that response it has no length that a router could write into the head.
#[derive(Clone)]
pub(crate) struct StreamHandoff(Option<Arc<Mutex<Option<NewConnection>>>>);

impl StreamHandoff {
    /// Tells the route that a shard owns the socket of this request.
    pub(super) fn offer(request: &mut Extensions) {
        request.insert(Self(None));
    }

    /// Whether a shard owns the socket of this request.
    pub(crate) fn is_offered(request: &Extensions) -> bool {
        request.get::<Self>().is_some()
    }

    pub(crate) fn new(stream: NewConnection) -> Self {
        Self(Some(Arc::new(Mutex::new(&lock::STREAM_HANDOFF, Some(stream)))))
    }

    /// Takes the stream out of a response; `None` if the route opened none.
    pub(super) fn take(response: &mut Extensions) -> Option<NewConnection> {
        let handoff: Self = response.remove()?;
        handoff.0?.lock().take()
    }
}

impl Body for StreamHandoff {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}
