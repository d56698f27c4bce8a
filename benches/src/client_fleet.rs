//! Many subscribers and a few publishers on one thread, with the hub's routes.

use std::{
    fmt,
    net::SocketAddr,
    ops::Add,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tidings_load::{FleetEvent, ReadPace, RequestFailure, Stamp, StampCodec};

use crate::{
    event::{CHANNEL, EVENT_BYTES, RUN, data, stamp},
    http::{NDJSON, request},
    result::BenchResult,
    server::{BenchServer, PublishRoute},
};

/// Publishers of one channel at most: each counts for itself.
const SOURCES: usize = 100;

/// Connections that are made at once: below the backlog of every server that is measured.
const CONNECTING_MAX: usize = 100;

/// Pushpin answers 500 and 502 where hundreds ask at once: the queues between its parts overflow.
const PUSHPIN_UNANSWERED_MAX: usize = 20;

/// What subscribers saw, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeliveryFaults {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// Gaps that the server told of.
    pub(crate) gaps: u64,
    /// Streams that the server closed.
    pub(crate) closed: u64,
}

impl DeliveryFaults {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for DeliveryFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("none");
        }
        let Self { lost, repeated, gaps, closed } = self;
        write!(f, "lost {lost}, repeated {repeated}, gaps {gaps}, closed {closed}")
    }
}

impl Add for DeliveryFaults {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            lost: self.lost + other.lost,
            repeated: self.repeated + other.repeated,
            gaps: self.gaps + other.gaps,
            closed: self.closed + other.closed,
        }
    }
}

/// All connections of one measurement.
pub(crate) struct BenchFleet {
    load: tidings_load::ClientFleet,
    address: SocketAddr,
    publishes: PublishRoute,
    /// Streams that are asked for and not answered at once.
    unanswered_max: usize,
    codec: StampCodec,
    /// Bytes of every event's data.
    pub(crate) event_bytes: usize,
    opened: usize,
    /// Where streams are asked for as the second request of a connection, which the hub leaves to hyper.
    pub(crate) is_kept_alive: bool,
    pub(crate) faults: DeliveryFaults,
    /// Streams that were not read and that the server closed.
    pub(crate) cut: u64,
    pub(crate) deliveries: u64,
    /// The longest that it took to connect one client.
    pub(crate) slowest_connect: Duration,
}

impl BenchFleet {
    pub(crate) fn new(address: SocketAddr) -> BenchResult<Self> {
        Ok(Self {
            load: tidings_load::ClientFleet::new(RUN, 1, SOURCES)?,
            address,
            publishes: PublishRoute::ByRoute,
            unanswered_max: usize::MAX,
            codec: StampCodec::new(RUN),
            event_bytes: EVENT_BYTES,
            opened: 0,
            is_kept_alive: false,
            faults: DeliveryFaults::default(),
            cut: 0,
            deliveries: 0,
            slowest_connect: Duration::ZERO,
        })
    }

    /// The same for a server that may take publishes in a form of its own.
    pub(crate) fn of(server: &BenchServer) -> BenchResult<Self> {
        let is_pushpin = matches!(server.publishes, PublishRoute::AsItems(_));
        let unanswered_max = if is_pushpin { PUSHPIN_UNANSWERED_MAX } else { usize::MAX };
        Ok(Self { publishes: server.publishes, unanswered_max, ..Self::new(server.address)? })
    }

    /// Goes to another node with whatever is opened from now on.
    pub(crate) fn turn_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Asks for one more stream, of which every publisher's events begin with 0.
    pub(crate) fn subscribe(&mut self, channel: &str, after: Option<&str>) -> BenchResult<()> {
        self.open(&format!("/api/v1/events/{channel}"), after, ReadPace::Eager)
    }

    /// Asks for one more stream of several channels.
    pub(crate) fn subscribe_all(&mut self, channels: &[String]) -> BenchResult<()> {
        self.open(&format!("/api/v1/events?channel={}", channels.join("&channel=")), None, ReadPace::Eager)
    }

    /// Asks for one more stream, and never reads more than its head.
    pub(crate) fn subscribe_stuck(&mut self, channel: &str) -> BenchResult<()> {
        self.open(&format!("/api/v1/events/{channel}"), None, ReadPace::Stalled)
    }

