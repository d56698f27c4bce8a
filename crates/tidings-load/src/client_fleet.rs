//! Many streams and a few publishers on one thread: one poll, then one `read` for each ready socket.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};

use crate::sequences::{DeliveryCounts, SequenceTracker};
use crate::stamp::{Stamp, StampCodec};

mod connection;
mod failure;
mod publisher;
mod stream;

pub use failure::RequestFailure;
pub use publisher::FleetPublisher;
pub use stream::{FleetStream, ReadPace};

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
        stream: usize,
        /// Time from the start of the connect to the head.
        after: Duration,
        /// Time from the start of the connect until the request was sent.
        connected: Duration,
    },
    /// A stream did not open.
    Refused { stream: usize, failure: RequestFailure },
    /// The server ended an open stream.
    Closed {
        stream: usize,
        /// Whether `tidings.end` came before.
        was_announced: bool,
        /// The parse error, if this side ended the stream because of it.
        failure: Option<RequestFailure>,
    },
    /// A publish was not answered with success.
    Unpublished { publisher: usize, failure: RequestFailure },
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
    channels: usize,
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
    /// Creates a fleet without connections, for `publishers` publishers of `channels` channels. Its events carry
    /// `run`.
    ///
    /// # Errors
    /// The system error of the poll.
    pub fn new(run: u32, channels: usize, publishers: usize) -> io::Result<Self> {
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
            channels,
            // A publisher has a sequence of its own: only its own order is known.
            sequences: SequenceTracker::new(channels, publishers.div_ceil(channels)),
            counts: DeliveryCounts::default(),
            slow_counts: DeliveryCounts::default(),
            responses: 0,
            measured_from: 0,
            latency: histogram(),
            response_latency: histogram(),
        })
    }

    /// Microseconds since the fleet was created: the clock of its stamps.
    pub fn micros(&self) -> u64 {
        micros(self.clock.elapsed())
    }

    /// Begins a new stream on a channel and returns its number. `request` holds every byte to send.
    pub fn open(&mut self, address: SocketAddr, channel: u32, reading: ReadPace, request: &[u8]) -> usize {
        let at = self.streams.len();
        self.streams.push(FleetStream::new(address, channel, self.sequences.cursors(channel), reading));
        if let ReadPace::Trickle(_) = reading {
            self.slow.push(at);
        }
        self.begin(at, request);
        at
    }

    /// Makes a new stream skip the responses to requests that its own request is behind.
    pub fn skip_responses(&mut self, stream: usize, count: u8) {
        self.streams[stream].responses_before = count;
    }

    /// Begins a closed or cut stream again. If it has no id to resume after, events missed meanwhile count as `away`.
    pub fn reopen(&mut self, at: usize, request: &[u8]) {
        let stream = &mut self.streams[at];
        if stream.last_id().is_empty() {
            SequenceTracker::note_away(&mut stream.cursors);
        }
        self.begin(at, request);
    }

    fn begin(&mut self, at: usize, request: &[u8]) {
        match self.streams[at].connect(at, self.poll.registry(), request) {
            Ok(()) => {
                self.opening.push(at);
                self.connecting += 1;
            }
            Err(error) => {
                let failure = RequestFailure::Connection(error);
                self.events.push(FleetEvent::Refused { stream: at, failure });
            }
        }
    }

    /// Resets the connection of a stream.
    pub fn cut(&mut self, at: usize) {
        self.connecting -= usize::from(self.streams[at].connection.is_sending());
        self.streams[at].cut();
    }

    /// Streams whose request is not sent yet.
    pub fn connecting(&self) -> usize {
        self.connecting
    }

    /// All streams, open or not.
    pub fn streams(&self) -> &[FleetStream] {
        &self.streams
    }

    /// Adds a publisher, which connects at its first request.
    pub fn add_publisher(&mut self, address: SocketAddr) -> usize {
        self.publishers.push(FleetPublisher::new(address));
        self.publishers.len() - 1
    }

    pub fn publishers(&self) -> &[FleetPublisher] {
        &self.publishers
    }

    /// Appends the data of a publisher's next event to `text` and returns its stamp.
    ///
    /// A publisher has channels of its own, or shares one if there are fewer channels than publishers. The event
    /// belongs to the publisher's next request: if that request fails, the event may be missing.
    pub fn write_event(&mut self, publisher: usize, bytes: usize, text: &mut Vec<u8>) -> Stamp {
        let (channels, publishers) = (self.channels, self.publishers.len());
        let written = self.publishers[publisher].written;
        let (channel, producer) = if channels < publishers {
            (publisher % channels, publisher / channels)
        } else {
            let own = (channels - publisher).div_ceil(publishers);
            (publisher + publishers * (written % own), 0)
        };
        let channel = u32::try_from(channel).expect("a load has fewer channels");
        let producer = u16::try_from(producer).expect("a load has fewer publishers");
        let number = self.sequences.take(channel, producer);
        let stamp = Stamp { channel, producer, number, micros: self.micros() };
        self.codec.write(stamp, bytes, text);
        self.publishers[publisher].written += 1;
        self.publishers[publisher].events.push((channel, producer, number));
        stamp
    }

    /// Sends a request. The publisher must be idle.
    pub fn send(&mut self, publisher: usize, request: &[u8]) {
        let now = self.micros();
        let token = Token(publisher | PUBLISHER);
        let registry = self.poll.registry();
        if let Err(error) = self.publishers[publisher].send((registry, token), request, now) {
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
    pub fn pending(&self) -> u64 {
        let mut counts = DeliveryCounts::default();
        for stream in self.streams.iter().filter(|stream| stream.is_open()) {
            self.settle_stream(stream, &mut counts);
        }
        counts.lost + counts.reported
    }

    /// Counts published events that eager streams have not received as lost, told or away. Call it once, at the end.
    pub fn settle(&mut self) {
        let mut counts = self.counts;
        for stream in self.streams.iter().filter(|stream| stream.was_open) {
            self.settle_stream(stream, &mut counts);
        }
        self.counts = counts;
    }

    fn settle_stream(&self, stream: &FleetStream, counts: &mut DeliveryCounts) {
        if stream.reading == ReadPace::Eager {
            self.sequences.settle(stream.channel, &stream.cursors, counts);
        }
    }

    fn serve_stream(&mut self, at: usize, is_read_closed: bool) {
        let stream = &mut self.streams[at];
        if !stream.connection.is_open() {
            return;
        }
        match stream.write() {
            Ok(is_sent) => self.connecting -= usize::from(is_sent),
            Err(failure) => return self.close_stream(at, Some(failure)),
        }
        // After the head, the tick reads slow streams, and a stalled stream shows only its end.
        match stream.reading {
            ReadPace::Stalled if stream.is_open() && is_read_closed => self.close_stream(at, None),
            ReadPace::Stalled | ReadPace::Trickle(_) if stream.is_open() => {}
            _ => self.read_stream(at, is_read_closed),
        }
    }

    /// Reads an eager stream until its socket is empty, since readiness is edge-triggered; another stream once.
    fn read_stream(&mut self, at: usize, is_read_closed: bool) {
        let bytes_max = match self.streams[at].reading {
            ReadPace::Trickle(bytes) if self.streams[at].is_open() => bytes.min(self.buffer.len()),
            _ => self.buffer.len(),
        };
        loop {
            let count = match self.streams[at].connection.read(&mut self.buffer[..bytes_max]) {
                Ok(0) => return self.close_stream(at, None),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
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
        self.connecting -= usize::from(stream.connection.is_sending());
        let failure = stream.end(failure);
        self.events.push(if was_opening {
            let failure = failure.unwrap_or(RequestFailure::Malformed("connection closed"));
            FleetEvent::Refused { stream: at, failure }
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
            if !self.publishers[at].is_idle() && now > self.publishers[at].sent + micros(RESPONSE_TIMEOUT) {
                self.fail(at, RequestFailure::Late(RESPONSE_TIMEOUT));
            }
        }
        for at in self.slow.clone() {
            if self.streams[at].is_open() {
                self.read_stream(at, false);
            }
        }
    }
}

/// Creates a histogram of microseconds, up to ten minutes.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("these bounds are valid")
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
