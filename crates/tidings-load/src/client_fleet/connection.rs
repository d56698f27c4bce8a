//! A client's connection: its socket, the unsent rest of its request, and the response so far.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::RequestFailure;
use crate::response::{ResponseHead, ResponseParser};
use crate::socket::connect;

/// Bytes kept of the body of an error response.
const ERROR_BODY_BYTES_MAX: usize = 4096;

/// A connection, open or not. It sends one request at a time.
#[derive(Debug)]
pub(super) struct ClientConnection {
    address: SocketAddr,
    socket: Option<TcpStream>,
    unsent: Vec<u8>,
    pub(super) response: ResponseParser,
    error_body: Vec<u8>,
}

impl ClientConnection {
    pub(super) fn new(address: SocketAddr) -> Self {
        let response = ResponseParser::default();
        Self { address, socket: None, unsent: Vec::new(), response, error_body: Vec::new() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether a part of the request is unsent.
    pub(super) fn is_sending(&self) -> bool {
        self.is_open() && !self.unsent.is_empty()
    }

    /// Sends a request, over a new socket unless one is open. `number` spreads sockets over source addresses.
    pub(super) fn send(
        &mut self,
        request: &[u8],
        (registry, token): (&Registry, Token),
        number: usize,
        is_small: bool,
    ) -> io::Result<()> {
        self.unsent = request.to_vec();
        self.response.renew();
        self.error_body = Vec::new();
        if self.is_open() {
            return self.flush();
        }
        let mut socket = connect(self.address, number, is_small)?;
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Writes as many bytes as the socket accepts. A connecting socket accepts none.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Some(socket) = self.socket.as_mut().filter(|_| !self.unsent.is_empty()) else { return Ok(()) };
        let mut written = 0;
        while written < self.unsent.len() {
            match socket.write(&self.unsent[written..]) {
                Ok(count) => written += count,
                Err(error) if is_not_ready(&error) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.drain(..written);
        if self.unsent.is_empty() {
            // Frees the buffer: a fleet has tens of thousands of streams.
            self.unsent = Vec::new();
        }
        Ok(())
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(socket) = &mut self.socket else { return Err(io::ErrorKind::WouldBlock.into()) };
            match socket.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_not_ready(&error) => return Err(io::ErrorKind::WouldBlock.into()),
                result => return result,
            }
        }
    }

    pub(super) fn close(&mut self) {
        self.socket = None;
    }

    /// Parses bytes and returns how many belong to the response. Calls `on_body` with each part of the body if the
    /// head is accepted, and otherwise keeps the first parts.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        accepts: impl Fn(ResponseHead) -> bool,
        mut on_body: impl FnMut(&[u8]),
    ) -> Result<usize, RequestFailure> {
        let Self { response, error_body, .. } = self;
        let taken = response.feed(bytes, &mut |head, body| {
            if accepts(head) {
                on_body(body);
            } else {
                let room = ERROR_BODY_BYTES_MAX - error_body.len();
                error_body.extend_from_slice(&body[..body.len().min(room)]);
            }
        })?;
        Ok(taken)
    }

    /// Whether the kept part of the error body is complete.
    pub(super) fn has_error_body(&self) -> bool {
        self.response.is_done() || self.error_body.len() == ERROR_BODY_BYTES_MAX
    }

    /// Failure of a response with this status.
    pub(super) fn status_failure(&mut self, status: u16) -> RequestFailure {
        RequestFailure::Status { status, body: std::mem::take(&mut self.error_body) }
    }
}

fn is_not_ready(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
