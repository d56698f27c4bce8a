//! Many subscribers and a few publishers on one thread, with the hub's routes.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tidings_load::{Failure, Marker, Notice, Reading, Target};

use crate::{
    Outcome,
    event::{CHANNEL, Event, RUN},
    http::{NDJSON, request},
};

/// Publishers of one channel at most: each counts for itself.
const SOURCES: usize = 100;

/// Connections that are made at once: below the backlog of every server that is measured.
const CONNECTING_MAX: usize = 100;

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

/// All connections of one measurement.
pub(crate) struct Swarm {
    load: tidings_load::Swarm,
    target: Target,
    marker: Marker,
    opened: usize,
    pub(crate) faults: Faults,
    pub(crate) deliveries: u64,
    /// The longest that it took to connect one client.
    pub(crate) slowest_connect: Duration,
}

impl Swarm {
    pub(crate) fn new(address: SocketAddr) -> Outcome<Self> {
        Ok(Self {
            load: tidings_load::Swarm::new(RUN, 1, SOURCES)?,
            target: Target { address },
            marker: Marker::new(RUN),
            opened: 0,
            faults: Faults::default(),
            deliveries: 0,
            slowest_connect: Duration::ZERO,
        })
    }

    /// Asks for one more stream, of which every publisher's events begin with 0.
    pub(crate) fn subscribe(&mut self, channel: &str, after: Option<&str>) -> Outcome<()> {
        let resume = after.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let headers = format!("Accept: text/event-stream\r\n{resume}");
        let request = request("GET", &format!("/api/v1/events/{channel}"), &headers, b"");
        self.load.open(self.target, CHANNEL, Reading::Eager, request);
        while self.load.connecting() >= CONNECTING_MAX {
            self.poll(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Opens one more connection to publish on.
    pub(crate) fn add_publisher(&mut self) {
        self.load.add_publisher(self.target);
    }

    pub(crate) fn publishers(&self) -> usize {
        self.load.publishers()
    }

    /// The publishers that have their answer.
    pub(crate) fn idle_publishers(&self) -> Vec<usize> {
        (0..self.publishers()).filter(|at| self.load.is_idle(*at)).collect()
    }

    /// How many events the subscriber that is furthest behind has.
    pub(crate) fn received_min(&self) -> u64 {
        (0..self.load.streams()).map(|at| self.load.received(at)).min().unwrap_or(0)
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
        let path = format!("/api/v1/events/{channel}");
        let headers = "Content-Type: application/json\r\n";
        let text = event.text(&self.marker);
        self.load.send(publisher, &request("POST", &path, headers, text.as_bytes()));
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
                Notice::Closed { failure: None, .. } => self.faults.closed += 1,
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
