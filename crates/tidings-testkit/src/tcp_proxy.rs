//! A TCP proxy with faults: an address that leads to one server now and to another later, as that of a managed Redis does.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A proxy on loopback. Its connections are closed when it is dropped.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    shared: Arc<ProxyShared>,
}

#[derive(Debug)]
struct ProxyShared {
    state: Mutex<ProxyState>,
    /// Notified when bytes may pass again.
    resumed: Condvar,
}

#[derive(Debug)]
struct ProxyState {
    target: SocketAddr,
    /// Both sockets of every connection.
    sockets: Vec<TcpStream>,
    is_paused: bool,
    /// Number of connections accepted so far.
    accepted: u64,
    /// The proxy discards the bytes of connections below this number.
    discarded_below: u64,
}

impl ProxyShared {
    fn state(&self) -> MutexGuard<'_, ProxyState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the proxy is paused; returns whether the connection's bytes are forwarded.
    fn may_forward(&self, connection: u64) -> bool {
        let is_paused = |state: &mut ProxyState| state.is_paused && connection >= state.discarded_below;
        let state = self.resumed.wait_while(self.state(), is_paused);
        connection >= state.unwrap_or_else(PoisonError::into_inner).discarded_below
    }
}

impl TcpProxy {
    /// Listens on a free port of loopback.
    pub fn start(target: SocketAddr) -> Self {
        Self::start_limited(target, u64::MAX)
    }

    /// As [`TcpProxy::start`]; closes each connection after this many bytes of the server.
    pub fn start_limited(target: SocketAddr, bytes_max: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state =
            ProxyState { target, sockets: Vec::new(), is_paused: false, accepted: 0, discarded_below: 0 };
        let shared = Arc::new(ProxyShared { state: Mutex::new(state), resumed: Condvar::new() });
        let weak = Arc::downgrade(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                let Some(shared) = weak.upgrade() else { return };
                let mut state = shared.state();
                // If no server listens at the target, the client's connection ends at once.
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(state.target)) else { continue };
                let [client_writer, server_writer] =
                    [&client, &server].map(|socket| socket.try_clone().unwrap());
                state.sockets.extend([&client, &server].map(|socket| socket.try_clone().unwrap()));
                let number = state.accepted;
                state.accepted += 1;
                drop(state);
                forward(client, server_writer, shared.clone(), number);
                forward(server.take(bytes_max), client_writer, shared, number);
            }
        });
        Self { address, shared }
    }
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// URL of the Redis behind the proxy.
    pub fn redis_url(&self) -> String {
        format!("redis://{}/", self.address)
    }

    /// Holds back all bytes, also those of new connections.
    pub fn pause(&self) {
        self.shared.state().is_paused = true;
    }

    /// Forwards the bytes that [`TcpProxy::pause`] held back, and all later ones.
    pub fn resume(&self) {
        self.shared.state().is_paused = false;
        self.shared.resumed.notify_all();
    }

    /// Discards all further bytes of the open connections and keeps them open, as a NAT without their state does.
    pub fn discard_open(&self) {
        let mut state = self.shared.state();
        state.discarded_below = state.accepted;
        drop(state);
        self.shared.resumed.notify_all();
    }

    /// Closes every connection, and connects new ones to another server.
    pub fn redirect_to(&self, target: SocketAddr) {
        let mut state = self.shared.state();
        state.target = target;
        close(&mut state.sockets);
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.resume();
        close(&mut self.shared.state().sockets);
    }
}

fn close(sockets: &mut Vec<TcpStream>) {
    for socket in sockets.drain(..) {
        let _ignored = socket.shutdown(Shutdown::Both);
    }
}

/// Copies bytes until one side ends, in a thread of its own.
fn forward(
    mut from: impl Read + Send + 'static,
    mut to: TcpStream,
    shared: Arc<ProxyShared>,
    connection: u64,
) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            if shared.may_forward(connection) && to.write_all(&buffer[..bytes]).is_err() {
                break;
            }
        }
        let _ignored = to.shutdown(Shutdown::Both);
    });
}
