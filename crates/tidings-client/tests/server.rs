//! A server of raw bytes on loopback: one connection after the other, each answered by the test's own function.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a connection is answered with.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    holds: bool,
}

/// Writes these bytes and closes.
pub(crate) fn closing(bytes: impl Into<Vec<u8>>) -> Reply {
    Reply { bytes: bytes.into(), holds: false }
}

/// Writes these bytes and keeps the connection open, silently.
pub(crate) fn holding(bytes: impl Into<Vec<u8>>) -> Reply {
    Reply { bytes: bytes.into(), holds: true }
}

/// The head of a stream that ends when the connection closes.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n";

/// A stream with this body.
pub(crate) fn stream(body: &str) -> String {
    format!("{STREAM}{body}")
}

/// A complete answer; `head` is the status with its reason, and further header lines.
pub(crate) fn answer(head: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).into()
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Request {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<Request>>>,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Answers the connection with this number, from 0, as the function says.
    pub(crate) async fn start(mut reply: impl FnMut(usize, &Request) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            for number in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                let Some(request) = read(&mut socket).await else { continue };
                seen.lock().unwrap().push(request.clone());
                let reply = reply(number, &request);
                // The client may be gone already; that is its own affair.
                let _ = socket.write_all(&reply.bytes).await;
                if reply.holds {
                    held.push(socket);
                }
            }
        });
        Self { url, requests, task }
    }

    /// What came so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read(socket: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let mut request =
        Request { head: String::from_utf8(bytes[..head_end].to_vec()).unwrap(), body: String::new() };
    let length: usize = request.header("content-length").map_or(0, |text| text.parse().unwrap());
    while bytes.len() < head_end + length {
        socket.read_buf(&mut bytes).await.ok()?;
    }
    request.body = String::from_utf8(bytes[head_end..].to_vec()).unwrap();
    Some(request)
}
