//! Losses of FastAPI, sse-starlette and broadcaster, and of two nodes, under the same load and the same faults.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use tidings_load::{ClientFleet, FleetEvent, FleetPublisher, FleetStream, ReadPace, Stamp, StampCodec};
use tidings_testkit::{RespConnection, RespReply};

use crate::numbers::{count, figure_text, micros};
use crate::prelude::*;
use crate::requests::{EVENT_BYTES, JSON, RUN, request};
use crate::server::PinnedRedis;

/// A FastAPI route with sse-starlette and broadcaster.
const APP: &str = include_str!("../../fastapi/app.py");
const CHANNELS: u32 = 20;
const SUBSCRIBERS_EACH: u32 = 10;
const EVENTS_PER_SECOND: u32 = 100;
/// Turns of one run: each fault is injected twice.
const SLICES: f64 = 5.0;
const FAULTS: u32 = 4;
/// Interval between two cuts of clients, and time until a client reconnects.
const CUT_EVERY: Duration = Duration::from_millis(100);
const BACK_AFTER: Duration = Duration::from_millis(500);
/// Pause before a failed publish is retried.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// Time without a delivery after which missing events count as lost.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerStack {
    /// FastAPI; publishers send `PUBLISH`.
    FastApi,
    /// Two nodes with `redis.capture`; publishers send `PUBLISH`.
    Captured,
    /// Two nodes; publishers send idempotency keys, and retry until they get a response.
    Keyed,
}

const STACKS: [(&str, ServerStack); 3] = [
    ("FastAPI, sse-starlette, broadcaster", ServerStack::FastApi),
    ("tidings, `PUBLISH` captured", ServerStack::Captured),
    ("tidings, HTTP with keys", ServerStack::Keyed),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum InjectedFault {
    None,
    /// Clients lose their connections in turn, and reconnect.
    Clients,
    /// Also a connection of Redis is killed: a Pub/Sub one and another one in turn.
    One,
    /// All connections of Redis are killed instead of one.
    All,
}

const INJECTED_FAULTS: [(&str, InjectedFault); 4] = [
    ("none", InjectedFault::None),
    ("clients reconnect", InjectedFault::Clients),
    ("and one connection to Redis is killed", InjectedFault::One),
    ("and all connections to Redis are killed", InjectedFault::All),
];

pub(super) fn measure(context: &BenchContext) -> BenchResult<FigureTable> {
    let time = context.slice().mul_f64(SLICES);
    let mut table = FigureTable::new(
        "Deliveries of FastAPI, sse-starlette and broadcaster beside Tidings",
        &[
            "stack",
            "faults",
            "expected",
            "lost",
            "missed while away",
            "doubled",
            "gaps told",
            "p50, ms",
            "p99, ms",
            "server CPU per delivery, µs",
            "memory, MiB",
        ],
        format!(
            "Two servers over one Redis on the first core; {} subscribers of {CHANNELS} channels, {EVENTS_PER_SECOND} events/s for \
             {time:.0?}, each row once. Clients that reconnect: one connection is cut every {CUT_EVERY:?}, and asks again after \
             {BACK_AFTER:?} with its `Last-Event-ID`, if it has one. Connections to Redis are killed {FAULTS} times: one, or all by \
             `CLIENT KILL TYPE pubsub`, and `CLIENT KILL TYPE normal`, in turn. Lost is what a client did not get though its stream was \
             open or resumed. A `PUBLISH` without an answer counts for nothing. \
             Events that a client gets when it is back came late: that is the p99 of ours. CPU and memory are those of both servers, without \
             Redis. uvicorn with one process each; redis-py 5, since broadcaster hears nothing with 8.",
            CHANNELS * SUBSCRIBERS_EACH,
        ),
    );
    for (fault_name, fault) in INJECTED_FAULTS {
        for (name, stack) in STACKS {
            let mut row = vec![name.to_owned(), fault_name.to_owned()];
            match StackRun::begin(context, stack).and_then(|run| run.take(fault, time)) {
                Ok(StackFigures { cells, is_complete }) => {
                    let text = format!("{name}, {fault_name}: {}", cells.join(", "));
                    eprintln!("  {text}");
                    // A key makes a publish certain. `PUBLISH` promises no delivery while no node is subscribed.
                    let is_sure = stack == ServerStack::Keyed
                        || stack == ServerStack::Captured && fault != InjectedFault::All;
                    if is_sure && !is_complete {
                        table.errors.push(text);
                    }
                    row.extend(cells);
                }
                Err(error) if stack != ServerStack::FastApi => return Err(error),
                Err(error) => {
                    row.push(error.to_string());
                    row.resize(table.columns.len(), "–".to_owned());
                }
            }
            table.row(row);
        }
    }
    Ok(table)
}

/// Python with the libraries of the route, if `cargo xtask compare` has installed it.
fn python() -> BenchResult<PathBuf> {
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).ok_or("this program is in no target directory")?;
    let python = target.join("python/guides/bin/python");
    if python.exists() { Ok(python) } else { Err("its Python is not installed".into()) }
}

