//! A TCP socket that knows when its peer takes no bytes: it says so to the streams on it, and gives up at a deadline.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Sleep, sleep},
};

use crate::{
    deferred_wake,
    metrics::Metrics,
    sync::{AtomicBool, Lock, Mutex},
};

/// How long what a peer still sends is read away after the last answer, so that the answer is not lost with it.
const LINGER: Duration = Duration::from_secs(1);

/// Where a request came from; every request of a served connection has it among its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerInfo {
    /// The other end of the connection: the client, or a proxy before it.
    pub(crate) peer: SocketAddr,
    /// Whether this hub speaks TLS on the connection.
    pub(crate) is_tls: bool,
}

/// What the streams of a socket know of it.
#[derive(Debug)]
pub(crate) struct Backpressure {
    is_refusing: AtomicBool,
    /// How often the socket has begun to refuse bytes: each stream keeps what it knows of.
    refusals: AtomicU64,
    waiting: Mutex<Vec<Waker>>,
}

impl Default for Backpressure {
    fn default() -> Self {
        Self {
            is_refusing: AtomicBool::new(false),
            refusals: AtomicU64::new(0),
            waiting: Mutex::new(Lock::SocketWaiters, Vec::new()),
        }
    }
}

impl Backpressure {
    /// Whether the socket takes no bytes now; the waker is called when it does again.
    pub(crate) fn is_refusing(&self, waker: &Waker) -> bool {
        if !self.is_refusing.load(Ordering::Acquire) {
            return false;
        }
        let mut waiting = self.waiting.lock();
        if !waiting.iter().any(|other| other.will_wake(waker)) {
            waiting.push(waker.clone());
        }
        drop(waiting);
        // It may have given way while the waker was put down.
        self.is_refusing.load(Ordering::Acquire)
    }

    /// How often it has begun to refuse bytes.
    pub(crate) fn refusals(&self) -> u64 {
        self.refusals.load(Ordering::Acquire)
    }

    /// Notes that it refuses bytes; says whether it did not before.
    pub(crate) fn pause(&self) -> bool {
        // The count comes last: whoever has seen it sees that the socket refuses, unless that is over.
        let begins = !self.is_refusing.swap(true, Ordering::AcqRel);
        if begins {
            self.refusals.fetch_add(1, Ordering::AcqRel);
        }
        begins
    }

    /// Notes that it takes bytes again.
    pub(crate) fn resume(&self) {
        if self.is_refusing.swap(false, Ordering::AcqRel) {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            waiting.into_iter().for_each(deferred_wake::wake);
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
    /// Bytes that were read of it before, and are read again.
    read_before: Bytes,
    /// Everything was said: nothing more is written.
    is_shut: bool,
    /// Ends the reading away; there once something was read away.
    linger: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, write_timeout: Duration, metrics: Arc<Metrics>) -> Self {
        Self::with_read(stream, Bytes::new(), write_timeout, metrics)
    }

    /// A socket of which bytes were read: they come first.
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

    /// Takes note of what a write came to.
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
                    self.metrics.connections.socket_backpressure();
                }
                let write_timeout = self.write_timeout;
                let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(write_timeout)));
                if deadline.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.metrics.connections.write_timeout();
                Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("the peer took no bytes for {write_timeout:?}"),
                )))
            }
        }
    }

    /// Reads away what the peer has sent unasked, until it ends too. A socket that is closed with bytes unread is
    /// reset, and a peer that is reset may never see the answer.
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
