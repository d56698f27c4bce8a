//! Losses of FastAPI, sse-starlette and broadcaster, and of two nodes, under the same load and the same faults.

use std::{
    collections::VecDeque,
    fs,
    net::SocketAddr,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use tidings_load::{ClientFleet, FleetEvent, ReadPace, Stamp, StampCodec};
use tidings_testkit::{RespConnection, RespReply};

use crate::{
    arguments::BenchArguments,
    event::{EVENT_BYTES, RUN},
    numbers::{count, figure_text, micros},
    report::FigureTable,
    requests::request,
    result::BenchResult,
    server::{BenchServer, PinnedRedis, Programs, ServerKind},
};

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InjectedFault {
    None,
    /// Clients lose their connections in turn, and reconnect.
    Clients,
    /// Also a connection of Redis is killed: a Pub/Sub one and another one in turn.
    One,
    /// All connections of Redis are killed instead of one.
    All,
}

const KINDS_OF_FAULT: [(&str, InjectedFault); 4] = [
    ("none", InjectedFault::None),
    ("clients reconnect", InjectedFault::Clients),
    ("and one connection to Redis is killed", InjectedFault::One),
    ("and all connections to Redis are killed", InjectedFault::All),
];

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let seconds = arguments.slice * SLICES;
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
        &format!(
            "Two servers over one Redis on the first core; {} subscribers of {CHANNELS} channels, {EVENTS_PER_SECOND} events/s for \
             {seconds:.0} s, each row once. Clients that reconnect: one connection is cut every {CUT_EVERY:?}, and asks again after \
             {BACK_AFTER:?} with its `Last-Event-ID`, if it has one. Connections to Redis are killed {FAULTS} times: one, or all by \
             `CLIENT KILL TYPE pubsub`, and `CLIENT KILL TYPE normal`, in turn. Lost is what a client did not get though its stream was \
             open or resumed. A `PUBLISH` without an answer counts for nothing. \
             Events that a client gets when it is back came late: that is the p99 of ours. CPU and memory are those of both servers, without \
             Redis. uvicorn with one process each; redis-py 5, since broadcaster hears nothing with 8.",
            CHANNELS * SUBSCRIBERS_EACH,
        ),
    );
    let python = python()?;
    for (fault_name, fault) in KINDS_OF_FAULT {
        for (name, stack) in STACKS {
            let seen = match (stack, &python) {
                (ServerStack::FastApi, None) => Err("its Python is not installed".into()),
                _ => {
                    StackRun::begin(programs, stack, python.as_ref()).and_then(|run| run.take(fault, seconds))
                }
            };
            let row = [name.to_owned(), fault_name.to_owned()].into_iter();
            match seen {
                Ok(seen) => {
                    eprintln!("  {name}, {fault_name}: {seen:?}");
                    // A key makes a publish certain. `PUBLISH` promises no delivery while no node is subscribed.
                    let is_sure = stack == ServerStack::Keyed
                        || stack == ServerStack::Captured && fault != InjectedFault::All;
                    if is_sure && seen.lost + seen.away + seen.doubled + seen.gaps > 0 {
                        table.errors.push(format!("{name}, {fault_name}: {seen:?}"));
                    }
                    table.row(row.chain(seen.cells()));
                }
                Err(error) if stack != ServerStack::FastApi => return Err(error),
                Err(error) => {
                    let empty = std::iter::repeat_n("–".to_owned(), table.columns.len() - 3);
                    table.row(row.chain([error.to_string()]).chain(empty));
                }
            }
        }
    }
    Ok(table)
}

/// Python with the libraries of the route, if `cargo xtask compare` has installed it.
fn python() -> BenchResult<Option<PathBuf>> {
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).ok_or("this program is in no target directory")?;
    let python = target.join("python/guides/bin/python");
    Ok(python.exists().then_some(python))
}