/// Result of one run.
struct StackFigures {
    cells: [String; 9],
    /// Whether no event was lost, missed or doubled, and no gap received.
    is_complete: bool,
}

/// One publisher that retries its requests in order.
#[derive(Debug, Default)]
struct RetryQueue {
    waiting: VecDeque<Vec<u8>>,
    in_flight: Vec<u8>,
    not_before: Option<Instant>,
}

/// One stack under load.
struct StackRun {
    clients: ClientFleet,
    servers: [BenchServer; 2],
    stack: ServerStack,
    codec: StampCodec,
    /// Connection for `PUBLISH`.
    connection: Option<RespConnection>,
    queues: Vec<RetryQueue>,
    /// Streams to reopen, with the time for it.
    away: VecDeque<(Instant, usize)>,
    published: u32,
    /// The last field: it is dropped after the servers.
    redis: PinnedRedis,
}

impl StackRun {
    /// Starts two servers and opens all streams, half of them at each.
    fn begin(context: &BenchContext, stack: ServerStack) -> BenchResult<Self> {
        let redis = PinnedRedis::start()?;
        let url = redis.server.url();
        let captured = [("TIDINGS_REDIS_URL", url.as_str()), ("TIDINGS_REDIS_CAPTURE", "project.*")];
        let start = || match stack {
            ServerStack::FastApi => start_fastapi(&context.directory, &url),
            ServerStack::Captured => BenchServer::start(context, ServerKind::Memory, &captured),
            ServerStack::Keyed => BenchServer::start(context, ServerKind::Memory, &captured[..1]),
        };
        let mut run = Self {
            clients: ClientFleet::new(RUN, CHANNELS as usize, CHANNELS as usize)?,
            servers: [start()?, start()?],
            stack,
            codec: StampCodec::new(RUN),
            connection: None,
            queues: (0..CHANNELS).map(|_| RetryQueue::default()).collect(),
            away: VecDeque::new(),
            published: 0,
            redis,
        };
        let address = |at: u32| run.servers[at as usize % 2].address;
        for at in 0..CHANNELS * SUBSCRIBERS_EACH {
            let (channel, address) = (at % CHANNELS, address(at / CHANNELS));
            run.clients.open(address, channel, ReadPace::Eager, &stream_request(channel, b""));
        }
        (0..CHANNELS).for_each(|channel| _ = run.clients.add_publisher(address(channel)));
        let began = Instant::now();
        while !run.are_streams_open() {
            run.poll(Duration::from_millis(50))?;
            if began.elapsed() > Duration::from_secs(30) {
                return Err("not every stream was answered within 30 s".into());
            }
        }
        // FastAPI sends the head before it subscribes.
        let opened = Instant::now();
        while opened.elapsed() < Duration::from_millis(500) {
            run.poll(Duration::from_millis(20))?;
        }
        Ok(run)
    }

