//! Keys of an identity provider, which is late, gone, broken, or changes them.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
};

use serde_json::Value;

/// A web server on loopback that answers everything in one way, and counts.
pub(crate) struct Provider {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    reply: Mutex<Vec<u8>>,
    requests: AtomicUsize,
    is_over: AtomicBool,
}

impl Provider {
    /// One that publishes these keys.
    pub(crate) fn start(keys: &[Value]) -> Self {
        let this = Self::listening();
        this.publish(keys);
        this
    }

    /// One that answers nothing yet.
    fn listening() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let thread = std::thread::spawn({
            let shared = shared.clone();
            move || serve(&listener, &shared)
        });
        Self { address, shared, thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// How often it was asked.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.answer("200 OK", "", &serde_json::json!({"keys": keys}).to_string());
    }

    pub(crate) fn answer(&self, status: &str, header: &str, body: &str) {
        let length = body.len();
        let reply = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{header}\r\n{body}"
        );
        *self.shared.reply.lock().unwrap() = reply.into_bytes();
    }
}

fn serve(listener: &TcpListener, shared: &Shared) {
    for socket in listener.incoming() {
        if shared.is_over.load(Ordering::SeqCst) {
            return;
        }
        // Whoever hangs up early is no fault of the provider's.
        let _answered = exchange(&socket.unwrap(), shared);
    }
}

fn exchange(mut socket: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut lines = BufReader::new(socket).lines();
    while !lines.next().transpose()?.unwrap_or_default().is_empty() {}
    shared.requests.fetch_add(1, Ordering::SeqCst);
    let reply = shared.reply.lock().unwrap().clone();
    socket.write_all(&reply)
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        let _woken = TcpStream::connect(self.address);
        let _ended = self.thread.take().map(JoinHandle::join);
    }
}
