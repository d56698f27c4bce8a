//! Just enough HTTP/1.1 over a plain socket, so that the checker decides at which byte a client is cut.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::sleep;

mod chunks;

pub(crate) use chunks::Chunks;

/// Longest response head that is read.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Longest response body that is read as a whole.
const BODY_BYTES_MAX: usize = 64 << 20;

/// One connection, with the bytes that were read and not yet taken.
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// Status and framing of a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) content_type: String,
    pub(crate) body_bytes: Option<usize>,
    pub(crate) is_chunked: bool,
    /// The server closes after this response.
    pub(crate) is_last: bool,
}

impl Wire {
    /// Connects, with a receive buffer of so many bytes where one is given.
    pub(crate) async fn connect(address: SocketAddr, receive_bytes: Option<u32>) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let stream = socket.connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, unread: Vec::new() })
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Ends the sending side; answers can still be read.
    pub(crate) async fn half_close(&mut self) -> io::Result<()> {
        self.stream.shutdown().await
    }

    /// Has the connection reset instead of closed when it is dropped.
    pub(crate) fn will_reset(&self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    /// Reads so many bytes in small portions, with a pause before each; whoever reads next gets them.
    pub(crate) async fn trickle(&mut self, bytes: usize, portion: usize, pause: Duration) -> io::Result<()> {
        while self.unread.len() < bytes {
            sleep(pause).await;
            let mut few = vec![0; portion];
            match self.stream.read(&mut few).await? {
                0 => break,
                count => self.unread.extend_from_slice(&few[..count]),
            }
        }
        Ok(())
    }

    /// Reads away what comes until the other side has ended.
    pub(crate) async fn read_to_end(&mut self) {
        let mut portion = [0; 1024];
        while matches!(self.stream.read(&mut portion).await, Ok(1..)) {}
    }

    /// Takes bytes that were read beyond the head, or reads up to `bytes_max` more. Empty is the end.
    ///
    /// Cancel safe: a cancelled call has taken nothing.
    pub(crate) async fn read_some(&mut self, bytes_max: usize) -> io::Result<Vec<u8>> {
        if self.unread.is_empty() {
            let mut portion = vec![0; bytes_max];
            let count = self.stream.read(&mut portion).await?;
            portion.truncate(count);
            return Ok(portion);
        }
        let rest = self.unread.split_off(self.unread.len().min(bytes_max));
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    /// Reads a response head.
    pub(crate) async fn read_head(&mut self) -> io::Result<Head> {
        loop {
            if let Some(end) = find(&self.unread, b"\r\n\r\n") {
                let rest = self.unread.split_off(end + 4);
                let head = std::mem::replace(&mut self.unread, rest);
                return parse_head(&head);
            }
            if self.unread.len() > HEAD_BYTES_MAX {
                return Err(io::Error::other("response head is longer than 65536 bytes"));
            }
            self.read_more().await?;
        }
    }

    /// Reads the whole body that follows `head`.
    pub(crate) async fn read_body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        if head.is_chunked {
            return self.read_chunked().await;
        }
        let bytes = head.body_bytes.unwrap_or(0);
        if bytes > BODY_BYTES_MAX {
            return Err(io::Error::other(format!("body is {bytes} bytes; limit is {BODY_BYTES_MAX}")));
        }
        while self.unread.len() < bytes {
            self.read_more().await?;
        }
        let rest = self.unread.split_off(bytes);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    async fn read_chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut chunks = Chunks::default();
        let mut body = Vec::new();
        while !chunks.is_done() {
            if self.unread.is_empty() {
                self.read_more().await?;
            }
            chunks.feed(&std::mem::take(&mut self.unread), &mut body).map_err(io::Error::other)?;
            if body.len() > BODY_BYTES_MAX {
                return Err(io::Error::other("chunked body is longer than 67108864 bytes"));
            }
        }
        Ok(body)
    }

    async fn read_more(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.unread).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// Asks for one page on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut wire = Wire::connect(address, None).await?;
    wire.send(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
        .await?;
    let head = wire.read_head().await?;
    let body = wire.read_body(&head).await?;
    Ok((head.status, body))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let text = std::str::from_utf8(bytes).map_err(|_| io::Error::other("response head is not UTF-8"))?;
    let mut lines = text.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| io::Error::other(format!("status line is {first:?}")))?;
    let mut head =
        Head { status, content_type: String::new(), body_bytes: None, is_chunked: false, is_last: false };
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => head.body_bytes = value.parse().ok(),
            "content-type" => head.content_type = value.into(),
            "transfer-encoding" => head.is_chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => head.is_last = value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    Ok(head)
}

#[cfg(test)]
mod tests;