    fn are_streams_open(&self) -> bool {
        self.clients.streams().iter().all(FleetStream::is_open)
    }

    fn take(mut self, fault: InjectedFault, time: Duration) -> BenchResult<StackFigures> {
        let cpu_before = self.cpu()?;
        let began = Instant::now();
        let (tick, fault_every) = (Duration::from_secs(1) / EVENTS_PER_SECOND, time / FAULTS);
        let (mut event_at, mut cut_at, mut fault_at) = (Duration::ZERO, CUT_EVERY, fault_every / 2);
        let (mut cuts, mut kills) = (0, 0);
        while began.elapsed() < time {
            let now = began.elapsed();
            if now >= event_at {
                self.publish()?;
                event_at += tick;
            }
            if now >= cut_at && fault >= InjectedFault::Clients {
                self.cut(cuts);
                cuts += 1;
                cut_at += CUT_EVERY;
            }
            if now >= fault_at && fault >= InjectedFault::One {
                self.kill(fault, kills);
                kills += 1;
                fault_at += fault_every;
            }
            let left = event_at.saturating_sub(began.elapsed());
            self.poll(left.clamp(Duration::from_micros(100), Duration::from_millis(10)))?;
        }
        self.settle()?;
        let memory_kib = self.servers.iter().map(BenchServer::pss_kib).sum::<BenchResult<u64>>()?;
        let expected: u64 = (0..CHANNELS).map(|channel| self.clients.sequences.published(channel)).sum();
        let expected = expected * u64::from(SUBSCRIBERS_EACH);
        let counts = &self.clients.counts;
        let (lost, doubled) = (counts.lost + counts.reported, counts.repeated + counts.reordered);
        let share = |lost: u64| match lost {
            0 => "0".to_owned(),
            lost => format!("{} ({:.1}%)", count(lost as f64), lost as f64 / expected as f64 * 100.0),
        };
        let quantile = |at| figure_text(self.clients.latency.value_at_quantile(at) as f64 / 1e3);
        let cells = [
            count(expected as f64),
            share(lost),
            share(counts.away),
            doubled.to_string(),
            counts.gaps.to_string(),
            quantile(0.5),
            quantile(0.99),
            figure_text(micros(self.cpu()? - cpu_before) / counts.received.max(1) as f64),
            figure_text(memory_kib as f64 / 1024.0),
        ];
        Ok(StackFigures { cells, is_complete: lost + counts.away + doubled + counts.gaps == 0 })
    }

    fn cpu(&self) -> BenchResult<Duration> {
        self.servers.iter().map(BenchServer::cpu).sum()
    }

    /// Publishes on the next channel.
    fn publish(&mut self) -> BenchResult<()> {
        let channel = self.published % CHANNELS;
        self.published += 1;
        let number = self.clients.sequences.take(channel, 0);
        let stamp = Stamp { channel, producer: 0, number, micros: self.clients.micros() };
        let mut data = Vec::with_capacity(EVENT_BYTES);
        self.codec.write(stamp, EVENT_BYTES, &mut data);
        let name = format!("project.{channel}");
        if self.stack == ServerStack::Keyed {
            let headers = format!("{JSON}Idempotency-Key: {channel}-{number}\r\n");
            let request = request("POST", &format!("/api/v1/events/{name}"), &headers, &data);
            self.queues[channel as usize].waiting.push_back(request);
            return Ok(());
        }
        let mut connection = self.connection.take().unwrap_or_else(|| self.redis.server.connect());
        match connection.try_command(&["PUBLISH", &name, &String::from_utf8(data)?]) {
            Ok(RespReply::Integer(_)) => self.connection = Some(connection),
            // The connection was killed: the result is unknown.
            _ => self.clients.sequences.doubt(channel, 0, number),
        }
        Ok(())
    }

    /// Resets the connection of a client, which reconnects.
    fn cut(&mut self, cuts: usize) {
        // Consecutive cuts meet different channels.
        let at = cuts * 7 % self.clients.streams().len();
        if self.clients.streams()[at].is_open() {
            self.clients.cut(at);
            self.away.push_back((Instant::now() + BACK_AFTER, at));
        }
    }

