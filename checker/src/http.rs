//! HTTP/1.1 over a plain socket, so that a plan decides at which byte a client is cut.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tidings_load::{ResponseHead, ResponseParser};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

/// Longest response body that is read as a whole.
const BODY_BYTES_MAX: usize = 64 << 20;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// One connection.
pub(crate) struct RawConnection {
    stream: TcpStream,
    response: ResponseParser,
    /// Content that was parsed and not taken yet.
    body: Vec<u8>,
}

impl RawConnection {
    /// Connects; `receive_bytes` sets the size of the receive buffer.
    pub(crate) async fn connect(address: SocketAddr, receive_bytes: Option<u32>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, response: ResponseParser::default(), body: Vec::new() })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Ends the sending side; responses can still be read.
    pub(crate) async fn half_close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Makes the drop of the connection reset it.
    pub(crate) fn reset_on_drop(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    /// Reads and parses `bytes` bytes in small portions, with a pause before each.
    pub(crate) async fn trickle(&mut self, bytes: usize, portion: usize, pause: Duration) -> io::Result<()> {
        for _ in 0..bytes.div_ceil(portion) {
            sleep(pause).await;
            if self.read(portion).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Discards all bytes until the other side ends.
    pub(crate) async fn read_to_end(&mut self) {
        let mut portion = [0; 1024];
        while matches!(self.stream.read(&mut portion).await, Ok(1..)) {}
    }

    /// Reads the head of the next response.
    pub(crate) async fn read_head(&mut self) -> io::Result<ResponseHead> {
        loop {
            if let Some(head) = self.response.head() {
                return Ok(head);
            }
            if self.read(READ_BYTES).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Returns content of the body, reading `bytes_max` bytes at most. `None` is the end of the body or connection.
    ///
    /// Cancel-safe. An error of kind [`io::ErrorKind::InvalidData`] is broken framing.
    pub(crate) async fn read_some(&mut self, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        if self.body.is_empty() && (self.response.is_done() || self.read(bytes_max).await? == 0) {
            return Ok(None);
        }
        let rest = self.body.split_off(self.body.len().min(bytes_max));
        Ok(Some(std::mem::replace(&mut self.body, rest)))
    }

    /// Reads the next response as a whole.
    pub(crate) async fn read_response(&mut self) -> io::Result<(ResponseHead, Vec<u8>)> {
        let head = self.read_head().await?;
        while !self.response.is_done() {
            if self.read(READ_BYTES).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if self.body.len() > BODY_BYTES_MAX {
                return Err(io::Error::other(format!("body is longer than {BODY_BYTES_MAX} bytes")));
            }
        }
        self.response.renew();
        Ok((head, std::mem::take(&mut self.body)))
    }

    /// Reads once and parses; returns the number of bytes, 0 at the end of the connection.
    async fn read(&mut self, bytes_max: usize) -> io::Result<usize> {
        let mut portion = vec![0; bytes_max];
        let count = self.stream.read(&mut portion).await?;
        let broken = |text: &str| io::Error::new(io::ErrorKind::InvalidData, text);
        let body = &mut self.body;
        let parsed = self.response.feed(&portion[..count], &mut |_, bytes| body.extend_from_slice(bytes));
        match parsed {
            Err(malformed) => Err(broken(malformed.0)),
            Ok(parsed) if parsed < count => Err(broken("bytes follow the response")),
            Ok(_) => Ok(count),
        }
    }
}

/// Requests one page over a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut connection = RawConnection::connect(address, None).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.send(request.as_bytes()).await?;
    let (head, body) = connection.read_response().await?;
    Ok((head.status, body))
}

/// Requests one page, which must come with status 200.
pub(crate) async fn get_ok(address: SocketAddr, path: &str) -> Result<Vec<u8>, String> {
    match get(address, path).await {
        Ok((200, body)) => Ok(body),
        Ok((status, body)) => {
            Err(format!("GET {path} returned {status}: {}", String::from_utf8_lossy(&body)))
        }
        Err(error) => Err(format!("GET {path} returned {error}")),
    }
}
