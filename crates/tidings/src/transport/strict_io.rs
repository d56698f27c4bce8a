//! The read side of a connection of hyper: it passes valid heads to hyper, and the hub answers refused ones itself.

mod whole;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io};

use bytes::{Bytes, BytesMut};
use http::Uri;
use rand::RngExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tracing::debug;

pub(crate) use self::whole::{HEAD_BYTES_MAX, head_too_large};
use self::whole::{check, malformed, too_large};
use super::http1_framing::{FramingValidator, HeadProgress, MessagePart};
use super::idle::Activity;
use crate::error::Error;

/// Path of the request that replaces a refused one. Random, so that no client can know it.
static REPLACEMENT_TARGET: LazyLock<String> =
    LazyLock::new(|| format!("/{:032x}", rand::rng().random::<u128>()));

/// A connection of HTTP/1 or HTTP/2 with strict framing and deadlines for heads.
///
/// - The first head must be complete at a deadline, each later head of HTTP/1 within a time after its first byte.
/// - Complete heads are passed to hyper, and bodies as they arrive.
/// - A request of the hub replaces an invalid head; [`RefusedHead::of`] recognizes it.
/// - Bytes that hyper refuses replace an invalid body.
/// - Requests before an invalid one are answered. Nothing after it is read.
pub(crate) struct StrictIo<Io> {
    io: Io,
    framing: FramingValidator,
    /// Bytes of an incomplete head; at most [`HEAD_BYTES_MAX`] and one read.
    held: BytesMut,
    /// Bytes that hyper reads next.
    ready: Bytes,
    end: ReadEnd,
    /// Deadline of the next head.
    head_due: Option<Pin<Box<Sleep>>>,
    head_timeout: Duration,
    activity: Activity,
    refused: RefusedHead,
}

/// Source of the bytes after those that are ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReadEnd {
    /// Bytes from the client.
    Open,
    /// The end of the connection.
    Closed,
    /// No byte and no end: at an end hyper closes without the answer.
    Silent,
}

/// The error of a refused head, which the read side sets and the service of the connection reads.
#[derive(Clone, Default)]
pub(crate) struct RefusedHead(Arc<OnceLock<Error>>);

impl RefusedHead {
    /// Returns the error, if `uri` is that of the request that replaces a refused one.
    pub(crate) fn of(&self, uri: &Uri) -> Option<Error> {
        let error = self.0.get().filter(|_| uri.path() == *REPLACEMENT_TARGET)?;
        Some(Error::new(error.code(), error.to_string()))
    }
}

/// Error of a head that missed its deadline.
#[derive(Debug)]
pub(crate) struct HeadTimeout(Duration);

impl fmt::Display for HeadTimeout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "no whole request came within {:?}", self.0)
    }
}

impl std::error::Error for HeadTimeout {}

impl<Io> StrictIo<Io> {
    /// Wraps a connection whose first head must be complete at `deadline`.
    pub(crate) fn new(
        io: Io,
        head_timeout: Duration,
        deadline: Instant,
        activity: Activity,
        refused: RefusedHead,
    ) -> Self {
        Self {
            io,
            framing: FramingValidator::new(),
            held: BytesMut::new(),
            ready: Bytes::new(),
            end: ReadEnd::Open,
            head_due: Some(Box::pin(sleep_until(deadline))),
            head_timeout,
            activity,
            refused,
        }
    }

    fn poll_head_due(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(head_due) = &mut self.head_due else { return Poll::Pending };
        head_due.as_mut().poll(context).map(|()| {
            self.activity.head_is_late();
            Err(io::Error::new(io::ErrorKind::TimedOut, HeadTimeout(self.head_timeout)))
        })
    }

    /// Validates the bytes after the first `before`, and leaves those in the buffer that hyper may read.
    fn take(&mut self, buffer: &mut ReadBuf<'_>, before: usize) {
        let read = &buffer.filled()[before..];
        let validated = self.held.len();
        let replacement = if validated == 0 {
            let (good, replacement) = self.validate(read, 0);
            self.held.extend_from_slice(&read[good..]);
            buffer.set_filled(before + good);
            replacement
        } else {
            self.held.extend_from_slice(read);
            buffer.set_filled(before);
            let mut bytes = self.held.split();
            let (good, replacement) = self.validate(&bytes, validated);
            self.ready = bytes.split_to(good).freeze();
            self.held = bytes;
            replacement
        };
        if let Some(replacement) = replacement {
            self.held = BytesMut::new();
            self.ready = [&self.ready[..], &replacement[..]].concat().into();
        }
        self.watch_head();
    }