    fn open(&mut self, path: &str, after: Option<&str>, reading: ReadPace) -> BenchResult<()> {
        let resume = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let headers = format!("Accept: text/event-stream\r\n{resume}");
        let mut bytes = request("GET", path, &headers, b"");
        let mut before = 0;
        if self.is_kept_alive {
            bytes = [request("GET", "/healthz", "", b""), bytes].concat();
            before = 1;
        }
        self.load.open_pipelined(before, self.address, CHANNEL, reading, bytes);
        while self.load.connecting() >= CONNECTING_MAX
            || self.load.streams() - self.opened >= self.unanswered_max
        {
            self.poll(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Opens one more connection to publish on.
    pub(crate) fn add_publisher(&mut self) {
        let address = match self.publishes {
            PublishRoute::ByRoute => self.address,
            PublishRoute::AsItems(address) => address,
        };
        self.load.add_publisher(address);
    }

    pub(crate) fn publishers(&self) -> usize {
        self.load.publishers()
    }

    /// The publishers that have their answer.
    pub(crate) fn idle_publishers(&self) -> Vec<usize> {
        (0..self.publishers()).filter(|at| self.load.is_idle(*at)).collect()
    }

    /// How many events the subscriber that is furthest behind has, of those that were not cut off.
    pub(crate) fn received_min(&self) -> u64 {
        let open = (0..self.load.streams()).filter(|at| self.load.is_open(*at));
        open.map(|at| self.load.received(at)).min().unwrap_or(0)
    }

    /// Forgets the latencies so far.
    pub(crate) fn forget_latencies(&mut self) {
        self.load.latency.reset();
    }

    /// Microseconds from publish to receipt.
    pub(crate) fn latency(&self) -> &Histogram<u64> {
        &self.load.latency
    }

    /// An event of now.
    pub(crate) fn event(&self, producer: usize, number: u64) -> BenchResult<Stamp> {
        Ok(stamp(u16::try_from(producer)?, number, self.load.micros()))
    }

    /// Sends one event; the answer is counted when it comes.
    pub(crate) fn publish(&mut self, publisher: usize, channel: &str, event: Stamp) {
        let text = data(&self.codec, event, self.event_bytes);
        let json = "Content-Type: application/json\r\n";
        let request = match self.publishes {
            PublishRoute::ByRoute => {
                request("POST", &format!("/api/v1/events/{channel}"), json, text.as_bytes())
            }
            PublishRoute::AsItems(_) => {
                let text = text.replace('"', "\\\"");
                let formats = format!(r#"{{"http-stream":{{"content":"data: {text}\n\n"}}}}"#);
                let items = format!(r#"{{"items":[{{"channel":"{channel}","formats":{formats}}}]}}"#);
                request("POST", "/publish/", json, items.as_bytes())
            }
        };
        self.load.send(publisher, &request);
    }

    /// Sends a batch, whose answer counts as one.
    pub(crate) fn publish_batch(&mut self, publisher: usize, lines: &str) {
        self.load.send(publisher, &request("POST", "/api/v1/publish", NDJSON, lines.as_bytes()));
    }

    /// Reads whatever comes first within `timeout`, of at most 100 ms. False where nothing came.
    pub(crate) fn poll(&mut self, timeout: Duration) -> BenchResult<bool> {
        let is_busy = self.load.poll(timeout)?;
        for notice in self.load.events() {
            match notice {
                FleetEvent::Opened { connected, .. } => {
                    self.opened += 1;
                    self.slowest_connect = self.slowest_connect.max(connected);
                }
                FleetEvent::Closed { failure: None, stream, .. } => {
                    let is_stuck = self.load.reading(stream) == ReadPace::Stalled;
                    *(if is_stuck { &mut self.cut } else { &mut self.faults.closed }) += 1;
                }
                FleetEvent::Closed { failure: Some(failure), .. } | FleetEvent::Refused { failure, .. } => {
                    return Err(format!("stream failed: {}", text(&failure)).into());
                }
                FleetEvent::Unpublished { failure, .. } => {
                    return Err(format!("publish failed: {}", text(&failure)).into());
                }
            }
        }
        let counts = &self.load.counts;
        self.deliveries = counts.received + counts.repeated;
        self.faults.repeated = counts.repeated + counts.reordered;
        self.faults.lost = counts.lost + counts.told;
        self.faults.gaps = counts.gaps;
        Ok(is_busy)
    }

    /// Waits until every stream was answered.
    pub(crate) fn open_all(&mut self) -> BenchResult<()> {
        self.until("all streams were answered", |fleet| fleet.opened == fleet.load.streams())
    }

    /// Waits until every publisher has its answer and `deliveries` events came in all; what does not come is lost.
    pub(crate) fn drain(&mut self, deliveries: u64) -> BenchResult<()> {
        let mut quiet = 0;
        while self.deliveries < deliveries || (0..self.publishers()).any(|at| !self.load.is_idle(at)) {
            quiet = if self.poll(Duration::from_millis(100))? { 0 } else { quiet + 1 };
            if quiet == 30 {
                break;
            }
        }
        // Those lost within a stream were counted as they were missed.
        let missing = deliveries.saturating_sub(self.deliveries);
        self.faults.lost = self.faults.lost.max(missing);
        Ok(())
    }

    /// Reads until something holds.
    ///
    /// # Errors
    /// Where nothing came for 30 s before that.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> BenchResult<()> {
        let mut last = Instant::now();
        while !holds(self) {
            if self.poll(Duration::from_millis(100))? {
                last = Instant::now();
            } else if last.elapsed() > Duration::from_secs(30) {
                return Err(format!("nothing came for 30 s before {what}").into());
            }
        }
        Ok(())
    }
}

/// A failure with the answer that it was.
fn text(failure: &RequestFailure) -> String {
    match failure {
        RequestFailure::Status { status, body } => {
            format!("status {status}: {}", String::from_utf8_lossy(body))
        }
        other => other.to_string(),
    }
}
