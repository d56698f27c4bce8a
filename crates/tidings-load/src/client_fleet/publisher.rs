//! One keep-alive connection that publishes, one request at a time.

use std::io::{self, Read};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Registry, Token};

use super::RequestFailure;
use super::failure::REFUSAL_BYTES_MAX;
use crate::response::ResponseParser;
use crate::socket::{connect, flush, interest};

/// A publisher, connected or not.
#[derive(Debug)]
pub(super) struct FleetPublisher {
    socket: Option<TcpStream>,
    address: SocketAddr,
    request: Vec<u8>,
    response: ResponseParser,
    body: Vec<u8>,
    is_waiting: bool,
    /// Send time of the request, in microseconds of the fleet's clock.
    pub(super) sent: u64,
    /// Events in the request: channel, producer, number.
    pub(super) events: Vec<(u32, u16, u32)>,
}

impl FleetPublisher {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            socket: None,
            address,
            request: Vec::new(),
            response: ResponseParser::default(),
            body: Vec::new(),
            is_waiting: false,
            sent: 0,
            events: Vec::new(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        !self.is_waiting
    }

    pub(super) fn send(
        &mut self,
        token: Token,
        registry: &Registry,
        request: &[u8],
        now: u64,
    ) -> io::Result<()> {
        self.is_waiting = true;
        self.sent = now;
        self.request.clear();
        self.request.extend_from_slice(request);
        self.response.renew();
        self.body.clear();
        if let Some(socket) = &mut self.socket {
            return flush(socket, &mut self.request);
        }
        let mut socket = connect(self.address, 0, false)?;
        registry.register(&mut socket, token, interest())?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Writes and reads as much as the socket allows; returns whether a success response is complete.
    pub(super) fn serve(&mut self, buffer: &mut [u8]) -> Result<bool, RequestFailure> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        flush(socket, &mut self.request).map_err(RequestFailure::Connection)?;
        let mut is_answered = false;
        loop {
            let Some(socket) = &mut self.socket else { return Ok(is_answered) };
            match socket.read(buffer) {
                Ok(0) => return self.closed().map(|now| now || is_answered),
                Ok(count) => {
                    is_answered |= self.take(&buffer[..count])?;
                    if count < buffer.len() && is_answered {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) =>
                {
                    return Ok(is_answered);
                }
                Err(_) if !self.is_waiting => {
                    self.socket = None;
                    return Ok(is_answered);
                }
                Err(error) => return Err(RequestFailure::Connection(error)),
            }
        }
    }

    /// Parses bytes of the response; returns whether it is complete.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, RequestFailure> {
        if !self.is_waiting {
            return Err(RequestFailure::Malformed("response without a request"));
        }
        let body = &mut self.body;
        self.response.feed(bytes, &mut |head, bytes| {
            if !(200..300).contains(&head.status) {
                let room = REFUSAL_BYTES_MAX - body.len();
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        })?;
        if self.response.is_done() { self.finish() } else { Ok(false) }
    }

    /// Handles the end of the connection, which completes a response without a length.
    fn closed(&mut self) -> Result<bool, RequestFailure> {
        self.socket = None;
        if !self.is_waiting {
            return Ok(false);
        }
        self.response.close()?;
        self.finish()
    }

    fn finish(&mut self) -> Result<bool, RequestFailure> {
        let head = self.response.head().ok_or(RequestFailure::Malformed("response without a head"))?;
        if !(200..300).contains(&head.status) {
            return Err(RequestFailure::Status { status: head.status, body: std::mem::take(&mut self.body) });
        }
        if !head.keeps_alive {
            self.socket = None;
        }
        self.is_waiting = false;
        self.events.clear();
        Ok(true)
    }

    /// Abandons the request in flight, and returns the events in it.
    pub(super) fn abandon(&mut self) -> Vec<(u32, u16, u32)> {
        self.is_waiting = false;
        // After a complete response the connection can be reused.
        let is_whole = self.response.is_done() && self.response.head().is_some_and(|head| head.keeps_alive);
        if !is_whole {
            self.socket = None;
        }
        std::mem::take(&mut self.events)
    }
}
