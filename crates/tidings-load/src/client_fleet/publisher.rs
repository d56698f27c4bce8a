//! One keep-alive connection that publishes, one request at a time.

use std::io;
use std::net::SocketAddr;

use mio::{Registry, Token};

use super::RequestFailure;
use super::connection::ClientConnection;
use crate::response::ResponseHead;

/// A publisher, connected or not.
#[derive(Debug)]
pub struct FleetPublisher {
    connection: ClientConnection,
    is_waiting: bool,
    /// Send time of the request, in microseconds of the fleet's clock.
    pub(super) sent: u64,
    /// Events written so far.
    pub(super) written: usize,
    /// Events in the request: channel, producer, number.
    pub(super) events: Vec<(u32, u16, u32)>,
}

impl FleetPublisher {
    pub(super) fn new(address: SocketAddr) -> Self {
        let connection = ClientConnection::new(address);
        Self { connection, is_waiting: false, sent: 0, written: 0, events: Vec::new() }
    }

    /// Whether the publisher has no request in flight.
    pub fn is_idle(&self) -> bool {
        !self.is_waiting
    }

    pub(super) fn send(&mut self, at: (&Registry, Token), request: &[u8], now: u64) -> io::Result<()> {
        self.is_waiting = true;
        self.sent = now;
        self.connection.send(request, at, 0, false)
    }

    /// Writes and reads as much as the socket allows; returns whether a success response is complete.
    pub(super) fn serve(&mut self, buffer: &mut [u8]) -> Result<bool, RequestFailure> {
        self.connection.flush().map_err(RequestFailure::Connection)?;
        let mut is_answered = false;
        loop {
            match self.connection.read(buffer) {
                Ok(0) => return self.closed().map(|now| now || is_answered),
                Ok(count) => {
                    is_answered |= self.take(&buffer[..count])?;
                    if count < buffer.len() && is_answered {
                        return Ok(true);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(is_answered),
                Err(_) if !self.is_waiting => {
                    self.connection.close();
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
        self.connection.feed(bytes, is_success, |_| {})?;
        if self.connection.response.is_done() { self.finish() } else { Ok(false) }
    }

    /// Handles the end of the connection, which completes a response without a length.
    fn closed(&mut self) -> Result<bool, RequestFailure> {
        self.connection.close();
        if !self.is_waiting {
            return Ok(false);
        }
        self.connection.response.close()?;
        self.finish()
    }

    fn finish(&mut self) -> Result<bool, RequestFailure> {
        let head = self.connection.response.head();
        let head = head.ok_or(RequestFailure::Malformed("response without a head"))?;
        if !is_success(head) {
            return Err(self.connection.status_failure(head.status));
        }
        if !head.keeps_alive {
            self.connection.close();
        }
        self.is_waiting = false;
        self.events.clear();
        Ok(true)
    }

    /// Abandons the request in flight, and returns the events in it.
    pub(super) fn abandon(&mut self) -> Vec<(u32, u16, u32)> {
        self.is_waiting = false;
        let response = &self.connection.response;
        // After a complete response the connection can be reused.
        if !response.is_done() || !response.head().is_some_and(|head| head.keeps_alive) {
            self.connection.close();
        }
        std::mem::take(&mut self.events)
    }
}

fn is_success(head: ResponseHead) -> bool {
    (200..300).contains(&head.status)
}
