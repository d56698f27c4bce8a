//! A web server whose answers a test gives.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::Value;

use crate::eventually;

/// A request that the server received.
#[derive(Debug, Clone)]
pub struct StubRequest {
    /// Request line and headers, as they came.
    pub head: String,
    /// The body, which has a `Content-Length`.
    pub body: String,
}

impl StubRequest {
    pub fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// Returns the first value of a header; its name in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Reads a request; `None` if the connection ends before.
    pub fn read(reader: &mut impl BufRead) -> Option<Self> {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let mut request = Self { head, body: String::new() };
        let length = request.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        request.body = String::from_utf8(body).unwrap();
        Some(request)
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StubReply {
    pub bytes: Vec<u8>,
    /// Whether the connection stays open for a further request.
    pub is_kept_alive: bool,
}

impl StubReply {
    /// A response with a status and its reason, header lines with their line breaks, and a body of known length.
    pub fn response(status: &str, headers: &str, body: &str) -> Self {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
        Self { bytes: text.into_bytes(), is_kept_alive: true }
    }

    /// These bytes, then the end of the connection.
    pub fn closing(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), is_kept_alive: false }
    }
}

/// A server on loopback with a thread for each connection. It records every request.
#[derive(Debug)]
pub struct StubServer {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<StubRequest>>>,
}

impl StubServer {
    /// Starts a server that answers each request by calling `reply`, which may block.
    pub fn start(reply: impl Fn(&StubRequest) -> StubReply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<StubRequest>>>::default();
        let (weak, reply) = (Arc::downgrade(&requests), Arc::new(reply));
        thread::spawn(move || {
            for socket in listener.incoming() {
                let (Some(requests), Ok(socket)) = (weak.upgrade(), socket) else { return };
                let reply = reply.clone();
                thread::spawn(move || serve(&socket, &requests, &*reply));
            }
        });
        Self { address, requests }
    }
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
    pub fn request_count(&self) -> usize {
        lock(&self.requests).len()
    }
    pub fn requests(&self) -> Vec<StubRequest> {
        lock(&self.requests).clone()
    }

    /// Returns the requests since the last call, and forgets them.
    pub fn take_requests(&self) -> Vec<StubRequest> {
        std::mem::take(&mut *lock(&self.requests))
    }

    /// Waits for this many requests.
    #[track_caller]
    pub fn wait_for_requests(&self, count: usize) {
        eventually("the server is asked", || self.request_count() >= count);
    }
}

impl Drop for StubServer {
    fn drop(&mut self) {
        // The listening thread ends at its next connection.
        self.requests = Arc::default();
        let _ignored = TcpStream::connect(self.address);
    }
}

fn lock(requests: &Mutex<Vec<StubRequest>>) -> MutexGuard<'_, Vec<StubRequest>> {
    requests.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one connection to its end.
fn serve(
    mut socket: &TcpStream,
    requests: &Mutex<Vec<StubRequest>>,
    reply: &dyn Fn(&StubRequest) -> StubReply,
) {
    let mut reader = BufReader::new(socket);
    while let Some(request) = StubRequest::read(&mut reader) {
        lock(requests).push(request.clone());
        let reply = reply(&request);
        // The client may have closed the connection already.
        if socket.write_all(&reply.bytes).is_err() || !reply.is_kept_alive {
            break;
        }
    }
    let _ignored = socket.shutdown(Shutdown::Both);
}
