//! One connection to Redis: sends commands and receives replies.

use std::{fmt, io};

use bytes::BytesMut;
use futures_util::FutureExt;
use rustix::{io::Errno, net::RecvFlags};
use tidings_protocol::Secret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::endpoint::{self, RedisEndpoint};
use crate::error::{RedisError, refused};
use crate::resp::{RedisCommand, RedisReply, ReplyDecoder, TEXT_BYTES_MAX};
use crate::url::RedisHost;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Reason why a connection cannot be used any more.
#[derive(Debug)]
pub(crate) struct ConnectionError(pub(crate) String);

impl ConnectionError {
    /// Converts to the error of a call that was not sent whole.
    pub(crate) fn not_applied(self) -> RedisError {
        RedisError::NotApplied(self.0)
    }

    /// Converts to the error of a call that was sent.
    pub(crate) fn outcome_unknown(self) -> RedisError {
        RedisError::OutcomeUnknown(self.0)
    }
}

impl fmt::Display for ConnectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for ConnectionError {
    fn from(error: io::Error) -> Self {
        Self(format!("the connection to redis failed: {error}"))
    }
}

trait RedisStream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl RedisStream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl RedisStream for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// A connection that is logged in. The caller must not use it again after an error or a dropped call.
pub(crate) struct RedisConnection {
    stream: Box<dyn RedisStream>,
    /// Whether the server may send bytes that are no reply.
    is_tls: bool,
    decoder: ReplyDecoder,
    /// Commands that the socket has not taken.
    out: BytesMut,
    /// Whether every written byte has left this side.
    is_flushed: bool,
    host: RedisHost,
}

impl RedisConnection {
    /// Connects to a host and logs in.
    pub(crate) async fn open(
        server: &RedisEndpoint,
        host: &RedisHost,
        login: (Option<&str>, Option<&Secret>),
    ) -> Result<Self, ConnectionError> {
        let socket = TcpStream::connect((host.name.as_str(), host.port)).await?;
        socket.set_nodelay(true)?;
        let stream: Box<dyn RedisStream> = match &server.tls {
            None => Box::new(socket),
            Some(config) => {
                let name = endpoint::name(host)
                    .ok_or_else(|| ConnectionError(format!("no certificate can name redis at {host}")))?;
                Box::new(TlsConnector::from(config.clone()).connect(name, socket).await?)
            }
        };
        let mut connection = Self {
            stream,
            is_tls: server.tls.is_some(),
            decoder: ReplyDecoder::new(TEXT_BYTES_MAX),
            out: BytesMut::new(),
            is_flushed: true,
            host: host.clone(),
        };
        let (user, password) = login;
        let Some(password) = password else { return Ok(connection) };
        let mut auth = RedisCommand::new("AUTH");
        user.iter().for_each(|user| auth.push(user));
        auth.push(password.reveal());
        match &connection.request(&[auth]).await?[0] {
            RedisReply::Error(error) => Err(ConnectionError(refused(error))),
            _ => Ok(connection),
        }
    }

    /// Skips texts of replies above a size.
    pub(crate) fn limit_texts(&mut self, bytes_max: usize) {
        self.decoder.limit_texts(bytes_max);
    }

    /// Returns the host of the server.
    pub(crate) fn host(&self) -> &RedisHost {
        &self.host
    }

    /// Sends commands and waits for their replies.
    pub(crate) async fn request(
        &mut self,
        commands: &[RedisCommand],
    ) -> Result<Vec<RedisReply>, ConnectionError> {
        self.send(commands).await?;
        self.receive_all(commands.len()).await
    }

    /// Sends commands together. An error means that the last command was not sent whole.
    pub(crate) async fn send(&mut self, commands: &[RedisCommand]) -> Result<(), ConnectionError> {
        commands.iter().for_each(|command| self.enqueue(command));
        self.flush().await
    }

    /// Appends a command to the unsent ones.
    pub(crate) fn enqueue(&mut self, command: &RedisCommand) {
        command.write(&mut self.out);
        self.is_flushed = false;
    }

    /// Returns the bytes of commands that the socket has not taken. TLS may hold back further bytes.
    pub(crate) fn unsent_bytes(&self) -> usize {
        self.out.len()
    }

    /// Whether bytes wait to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.is_flushed
    }

    /// Sends the unsent commands. Cancel-safe: the next call continues.
    pub(crate) async fn flush(&mut self) -> Result<(), ConnectionError> {
        while !self.out.is_empty() {
            if self.stream.write_buf(&mut self.out).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
        }
        self.stream.flush().await?;
        self.is_flushed = true;
        Ok(())
    }

    /// Receives `count` replies.
    pub(crate) async fn receive_all(&mut self, count: usize) -> Result<Vec<RedisReply>, ConnectionError> {
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            replies.push(self.receive().await?);
        }
        Ok(replies)
    }

    /// Receives the next reply. Cancel-safe: bytes that have arrived are kept.
    pub(crate) async fn receive(&mut self) -> Result<RedisReply, ConnectionError> {
        loop {
            match self.decoder.next_reply() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => self.read().await?,
                Err(fault) => return Err(ConnectionError(format!("redis sent {}", fault.0))),
            }
        }
    }

    /// Whether the connection shows no end: the server sent no unexpected bytes and did not close it.
    pub(crate) fn is_quiet(&mut self) -> bool {
        if !self.decoder.is_empty() || self.read().now_or_never().is_some() {
            return false;
        }
        // The runtime notices a closed socket at its next poll; the kernel knows now.
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(self.stream.socket(), &mut [0; 1], flags) {
            Ok((0, _)) => false,
            Ok(_) => self.is_tls,
            Err(error) => error == Errno::WOULDBLOCK,
        }
    }

    async fn read(&mut self) -> Result<(), ConnectionError> {
        let buffer = self.decoder.buffer();
        buffer.reserve(READ_BYTES);
        match self.stream.read_buf(buffer).await? {
            0 => Err(ConnectionError("redis closed the connection".into())),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for RedisConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConnection").field("host", &self.host).finish_non_exhaustive()
    }
}

#[cfg(any(test, feature = "faults"))]
mod cut;
