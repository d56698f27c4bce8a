//! The read side of a connection, with what is ambiguous in HTTP/1 turned into what hyper refuses.

use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tracing::debug;

use super::head::{Judge, Place};

/// A connection of HTTP/1 or HTTP/2 whose first head must be whole at a deadline.
///
/// Bytes pass as they come. At the first that is at fault others are put that hyper refuses there, and the connection
/// reads as ended: whoever sent requests before gets their answers, then 400, and nothing behind it is read.
pub(crate) struct Strict<Io> {
    io: Io,
    judge: Judge,
    /// What is still to be read in place of the rest; none while nothing is at fault.
    instead: Option<&'static [u8]>,
    /// Of the first head: hyper keeps the deadlines of those after it, but not before it knows the version.
    opening: Option<Pin<Box<Sleep>>>,
    head_timeout: Duration,
}

/// The first head was not whole in time.
#[derive(Debug)]
pub(crate) struct HeadTimeout(Duration);

impl fmt::Display for HeadTimeout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no request came within {:?}", self.0)
    }
}

impl std::error::Error for HeadTimeout {}

impl<Io> Strict<Io> {
    pub(crate) fn new(io: Io, head_timeout: Duration) -> Self {
        let opening = Some(Box::pin(sleep(head_timeout)));
        Self { io, judge: Judge::new(), instead: None, opening, head_timeout }
    }

    fn poll_opening(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(opening) = &mut self.opening else { return Poll::Pending };
        opening
            .as_mut()
            .poll(context)
            .map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, HeadTimeout(self.head_timeout))))
    }

    /// Judges what was read behind the first `before` bytes.
    fn judge(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        if let Err(fault) = self.judge.feed(&buffer.filled()[before..]) {
            debug!(fault = fault.what, "a malformed request was refused");
            buffer.set_filled(before + fault.at);
            self.instead = Some(refused_at(fault.place));
        }
        if !self.judge.is_opening() {
            self.opening = None;
        }
    }
}

/// Bytes that hyper refuses at a place, and does not wait behind for more.
fn refused_at(place: Place) -> &'static [u8] {
    match place {
        // A head and trailers are looked at when they are whole.
        Place::Head | Place::Trailer => b"\0\r\n\r\n",
        Place::Chunk => b"\0",
        Place::Extension => b"\n",
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for Strict<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.instead.is_none() {
            let before = buffer.filled().len();
            match Pin::new(&mut this.io).poll_read(context, buffer) {
                Poll::Ready(Ok(())) => this.judge(buffer, before),
                Poll::Pending => return this.poll_opening(context),
                failed => return failed,
            }
        }
        if let Some(instead) = &mut this.instead {
            let (now, later) = instead.split_at(instead.len().min(buffer.remaining()));
            buffer.put_slice(now);
            *instead = later;
        }
        Poll::Ready(Ok(()))
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for Strict<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
