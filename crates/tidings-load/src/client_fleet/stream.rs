//! One stream: its connection, its parser and its place in the sequences of its channel.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use super::RequestFailure;
use super::connection::ClientConnection;
use crate::response::ResponseHead;
use crate::scan::{ScannedItem, SseScanner};
use crate::sequences::{DeliveryCounts, ProducerCursor, SequenceTracker};
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
pub struct FleetStream {
    pub(super) connection: ClientConnection,
    scanner: SseScanner,
    began: Instant,
    /// Responses to skip before the stream's own.
    pub(super) responses_before: u8,
    /// Time from `began` until the request was sent.
    pub(super) connected: Duration,
    pub channel: u32,
    pub(super) cursors: Box<[ProducerCursor]>,
    pub reading: ReadPace,
    /// Events received for the first time.
    pub received: u64,
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
            connection: ClientConnection::new(address),
            scanner: SseScanner::default(),
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

    pub(super) fn connect(&mut self, at: usize, registry: &Registry, request: &[u8]) -> io::Result<()> {
        self.began = Instant::now();
        self.scanner.renew();
        self.cut();
        self.was_announced = false;
        self.connection.send(request, (registry, Token(at)), at, self.reading != ReadPace::Eager)
    }

    pub(super) fn cut(&mut self) {
        self.connection.close();
        self.is_open = false;
    }

    /// The id to resume after; empty if there is none.
    pub fn last_id(&self) -> &[u8] {
        self.scanner.last_id()
    }

    pub fn is_open(&self) -> bool {
        self.is_open
    }

    pub(super) fn is_opening(&self) -> bool {
        self.connection.is_open() && !self.is_open
    }

    /// Whether the server ended the response in good order.
    pub(super) fn is_done(&self) -> bool {
        self.is_open && self.connection.response.is_done()
    }

    /// Time since the start of the connect.
    pub(super) fn age(&self) -> Duration {
        self.began.elapsed()
    }

    /// Sends as much of the request as the socket accepts; returns whether its last part was sent.
    pub(super) fn write(&mut self) -> Result<bool, RequestFailure> {
        if !self.connection.is_sending() {
            return Ok(false);
        }
        self.connection.flush().map_err(RequestFailure::Connection)?;
        self.connected = self.began.elapsed();
        Ok(!self.connection.is_sending())
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
        let Self { connection, scanner, cursors, received, was_announced, channel, .. } = self;
        let mut on_item = |item| match item {
            ScannedItem::Event(stamp) if stamp.channel == *channel => {
                on_event(stamp);
                *received += u64::from(sequences.note(at, cursors, stamp, counts));
            }
            ScannedItem::Event(_) | ScannedItem::Foreign => counts.foreign += 1,
            ScannedItem::Gap => SequenceTracker::note_gap(cursors, counts),
            ScannedItem::End => *was_announced = true,
        };
        connection.feed(bytes, is_stream, |body| scanner.feed(body, codec, &mut on_item))?;
        self.check_head()
    }

    /// Skips the responses before the stream's own, and returns the remaining bytes.
    fn skip_responses<'a>(&mut self, mut bytes: &'a [u8]) -> Result<&'a [u8], RequestFailure> {
        let response = &mut self.connection.response;
        while self.responses_before > 0 && !bytes.is_empty() {
            let taken = response.feed(bytes, &mut |_, _| {})?;
            bytes = &bytes[taken..];
            if response.is_done() {
                response.renew();
                self.responses_before -= 1;
            }
        }
        Ok(bytes)
    }

    /// Returns whether the head has just arrived and is that of a stream.
    fn check_head(&mut self) -> Result<bool, RequestFailure> {
        let Some(head) = self.connection.response.head() else { return Ok(false) };
        if is_stream(head) {
            self.was_open = true;
            return Ok(!std::mem::replace(&mut self.is_open, true));
        }
        if self.connection.has_error_body() {
            return Err(self.connection.status_failure(head.status));
        }
        Ok(false)
    }

    /// Closes the socket. Returns `failure`, or else the failure that the response shows.
    pub(super) fn end(&mut self, failure: Option<RequestFailure>) -> Option<RequestFailure> {
        self.connection.close();
        let was_open = std::mem::take(&mut self.is_open);
        if failure.is_some() || was_open {
            return failure;
        }
        match (self.connection.response.close(), self.connection.response.head()) {
            (_, Some(head)) => Some(self.connection.status_failure(head.status)),
            (Err(malformed), None) => Some(malformed.into()),
            (Ok(()), None) => None,
        }
    }
}

fn is_stream(head: ResponseHead) -> bool {
    head.status == 200 && head.is_event_stream
}
