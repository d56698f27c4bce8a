//! One stream: its socket, what is left to send, and what has been read.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Registry, Token};

use super::failure::REFUSAL_BYTES_MAX;
use super::{Failure, Reading, interest};
use crate::answer::Answer;
use crate::ledger::{Lane, Ledger, Tally};
use crate::scan::{Item, Scanner};
use crate::socket::Target;
use crate::stamp::{Marker, Stamp};

/// A stream, connected or not.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Option<TcpStream>,
    target: Target,
    /// What is left of the request.
    request: Vec<u8>,
    answer: Answer,
    scanner: Scanner,
    /// The body of an answer that is no stream.
    refusal: Vec<u8>,
    began: Instant,
    /// Whole answers that come before the stream's own.
    pub(super) answers_before: u8,
    /// From then until the request was sent.
    pub(super) connected: Duration,
    pub(super) channel: u32,
    pub(super) lanes: Box<[Lane]>,
    pub(super) reading: Reading,
    pub(super) received: u64,
    /// Whether it was ever open.
    pub(super) was_open: bool,
    /// Whether the server said that it ends the stream.
    pub(super) was_told: bool,
    is_open: bool,
}

impl Stream {
    pub(super) fn new(target: Target, channel: u32, lanes: Box<[Lane]>, reading: Reading) -> Self {
        Self {
            socket: None,
            target,
            request: Vec::new(),
            answer: Answer::default(),
            scanner: Scanner::default(),
            refusal: Vec::new(),
            began: Instant::now(),
            answers_before: 0,
            connected: Duration::ZERO,
            channel,
            lanes,
            reading,
            received: 0,
            was_open: false,
            was_told: false,
            is_open: false,
        }
    }

    pub(super) fn connect(&mut self, at: usize, registry: &Registry, request: Vec<u8>) -> io::Result<()> {
        self.began = Instant::now();
        self.request = request;
        self.answer.renew();
        self.scanner.renew();
        self.refusal = Vec::new();
        (self.is_open, self.was_told) = (false, false);
        let mut socket = self.target.connect(at, self.reading != Reading::Eager)?;
        registry.register(&mut socket, Token(at), interest())?;
        self.socket = Some(socket);
        Ok(())
    }

    pub(super) fn cut(&mut self) {
        self.socket = None;
        self.is_open = false;
    }

    pub(super) fn last_id(&self) -> &[u8] {
        self.scanner.last_id()
    }

    pub(super) fn note_away(&mut self) {
        Ledger::note_away(&mut self.lanes);
    }

    pub(super) fn has_socket(&self) -> bool {
        self.socket.is_some()
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn is_opening(&self) -> bool {
        self.socket.is_some() && !self.is_open
    }

    /// Whether the request is still to be sent.
    pub(super) fn is_connecting(&self) -> bool {
        self.socket.is_some() && !self.request.is_empty()
    }

    /// Whether the server ended its answer in good order.
    pub(super) fn is_done(&self) -> bool {
        self.is_open && self.answer.is_done()
    }

    /// Since the connection was begun.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sends what is left of the request, as far as the socket takes it.
    pub(super) fn write(&mut self) -> Result<(), Failure> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        flush(socket, &mut self.request).map_err(Failure::Connection)?;
        if self.request.is_empty() && self.request.capacity() > 0 {
            // It is sent once, and there are very many of them.
            self.request = Vec::new();
            self.connected = self.began.elapsed();
        }
        Ok(())
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.socket {
            Some(socket) => socket.read(buffer),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes bytes, and says whether the stream has opened with them.
    pub(super) fn feed(
        &mut self,
        at: usize,
        bytes: &[u8],
        marker: &Marker,
        ledger: &mut Ledger,
        tally: &mut Tally,
        mut on_event: impl FnMut(Stamp),
    ) -> Result<bool, Failure> {
        let bytes = self.pass_over(bytes)?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let Self { answer, scanner, lanes, refusal, received, was_told, channel, .. } = self;
        let mut on_item = |item| match item {
            Item::Event(stamp) if stamp.channel == *channel => {
                on_event(stamp);
                *received += u64::from(ledger.note(at, lanes, stamp, tally));
            }
            Item::Event(_) | Item::Foreign => tally.foreign += 1,
            Item::Gap => Ledger::note_gap(lanes, tally),
            Item::End => *was_told = true,
        };
        answer.feed(bytes, &mut |head, body| {
            if head.status == 200 && head.is_event_stream {
                scanner.feed(body, marker, &mut on_item);
            } else {
                let room = REFUSAL_BYTES_MAX - refusal.len();
                refusal.extend_from_slice(&body[..body.len().min(room)]);
            }
        })?;
        self.judge()
    }

    /// Reads the answers before the stream's own, and returns what is left.
    fn pass_over<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], Failure> {
        while self.answers_before > 0 && !bytes.is_empty() {
            let taken = self.answer.feed(bytes, &mut |_, _| {})?;
            bytes = &bytes[taken..];
            if self.answer.is_done() {
                self.answer.renew();
                self.answers_before -= 1;
            }
        }
        Ok(bytes)
    }

    /// Whether the head has just come and is a stream's.
    fn judge(&mut self) -> Result<bool, Failure> {
        let Some(head) = self.answer.head() else { return Ok(false) };
        if head.status == 200 && head.is_event_stream {
            let has_opened = !self.is_open;
            self.is_open = true;
            self.was_open = true;
            return Ok(has_opened);
        }
        if self.answer.is_done() || self.refusal.len() == REFUSAL_BYTES_MAX {
            let body = std::mem::take(&mut self.refusal);
            return Err(Failure::Answer { status: head.status, body });
        }
        Ok(false)
    }

    /// Lets the socket go, and says what was wrong where nobody knows better.
    pub(super) fn end(&mut self, failure: Option<Failure>) -> Option<Failure> {
        self.socket = None;
        let was_open = std::mem::take(&mut self.is_open);
        if failure.is_some() || was_open {
            return failure;
        }
        let body = std::mem::take(&mut self.refusal);
        match (self.answer.close(), self.answer.head()) {
            (_, Some(head)) => Some(Failure::Answer { status: head.status, body }),
            (Err(malformed), None) => Some(malformed.into()),
            (Ok(()), None) => None,
        }
    }
}

/// Writes what the socket takes of it. A socket that is still connecting takes nothing.
pub(super) fn flush(socket: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(count) => written += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
                break;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.drain(..written);
    Ok(())
}
