//! Many streams and a few publishers on one thread: one poll, one `read` for each socket that has something.

use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::{Events, Interest, Poll, Token};

use crate::ledger::{Ledger, Tally};
use crate::socket::Target;
use crate::stamp::{Marker, Stamp};

mod failure;
mod publisher;
mod stream;

pub use failure::Failure;
use publisher::Publisher;
use stream::Stream;

/// Tells publishers from streams in what the poll reports.
const PUBLISHER: usize = 1 << (usize::BITS - 1);

/// Sockets that one poll reports.
const EVENTS_MAX: usize = 1024;

/// Bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Longest time that histograms hold, in microseconds.
const MICROS_MAX: u64 = 600_000_000;

/// How often what has no event of its own is looked at: deadlines, and readers that crawl.
const TICK: Duration = Duration::from_millis(100);

/// How long the head of a stream or an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// How a stream is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As fast as it comes.
    Eager,
    /// So many bytes ten times a second.
    Trickle(usize),
    /// Not at all, after the head.
    Stuck,
}

/// What happened to a stream or a publisher.
#[derive(Debug)]
pub enum Notice {
    /// A stream was answered, so long after it was begun.
    Opened {
        /// The stream.
        stream: usize,
        /// From the start of the connection to the head.
        after: Duration,
        /// From the start of the connection until the request was sent.
        connected: Duration,
    },
    /// A stream did not open.
    Refused {
        /// The stream.
        stream: usize,
        /// Why.
        failure: Failure,
    },
    /// An open stream ended, not by this side.
    Closed {
        /// The stream.
        stream: usize,
        /// Whether `tidings.end` came before.
        was_told: bool,
        /// What was malformed, where that is why.
        failure: Option<Failure>,
    },
    /// A publish was not answered with success.
    Unpublished {
        /// The publisher.
        publisher: usize,
        /// Why.
        failure: Failure,
    },
}

/// All connections of one load.
#[derive(Debug)]
pub struct Swarm {
    poll: Poll,
    ready: Option<Events>,
    buffer: Box<[u8]>,
    clock: Instant,
    marker: Marker,
    streams: Vec<Stream>,
    /// Streams without an answer yet; some may have got theirs.
    opening: Vec<usize>,
    /// How many of them wait for the connection itself.
    connecting: usize,
    /// Streams that are read at a trickle.
    crawling: Vec<usize>,
    publishers: Vec<Publisher>,
    notices: Vec<Notice>,
    last_tick: Instant,
    /// What was published.
    pub ledger: Ledger,
    /// What eager streams saw.
    pub tally: Tally,
    /// What crawling streams saw.
    pub crawling_tally: Tally,
    /// Requests of publishers that were answered with success.
    pub answers: u64,
    /// Latencies are recorded of events sent at or after this time, in microseconds of the clock.
    pub measured_from: u64,
    /// Microseconds from publish to receipt, of eager streams.
    pub latency: Histogram<u64>,
    /// Microseconds from publish to answer.
    pub answer_latency: Histogram<u64>,
}

