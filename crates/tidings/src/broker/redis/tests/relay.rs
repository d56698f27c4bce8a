//! Relay to a Redis that closes each connection after a number of bytes.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::RedisServer;

/// Ends when it is dropped; its connections end with the runtime of the test.
pub(super) struct Relay {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Starts a relay that closes a connection after this many bytes of Redis.
    pub(super) async fn start(redis: &RedisServer, bytes_max: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = redis.port();
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(pass(client, to, bytes_max));
            }
        });
        Self { port, accepting }
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: TcpStream, to: u16, bytes_max: u64) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", to)).await else { return };
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let mut limited = from_server.take(bytes_max);
    tokio::select! {
        _ = copy(&mut from_client, &mut to_server) => {}
        _ = copy(&mut limited, &mut to_client) => {}
    }
    let _closed = to_client.shutdown().await;
}
