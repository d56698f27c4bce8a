//! Many streams and a few publishers on one thread: one poll, then one `read` for each ready socket.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use crate::sequences::{DeliveryCounts, SequenceTracker};
use crate::stamp::{Stamp, StampCodec};

mod failure;
mod publisher;
mod stream;

pub use failure::RequestFailure;
use publisher::FleetPublisher;
use stream::FleetStream;
pub use stream::ReadPace;

/// Token bit that marks a publisher; streams have it clear.
const PUBLISHER: usize = 1 << (usize::BITS - 1);

/// Sockets that one poll reports.
const EVENTS_MAX: usize = 1024;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Longest time that histograms hold, in microseconds.
const MICROS_MAX: u64 = 600_000_000;

/// Interval at which deadlines are checked and slow streams are read.
const TICK: Duration = Duration::from_millis(100);

/// Longest time to the head of a stream, or to the response of a publish.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// Change of a stream or a publisher.
#[derive(Debug)]
pub enum FleetEvent {
    /// The head of a stream has arrived.
    Opened {
        /// The stream.
        stream: usize,
        /// Time from the start of the connect to the head.
        after: Duration,
        /// Time from the start of the connect until the request was sent.
        connected: Duration,
    },
    /// A stream did not open.
    Refused {
        /// The stream.
        stream: usize,
        /// The reason.
        failure: RequestFailure,
    },
    /// The server ended an open stream.
    Closed {
        /// The stream.
        stream: usize,
        /// Whether `tidings.end` came before.
        was_announced: bool,
        /// The parse error, if this side ended the stream because of it.
        failure: Option<RequestFailure>,
    },
    /// A publish was not answered with success.
    Unpublished {
        /// The publisher.
        publisher: usize,
        /// The reason.
        failure: RequestFailure,
    },
}

/// All connections of one load.
#[derive(Debug)]
pub struct ClientFleet {
    poll: Poll,
    ready: Option<Events>,
    buffer: Box<[u8]>,
    clock: Instant,
    codec: StampCodec,
    streams: Vec<FleetStream>,
    /// Streams that wait for their head; opened ones stay until the next tick.
    opening: Vec<usize>,
    /// Streams whose request is not sent yet.
    connecting: usize,
    /// Streams read at [`ReadPace::Trickle`].
    slow: Vec<usize>,
    publishers: Vec<FleetPublisher>,
    events: Vec<FleetEvent>,
    last_tick: Instant,
    /// Numbers of all published events.
    pub sequences: SequenceTracker,
    /// Deliveries to eager streams.
    pub counts: DeliveryCounts,
    /// Deliveries to slow streams.
    pub slow_counts: DeliveryCounts,
    /// Publish requests that were answered with success.
    pub responses: u64,
    /// Earliest send time of events whose latency is recorded, in microseconds of [`Self::micros`].
    pub measured_from: u64,
    /// Microseconds from publish to receipt, of eager streams.
    pub latency: Histogram<u64>,
    /// Microseconds from publish to response.
    pub response_latency: Histogram<u64>,
}

