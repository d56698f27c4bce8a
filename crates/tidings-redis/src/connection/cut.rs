//! A connection that a test closes after a number of bytes.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;

use super::*;

impl RedisConnection {
    /// Fails after the socket has sent this many more bytes.
    pub(crate) fn cut_after(self, bytes: usize) -> Self {
        let stream = Cut { stream: self.stream, left: bytes };
        Self { stream: Box::new(stream), ..self }
    }
}

struct Cut {
    stream: Box<dyn RedisStream>,
    left: usize,
}

impl RedisStream for Cut {
    fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }
}

impl AsyncRead for Cut {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let bytes = &bytes[..bytes.len().min(self.left)];
        let taken = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        self.left -= taken;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
