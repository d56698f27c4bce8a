//! A hub in the process of its test, served on a port of its own.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use tidings::config::{Durability, Settings};
use tidings::{ChannelName, Hub, Publication};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a test waits for bytes or for an end before it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Settings of a hub without a directory.
pub(crate) fn memory_settings() -> Settings {
    let mut settings = Settings { data_dir: None, ..Settings::default() };
    settings.log.durability = Durability::Memory;
    settings
}

pub(crate) fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub(crate) struct ServedHub {
    pub(crate) hub: Hub,
    pub(crate) address: SocketAddr,
    task: JoinHandle<Result<(), tidings::Error>>,
}

impl ServedHub {
    pub(crate) fn start(hub: Hub) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(tidings::serve(hub.clone(), vec![listener]));
        Self { hub, address, task }
    }

    /// Publishes to the channel `a`.
    pub(crate) async fn publish(&self, text: &str) {
        self.hub.publish(Publication::new(channel("a"), text)).await.unwrap();
    }

    /// Sends a request without a body.
    pub(crate) async fn request(&self, method: &str, path: &str) -> TextReader<TcpStream> {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let address = self.address;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\n\r\n");
        socket.write_all(head.as_bytes()).await.unwrap();
        TextReader::new(socket)
    }

    /// Shuts the hub down, and waits until it is served no more.
    pub(crate) async fn shut_down(self) {
        self.hub.shutdown().await;
        timeout(DEADLINE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// A connection, with all that was read from it as text.
pub(crate) struct TextReader<C> {
    connection: C,
    pub(crate) text: String,
}

impl<C: AsyncRead + Unpin> TextReader<C> {
    pub(crate) fn new(connection: C) -> Self {
        Self { connection, text: String::new() }
    }

    /// Reads until the text holds `wanted`.
    pub(crate) async fn wait_for(&mut self, wanted: &str) {
        let is_found = timeout(DEADLINE, self.read_through(wanted)).await;
        assert!(is_found.is_ok(), "{wanted:?} did not come within {DEADLINE:?}: {}", self.text);
    }

    async fn read_through(&mut self, wanted: &str) {
        while !self.text.contains(wanted) {
            let mut buffer = [0; 4096];
            let bytes = self.connection.read(&mut buffer).await.unwrap();
            assert!(bytes > 0, "the connection ended before {wanted:?}: {}", self.text);
            self.text.push_str(std::str::from_utf8(&buffer[..bytes]).unwrap());
        }
    }

    /// Reads the head of a response, and returns its status.
    pub(crate) async fn status(&mut self) -> u16 {
        self.wait_for("\r\n\r\n").await;
        self.text.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Reads to the end of the connection.
    pub(crate) async fn read_to_end(mut self) -> String {
        let read = timeout(DEADLINE, self.connection.read_to_string(&mut self.text));
        read.await.expect("the connection ends in time").unwrap();
        self.text
    }
}