    /// Sets the deadline of a head after the first.
    fn watch_head(&mut self) {
        let awaits_head = self.framing.is_opening() || self.framing.is_in_head();
        if self.end != ReadEnd::Open || !awaits_head {
            self.head_due = None;
        } else if self.head_due.is_none() {
            self.head_due = Some(Box::pin(sleep(self.head_timeout)));
            self.activity.head_begins();
        }
    }

    /// Validates the bytes after the first `validated`. Returns the number of bytes that hyper may read, and the replacement of
    /// the rest if they are invalid.
    fn validate(&mut self, bytes: &[u8], validated: usize) -> (usize, Option<Bytes>) {
        let mut at = validated;
        while at < bytes.len() {
            match self.framing.feed_head(&bytes[at..]) {
                Err(fault) => {
                    at += fault.at;
                    debug!(fault = fault.what, "a malformed request was refused");
                    let Some(replacement) = refused_at(fault.part) else {
                        let begin = at + 1 - self.framing.head_bytes();
                        return (begin, Some(self.refuse(malformed(fault.what))));
                    };
                    self.end = ReadEnd::Closed;
                    return (at, Some(Bytes::from_static(replacement)));
                }
                Ok(HeadProgress { taken, head_bytes }) => {
                    at += taken;
                    if head_bytes.is_some() {
                        self.head_due = None;
                    }
                    let begin = head_bytes.map_or(at, |head_bytes| at - head_bytes);
                    if begin < at
                        && let Err(error) = check(&bytes[begin..at])
                    {
                        debug!(%error, "a request was refused");
                        return (begin, Some(self.refuse(error)));
                    }
                }
            }
        }
        let begin = bytes.len() - self.framing.head_bytes();
        let is_too_large = self.framing.head_bytes() > HEAD_BYTES_MAX;
        (begin, is_too_large.then(|| self.refuse(too_large(&bytes[begin..]))))
    }

    /// Returns the request that replaces a refused one.
    fn refuse(&mut self, error: Error) -> Bytes {
        self.end = ReadEnd::Silent;
        // Set once: nothing is read after the first refused head.
        let _ = self.refused.0.set(error);
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", *REPLACEMENT_TARGET).into()
    }
}

/// Returns bytes that hyper refuses in a part of a request, without waiting for more; `None` in a head.
fn refused_at(part: MessagePart) -> Option<&'static [u8]> {
    match part {
        MessagePart::Head => None,
        // hyper validates trailers when they are complete.
        MessagePart::Trailer => Some(b"\0\r\n\r\n"),
        MessagePart::ChunkFrame => Some(b"\0"),
        MessagePart::Extension => Some(b"\n"),
    }
}

impl<Io: AsyncRead + Unpin> AsyncRead for StrictIo<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.ready.is_empty() {
                let now = this.ready.split_to(this.ready.len().min(buffer.remaining()));
                buffer.put_slice(&now);
                return Poll::Ready(Ok(()));
            }
            match this.end {
                ReadEnd::Open if buffer.remaining() > 0 => {}
                ReadEnd::Open | ReadEnd::Closed => return Poll::Ready(Ok(())),
                ReadEnd::Silent => return Poll::Pending,
            }
            let before = buffer.filled().len();
            match Pin::new(&mut this.io).poll_read(context, buffer) {
                Poll::Ready(Ok(())) => {}
                Poll::Pending => return this.poll_head_due(context),
                failed => return failed,
            }
            if buffer.filled().len() == before {
                // hyper handles the incomplete head of a connection that ends.
                (this.end, this.ready) = (ReadEnd::Closed, this.held.split().freeze());
                continue;
            }
            this.take(buffer, before);
            if buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<Io: AsyncWrite + Unpin> AsyncWrite for StrictIo<Io> {
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
