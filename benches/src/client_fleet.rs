//! Many subscribers and a few publishers on one thread, on the hub's routes.

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
    requests::{NDJSON, request},
    result::BenchResult,
    server::{BenchServer, PublishRoute},
};

/// Most publishers of one channel.
const SOURCES: usize = 100;

/// Connects in flight: below the backlog of every measured server.
const CONNECTING_MAX: usize = 100;

/// Streams in flight to Pushpin, which answers 500 and 502 to hundreds: its internal queues overflow.
const PUSHPIN_UNANSWERED_MAX: usize = 20;

/// Faults of the subscribers' streams.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DeliveryFaults {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// Gaps received.
    pub(crate) gaps: u64,
    /// Streams closed by the server.
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

/// All connections of one turn.
pub(crate) struct BenchFleet {
    load: tidings_load::ClientFleet,
    address: SocketAddr,
    publishes: PublishRoute,
    /// Most streams that wait for their head.
    unanswered_max: usize,
    codec: StampCodec,
    /// Size of an event's data, in bytes.
    pub(crate) event_bytes: usize,
    opened: usize,
    /// Whether streams are the second request of their connections: the hub then serves them by hyper.
    pub(crate) is_kept_alive: bool,
    pub(crate) faults: DeliveryFaults,
    /// Stalled streams that the server closed.
    pub(crate) cut: u64,
    pub(crate) deliveries: u64,
    /// Longest connect of a client.
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

    /// Creates the fleet of a server, whose form of publishes it uses.
    pub(crate) fn of(server: &BenchServer) -> BenchResult<Self> {
        let is_pushpin = matches!(server.publishes, PublishRoute::AsItems(_));
        let unanswered_max = if is_pushpin { PUSHPIN_UNANSWERED_MAX } else { usize::MAX };
        Ok(Self { publishes: server.publishes, unanswered_max, ..Self::new(server.address)? })
    }

    /// Opens streams of one channel at a server.
    pub(crate) fn subscribed(server: &BenchServer, channel: &str, streams: usize) -> BenchResult<Self> {
        let mut fleet = Self::of(server)?;
        for _ in 0..streams {
            fleet.subscribe(channel, None)?;
        }
        fleet.open_all()?;
        Ok(fleet)
    }

    /// Directs further streams and publishers to another node.
    pub(crate) fn redirect_to(&mut self, address: SocketAddr) {
        self.address = address;
    }

    /// Opens a stream; numbers of its events begin with 0.
    pub(crate) fn subscribe(&mut self, channel: &str, after: Option<&str>) -> BenchResult<()> {
        self.open(&format!("/api/v1/events/{channel}"), after, ReadPace::Eager)
    }

    /// Opens a stream of several channels.
    pub(crate) fn subscribe_all(&mut self, channels: &[String]) -> BenchResult<()> {
        self.open(&format!("/api/v1/events?channel={}", channels.join("&channel=")), None, ReadPace::Eager)
    }

    /// Opens a stream that is not read after its head.
    pub(crate) fn subscribe_stalled(&mut self, channel: &str) -> BenchResult<()> {
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

    /// Adds a publisher.
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

    /// Publishers without a request in flight.
    pub(crate) fn idle_publishers(&self) -> Vec<usize> {
        (0..self.publishers()).filter(|at| self.load.is_idle(*at)).collect()
    }

    /// Events received by the slowest open subscriber.
    pub(crate) fn received_min(&self) -> u64 {
        let open = (0..self.load.streams()).filter(|at| self.load.is_open(*at));
        open.map(|at| self.load.received(at)).min().unwrap_or(0)
    }

    /// Discards the latencies so far.
    pub(crate) fn forget_latencies(&mut self) {
        self.load.latency.reset();
    }

    /// Microseconds from publish to receipt.
    pub(crate) fn latency(&self) -> &Histogram<u64> {
        &self.load.latency
    }

    /// Stamp of an event that is sent now.
    pub(crate) fn event(&self, producer: usize, number: u64) -> BenchResult<Stamp> {
        Ok(stamp(u16::try_from(producer)?, number, self.load.micros()))
    }

    /// Publishes one event.
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

    /// Publishes a batch.
    pub(crate) fn publish_batch(&mut self, publisher: usize, lines: &str) {
        self.load.send(publisher, &request("POST", "/api/v1/publish", NDJSON, lines.as_bytes()));
    }

    /// Polls once, 100 ms at most; returns whether any socket was ready.
    pub(crate) fn poll(&mut self, timeout: Duration) -> BenchResult<bool> {
        let is_busy = self.load.poll(timeout)?;
        for event in self.load.events() {
            match event {
                FleetEvent::Opened { connected, .. } => {
                    self.opened += 1;
                    self.slowest_connect = self.slowest_connect.max(connected);
                }
                FleetEvent::Closed { failure: None, stream, .. } => {
                    let is_stalled = self.load.reading(stream) == ReadPace::Stalled;
                    *(if is_stalled { &mut self.cut } else { &mut self.faults.closed }) += 1;
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

    /// Waits until every stream has its head.
    pub(crate) fn open_all(&mut self) -> BenchResult<()> {
        self.until("every stream had its head", |fleet| fleet.opened == fleet.load.streams())
    }

    /// Waits until all publishes are answered and `deliveries` events have arrived; missing ones count as lost.
    pub(crate) fn drain(&mut self, deliveries: u64) -> BenchResult<()> {
        let mut quiet = 0;
        while self.deliveries < deliveries || (0..self.publishers()).any(|at| !self.load.is_idle(at)) {
            quiet = if self.poll(Duration::from_millis(100))? { 0 } else { quiet + 1 };
            if quiet == 30 {
                break;
            }
        }
        // Losses within a stream are counted already.
        let missing = deliveries.saturating_sub(self.deliveries);
        self.faults.lost = self.faults.lost.max(missing);
        Ok(())
    }

    /// Polls until `holds` returns true.
    ///
    /// # Errors
    /// No socket was ready for 30 s.
    pub(crate) fn until(&mut self, event: &str, mut holds: impl FnMut(&Self) -> bool) -> BenchResult<()> {
        let mut last = Instant::now();
        while !holds(self) {
            if self.poll(Duration::from_millis(100))? {
                last = Instant::now();
            } else if last.elapsed() > Duration::from_secs(30) {
                return Err(format!("no socket was ready for 30 s before {event}").into());
            }
        }
        Ok(())
    }
}

/// Formats a failure with the body of its response.
fn text(failure: &RequestFailure) -> String {
    match failure {
        RequestFailure::Status { status, body } => {
            format!("status {status}: {}", String::from_utf8_lossy(body))
        }
        other => other.to_string(),
    }
}
