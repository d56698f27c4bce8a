//! A TCP socket that reports back-pressure to its streams, and fails if its client takes no bytes until a deadline.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use tidings_sync::{AtomicBool, Mutex};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use crate::{deferred_wake, lock, metrics::Metrics};

/// Time for which input is discarded after the last response. A reset because of unread bytes could lose the response.
const LINGER: Duration = Duration::from_secs(1);

/// Origin of a request, in the extensions of each request of a served connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerInfo {
    /// Address of the client, or of the last proxy before the hub.
    pub(crate) peer: SocketAddr,
    /// Whether this hub speaks TLS on the connection.
    pub(crate) is_tls: bool,
}

/// Back-pressure of one socket, shared by its streams.
#[derive(Debug)]
pub(crate) struct Backpressure {
    is_refusing: AtomicBool,
    /// Times that the socket began to refuse bytes. Each stream keeps the count that it has seen.
    refusals: AtomicU64,
    wakers: Mutex<Vec<Waker>>,
}

impl Default for Backpressure {
    fn default() -> Self {
        Self {
            is_refusing: AtomicBool::new(false),
            refusals: AtomicU64::new(0),
            wakers: Mutex::new(&lock::SOCKET_WAITERS, Vec::new()),
        }
    }
}

impl Backpressure {
    /// Whether the socket refuses bytes now. The waker is woken when it takes bytes again.
    pub(crate) fn is_refusing(&self, waker: &Waker) -> bool {
        if !self.is_refusing.load(Ordering::Acquire) {
            return false;
        }
        let mut wakers = self.wakers.lock();
        if !wakers.iter().any(|other| other.will_wake(waker)) {
            wakers.push(waker.clone());
        }
        drop(wakers);
        // The socket may have resumed before the waker was added.
        self.is_refusing.load(Ordering::Acquire)
    }

    /// Returns the number of times that the socket began to refuse bytes.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Acquire)
    }

    /// Notes that the socket refuses bytes; returns whether it did not before.
    pub(crate) fn pause(&self) -> bool {
        // Counted last: a stream that sees the new count also sees `is_refusing`, unless the socket has resumed.
        let is_first = !self.is_refusing.swap(true, Ordering::AcqRel);
        if is_first {
            self.refusals.fetch_add(1, Ordering::AcqRel);
        }
        is_first
    }

    /// Notes that the socket takes bytes again, and wakes its streams.
    pub(crate) fn resume(&self) {
        if self.is_refusing.swap(false, Ordering::AcqRel) {
            let wakers = std::mem::take(&mut *self.wakers.lock());
            wakers.into_iter().for_each(deferred_wake::wake);
        }
    }
}

/// A socket with a deadline for writing.
pub(crate) struct Socket {
    stream: TcpStream,
    pressure: Arc<Backpressure>,
    metrics: Arc<Metrics>,
    write_timeout: Duration,
    deadline: Option<Pin<Box<Sleep>>>,
    /// Bytes that a shard read before; they are read first.
    read_before: Bytes,
    /// The sending direction is closed.
    is_shut: bool,
    /// End of discarding; present once input was discarded.
    linger: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, write_timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self::with_read(stream, Bytes::new(), write_timeout, metrics)
    }

    /// Makes a socket whose first bytes were read already.
    pub(crate) fn with_read(
        stream: TcpStream,
        read_before: Bytes,
        write_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Self {
        let pressure = Arc::default();
        Self {
            stream,
            pressure,
            metrics,
            write_timeout,
            deadline: None,
            read_before,
            is_shut: false,
            linger: None,
        }
    }

    pub(crate) fn pressure(&self) -> &Arc<Backpressure> {
        &self.pressure
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Notes the outcome of a write.
    fn note(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(_) => {
                self.deadline = None;
                self.pressure.resume();
                outcome
            }
            Poll::Pending => {
                if self.pressure.pause() {
                    self.metrics.connections.socket_backpressure.inc();
                }
                let write_timeout = self.write_timeout;
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(write_timeout)));
                if deadline.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.metrics.connections.write_timeouts.inc();
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the peer took no bytes for {write_timeout:?}"),
                )))
            }
        }
    }

    /// Discards input until the client closes, or [`LINGER`] has passed.
    ///
    /// The system resets a socket that is closed with unread bytes, and a client that is reset may not see the response.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; 4 << 10];
        loop {
            if self.linger.as_mut().is_some_and(|linger| linger.as_mut().poll(context).is_ready()) {
                return Poll::Ready(());
            }
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.linger.get_or_insert_with(|| Box::pin(sleep(LINGER)));
                }
                Poll::Pending if self.linger.is_some() => return Poll::Pending,
                _ => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read_before.is_empty() {
            let count = self.read_before.len().min(buffer.remaining());
            buffer.put_slice(&self.read_before.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.note(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
            self.is_shut = true;
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests;
