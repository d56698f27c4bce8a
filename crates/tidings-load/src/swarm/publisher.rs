//! One keep-alive connection that publishes, one request at a time.

use std::io::{self, Read};

use mio::net::TcpStream;
use mio::{Registry, Token};

use super::failure::REFUSAL_BYTES_MAX;
use super::stream::flush;
use super::{Failure, interest};
use crate::answer::Answer;
use crate::socket::Target;

/// A publisher, connected or not.
#[derive(Debug)]
pub(super) struct Publisher {
    socket: Option<TcpStream>,
    target: Target,
    request: Vec<u8>,
    answer: Answer,
    body: Vec<u8>,
    is_waiting: bool,
    /// When its request was sent, in microseconds of the swarm's clock.
    pub(super) sent: u64,
    /// The events in its request: channel, lane, number.
    pub(super) events: Vec<(u32, u16, u32)>,
}

impl Publisher {
    pub(super) fn new(target: Target) -> Self {
        Self {
            socket: None,
            target,
            request: Vec::new(),
            answer: Answer::default(),
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
        self.answer.renew();
        self.body.clear();
        if let Some(socket) = &mut self.socket {
            return flush(socket, &mut self.request);
        }
        let mut socket = self.target.connect(0, false)?;
        registry.register(&mut socket, token, interest())?;
        self.socket = Some(socket);
        Ok(())
    }

    /// Writes and reads what it can; true where the request was answered with success.
    pub(super) fn serve(&mut self, buffer: &mut [u8]) -> Result<bool, Failure> {
        let Some(socket) = &mut self.socket else { return Ok(false) };
        flush(socket, &mut self.request).map_err(Failure::Connection)?;
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
                Err(error) => return Err(Failure::Connection(error)),
            }
        }
    }

    /// Takes bytes of the answer; true where it is whole.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        if !self.is_waiting {
            return Err(Failure::Malformed("answer without a request"));
        }
        let body = &mut self.body;
        self.answer.feed(bytes, &mut |head, bytes| {
            if !(200..300).contains(&head.status) {
                let room = REFUSAL_BYTES_MAX - body.len();
                body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        })?;
        if self.answer.is_done() { self.finish() } else { Ok(false) }
    }

    /// The connection was closed: an end of some answers, and nothing between two.
    fn closed(&mut self) -> Result<bool, Failure> {
        self.socket = None;
        if !self.is_waiting {
            return Ok(false);
        }
        self.answer.close()?;
        self.finish()
    }

    fn finish(&mut self) -> Result<bool, Failure> {
        let head = self.answer.head().ok_or(Failure::Malformed("answer without a head"))?;
        if !(200..300).contains(&head.status) {
            return Err(Failure::Answer { status: head.status, body: std::mem::take(&mut self.body) });
        }
        if !head.keeps_alive {
            self.socket = None;
        }
        self.is_waiting = false;
        self.events.clear();
        Ok(true)
    }

    /// Gives up the request under way, and returns the events in it.
    pub(super) fn give_up(&mut self) -> Vec<(u32, u16, u32)> {
        self.is_waiting = false;
        // An answer that was read to its end leaves a connection that is as good as before.
        let is_whole = self.answer.is_done() && self.answer.head().is_some_and(|head| head.keeps_alive);
        if !is_whole {
            self.socket = None;
        }
        std::mem::take(&mut self.events)
    }
}
