//! The thread that takes new connections: whoever waits to be accepted is taken whatever else there is to do. In a storm
//! of clients the kernel would drop connection attempts otherwise, and each costs its client a second.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    thread::JoinHandle,
    time::Duration,
};

use mio::{Events, Interest, Poll, Token, Waker, net::TcpStream};
use tracing::{error, warn};

use crate::{failpoint, node::supervisor::Supervisor};

/// How long to wait after the system could not give another socket.
const PAUSE: Duration = Duration::from_millis(100);
const WAKE_TOKEN: Token = Token(usize::MAX);

/// Owns the thread, from start to end.
pub(super) struct Acceptor {
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Acceptor {
    /// Starts to take connections, and gives each to `welcome`.
    pub(super) fn start(
        supervisor: &Supervisor,
        listeners: Vec<TcpListener>,
        welcome: impl Fn(TcpStream, SocketAddr) + Send + 'static,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE_TOKEN)?;
        let mut shards = Vec::with_capacity(listeners.len());
        for (number, listener) in listeners.into_iter().enumerate() {
            listener.set_nonblocking(true)?;
            let mut listener = mio::net::TcpListener::from_std(listener);
            poll.registry().register(&mut listener, Token(number), Interest::READABLE)?;
            shards.push(AcceptorListener { listener, may_have_more: false });
        }
        let thread = supervisor.start("tidings-accept", move || run(poll, shards, &welcome))?;
        Ok(Self { waker, thread })
    }

    /// Takes what waits in the listeners' queues, closes them, and waits until the thread has ended.
    pub(super) async fn end(self) {
        let ending = tokio::task::spawn_blocking(move || {
            // It fails where the system has no room for one more count: then the bell has rung.
            let _ = self.waker.wake();
            let _ = self.thread.join();
        });
        let _ = ending.await;
    }
}

struct AcceptorListener {
    listener: mio::net::TcpListener,
    /// It has not yet said that nobody waits.
    may_have_more: bool,
}

fn run(mut poll: Poll, mut shards: Vec<AcceptorListener>, welcome: &dyn Fn(TcpStream, SocketAddr)) {
    let mut events = Events::with_capacity(16);
    loop {
        let is_pausing = shards.iter().any(|mailbox| mailbox.may_have_more);
        match poll.poll(&mut events, is_pausing.then_some(PAUSE)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return error!(%error, "the event queue of the listeners failed");
            }
            _ => {}
        }
        failpoint::hit("tidings-accept");
        for event in &events {
            match event.token() {
                WAKE_TOKEN => return close(shards, welcome),
                Token(number) => shards[number].may_have_more = true,
            }
        }
        for mailbox in shards.iter_mut().filter(|mailbox| mailbox.may_have_more) {
            mailbox.may_have_more = !mailbox.empty(welcome);
        }
    }
}

/// Takes the connections that the kernel has completed, then closes each listener. The kernel resets whatever is still in a
/// listener's queue when the listener closes.
fn close(shards: Vec<AcceptorListener>, welcome: &dyn Fn(TcpStream, SocketAddr)) {
    for mailbox in shards {
        mailbox.empty(welcome);
    }
}

impl AcceptorListener {
    /// Takes all who wait; false where the system could not give a socket.
    fn empty(&self, welcome: &dyn Fn(TcpStream, SocketAddr)) -> bool {
        loop {
            match self.listener.accept() {
                Ok((socket, peer)) => welcome(socket, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => {
                    // Descriptors used up: those that are open go on, and nobody spins.
                    warn!(%error, "a connection could not be accepted");
                    return false;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