/// Figures of one run.
#[derive(Debug)]
struct StackFigures {
    expected: u64,
    lost: u64,
    away: u64,
    doubled: u64,
    gaps: u64,
    latencies: [f64; 2],
    cpu: f64,
    memory: f64,
}

impl StackFigures {
    fn cells(&self) -> [String; 9] {
        let share = |lost: u64| match lost {
            0 => "0".to_owned(),
            lost => {
                format!("{} ({:.1}%)", count(lost as f64), lost as f64 / self.expected as f64 * 100.0)
            }
        };
        [
            count(self.expected as f64),
            share(self.lost),
            share(self.away),
            self.doubled.to_string(),
            self.gaps.to_string(),
            format!("{:.1}", self.latencies[0]),
            format!("{:.1}", self.latencies[1]),
            figure_text(self.cpu),
            format!("{:.0}", self.memory),
        ]
    }
}

/// One stack under load.
struct StackRun {
    fleet: ClientFleet,
    servers: [BenchServer; 2],
    stack: ServerStack,
    codec: StampCodec,
    /// Connection for `PUBLISH`.
    connection: Option<RespConnection>,
    /// Requests of each publisher; the first is in flight or waits for its retry.
    waiting: Vec<VecDeque<Vec<u8>>>,
    retry_at: Vec<Option<Instant>>,
    /// Streams to reopen, with the time for it.
    away: VecDeque<(Instant, usize)>,
    published: u64,
    directory: PathBuf,
    /// The last field: it is dropped after the servers.
    redis: PinnedRedis,
}

