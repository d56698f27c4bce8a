//! One connection to Redis: opened, introduced, then bytes out and replies in.

use std::{fmt, io};

use bytes::BytesMut;
use futures_util::FutureExt;
use rustix::{io::Errno, net::RecvFlags};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    error::refused,
    resp::{Command, Decoder, Reply},
    server::{self, Server},
};
use crate::config::{RedisHost, Secret};

/// Bytes that are asked for with one read.
const READ_BYTES: usize = 64 << 10;

/// Why a connection is of no more use.
#[derive(Debug)]
pub(super) struct Broken(pub(super) String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self(format!("the connection to redis failed: {error}"))
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    fn socket(&self) -> &TcpStream;

    /// Whether the server's end may send what is no reply.
    fn is_tls(&self) -> bool;
}

impl Stream for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }

    fn is_tls(&self) -> bool {
        false
    }
}

impl Stream for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }

    fn is_tls(&self) -> bool {
        true
    }
}

/// A connection that is introduced. Whoever gets an error from it, or drops a call, does not use it again.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    decoder: Decoder,
    /// What was put and is not written.
    out: BytesMut,
    /// Whether what was written may wait on this side still.
    is_flushed: bool,
    host: RedisHost,
}

impl Connection {
    /// Connects to a host and logs in there. The rest of the introduction is the caller's.
    pub(super) async fn open(
        server: &Server,
        host: &RedisHost,
        login: (Option<&str>, Option<&Secret>),
        text_bytes_max: usize,
    ) -> Result<Self, Broken> {
        let socket = TcpStream::connect((host.name.as_str(), host.port)).await?;
        socket.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &server.tls {
            None => Box::new(socket),
            Some(config) => {
                let name = server::name(host)
                    .ok_or_else(|| Broken(format!("no certificate can name redis at {host}")))?;
                Box::new(TlsConnector::from(config.clone()).connect(name, socket).await?)
            }
        };
        let mut connection = Self {
            stream,
            decoder: Decoder::new(text_bytes_max),
            out: BytesMut::new(),
            is_flushed: true,
            host: host.clone(),
        };
        let (user, password) = login;
        let Some(password) = password else { return Ok(connection) };
        let mut auth = Command::new("AUTH");
        user.iter().for_each(|user| auth.push(user));
        auth.push(password.reveal());
        match &connection.ask(&[auth]).await?[0] {
            Reply::Error(error) => Err(Broken(refused(error))),
            _ => Ok(connection),
        }
    }

    /// Where it leads.
    pub(super) fn host(&self) -> &RedisHost {
        &self.host
    }

    /// Sends commands and waits for their replies.
    pub(super) async fn ask(&mut self, commands: &[Command]) -> Result<Vec<Reply>, Broken> {
        self.send(commands).await?;
        self.receive_all(commands.len()).await
    }

    /// Sends commands together. A failure means that the last of them was not handed over whole.
    pub(super) async fn send(&mut self, commands: &[Command]) -> Result<(), Broken> {
        commands.iter().for_each(|command| self.put(command));
        self.send_put().await
    }

    /// Puts a command behind those that wait to be sent.
    pub(super) fn put(&mut self, command: &Command) {
        command.write(&mut self.out);
        self.is_flushed = false;
    }

    /// Bytes of commands that the socket has not taken. TLS may hold back further bytes.
    pub(super) fn unsent_bytes(&self) -> usize {
        self.out.len()
    }

    /// Whether something waits to be sent.
    pub(super) fn has_to_send(&self) -> bool {
        !self.is_flushed
    }

    /// Sends what was put. Cancel-safe: the next call goes on where this one was.
    pub(super) async fn send_put(&mut self) -> Result<(), Broken> {
        while !self.out.is_empty() {
            if self.stream.write_buf(&mut self.out).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::WriteZero).into());
            }
        }
        self.stream.flush().await?;
        self.is_flushed = true;
        Ok(())
    }

    /// So many replies.
    pub(super) async fn receive_all(&mut self, count: usize) -> Result<Vec<Reply>, Broken> {
        let mut replies = Vec::with_capacity(count);
        for _ in 0..count {
            replies.push(self.receive().await?);
        }
        Ok(replies)
    }

    /// The next reply. Cancel-safe: what has arrived is kept.
    pub(super) async fn receive(&mut self) -> Result<Reply, Broken> {
        loop {
            match self.decoder.next() {
                Ok(Some(reply)) => return Ok(reply),
                Ok(None) => self.read().await?,
                Err(fault) => return Err(Broken(format!("redis sent {}", fault.0))),
            }
        }
    }

    /// Whether it can still be asked, as far as can be seen without asking: nothing was said unasked, and it was not closed.
    pub(super) fn is_quiet(&mut self) -> bool {
        if !self.decoder.is_empty() || self.read().now_or_never().is_some() {
            return false;
        }
        // The runtime learns of a closed socket when it next polls; the system knows now.
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(self.stream.socket(), &mut [0; 1], flags) {
            Ok((0, _)) => false,
            Ok(_) => self.stream.is_tls(),
            Err(error) => error == Errno::WOULDBLOCK,
        }
    }

    async fn read(&mut self) -> Result<(), Broken> {
        let buffer = self.decoder.buffer();
        buffer.reserve(READ_BYTES);
        match self.stream.read_buf(buffer).await? {
            0 => Err(Broken("redis closed the connection".into())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
