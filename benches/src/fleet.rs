//! Subscribers and publishers of one turn, on the hub's routes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidings_load::{ClientFleet, FleetEvent, FleetPublisher, ProcessTree, ReadPace, RequestFailure};

use crate::comparison::Sample;
use crate::faults::DeliveryFaults;
use crate::numbers::micros;
use crate::requests::{EVENT_BYTES, JSON, NDJSON, RUN, line, request};
use crate::result::BenchResult;
use crate::server::{BenchServer, cpu_time};

/// Connects in flight: below the backlog of every measured server.
const CONNECTING_MAX: usize = 100;
/// Streams in flight to Pushpin, which answers 500 and 502 to hundreds: its internal queues overflow.
const PUSHPIN_OPENING_MAX: usize = 20;

/// All connections of one turn. Channel `n` is named `project.n`.
pub(crate) struct BenchFleet {
    clients: ClientFleet,
    /// Server of further streams.
    pub(crate) address: SocketAddr,
    /// Address of Pushpin's route for publishes.
    pushpin: Option<SocketAddr>,
    channels: u32,
    /// Names that each channel stands for: its events take turns with them.
    pub(crate) names_per_channel: u32,
    pub(crate) event_bytes: usize,
    /// Events of one NDJSON body; `None` for single events on the channel's route.
    pub(crate) batch: Option<usize>,
    pub(crate) reading: ReadPace,
    /// Whether streams are the second request of their connections: the hub then serves them by hyper.
    pub(crate) is_kept_alive: bool,
    opened: usize,
    /// Eager streams of each channel.
    subscribers: Vec<u64>,
    pub(crate) published: u64,
    /// Deliveries that eager streams will get.
    pub(crate) due: u64,
    closed: u64,
    lost_at_end: u64,
    /// Stalled streams that the server closed.
    pub(crate) cut: u64,
    /// Longest connect of a client.
    pub(crate) slowest_connect: Duration,
}

/// Figures of a part of a turn.
pub(crate) struct Measured {
    pub(crate) seconds: f64,
    pub(crate) published: f64,
    pub(crate) deliveries: f64,
    /// CPU time of each group of processes, in µs.
    pub(crate) cpu: Vec<f64>,
    /// From publish to receipt, in ms.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl BenchFleet {
    /// Creates a fleet whose publishers take turns with the servers. Its streams go to the first one.
    pub(crate) fn new(servers: &[&BenchServer], channels: usize, publishers: usize) -> BenchResult<Self> {
        let pushpin = servers[0].pushpin;
        let mut clients = ClientFleet::new(RUN, channels, publishers.max(1))?;
        for server in servers.iter().cycle().take(publishers) {
            clients.add_publisher(pushpin.unwrap_or(server.address));
        }
        Ok(Self {
            clients,
            address: servers[0].address,
            pushpin,
            channels: u32::try_from(channels)?,
            names_per_channel: 1,
            event_bytes: EVENT_BYTES,
            batch: None,
            reading: ReadPace::Eager,
            is_kept_alive: false,
            opened: 0,
            subscribers: vec![0; channels],
            published: 0,
            due: 0,
            closed: 0,
            lost_at_end: 0,
            cut: 0,
            slowest_connect: Duration::ZERO,
        })
    }

    /// Creates a fleet of one channel with `streams` open streams.
    pub(crate) fn subscribed(server: &BenchServer, streams: usize, publishers: usize) -> BenchResult<Self> {
        let mut fleet = Self::new(&[server], 1, publishers)?;
        fleet.subscribe(streams)?;
        Ok(fleet)
    }

    /// Opens further streams, which take turns with the channels, and waits until all streams have their heads.
    ///
    /// # Errors
    /// No socket was ready for 30 s.
    pub(crate) fn subscribe(&mut self, streams: usize) -> BenchResult<()> {
        for _ in 0..streams {
            self.subscribe_next()?;
        }
        let mut last = Instant::now();
        while self.opened < self.clients.streams().len() {
            if self.poll(Duration::from_millis(100))? {
                last = Instant::now();
            } else if last.elapsed() > Duration::from_secs(30) {
                return Err("no socket was ready for 30 s before every stream had its head".into());
            }
        }
        Ok(())
    }

