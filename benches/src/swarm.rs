//! Many subscribers and a few publishers on one thread, with the hub's routes.

use std::{
    net::SocketAddr,
    ops::Add,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tidings_load::{Failure, Marker, Notice, Reading, Target};

use crate::{
    Outcome,
    event::{CHANNEL, EVENT_BYTES, Event, RUN},
    http::{NDJSON, request},
    server::{Publishes, Server},
};

/// Publishers of one channel at most: each counts for itself.
const SOURCES: usize = 100;

/// Connections that are made at once: below the backlog of every server that is measured.
const CONNECTING_MAX: usize = 100;

/// Pushpin answers 500 and 502 where hundreds ask at once: the queues between its parts overflow.
const PUSHPIN_UNANSWERED_MAX: usize = 20;

/// What subscribers saw, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// Gaps that the server told of.
    pub(crate) gaps: u64,
    /// Streams that the server closed.
    pub(crate) closed: u64,
}

impl Faults {
    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl Add for Faults {
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
pub(crate) struct Swarm {
    load: tidings_load::Swarm,
    target: Target,
    publishes: Publishes,
    /// Streams that are asked for and not answered at once.
    unanswered_max: usize,
    marker: Marker,
    /// Bytes of every event's data.
    pub(crate) event_bytes: usize,
    opened: usize,
    /// Where streams are asked for as the second request of a connection, which the hub leaves to hyper.
    pub(crate) is_kept_alive: bool,
    pub(crate) faults: Faults,
    /// Streams that were not read and that the server closed.
    pub(crate) cut: u64,
    pub(crate) deliveries: u64,
    /// The longest that it took to connect one client.
    pub(crate) slowest_connect: Duration,
}

impl Swarm {
    pub(crate) fn new(address: SocketAddr) -> Outcome<Self> {
        Ok(Self {
            load: tidings_load::Swarm::new(RUN, 1, SOURCES)?,
            target: Target { address },
            publishes: Publishes::ByRoute,
            unanswered_max: usize::MAX,
            marker: Marker::new(RUN),
            event_bytes: EVENT_BYTES,
            opened: 0,
            is_kept_alive: false,
            faults: Faults::default(),
            cut: 0,
            deliveries: 0,
            slowest_connect: Duration::ZERO,
        })
    }

    /// The same for a server that may take publishes in a form of its own.
    pub(crate) fn of(server: &Server) -> Outcome<Self> {
        let is_pushpin = matches!(server.publishes, Publishes::AsItems(_));
        let unanswered_max = if is_pushpin { PUSHPIN_UNANSWERED_MAX } else { usize::MAX };
        Ok(Self { publishes: server.publishes, unanswered_max, ..Self::new(server.address)? })
    }

    /// Goes to another node with whatever is opened from now on.
    pub(crate) fn turn_to(&mut self, address: SocketAddr) {
        self.target = Target { address };
    }

    /// Asks for one more stream, of which every publisher's events begin with 0.
    pub(crate) fn subscribe(&mut self, channel: &str, after: Option<&str>) -> Outcome<()> {
        self.open(&format!("/api/v1/events/{channel}"), after, Reading::Eager)
    }

    /// Asks for one more stream of several channels.
    pub(crate) fn subscribe_all(&mut self, channels: &[String]) -> Outcome<()> {
        self.open(&format!("/api/v1/events?channel={}", channels.join("&channel=")), None, Reading::Eager)
    }

    /// Asks for one more stream, and never reads more than its head.
    pub(crate) fn subscribe_stuck(&mut self, channel: &str) -> Outcome<()> {
        self.open(&format!("/api/v1/events/{channel}"), None, Reading::Stuck)
    }

    fn open(&mut self, path: &str, after: Option<&str>, reading: Reading) -> Outcome<()> {
        let resume = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let headers = format!("Accept: text/event-stream\r\n{resume}");
        let mut bytes = request("GET", path, &headers, b"");
        let mut before = 0;
        if self.is_kept_alive {
            bytes = [request("GET", "/healthz", "", b""), bytes].concat();
            before = 1;
        }
        self.load.open_after(before, self.target, CHANNEL, reading, bytes);
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
            Publishes::ByRoute => self.target.address,
            Publishes::AsItems(address) => address,
        };
        self.load.add_publisher(Target { address });
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
    pub(crate) fn event(&self, source: usize, number: u64) -> Outcome<Event> {
        Ok(Event { source: u16::try_from(source)?, number, time: self.load.micros() })
    }

    /// Sends one event; the answer is counted when it comes.
    pub(crate) fn publish(&mut self, publisher: usize, channel: &str, event: Event) {
        let text = event.text(&self.marker, self.event_bytes);
        let json = "Content-Type: application/json\r\n";
        let request = match self.publishes {
            Publishes::ByRoute => {
                request("POST", &format!("/api/v1/events/{channel}"), json, text.as_bytes())
            }
            Publishes::AsItems(_) => {
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
    pub(crate) fn poll(&mut self, timeout: Duration) -> Outcome<bool> {
        let is_busy = self.load.poll(timeout)?;
        for notice in self.load.notices() {
            match notice {
                Notice::Opened { connected, .. } => {
                    self.opened += 1;
                    self.slowest_connect = self.slowest_connect.max(connected);
                }
                Notice::Closed { failure: None, stream, .. } => {
                    let is_stuck = self.load.reading(stream) == Reading::Stuck;
                    *(if is_stuck { &mut self.cut } else { &mut self.faults.closed }) += 1;
                }
                Notice::Closed { failure: Some(failure), .. } | Notice::Refused { failure, .. } => {
                    return Err(format!("stream failed: {}", text(&failure)).into());
                }
                Notice::Unpublished { failure, .. } => {
                    return Err(format!("publish failed: {}", text(&failure)).into());
                }
            }
        }
        let tally = &self.load.tally;
        self.deliveries = tally.received + tally.repeated;
        self.faults.repeated = tally.repeated + tally.reordered;
        self.faults.lost = tally.lost + tally.told;
        self.faults.gaps = tally.gaps;
        Ok(is_busy)
    }

    /// Waits until every stream was answered.
    pub(crate) fn open_all(&mut self) -> Outcome<()> {
        self.until("all streams were answered", |swarm| swarm.opened == swarm.load.streams())
    }

    /// Waits until every publisher has its answer and `deliveries` events came in all; what does not come is lost.
    pub(crate) fn drain(&mut self, deliveries: u64) -> Outcome<()> {
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
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) -> Outcome<()> {
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
fn text(failure: &Failure) -> String {
    match failure {
        Failure::Answer { status, body } => format!("status {status}: {}", String::from_utf8_lossy(body)),
        other => other.to_string(),
    }
}