    fn kill(&self, fault: InjectedFault, kills: usize) {
        let kind = if kills.is_multiple_of(2) { "pubsub" } else { "normal" };
        if fault == InjectedFault::All {
            self.redis.server.client_kill(kind);
            return;
        }
        let mut admin = self.redis.server.connect();
        let own = admin.command(&["CLIENT", "ID"]).integer().to_string();
        let list = admin.command(&["CLIENT", "LIST", "TYPE", kind]).text();
        let ids = list.lines().filter_map(|line| line.strip_prefix("id=")?.split_whitespace().next());
        let ids: Vec<&str> = ids.filter(|id| *id != own).collect();
        if let Some(id) = ids.get(kills / 2 % ids.len().max(1)) {
            admin.command(&["CLIENT", "KILL", "ID", id]);
        }
    }

    /// Waits until every event has arrived or deliveries stop, and counts the missing ones.
    fn settle(&mut self) -> BenchResult<()> {
        let (mut last, mut received) = (Instant::now(), self.clients.counts.received);
        while last.elapsed() < QUIET {
            self.poll(Duration::from_millis(20))?;
            if self.clients.counts.received > received || !self.away.is_empty() {
                (last, received) = (Instant::now(), self.clients.counts.received);
            }
            let are_answered = self.queues.iter().all(|queue| queue.waiting.is_empty())
                && self.clients.publishers().iter().all(FleetPublisher::is_idle);
            if are_answered && self.are_streams_open() && self.clients.pending() == 0 {
                break;
            }
        }
        self.clients.settle();
        Ok(())
    }

    /// Sends requests that wait, reopens streams that are due, and polls once.
    fn poll(&mut self, timeout: Duration) -> BenchResult<()> {
        let now = Instant::now();
        while let Some((_, at)) = self.away.pop_front_if(|(due, _)| *due <= now) {
            let stream = &self.clients.streams()[at];
            let request = stream_request(stream.channel, stream.last_id());
            self.clients.reopen(at, &request);
        }
        for (at, queue) in self.queues.iter_mut().enumerate() {
            let is_resting = queue.not_before.is_some_and(|due| due > now);
            if !is_resting
                && self.clients.publishers()[at].is_idle()
                && let Some(request) = queue.waiting.pop_front()
            {
                self.clients.send(at, &request);
                queue.in_flight = request;
            }
        }
        self.clients.poll(timeout)?;
        for event in self.clients.events() {
            match event {
                FleetEvent::Opened { .. } => {}
                FleetEvent::Closed { stream, .. } | FleetEvent::Refused { stream, .. } => {
                    self.away.push_back((Instant::now() + BACK_AFTER, stream));
                }
                FleetEvent::Unpublished { publisher, .. } => {
                    let queue = &mut self.queues[publisher];
                    queue.waiting.push_front(std::mem::take(&mut queue.in_flight));
                    queue.not_before = Some(Instant::now() + RETRY_AFTER);
                }
            }
        }
        Ok(())
    }
}

/// Starts a server of the FastAPI route.
fn start_fastapi(directory: &Path, redis_url: &str) -> BenchResult<BenchServer> {
    let python = python()?;
    fs::write(directory.join("app.py"), APP)?;
    BenchServer::start_command(|address| {
        let mut command = Command::new(python);
        command.args(["-m", "uvicorn", "app:app", "--log-level", "critical", "--app-dir"]).arg(directory);
        command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.env("REDIS_URL", redis_url);
        command
    })
}

fn stream_request(channel: u32, last_id: &[u8]) -> Vec<u8> {
    let resume = match last_id {
        [] => String::new(),
        id => format!("Last-Event-ID: {}\r\n", String::from_utf8_lossy(id)),
    };
    let headers = format!("Accept: text/event-stream\r\n{resume}");
    request("GET", &format!("/api/v1/events/project.{channel}"), &headers, b"")
}
