//! One connection to Redis: opened, introduced, then bytes out and replies in.

use std::{
    fmt, io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use bytes::BytesMut;
use futures_util::FutureExt;
use rustix::{io::Errno, net::RecvFlags};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout_at},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::{
    server::Server,
    wire::{Command, Decoder, Reply},
};

/// Bytes that are asked for with one read.
const READ_BYTES: usize = 64 << 10;

/// Opens connections, and counts them.
#[derive(Debug)]
pub(super) struct Door {
    server: Server,
    deadline: Duration,
    opened: AtomicU64,
}

impl Door {
    pub(super) fn new(server: Server, deadline: Duration) -> Self {
        Self { server, deadline, opened: AtomicU64::new(0) }
    }

    /// How long one call may take.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// When a call that begins now has to be over.
    pub(super) fn due(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// Connections opened since the start.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Opens a connection that takes texts up to so many bytes.
    pub(super) async fn open(&self, due: Instant, text_bytes_max: usize) -> Result<Connection, Broken> {
        let opened = timeout_at(due, self.open_now(text_bytes_max)).await;
        let connection = opened.map_err(|_| self.late("could not be reached"))??;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }

    async fn open_now(&self, text_bytes_max: usize) -> Result<Connection, Broken> {
        let server = &self.server;
        let socket = TcpStream::connect((server.host.as_str(), server.port)).await?;
        socket.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match &server.tls {
            None => Box::new(socket),
            Some(tls) => {
                Box::new(TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), socket).await?)
            }
        };
        let mut connection = Connection::new(stream, text_bytes_max);
        let mut introduction = Vec::new();
        if let Some(password) = &server.password {
            let mut auth = Command::new("AUTH");
            if let Some(user) = &server.user {
                auth.push(user);
            }
            auth.push(password.reveal());
            introduction.push(auth);
        }
        if server.database != 0 {
            introduction.push(Command::new("SELECT").arg(server.database.to_string()));
        }
        introduction.push(Command::new("CLIENT").arg("SETNAME").arg("tidings"));
        connection.send(&introduction).await?;
        for _ in &introduction {
            if let Reply::Error(error) = connection.receive().await? {
                return Err(Broken(format!("redis refused: {error}")));
            }
        }
        Ok(connection)
    }

    /// What is said of a server that took too long.
    pub(super) fn late(&self, what: &str) -> Broken {
        let Server { host, port, .. } = &self.server;
        Broken(format!("redis at {host}:{port} {what} within {:?}", self.deadline))
    }
}

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
}

impl Connection {
    fn new(stream: Box<dyn Stream>, text_bytes_max: usize) -> Self {
        Self { stream, decoder: Decoder::new(text_bytes_max), out: BytesMut::new(), is_flushed: true }
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