impl Swarm {
    /// A swarm without connections. Events carry `run`; its streams and publishers are on `channels` channels with
    /// `lanes_each` publishers each.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(run: u32, channels: usize, lanes_each: usize) -> io::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, MICROS_MAX, 3).expect("these bounds are valid");
        Ok(Self {
            poll: Poll::new()?,
            ready: Some(Events::with_capacity(EVENTS_MAX)),
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
            clock: Instant::now(),
            marker: Marker::new(run),
            streams: Vec::new(),
            opening: Vec::new(),
            connecting: 0,
            crawling: Vec::new(),
            publishers: Vec::new(),
            notices: Vec::new(),
            last_tick: Instant::now(),
            ledger: Ledger::new(channels, lanes_each),
            tally: Tally::default(),
            crawling_tally: Tally::default(),
            answers: 0,
            measured_from: 0,
            latency: histogram(),
            answer_latency: histogram(),
        })
    }

    /// Microseconds since the swarm was made: the clock of its stamps.
    #[must_use]
    pub fn micros(&self) -> u64 {
        micros(self.clock.elapsed())
    }

    /// Begins a new stream on a channel, and returns its number. `request` is all that is sent.
    pub fn open(&mut self, target: Target, channel: u32, reading: Reading, request: Vec<u8>) -> usize {
        let at = self.streams.len();
        self.streams.push(Stream::new(target, channel, self.ledger.lanes(channel), reading));
        if let Reading::Trickle(_) = reading {
            self.crawling.push(at);
        }
        self.begin(at, request);
        at
    }

    /// The same, as a later request of its connection: `request` begins with `answers_before` others, whose answers
    /// are passed over.
    pub fn open_after(
        &mut self,
        answers_before: u8,
        target: Target,
        channel: u32,
        reading: Reading,
        request: Vec<u8>,
    ) -> usize {
        let at = self.open(target, channel, reading, request);
        self.streams[at].answers_before = answers_before;
        at
    }

    /// Begins a stream again that was closed or cut. Where `request` resumes after no id, what passes meanwhile is
    /// no loss of the server's.
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
                self.notices.push(Notice::Refused { stream: at, failure: Failure::Connection(error) });
            }
        }
    }

    /// Cuts a stream as a network does.
    pub fn cut(&mut self, at: usize) {
        self.connecting -= usize::from(self.streams[at].is_connecting());
        self.streams[at].cut();
    }

    /// The id that a stream resumes after; empty where it has none.
    #[must_use]
    pub fn last_id(&self, stream: usize) -> &[u8] {
        self.streams[stream].last_id()
    }

    /// The channel of a stream.
    #[must_use]
    pub fn channel(&self, stream: usize) -> u32 {
        self.streams[stream].channel
    }

    /// How a stream is read.
    #[must_use]
    pub fn reading(&self, stream: usize) -> Reading {
        self.streams[stream].reading
    }

    /// Whether a stream was answered and goes on.
    #[must_use]
    pub fn is_open(&self, stream: usize) -> bool {
        self.streams[stream].is_open()
    }

    /// Streams whose connection is not made yet.
    #[must_use]
    pub fn connecting(&self) -> usize {
        self.connecting
    }

    /// Whether a stream was ever answered.
    #[must_use]
    pub fn was_open(&self, stream: usize) -> bool {
        self.streams[stream].was_open
    }

    /// How many streams there are, open or not.
    #[must_use]
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Events that a stream received.
    #[must_use]
    pub fn received(&self, stream: usize) -> u64 {
        self.streams[stream].received
    }

    /// One more publisher, which connects when it first has something to send.
    pub fn add_publisher(&mut self, target: Target) -> usize {
        self.publishers.push(Publisher::new(target));
        self.publishers.len() - 1
    }

    /// How many publishers there are.
    #[must_use]
    pub fn publishers(&self) -> usize {
        self.publishers.len()
    }

    /// Whether a publisher has no request under way.
    #[must_use]
    pub fn is_idle(&self, publisher: usize) -> bool {
        self.publishers[publisher].is_idle()
    }

    /// Puts the next event of a lane into a request that a publisher is about to send, and returns its number.
    /// `text` gets the data.
    pub fn write_event(
        &mut self,
        publisher: usize,
        channel: u32,
        lane: u16,
        bytes: usize,
        text: &mut Vec<u8>,
    ) -> u32 {
        let number = self.ledger.take(channel, lane);
        let micros = self.micros();
        self.marker.write(Stamp { channel, lane, number, micros }, bytes, text);
        self.publishers[publisher].events.push((channel, lane, number));
        number
    }

    /// Sends a request, whose events were written before or are the caller's own. The publisher must be idle.
    pub fn send(&mut self, publisher: usize, request: &[u8]) {
        let now = self.micros();
        let token = Token(publisher | PUBLISHER);
        if let Err(error) = self.publishers[publisher].send(token, self.poll.registry(), request, now) {
            self.fail(publisher, Failure::Connection(error));
        }
    }

    /// What happened since this was asked before.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Reads and writes whatever is ready first within `timeout`; false where nothing was.
    ///
    /// # Errors
    /// What the system says of the poll itself.
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

    /// Events that eager streams have still to get of all that was published, on connections that are open.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let mut tally = Tally::default();
        for stream in
            self.streams.iter().filter(|stream| stream.is_open() && stream.reading == Reading::Eager)
        {
            self.ledger.settle(stream.channel, &stream.lanes, &mut tally);
        }
        tally.lost + tally.told
    }

    /// Ends the count: what streams of each kind did not get of all that was published is lost, or told, or passed.
    pub fn settle(&mut self) {
        for stream in self.streams.iter().filter(|stream| stream.was_open && stream.reading == Reading::Eager)
        {
            self.ledger.settle(stream.channel, &stream.lanes, &mut self.tally);
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
        // After the head, what crawls is read by the tick, and what is stuck only shows when it is cut off.
        match stream.reading {
            Reading::Stuck if stream.is_open() && is_read_closed => self.close_stream(at, None),
            Reading::Stuck | Reading::Trickle(_) if stream.is_open() => {}
            _ => self.read_stream(at, is_read_closed),
        }
    }

    /// Reads until there is no more: readiness is told only once.
    fn read_stream(&mut self, at: usize, is_read_closed: bool) {
        loop {
            let count = match self.streams[at].read(&mut self.buffer) {
                Ok(0) => return self.close_stream(at, None),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if self.streams[at].is_opening() => {
                    return self.close_stream(at, Some(Failure::Connection(error)));
                }
                // A reset of an open stream is an end like another.
                Err(_) => return self.close_stream(at, None),
            };
            if let Err(failure) = self.take(at, count) {
                return self.close_stream(at, Some(failure));
            }
            if self.streams[at].is_done() {
                return self.close_stream(at, None);
            }
            // A short read emptied the socket, unless its end is waiting there, too.
            if count < self.buffer.len() && !is_read_closed || self.streams[at].reading != Reading::Eager {
                return;
            }
        }
    }

    /// Takes bytes of a stream out of the buffer.
    fn take(&mut self, at: usize, count: usize) -> Result<(), Failure> {
        let now = micros(self.clock.elapsed());
        let stream = &mut self.streams[at];
        let tally = if stream.reading == Reading::Eager { &mut self.tally } else { &mut self.crawling_tally };
        let (latency, measured_from) = (&mut self.latency, self.measured_from);
        let is_eager = stream.reading == Reading::Eager;
        let on_event = |stamp: Stamp| {
            if is_eager && stamp.micros >= measured_from {
                latency.saturating_record(now.saturating_sub(stamp.micros).max(1));
            }
        };
        let bytes = &self.buffer[..count];
        let has_opened = stream.feed(at, bytes, &self.marker, &mut self.ledger, tally, on_event)?;
        if has_opened {
            self.notices.push(Notice::Opened {
                stream: at,
                after: stream.age(),
                connected: stream.connected,
            });
        }
        Ok(())
    }

    /// Says that a stream ended, and why.
    fn close_stream(&mut self, at: usize, failure: Option<Failure>) {
        let stream = &mut self.streams[at];
        let was_opening = stream.is_opening();
        self.connecting -= usize::from(stream.is_connecting());
        let failure = stream.end(failure);
        self.notices.push(if was_opening {
            Notice::Refused {
                stream: at,
                failure: failure.unwrap_or(Failure::Malformed("connection closed")),
            }
        } else {
            Notice::Closed { stream: at, was_told: stream.was_told, failure }
        });
    }

    fn serve_publisher(&mut self, at: usize) {
        match self.publishers[at].serve(&mut self.buffer) {
            Ok(false) => {}
            Ok(true) => {
                let sent = self.publishers[at].sent;
                if sent >= self.measured_from {
                    self.answer_latency.saturating_record(self.micros().saturating_sub(sent).max(1));
                }
                self.answers += 1;
            }
            Err(failure) => self.fail(at, failure),
        }
    }

    fn fail(&mut self, publisher: usize, failure: Failure) {
        for (channel, lane, number) in self.publishers[publisher].give_up() {
            self.ledger.doubt(channel, lane, number);
        }
        self.notices.push(Notice::Unpublished { publisher, failure });
    }

    fn tick(&mut self) {
        self.opening.retain(|at| self.streams[*at].is_opening());
        let late = self.opening.iter().copied().filter(|at| self.streams[*at].age() > ANSWER_WITHIN);
        for at in late.collect::<Vec<_>>() {
            self.close_stream(at, Some(Failure::Late(ANSWER_WITHIN)));
        }
        let now = self.micros();
        for at in 0..self.publishers.len() {
            if !self.is_idle(at) && now > self.publishers[at].sent + micros(ANSWER_WITHIN) {
                self.fail(at, Failure::Late(ANSWER_WITHIN));
            }
        }
        for at in self.crawling.clone() {
            self.crawl(at);
        }
    }

    /// Reads a little of a stream that is read at a trickle.
    fn crawl(&mut self, at: usize) {
        let Reading::Trickle(bytes) = self.streams[at].reading else { return };
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

/// What sockets are watched for.
fn interest() -> Interest {
    Interest::READABLE | Interest::WRITABLE
}

/// Whole microseconds.
fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