impl StackRun {
    /// Starts two servers and opens all streams, half of them at each.
    fn begin(programs: &Programs, stack: ServerStack, python: Option<&PathBuf>) -> BenchResult<Self> {
        let redis = PinnedRedis::start()?;
        let directory = programs.directory.join("fastapi");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("app.py"), APP)?;
        let start = |at: usize| match (stack, python) {
            (ServerStack::FastApi, Some(python)) => BenchServer::start_command(|address| {
                let mut command = Command::new(python);
                command.args(["-m", "uvicorn", "app:app", "--log-level", "critical", "--app-dir"]);
                command.arg(&directory).args(["--host", &address.ip().to_string()]);
                command.args(["--port", &address.port().to_string()]).env("REDIS_URL", redis.server.url());
                command
            }),
            _ => {
                let url = redis.server.url();
                let capture = if stack == ServerStack::Captured { "project.*" } else { "" };
                let settings = [("TIDINGS_REDIS_URL", url.as_str()), ("TIDINGS_REDIS_CAPTURE", capture)];
                let settings = if capture.is_empty() { &settings[..1] } else { &settings };
                BenchServer::start(programs, ServerKind::Memory, &format!("fastapi/{at}"), settings)
            }
        };
        let servers = [start(0)?, start(1)?];
        let mut run = Self {
            fleet: ClientFleet::new(RUN, CHANNELS as usize, 1)?,
            stack,
            codec: StampCodec::new(RUN),
            connection: None,
            waiting: vec![VecDeque::new(); CHANNELS as usize],
            retry_at: vec![None; CHANNELS as usize],
            away: VecDeque::new(),
            published: 0,
            directory,
            servers,
            redis,
        };
        for at in 0..CHANNELS * SUBSCRIBERS_EACH {
            let (channel, address) = (at % CHANNELS, run.address(at / CHANNELS));
            let stream = stream_request(channel, b"");
            run.fleet.open(address, channel, ReadPace::Eager, stream);
        }
        for channel in 0..CHANNELS {
            let address = run.address(channel);
            run.fleet.add_publisher(address);
        }
        let began = Instant::now();
        while !(0..run.fleet.streams()).all(|at| run.fleet.is_open(at)) {
            run.poll(Duration::from_millis(50))?;
            if began.elapsed() > Duration::from_secs(30) {
                return Err("not every stream was answered within 30 s".into());
            }
        }
        // FastAPI sends the head before it subscribes.
        run.poll_for(Duration::from_millis(500))?;
        Ok(run)
    }

    fn address(&self, at: u32) -> SocketAddr {
        self.servers[at as usize % 2].address
    }

    fn take(mut self, fault: InjectedFault, seconds: f64) -> BenchResult<StackFigures> {
        let cpu_before = self.cpu()?;
        let (began, time) = (Instant::now(), Duration::from_secs_f64(seconds));
        let tick = Duration::from_secs(1) / EVENTS_PER_SECOND;
        let fault_every = time / FAULTS;
        let (mut event_at, mut cut_at, mut fault_at) = (Duration::ZERO, CUT_EVERY, fault_every / 2);
        let (mut cuts, mut faults) = (0, 0);
        while began.elapsed() < time {
            let now = began.elapsed();
            if now >= event_at {
                self.publish()?;
                event_at += tick;
            }
            if now >= cut_at && fault != InjectedFault::None {
                self.cut(cuts);
                cuts += 1;
                cut_at += CUT_EVERY;
            }
            if now >= fault_at && matches!(fault, InjectedFault::One | InjectedFault::All) {
                self.kill(fault, faults)?;
                faults += 1;
                fault_at += fault_every;
            }
            let left = event_at.saturating_sub(began.elapsed());
            self.poll(left.clamp(Duration::from_micros(100), Duration::from_millis(10)))?;
        }
        self.settle()?;
        let cpu = self.cpu()?.saturating_sub(cpu_before);
        let memory = self.servers.iter().map(BenchServer::pss_kib).sum::<BenchResult<u64>>()? as f64 / 1024.0;
        let expected: u64 = (0..CHANNELS).map(|channel| self.fleet.sequences.published(channel)).sum();
        let quantile = |at| self.fleet.latency.value_at_quantile(at) as f64 / 1e3;
        let counts = &self.fleet.counts;
        let seen = StackFigures {
            expected: expected * u64::from(SUBSCRIBERS_EACH),
            lost: counts.lost + counts.told,
            away: counts.away,
            doubled: counts.repeated + counts.reordered,
            gaps: counts.gaps,
            latencies: [quantile(0.5), quantile(0.99)],
            cpu: micros(cpu) / counts.received.max(1) as f64,
            memory,
        };
        let directory = self.directory.clone();
        drop(self);
        let _ = fs::remove_dir_all(directory);
        Ok(seen)
    }

    fn cpu(&self) -> BenchResult<Duration> {
        self.servers.iter().map(BenchServer::cpu).sum()
    }

    /// Publishes on the next channel.
    fn publish(&mut self) -> BenchResult<()> {
        let channel = u32::try_from(self.published % u64::from(CHANNELS))?;
        self.published += 1;
        let number = self.fleet.sequences.take(channel, 0);
        let stamp = Stamp { channel, producer: 0, number, micros: self.fleet.micros() };
        let mut text = Vec::with_capacity(EVENT_BYTES);
        self.codec.write(stamp, EVENT_BYTES, &mut text);
        let name = format!("project.{channel}");
        if self.stack == ServerStack::Keyed {
            let headers =
                format!("Content-Type: application/json\r\nIdempotency-Key: {channel}-{number}\r\n");
            let request = request("POST", &format!("/api/v1/events/{name}"), &headers, &text);
            self.waiting[channel as usize].push_back(request);
            return Ok(());
        }
        let text = String::from_utf8(text)?;
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.redis.server.connect(),
        };
        match connection.try_command(&["PUBLISH", &name, &text]) {
            Ok(RespReply::Integer(_)) => self.connection = Some(connection),
            // The connection was killed: the result is unknown.
            _ => self.fleet.sequences.doubt(channel, 0, number),
        }
        Ok(())
    }

    /// Resets the connection of a client, which reconnects.
    fn cut(&mut self, cuts: usize) {
        // Consecutive cuts meet different channels.
        let at = cuts * 7 % self.fleet.streams();
        if self.fleet.is_open(at) {
            self.fleet.cut(at);
            self.away.push_back((Instant::now() + BACK_AFTER, at));
        }
    }

    fn kill(&self, fault: InjectedFault, faults: usize) -> BenchResult<()> {
        let kind = if faults.is_multiple_of(2) { "pubsub" } else { "normal" };
        let mut admin = self.redis.server.connect();
        if fault == InjectedFault::All {
            admin.command(&["CLIENT", "KILL", "TYPE", kind]);
            return Ok(());
        }
        let own = admin.command(&["CLIENT", "ID"]).integer().to_string();
        let list = admin.command(&["CLIENT", "LIST", "TYPE", kind]).text();
        let ids = list.lines().filter_map(|line| line.strip_prefix("id=")?.split_whitespace().next());
        let ids: Vec<&str> = ids.filter(|id| *id != own).collect();
        if let Some(id) = ids.get(faults / 2 % ids.len().max(1)) {
            admin.command(&["CLIENT", "KILL", "ID", id]);
        }
        Ok(())
    }

    /// Waits until every event has arrived or deliveries stop, and counts the missing ones.
    fn settle(&mut self) -> BenchResult<()> {
        let mut last = Instant::now();
        let mut received = self.fleet.counts.received;
        while last.elapsed() < QUIET {
            self.poll(Duration::from_millis(20))?;
            if self.fleet.counts.received > received || !self.away.is_empty() {
                (last, received) = (Instant::now(), self.fleet.counts.received);
            }
            let is_told = self.waiting.iter().all(VecDeque::is_empty);
            let is_open = (0..self.fleet.streams()).all(|at| self.fleet.is_open(at));
            if is_told && is_open && self.fleet.pending() == 0 {
                break;
            }
        }
        self.fleet.settle();
        Ok(())
    }

    fn poll_for(&mut self, time: Duration) -> BenchResult<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.poll(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Sends requests that wait, reopens streams that are due, and polls once.
    fn poll(&mut self, timeout: Duration) -> BenchResult<()> {
        let now = Instant::now();
        while self.away.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, at)) = self.away.pop_front() {
                let request = stream_request(self.fleet.channel(at), self.fleet.last_id(at));
                self.fleet.reopen(at, request);
            }
        }
        for at in 0..self.waiting.len() {
            if self.retry_at[at].is_some_and(|at| at > now) || !self.fleet.is_idle(at) {
                continue;
            }
            if let Some(request) = self.waiting[at].front() {
                self.retry_at[at] = None;
                self.fleet.send(at, request);
            }
        }
        let answered_before: Vec<bool> = (0..self.waiting.len()).map(|at| self.fleet.is_idle(at)).collect();
        self.fleet.poll(timeout)?;
        for event in self.fleet.events() {
            match event {
                FleetEvent::Opened { .. } => {}
                FleetEvent::Closed { stream, .. } | FleetEvent::Refused { stream, .. } => {
                    self.away.push_back((Instant::now() + BACK_AFTER, stream));
                }
                FleetEvent::Unpublished { publisher, .. } => {
                    self.retry_at[publisher] = Some(Instant::now() + RETRY_AFTER);
                }
            }
        }
        for (at, was_idle) in answered_before.into_iter().enumerate() {
            if !was_idle && self.fleet.is_idle(at) && self.retry_at[at].is_none() {
                self.waiting[at].pop_front();
            }
        }
        Ok(())
    }
}

fn stream_request(channel: u32, last_id: &[u8]) -> Vec<u8> {
    let resume = match last_id {
        [] => String::new(),
        id => format!("Last-Event-ID: {}\r\n", String::from_utf8_lossy(id)),
    };
    let headers = format!("Accept: text/event-stream\r\n{resume}");
    request("GET", &format!("/api/v1/events/project.{channel}"), &headers, b"")
}
