//! A server of raw bytes on the runtime of its test, which lets tests pause time. It answers one connection after the other.

use std::sync::{Arc, Mutex};

use tidings_client::Client;
use tidings_testkit::{StubReply, StubRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Writes these bytes and closes the connection.
pub(crate) fn closing(bytes: impl Into<Vec<u8>>) -> StubReply {
    StubReply::closing(bytes)
}

/// Writes these bytes and keeps the connection open, silently.
pub(crate) fn holding(bytes: impl Into<Vec<u8>>) -> StubReply {
    StubReply { bytes: bytes.into(), is_kept_alive: true }
}

/// The head of a stream that ends when the connection closes.
pub(crate) const STREAM: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nConnection: close\r\n\r\n";

/// A stream with this body.
pub(crate) fn stream(body: &str) -> String {
    format!("{STREAM}{body}")
}

/// A stream with this body, which the server closes.
pub(crate) fn ended_stream(body: &str) -> StubReply {
    closing(stream(body))
}

/// A stream with this body, which stays open.
pub(crate) fn open_stream(body: &str) -> StubReply {
    holding(stream(body))
}

/// A whole response; `head` is the status with its reason, and further header lines.
pub(crate) fn response(head: &str, body: &str) -> StubReply {
    let length = body.len();
    closing(format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"))
}

pub(crate) struct AsyncStubServer {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<StubRequest>>>,
    task: JoinHandle<()>,
}

impl Drop for AsyncStubServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl AsyncStubServer {
    /// Answers each connection, by its number from 0, with the result of `reply`.
    pub(crate) async fn start(
        mut reply: impl FnMut(usize, &StubRequest) -> StubReply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::<Mutex<Vec<StubRequest>>>::default();
        let received = Arc::clone(&requests);
        let task = tokio::spawn(async move {
            let mut open = Vec::new();
            for number in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                let Some(request) = read(&mut socket).await else { continue };
                received.lock().unwrap().push(request.clone());
                let reply = reply(number, &request);
                // The client may have closed the connection already.
                let _ignored = socket.write_all(&reply.bytes).await;
                if reply.is_kept_alive {
                    open.push(socket);
                }
            }
        });
        Self { url, requests, task }
    }

    /// Returns a client of this server with the default settings.
    pub(crate) fn client(&self) -> Client {
        Client::builder(&self.url).build().unwrap()
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<StubRequest> {
        self.requests.lock().unwrap().clone()
    }
}

/// Starts a server that answers one connection after the other with these replies; the last one repeats.
pub(crate) async fn serve(replies: impl Into<Vec<StubReply>>) -> AsyncStubServer {
    let replies = replies.into();
    AsyncStubServer::start(move |number, _| replies[number.min(replies.len() - 1)].clone()).await
}

async fn read(socket: &mut TcpStream) -> Option<StubRequest> {
    let mut bytes = Vec::new();
    loop {
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        if let Some(request) = StubRequest::read(&mut bytes.as_slice()) {
            return Some(request);
        }
    }
}