    /// Begins a stream of the next channel.
    pub(crate) fn subscribe_next(&mut self) -> BenchResult<()> {
        let channel = u32::try_from(self.clients.streams().len())? % self.channels;
        let names = (0..self.names_per_channel).map(|at| channel_name(channel + at * self.channels));
        let path = match names.collect::<Vec<_>>().as_slice() {
            [name] => format!("/api/v1/events/{name}"),
            names => format!("/api/v1/events?channel={}", names.join("&channel=")),
        };
        self.subscribers[channel as usize] += u64::from(self.reading == ReadPace::Eager);
        self.open(&path, channel, "")
    }

    /// Begins a stream that gets `events` stored events after an id.
    pub(crate) fn resume(&mut self, channel: &str, after: &str, events: u64) -> BenchResult<()> {
        self.due += events;
        self.open(&format!("/api/v1/events/{channel}"), 0, &format!("Last-Event-ID: {after}\r\n"))
    }

    fn open(&mut self, path: &str, channel: u32, headers: &str) -> BenchResult<()> {
        let mut requests = request("GET", path, &format!("Accept: text/event-stream\r\n{headers}"), b"");
        if self.is_kept_alive {
            requests = [request("GET", "/healthz", "", b""), requests].concat();
        }
        let stream = self.clients.open(self.address, channel, self.reading, &requests);
        self.clients.skip_responses(stream, u8::from(self.is_kept_alive));
        let opening_max = self.pushpin.map_or(usize::MAX, |_| PUSHPIN_OPENING_MAX);
        while self.clients.connecting() >= CONNECTING_MAX
            || self.clients.streams().len() - self.opened >= opening_max
        {
            self.poll(Duration::from_millis(100))?;
        }
        Ok(())
    }

    /// Publishes one request of an idle publisher.
    pub(crate) fn publish(&mut self, publisher: usize) {
        let mut body = Vec::new();
        let request = if let Some(events) = self.batch {
            for _ in 0..events {
                let (name, data) = self.next_event(publisher);
                body.extend_from_slice(line(&name, &data).as_bytes());
            }
            request("POST", "/api/v1/publish", NDJSON, &body)
        } else {
            let (name, data) = self.next_event(publisher);
            if self.pushpin.is_some() {
                let data = data.replace('"', "\\\"");
                let formats = format!(r#"{{"http-stream":{{"content":"data: {data}\n\n"}}}}"#);
                let items = format!(r#"{{"items":[{{"channel":"{name}","formats":{formats}}}]}}"#);
                request("POST", "/publish/", JSON, items.as_bytes())
            } else {
                request("POST", &format!("/api/v1/events/{name}"), JSON, data.as_bytes())
            }
        };
        self.clients.send(publisher, &request);
    }

    /// Writes the next event of a publisher; returns the name of its channel, and its data.
    fn next_event(&mut self, publisher: usize) -> (String, String) {
        let mut data = Vec::with_capacity(self.event_bytes);
        let stamp = self.clients.write_event(publisher, self.event_bytes, &mut data);
        self.published += 1;
        self.due += self.subscribers[stamp.channel as usize];
        let name = channel_name(stamp.channel + self.channels * (stamp.number % self.names_per_channel));
        (name, String::from_utf8(data).expect("stamps are ASCII"))
    }

    /// Publishes one request at every tick, and reads meanwhile. A tick waits until a publisher is idle.
    pub(crate) fn run_paced(&mut self, requests_per_second: f64, time: Duration) -> BenchResult<()> {
        let began = Instant::now();
        let mut due = Duration::ZERO;
        while due < time {
            let left = due.saturating_sub(began.elapsed());
            let idle = self.clients.publishers().iter().position(FleetPublisher::is_idle);
            if let Some(publisher) = idle.filter(|_| left.is_zero()) {
                self.publish(publisher);
                due += Duration::from_secs_f64(1.0 / requests_per_second);
            } else {
                self.poll(left.max(Duration::from_micros(100)))?;
            }
        }
        Ok(())
    }

    /// Publishes as soon as responses arrive, while the slowest subscriber is at most `window` events behind.
    pub(crate) fn run_saturated(&mut self, window: Option<u64>, time: Duration) -> BenchResult<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            let mut room = window.map_or(u64::MAX, |window| {
                let open = self.clients.streams().iter().filter(|stream| stream.is_open());
                let received_min = open.map(|stream| stream.received).min().unwrap_or(0);
                (received_min + window).saturating_sub(self.published)
            });
            for publisher in 0..self.clients.publishers().len() {
                if room > 0 && self.clients.publishers()[publisher].is_idle() {
                    self.publish(publisher);
                    room -= 1;
                }
            }
            self.poll(Duration::from_millis(10))?;
        }
        Ok(())
    }