impl ClientFleet {
    /// Creates a fleet without connections. Its events carry `run`.
    ///
    /// # Errors
    /// The system error of the poll.
    pub fn new(run: u32, channels: usize, producers_per_channel: usize) -> io::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            ready: Some(Events::with_capacity(EVENTS_MAX)),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            clock: Instant::now(),
            codec: StampCodec::new(run),
            streams: Vec::new(),
            opening: Vec::new(),
            connecting: 0,
            slow: Vec::new(),
            publishers: Vec::new(),
            events: Vec::new(),
            last_tick: Instant::now(),
            sequences: SequenceTracker::new(channels, producers_per_channel),
            counts: DeliveryCounts::default(),
            slow_counts: DeliveryCounts::default(),
            responses: 0,
            measured_from: 0,
            latency: histogram(),
            response_latency: histogram(),
        })
    }

    /// Microseconds since the fleet was created: the clock of its stamps.
    #[must_use]
    pub fn micros(&self) -> u64 {
        micros(self.clock.elapsed())
    }

    /// Begins a new stream on a channel and returns its number. `request` holds every byte to send.
    pub fn open(&mut self, address: SocketAddr, channel: u32, reading: ReadPace, request: Vec<u8>) -> usize {
        let at = self.streams.len();
        self.streams.push(FleetStream::new(address, channel, self.sequences.cursors(channel), reading));
        if let ReadPace::Trickle(_) = reading {
            self.slow.push(at);
        }
        self.begin(at, request);
        at
    }

    /// Begins a stream behind `responses_before` other requests, which `request` begins with; skips their responses.
    pub fn open_pipelined(
        &mut self,
        responses_before: u8,
        address: SocketAddr,
        channel: u32,
        reading: ReadPace,
        request: Vec<u8>,
    ) -> usize {
        let at = self.open(address, channel, reading, request);
        self.streams[at].responses_before = responses_before;
        at
    }

    /// Begins a closed or cut stream again. If it has no id to resume after, events missed meanwhile count as `away`.
    pub fn reopen(&mut self, at: usize, request: Vec<u8>) {
        let stream = &mut self.streams[at];
        if stream.last_id().is_empty() {
            stream.note_away();
        }
        self.begin(at, request);
    }

    fn begin(&mut self, at: usize, request: Vec<u8>) {
        match self.streams[at].connect(at, self.poll.registry(), request) {
            Ok(()) => {
                self.opening.push(at);
                self.connecting += 1;
            }
            Err(error) => {
                self.events
                    .push(FleetEvent::Refused { stream: at, failure: RequestFailure::Connection(error) });
            }
        }
    }

    /// Resets the connection of a stream.
    pub fn cut(&mut self, at: usize) {
        self.connecting -= usize::from(self.streams[at].is_connecting());
        self.streams[at].cut();
    }

    /// The id that a stream resumes after; empty if it has none.
    #[must_use]
    pub fn last_id(&self, stream: usize) -> &[u8] {
        self.streams[stream].last_id()
    }

    /// The channel of a stream.
    #[must_use]
    pub fn channel(&self, stream: usize) -> u32 {
        self.streams[stream].channel
    }

    /// The pace at which a stream is read.
    #[must_use]
    pub fn reading(&self, stream: usize) -> ReadPace {
        self.streams[stream].reading
    }

    /// Whether a stream is open.
    #[must_use]
    pub fn is_open(&self, stream: usize) -> bool {
        self.streams[stream].is_open()
    }

    /// Streams whose request is not sent yet.
    #[must_use]
    pub fn connecting(&self) -> usize {
        self.connecting
    }

    /// Number of streams, open or not.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Events that a stream received.
    #[must_use]
    pub fn received(&self, stream: usize) -> u64 {
        self.streams[stream].received
    }

    /// Adds a publisher, which connects at its first request.
    pub fn add_publisher(&mut self, address: SocketAddr) -> usize {
        self.publishers.push(FleetPublisher::new(address));
        self.publishers.len() - 1
    }

    /// Number of publishers.
    #[must_use]
    pub fn publishers(&self) -> usize {
        self.publishers.len()
    }

    /// Whether a publisher has no request in flight.
    #[must_use]
    pub fn is_idle(&self, publisher: usize) -> bool {
        self.publishers[publisher].is_idle()
    }

    /// Appends the data of the next event of a producer to `text` and returns its number.
    ///
    /// The event belongs to the next request of `publisher`: if that request fails, the event may be missing.
    pub fn write_event(
        &mut self,
        publisher: usize,
        channel: u32,
        producer: u16,
        bytes: usize,
        text: &mut Vec<u8>,
    ) -> u32 {
        let number = self.sequences.take(channel, producer);
        let micros = self.micros();
        self.codec.write(Stamp { channel, producer, number, micros }, bytes, text);
        self.publishers[publisher].events.push((channel, producer, number));
        number
    }

    /// Sends a request. The publisher must be idle.
    pub fn send(&mut self, publisher: usize, request: &[u8]) {
        let now = self.micros();
        let token = Token(publisher | PUBLISHER);
        if let Err(error) = self.publishers[publisher].send(token, self.poll.registry(), request, now) {
            self.fail(publisher, RequestFailure::Connection(error));
        }
    }

    /// Takes the changes since the previous call.
    pub fn events(&mut self) -> Vec<FleetEvent> {
        std::mem::take(&mut self.events)
    }

    /// Waits for ready sockets, `timeout` at most, reads and writes them; returns whether any was ready.
    ///
    /// # Errors
    /// The system error of the poll.
    pub fn poll(&mut self, timeout: Duration) -> io::Result<bool> {
        let mut ready = self.ready.take().unwrap_or_else(|| Events::with_capacity(EVENTS_MAX));
        match self.poll.poll(&mut ready, Some(timeout.min(TICK))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &ready {
            let token = event.token().0;
            if token & PUBLISHER == 0 {
                self.serve_stream(token, event.is_read_closed());
            } else {
                self.serve_publisher(token & !PUBLISHER);
            }
        }
        let is_busy = !ready.is_empty();
        self.ready = Some(ready);
        if self.last_tick.elapsed() >= TICK {
            self.last_tick = Instant::now();
            self.tick();
        }
        Ok(is_busy)
    }

    /// Published events that open eager streams have not received yet.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let mut counts = DeliveryCounts::default();
        for stream in
            self.streams.iter().filter(|stream| stream.is_open() && stream.reading == ReadPace::Eager)
        {
            self.sequences.settle(stream.channel, &stream.cursors, &mut counts);
        }
        counts.lost + counts.told
    }

    /// Counts published events that eager streams have not received as lost, told or away. Call it once, at the end.
    pub fn settle(&mut self) {
        for stream in
            self.streams.iter().filter(|stream| stream.was_open && stream.reading == ReadPace::Eager)
        {
            self.sequences.settle(stream.channel, &stream.cursors, &mut self.counts);
        }
    }

    fn serve_stream(&mut self, at: usize, is_read_closed: bool) {
        let stream = &mut self.streams[at];
        if !stream.has_socket() {
            return;
        }
        let was_connecting = stream.is_connecting();
        if let Err(failure) = stream.write() {
            self.close_stream(at, Some(failure));
            return;
        }
        self.connecting -= usize::from(was_connecting && !stream.is_connecting());
        // After the head, the tick reads slow streams, and a stalled stream shows only its end.
        match stream.reading {
            ReadPace::Stalled if stream.is_open() && is_read_closed => self.close_stream(at, None),
            ReadPace::Stalled | ReadPace::Trickle(_) if stream.is_open() => {}
            _ => self.read_stream(at, is_read_closed),
        }
    }

    /// Reads until the socket is empty: readiness is edge-triggered.
    fn read_stream(&mut self, at: usize, is_read_closed: bool) {
        loop {
            let count = match self.streams[at].read(&mut self.buffer) {
                Ok(0) => return self.close_stream(at, None),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if self.streams[at].is_opening() => {
                    return self.close_stream(at, Some(RequestFailure::Connection(error)));
                }
                // A reset of an open stream counts as an end.
                Err(_) => return self.close_stream(at, None),
            };
            if let Err(failure) = self.take(at, count) {
                return self.close_stream(at, Some(failure));
            }
            if self.streams[at].is_done() {
                return self.close_stream(at, None);
            }
            // A short read emptied the socket, unless the end of the stream is still to be read.
            if count < self.buffer.len() && !is_read_closed || self.streams[at].reading != ReadPace::Eager {
                return;
            }
        }
    }

    /// Parses `count` bytes of the buffer for a stream.
    fn take(&mut self, at: usize, count: usize) -> Result<(), RequestFailure> {
        let now = micros(self.clock.elapsed());
        let stream = &mut self.streams[at];
        let counts = if stream.reading == ReadPace::Eager { &mut self.counts } else { &mut self.slow_counts };
        let (latency, measured_from) = (&mut self.latency, self.measured_from);
        let is_eager = stream.reading == ReadPace::Eager;
        let on_event = |stamp: Stamp| {
            if is_eager && stamp.micros >= measured_from {
                latency.saturating_record(now.saturating_sub(stamp.micros).max(1));
            }
        };
        let bytes = &self.buffer[..count];
        let has_opened = stream.feed(at, bytes, &self.codec, &mut self.sequences, counts, on_event)?;
        if has_opened {
            self.events.push(FleetEvent::Opened {
                stream: at,
                after: stream.age(),
                connected: stream.connected,
            });
        }
        Ok(())
    }

    /// Ends a stream and reports the reason.
    fn close_stream(&mut self, at: usize, failure: Option<RequestFailure>) {
        let stream = &mut self.streams[at];
        let was_opening = stream.is_opening();
        self.connecting -= usize::from(stream.is_connecting());
        let failure = stream.end(failure);
        self.events.push(if was_opening {
            FleetEvent::Refused {
                stream: at,
                failure: failure.unwrap_or(RequestFailure::Malformed("connection closed")),
            }
        } else {
            FleetEvent::Closed { stream: at, was_announced: stream.was_announced, failure }
        });
    }

    fn serve_publisher(&mut self, at: usize) {
        match self.publishers[at].serve(&mut self.buffer) {
            Ok(false) => {}
            Ok(true) => {
                let sent = self.publishers[at].sent;
                if sent >= self.measured_from {
                    self.response_latency.saturating_record(self.micros().saturating_sub(sent).max(1));
                }
                self.responses += 1;
            }
            Err(failure) => self.fail(at, failure),
        }
    }

    fn fail(&mut self, publisher: usize, failure: RequestFailure) {
        for (channel, producer, number) in self.publishers[publisher].abandon() {
            self.sequences.doubt(channel, producer, number);
        }
        self.events.push(FleetEvent::Unpublished { publisher, failure });
    }

    fn tick(&mut self) {
        self.opening.retain(|at| self.streams[*at].is_opening());
        let late = self.opening.iter().copied().filter(|at| self.streams[*at].age() > RESPONSE_TIMEOUT);
        for at in late.collect::<Vec<_>>() {
            self.close_stream(at, Some(RequestFailure::Late(RESPONSE_TIMEOUT)));
        }
        let now = self.micros();
        for at in 0..self.publishers.len() {
            if !self.is_idle(at) && now > self.publishers[at].sent + micros(RESPONSE_TIMEOUT) {
                self.fail(at, RequestFailure::Late(RESPONSE_TIMEOUT));
            }
        }
        for at in self.slow.clone() {
            self.read_trickle(at);
        }
    }

    /// Reads the next bytes of a stream at [`ReadPace::Trickle`].
    fn read_trickle(&mut self, at: usize) {
        let ReadPace::Trickle(bytes) = self.streams[at].reading else { return };
        if !self.streams[at].is_open() {
            return;
        }
        let bytes = bytes.min(self.buffer.len());
        match self.streams[at].read(&mut self.buffer[..bytes]) {
            Ok(0) => self.close_stream(at, None),
            Ok(count) => match self.take(at, count) {
                Err(failure) => self.close_stream(at, Some(failure)),
                Ok(()) if self.streams[at].is_done() => self.close_stream(at, None),
                Ok(()) => {}
            },
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(_) => self.close_stream(at, None),
        }
    }
}

/// Creates a histogram of microseconds, up to ten minutes.
#[must_use]
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("these bounds are valid")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
