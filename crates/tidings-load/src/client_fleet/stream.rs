//! One stream: its socket, the unsent rest of its request, and its parsers.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Registry, Token};

use super::RequestFailure;
use super::failure::REFUSAL_BYTES_MAX;
use crate::response::ResponseParser;
use crate::scan::{ScannedItem, SseScanner};
use crate::sequences::{DeliveryCounts, ProducerCursor, SequenceTracker};
use crate::socket::{connect, flush, interest};
use crate::stamp::{Stamp, StampCodec};

/// Pace at which a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPace {
    /// As fast as bytes arrive.
    Eager,
    /// This many bytes, ten times a second.
    Trickle(usize),
    /// Never, after the head.
    Stalled,
}

/// A stream, connected or not.
#[derive(Debug)]
pub(super) struct FleetStream {
    socket: Option<TcpStream>,
    address: SocketAddr,
    /// The unsent rest of the request.
    request: Vec<u8>,
    response: ResponseParser,
    scanner: SseScanner,
    /// The body of an error response.
    refusal: Vec<u8>,
    began: Instant,
    /// Responses to skip before the stream's own.
    pub(super) responses_before: u8,
    /// Time from `began` until the request was sent.
    pub(super) connected: Duration,
    pub(super) channel: u32,
    pub(super) cursors: Box<[ProducerCursor]>,
    pub(super) reading: ReadPace,
    pub(super) received: u64,
    /// Whether it was ever open.
    pub(super) was_open: bool,
    /// Whether `tidings.end` was received.
    pub(super) was_announced: bool,
    is_open: bool,
}

impl FleetStream {
    pub(super) fn new(
        address: SocketAddr,
        channel: u32,
        cursors: Box<[ProducerCursor]>,
        reading: ReadPace,
    ) -> Self {
        Self {
            socket: None,
            address,
            request: Vec::new(),
            response: ResponseParser::default(),
            scanner: SseScanner::default(),
            refusal: Vec::new(),
            began: Instant::now(),
            responses_before: 0,
            connected: Duration::ZERO,
            channel,
            cursors,
            reading,
            received: 0,
            was_open: false,
            was_announced: false,
            is_open: false,
        }
    }

    pub(super) fn connect(&mut self, at: usize, registry: &Registry, request: Vec<u8>) -> io::Result<()> {
        self.began = Instant::now();
        self.request = request;
        self.response.renew();
        self.scanner.renew();
        self.refusal = Vec::new();
        (self.is_open, self.was_announced) = (false, false);
        let mut socket = connect(self.address, at, self.reading != ReadPace::Eager)?;
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
        SequenceTracker::note_away(&mut self.cursors);
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

    /// Whether a part of the request is unsent.
    pub(super) fn is_connecting(&self) -> bool {
        self.socket.is_some() && !self.request.is_empty()
    }

    /// Whether the server ended the response in good order.
    pub(super) fn is_done(&self) -> bool {
        self.is_open && self.response.is_done()
    }

    /// Time since the start of the connect.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sends as much of the request as the socket accepts.
    pub(super) fn write(&mut self) -> Result<(), RequestFailure> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        flush(socket, &mut self.request).map_err(RequestFailure::Connection)?;
        if self.request.is_empty() && self.request.capacity() > 0 {
            // Frees the buffer: a fleet has tens of thousands of streams.
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

    /// Parses bytes; returns whether the stream opened with them.
    pub(super) fn feed(
        &mut self,
        at: usize,
        bytes: &[u8],
        codec: &StampCodec,
        sequences: &mut SequenceTracker,
        counts: &mut DeliveryCounts,
        mut on_event: impl FnMut(Stamp),
    ) -> Result<bool, RequestFailure> {
        let bytes = self.skip_responses(bytes)?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let Self { response, scanner, cursors, refusal, received, was_announced, channel, .. } = self;
        let mut on_item = |item| match item {
            ScannedItem::Event(stamp) if stamp.channel == *channel => {
                on_event(stamp);
                *received += u64::from(sequences.note(at, cursors, stamp, counts));
            }
            ScannedItem::Event(_) | ScannedItem::Foreign => counts.foreign += 1,
            ScannedItem::Gap => SequenceTracker::note_gap(cursors, counts),
            ScannedItem::End => *was_announced = true,
        };
        response.feed(bytes, &mut |head, body| {
            if head.status == 200 && head.is_event_stream {
                scanner.feed(body, codec, &mut on_item);
            } else {
                let room = REFUSAL_BYTES_MAX - refusal.len();
                refusal.extend_from_slice(&body[..body.len().min(room)]);
            }
        })?;
        self.check_head()
    }

    /// Skips the responses before the stream's own, and returns the remaining bytes.
    fn skip_responses<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], RequestFailure> {
        while self.responses_before > 0 && !bytes.is_empty() {
            let taken = self.response.feed(bytes, &mut |_, _| {})?;
            bytes = &bytes[taken..];
            if self.response.is_done() {
                self.response.renew();
                self.responses_before -= 1;
            }
        }
        Ok(bytes)
    }

    /// Returns whether the head has just arrived and is that of a stream.
    fn check_head(&mut self) -> Result<bool, RequestFailure> {
        let Some(head) = self.response.head() else { return Ok(false) };
        if head.status == 200 && head.is_event_stream {
            let has_opened = !self.is_open;
            self.is_open = true;
            self.was_open = true;
            return Ok(has_opened);
        }
        if self.response.is_done() || self.refusal.len() == REFUSAL_BYTES_MAX {
            let body = std::mem::take(&mut self.refusal);
            return Err(RequestFailure::Status { status: head.status, body });
        }
        Ok(false)
    }

    /// Closes the socket. Returns `failure`, or else the failure that the response shows.
    pub(super) fn end(&mut self, failure: Option<RequestFailure>) -> Option<RequestFailure> {
        self.socket = None;
        let was_open = std::mem::take(&mut self.is_open);
        if failure.is_some() || was_open {
            return failure;
        }
        let body = std::mem::take(&mut self.refusal);
        match (self.response.close(), self.response.head()) {
            (_, Some(head)) => Some(RequestFailure::Status { status: head.status, body }),
            (Err(malformed), None) => Some(malformed.into()),
            (Ok(()), None) => None,
        }
    }
}