    /// Measures a part of a turn, and the CPU time of each group of processes meanwhile.
    pub(crate) fn measure(
        &mut self,
        processes: &[&[ProcessTree]],
        load: impl FnOnce(&mut Self) -> BenchResult<()>,
    ) -> BenchResult<Measured> {
        let cpu = || processes.iter().map(|group| cpu_time(group)).collect::<BenchResult<Vec<_>>>();
        self.clients.latency.reset();
        let (began, cpu_before) = (Instant::now(), cpu()?);
        let (published, deliveries) = (self.published, self.deliveries());
        load(self)?;
        let seconds = began.elapsed().as_secs_f64();
        let used = cpu()?.into_iter().zip(cpu_before).map(|(after, before)| micros(after - before));
        let quantile = |at| self.clients.latency.value_at_quantile(at) as f64 / 1e3;
        Ok(Measured {
            seconds,
            published: (self.published - published) as f64,
            deliveries: (self.deliveries() - deliveries) as f64,
            cpu: used.collect(),
            p50: quantile(0.5),
            p99: quantile(0.99),
        })
    }

    /// Polls once, 100 ms at most; returns whether any socket was ready.
    fn poll(&mut self, timeout: Duration) -> BenchResult<bool> {
        let is_busy = self.clients.poll(timeout)?;
        for event in self.clients.events() {
            match event {
                FleetEvent::Opened { connected, .. } => {
                    self.opened += 1;
                    self.slowest_connect = self.slowest_connect.max(connected);
                }
                FleetEvent::Closed { failure: None, stream, .. } => {
                    let is_stalled = self.clients.streams()[stream].reading == ReadPace::Stalled;
                    *(if is_stalled { &mut self.cut } else { &mut self.closed }) += 1;
                }
                FleetEvent::Closed { failure: Some(failure), .. } | FleetEvent::Refused { failure, .. } => {
                    return Err(format!("stream failed: {}", failure_text(&failure)).into());
                }
                FleetEvent::Unpublished { failure, .. } => {
                    return Err(format!("publish failed: {}", failure_text(&failure)).into());
                }
            }
        }
        Ok(is_busy)
    }

    pub(crate) fn deliveries(&self) -> u64 {
        self.clients.counts.received + self.clients.counts.repeated
    }

    pub(crate) fn faults(&self) -> DeliveryFaults {
        let counts = &self.clients.counts;
        DeliveryFaults {
            // Losses within a stream are counted already.
            lost: (counts.lost + counts.reported).max(self.lost_at_end),
            repeated: counts.repeated + counts.reordered,
            gaps: counts.gaps,
            closed: self.closed,
        }
    }

    /// Waits until all publishes are answered and all deliveries have arrived; missing ones count as lost.
    pub(crate) fn drain(&mut self) -> BenchResult<()> {
        let mut quiet = 0;
        let is_idle = |fleet: &Self| fleet.clients.publishers().iter().all(FleetPublisher::is_idle);
        while quiet < 30 && (self.deliveries() < self.due || !is_idle(self)) {
            quiet = if self.poll(Duration::from_millis(100))? { 0 } else { quiet + 1 };
        }
        self.lost_at_end = self.due.saturating_sub(self.deliveries());
        Ok(())
    }

    /// Ends a turn with these figures.
    pub(crate) fn finish(mut self, figures: Vec<f64>) -> BenchResult<Sample> {
        self.drain()?;
        Ok(Sample { figures, texts: Vec::new(), faults: self.faults() })
    }
}

impl Measured {
    pub(crate) fn per_second(&self, count: f64) -> f64 {
        count / self.seconds
    }

    /// Server CPU per event, in µs.
    pub(crate) fn cpu_per_event(&self) -> f64 {
        self.cpu[0] / self.published
    }

    /// Server CPU per delivery, in µs.
    pub(crate) fn cpu_per_delivery(&self) -> f64 {
        self.cpu[0] / self.deliveries
    }
}

/// Formats a failure with the body of its response.
fn failure_text(failure: &RequestFailure) -> String {
    match failure {
        RequestFailure::Status { body, .. } => format!("{failure}: {}", String::from_utf8_lossy(body)),
        other => other.to_string(),
    }
}

fn channel_name(channel: u32) -> String {
    format!("project.{channel}")
}
