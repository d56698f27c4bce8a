//! A stub server that counts its connections and requests, and may answer with anything.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Reply to a request.
#[derive(Clone)]
pub(crate) enum Reply {
    /// Sends these bytes and waits for the next request.
    Bytes(Vec<u8>),
    /// Sends these bytes and closes.
    Last(Vec<u8>),
    /// Sends one of these bytes each few milliseconds.
    Drip(Vec<u8>),
    /// Says nothing, and keeps the connection.
    Silence,
    /// Sends these bytes once the semaphore has a place, which it takes.
    When(Arc<Semaphore>, Vec<u8>),
}

pub(crate) struct StubBackend {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: watch::Sender<Vec<String>>,
}

impl StubBackend {
    /// Starts a server; `reply` gets the number of earlier requests.
    pub(crate) async fn start(reply: impl Fn(usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::<Seen>::default();
        let (reply, kept) = (Arc::new(reply), seen.clone());
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                kept.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(socket, kept.clone(), reply.clone()));
            }
        });
        Self { address, seen, accepting }
    }

    /// Starts a server with one reply to all requests.
    pub(crate) async fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone()).await
    }

    /// Starts a server with a reply for each request in turn.
    pub(crate) async fn replying(replies: impl Into<Vec<Reply>>) -> Self {
        let replies = replies.into();
        Self::start(move |before| replies[before].clone()).await
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/path", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    /// Every request as it came, head and body.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.borrow().clone()
    }

    /// Waits until so many requests have come.
    pub(crate) async fn requested(&self, count: usize) {
        self.seen.requests.subscribe().wait_for(|requests| requests.len() >= count).await.unwrap();
    }
}

impl Drop for StubBackend {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The reply of status 200 with this body.
pub(crate) fn ok(body: impl AsRef<[u8]>) -> Reply {
    Reply::Bytes(answer("200 OK", "", body))
}

/// A whole answer.
pub(crate) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

async fn serve(mut socket: TcpStream, seen: Arc<Seen>, reply: Arc<impl Fn(usize) -> Reply>) {
    while let Some(request) = read(&mut socket).await {
        let mut before = 0;
        seen.requests.send_modify(|requests| {
            before = requests.len();
            requests.push(request);
        });
        // The client may have disconnected.
        match reply(before) {
            Reply::Bytes(bytes) => drop(socket.write_all(&bytes).await),
            Reply::Last(bytes) => return drop(socket.write_all(&bytes).await),
            Reply::Drip(bytes) => {
                for byte in bytes {
                    drop(socket.write_all(&[byte]).await);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            Reply::Silence => std::future::pending().await,
            Reply::When(places, bytes) => {
                places.acquire().await.unwrap().forget();
                drop(socket.write_all(&bytes).await);
            }
        }
    }
}

async fn read(socket: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_ascii_lowercase().lines().find_map(|line| {
                line.strip_prefix("content-length: ").map(|length| length.parse::<usize>().unwrap())
            });
            if body.len() >= length.unwrap_or(0) {
                return Some(text);
            }
        }
        let mut bytes = [0; 4096];
        match socket.read(&mut bytes).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => request.extend_from_slice(&bytes[..count]),
        }
    }
}
