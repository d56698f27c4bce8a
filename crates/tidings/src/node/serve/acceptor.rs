//! The thread that accepts connections, and does nothing else.
//!
//! If many clients connect at once, a full queue makes the kernel drop connection attempts; each costs its client 1 s.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Interest, Poll, Token, Waker, net::TcpStream};
use tracing::{error, warn};

use crate::{failpoint, node::supervisor::Supervisor};

/// Pause after the system had no socket left.
const PAUSE: Duration = Duration::from_millis(100);
const WAKE_TOKEN: Token = Token(usize::MAX);

/// Owns the thread from start to end.
pub(super) struct Acceptor {
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Acceptor {
    /// Starts the thread, which passes each connection to `on_accept`.
    pub(super) fn start(
        supervisor: &Supervisor,
        listeners: Vec<TcpListener>,
        on_accept: impl Fn(TcpStream, SocketAddr) + Send + 'static,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE_TOKEN)?;
        let mut queues = Vec::with_capacity(listeners.len());
        for (number, listener) in listeners.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            let mut listener = mio::net::TcpListener::from_std(listener);
            poll.registry().register(&mut listener, Token(number), Interest::READABLE)?;
            queues.push(AcceptorListener { listener, may_have_more: false });
        }
        let thread = supervisor.start("tidings-accept", move || run(poll, queues, &on_accept))?;
        Ok(Self { waker, thread })
    }

    /// Accepts the connections in the listeners' queues, closes the listeners, and waits for the thread.
    pub(super) async fn end(self) {
        let ending = tokio::task::spawn_blocking(move || {
            // It fails only if the counter of wake-ups is full: then a wake-up is pending.
            let _ = self.waker.wake();
            let _ = self.thread.join();
        });
        let _ = ending.await;
    }
}

struct AcceptorListener {
    listener: mio::net::TcpListener,
    /// The queue was not empty at the last accept.
    may_have_more: bool,
}

fn run(mut poll: Poll, mut queues: Vec<AcceptorListener>, on_accept: &dyn Fn(TcpStream, SocketAddr)) {
    let mut events = Events::with_capacity(16);
    loop {
        let is_pausing = queues.iter().any(|queue| queue.may_have_more);
        match poll.poll(&mut events, is_pausing.then_some(PAUSE)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return error!(%error, "the event queue of the listeners failed");
            }
            _ => {}
        }
        failpoint::hit("tidings-accept");
        for event in &events {
            match event.token() {
                WAKE_TOKEN => return close(queues, on_accept),
                Token(number) => queues[number].may_have_more = true,
            }
        }
        for queue in queues.iter_mut().filter(|queue| queue.may_have_more) {
            queue.may_have_more = !queue.accept_all(on_accept);
        }
    }
}

/// Accepts the connections that the kernel has completed, then closes each listener.
///
/// The kernel resets connections that are in the queue of a listener when it closes.
fn close(queues: Vec<AcceptorListener>, on_accept: &dyn Fn(TcpStream, SocketAddr)) {
    for queue in queues {
        queue.accept_all(on_accept);
    }
}

impl AcceptorListener {
    /// Accepts all connections in the queue; `false` if the system had no socket left.
    fn accept_all(&self, on_accept: &dyn Fn(TcpStream, SocketAddr)) -> bool {
        loop {
            match self.listener.accept() {
                Ok((socket, peer)) => on_accept(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    // No file descriptor is left: open connections go on, and the thread pauses.
                    warn!(%error, "a connection could not be accepted");
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
