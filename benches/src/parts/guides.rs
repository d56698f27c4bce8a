//! What clients miss of the guides' own stack, and of two nodes, under the same load and the same faults.

use std::{
    collections::VecDeque,
    fs,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use tidings_load::{Marker, Notice, Reading, Swarm, Target};

use super::{figure_text, micros};
use crate::{
    Arguments, Outcome,
    event::{EVENT_BYTES, RUN},
    http::request,
    report::{Table, count},
    server::{Kind, Programs, Redis, Server, Wire},
};

/// The guides' server as they give it.
const APP: &str = include_str!("../../guides/app.py");
const CHANNELS: u32 = 20;
const SUBSCRIBERS_EACH: u32 = 10;
const EVENTS_PER_SECOND: u32 = 100;
/// How many turns a run takes: each fault comes twice.
const SLICES: f64 = 5.0;
const FAULTS: u32 = 4;
/// Between two clients that lose their connection, and until each is back.
const CUT_EVERY: Duration = Duration::from_millis(100);
const BACK_AFTER: Duration = Duration::from_millis(500);
/// Before a publish that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// How long nothing may come before what is missing counts as lost.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stack {
    /// Of the guides; who publishes does `PUBLISH`.
    Guides,
    /// Two nodes with `redis.capture`; who publishes does the same.
    Captured,
    /// Two nodes; who publishes sends an idempotency key, and repeats it until it is answered.
    Keyed,
}

const STACKS: [(&str, Stack); 3] = [
    ("FastAPI, sse-starlette, broadcaster", Stack::Guides),
    ("tidings, `PUBLISH` captured", Stack::Captured),
    ("tidings, HTTP with keys", Stack::Keyed),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// One client after the other loses its connection and comes back.
    Clients,
    /// And one connection of Redis is killed, a Pub/Sub one and any other in turn.
    One,
    /// And all of them are.
    All,
}

const KINDS_OF_FAULT: [(&str, Fault); 4] = [
    ("none", Fault::None),
    ("clients reconnect", Fault::Clients),
    ("and one connection to Redis is killed", Fault::One),
    ("and all connections to Redis are killed", Fault::All),
];

pub(crate) fn measure(arguments: &Arguments, programs: &Programs) -> Outcome<Table> {
    let seconds = arguments.slice * SLICES;
    let mut table = Table::new(
        "Deliveries of the guides' own stack beside ours",
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
                (Stack::Guides, None) => Err("its Python is not installed".into()),
                _ => Run::begin(programs, stack, python.as_ref()).and_then(|run| run.take(fault, seconds)),
            };
            let row = [name.to_owned(), fault_name.to_owned()].into_iter();
            match seen {
                Ok(seen) => {
                    eprintln!("  {name}, {fault_name}: {seen:?}");
                    // A key makes it sure; of Pub/Sub nothing is promised where nobody hears.
                    let is_sure = stack == Stack::Keyed || stack == Stack::Captured && fault != Fault::All;
                    if is_sure && seen.lost + seen.away + seen.doubled + seen.gaps > 0 {
                        table.errors.push(format!("{name}, {fault_name}: {seen:?}"));
                    }
                    table.row(row.chain(seen.cells()));
                }
                Err(error) if stack != Stack::Guides => return Err(error),
                Err(error) => {
                    let empty = std::iter::repeat_n("–".to_owned(), table.columns.len() - 3);
                    table.row(row.chain([error.to_string()]).chain(empty));
                }
            }
        }
    }
    Ok(table)
}

/// The Python that has the guides' libraries, where `cargo xtask compare` has put it.
fn python() -> Outcome<Option<PathBuf>> {
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).ok_or("this program is in no target directory")?;
    let python = target.join("python/guides/bin/python");
    Ok(python.exists().then_some(python))
}

/// What came of one run.
#[derive(Debug)]
struct Seen {
    expected: u64,
    lost: u64,
    away: u64,
    doubled: u64,
    gaps: u64,
    latencies: [f64; 2],
    cpu: f64,
    memory: f64,
}

impl Seen {
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
struct Run {
    swarm: Swarm,
    servers: [Server; 2],
    stack: Stack,
    marker: Marker,
    /// Who publishes by `PUBLISH`.
    wire: Option<Wire>,
    /// Requests of each publisher: the first is under way, or is tried again.
    waiting: Vec<VecDeque<Vec<u8>>>,
    retry_at: Vec<Option<Instant>>,
    /// Streams that are to be asked for again.
    away: VecDeque<(Instant, usize)>,
    published: u64,
    directory: PathBuf,
    /// Goes last.
    redis: Redis,
}

impl Run {
    /// Starts two servers and opens all streams, half of them at each.
    fn begin(programs: &Programs, stack: Stack, python: Option<&PathBuf>) -> Outcome<Self> {
        let redis = Redis::start()?;
        let directory = programs.directory.join("guides");
        fs::create_dir_all(&directory)?;
        fs::write(directory.join("app.py"), APP)?;
        let start = |at: usize| match (stack, python) {
            (Stack::Guides, Some(python)) => Server::start_with(|address| {
                let mut command = Command::new(python);
                command.args(["-m", "uvicorn", "app:app", "--log-level", "critical", "--app-dir"]);
                command.arg(&directory).args(["--host", &address.ip().to_string()]);
                command.args(["--port", &address.port().to_string()]).env("REDIS_URL", redis.url());
                command
            }),
            _ => {
                let url = redis.url();
                let capture = if stack == Stack::Captured { "project.*" } else { "" };
                let settings = [("TIDINGS_REDIS_URL", url.as_str()), ("TIDINGS_REDIS_CAPTURE", capture)];
                let settings = if capture.is_empty() { &settings[..1] } else { &settings };
                Server::start(programs, Kind::Memory, &format!("guides/{at}"), settings)
            }
        };
        let servers = [start(0)?, start(1)?];
        let mut run = Self {
            swarm: Swarm::new(RUN, CHANNELS as usize, 1)?,
            stack,
            marker: Marker::new(RUN),
            wire: None,
            waiting: vec![VecDeque::new(); CHANNELS as usize],
            retry_at: vec![None; CHANNELS as usize],
            away: VecDeque::new(),
            published: 0,
            directory,
            servers,
            redis,
        };
        for at in 0..CHANNELS * SUBSCRIBERS_EACH {
            let (channel, target) = (at % CHANNELS, run.target(at / CHANNELS));
            let stream = stream_request(channel, b"");
            run.swarm.open(target, channel, Reading::Eager, stream);
        }
        for channel in 0..CHANNELS {
            let target = run.target(channel);
            run.swarm.add_publisher(target);
        }
        let began = Instant::now();
        while !(0..run.swarm.streams()).all(|at| run.swarm.is_open(at)) {
            run.poll(Duration::from_millis(50))?;
            if began.elapsed() > Duration::from_secs(30) {
                return Err("not every stream was answered within 30 s".into());
            }
        }
        // The guides' server answers before it has subscribed.
        run.poll_for(Duration::from_millis(500))?;
        Ok(run)
    }

    fn target(&self, at: u32) -> Target {
        Target { address: self.servers[at as usize % 2].address }
    }

    fn take(mut self, fault: Fault, seconds: f64) -> Outcome<Seen> {
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
            if now >= cut_at && fault != Fault::None {
                self.cut(cuts);
                cuts += 1;
                cut_at += CUT_EVERY;
            }
            if now >= fault_at && matches!(fault, Fault::One | Fault::All) {
                self.kill(fault, faults)?;
                faults += 1;
                fault_at += fault_every;
            }
            let left = event_at.saturating_sub(began.elapsed());
            self.poll(left.clamp(Duration::from_micros(100), Duration::from_millis(10)))?;
        }
        self.settle()?;
        let cpu = self.cpu()?.saturating_sub(cpu_before);
        let memory = self.servers.iter().map(Server::pss_kib).sum::<Outcome<u64>>()? as f64 / 1024.0;
        let expected: u64 = (0..CHANNELS).map(|channel| self.swarm.ledger.published(channel)).sum();
        let quantile = |at| self.swarm.latency.value_at_quantile(at) as f64 / 1e3;
        let tally = &self.swarm.tally;
        let seen = Seen {
            expected: expected * u64::from(SUBSCRIBERS_EACH),
            lost: tally.lost + tally.told,
            away: tally.away,
            doubled: tally.repeated + tally.reordered,
            gaps: tally.gaps,
            latencies: [quantile(0.5), quantile(0.99)],
            cpu: micros(cpu) / tally.received.max(1) as f64,
            memory,
        };
        let directory = self.directory.clone();
        drop(self);
        let _ = fs::remove_dir_all(directory);
        Ok(seen)
    }

    fn cpu(&self) -> Outcome<Duration> {
        self.servers.iter().map(Server::cpu).sum()
    }

    /// Publishes on the next channel.
    fn publish(&mut self) -> Outcome<()> {
        let channel = u32::try_from(self.published % u64::from(CHANNELS))?;
        self.published += 1;
        let number = self.swarm.ledger.take(channel, 0);
        let stamp = tidings_load::Stamp { channel, lane: 0, number, micros: self.swarm.micros() };
        let mut text = Vec::with_capacity(EVENT_BYTES);
        self.marker.write(stamp, EVENT_BYTES, &mut text);
        let name = format!("project.{channel}");
        if self.stack == Stack::Keyed {
            let headers =
                format!("Content-Type: application/json\r\nIdempotency-Key: {channel}-{number}\r\n");
            let request = request("POST", &format!("/api/v1/events/{name}"), &headers, &text);
            self.waiting[channel as usize].push_back(request);
            return Ok(());
        }
        let text = String::from_utf8(text)?;
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::connect(self.redis.address)?,
        };
        match wire.ask(&["PUBLISH", &name, &text]) {
            Ok(_) => self.wire = Some(wire),
            // Its connection was killed: nobody knows whether this was published.
            Err(_) => self.swarm.ledger.doubt(channel, 0, number),
        }
        Ok(())
    }

    /// Cuts a client as a network does; it comes back.
    fn cut(&mut self, cuts: usize) {
        // No channel's clients in a row.
        let at = cuts * 7 % self.swarm.streams();
        if self.swarm.is_open(at) {
            self.swarm.cut(at);
            self.away.push_back((Instant::now() + BACK_AFTER, at));
        }
    }

    fn kill(&self, fault: Fault, faults: usize) -> Outcome<()> {
        let kind = if faults.is_multiple_of(2) { "pubsub" } else { "normal" };
        let mut admin = self.redis.connect()?;
        if fault == Fault::All {
            admin.ask(&["CLIENT", "KILL", "TYPE", kind])?;
            return Ok(());
        }
        let own = admin.ask(&["CLIENT", "ID"])?;
        let list = admin.ask(&["CLIENT", "LIST", "TYPE", kind])?;
        let ids = list.lines().filter_map(|line| line.strip_prefix("id=")?.split_whitespace().next());
        let ids: Vec<&str> = ids.filter(|id| *id != own).collect();
        if let Some(id) = ids.get(faults / 2 % ids.len().max(1)) {
            admin.ask(&["CLIENT", "KILL", "ID", id])?;
        }
        Ok(())
    }

    /// Waits until all is there, or nothing comes any more; then counts.
    fn settle(&mut self) -> Outcome<()> {
        let mut last = Instant::now();
        let mut received = self.swarm.tally.received;
        while last.elapsed() < QUIET {
            self.poll(Duration::from_millis(20))?;
            if self.swarm.tally.received > received || !self.away.is_empty() {
                (last, received) = (Instant::now(), self.swarm.tally.received);
            }
            let is_told = self.waiting.iter().all(VecDeque::is_empty);
            let is_open = (0..self.swarm.streams()).all(|at| self.swarm.is_open(at));
            if is_told && is_open && self.swarm.pending() == 0 {
                break;
            }
        }
        self.swarm.settle();
        Ok(())
    }

    fn poll_for(&mut self, time: Duration) -> Outcome<()> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.poll(Duration::from_millis(20))?;
        }
        Ok(())
    }

    /// Sends what waits, asks for streams again, and reads what came.
    fn poll(&mut self, timeout: Duration) -> Outcome<()> {
        let now = Instant::now();
        while self.away.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, at)) = self.away.pop_front() {
                let request = stream_request(self.swarm.channel(at), self.swarm.last_id(at));
                self.swarm.reopen(at, request);
            }
        }
        for at in 0..self.waiting.len() {
            if self.retry_at[at].is_some_and(|at| at > now) || !self.swarm.is_idle(at) {
                continue;
            }
            if let Some(request) = self.waiting[at].front() {
                self.retry_at[at] = None;
                self.swarm.send(at, request);
            }
        }
        let answered_before: Vec<bool> = (0..self.waiting.len()).map(|at| self.swarm.is_idle(at)).collect();
        self.swarm.poll(timeout)?;
        for notice in self.swarm.notices() {
            match notice {
                Notice::Opened { .. } => {}
                Notice::Closed { stream, .. } | Notice::Refused { stream, .. } => {
                    self.away.push_back((Instant::now() + BACK_AFTER, stream));
                }
                Notice::Unpublished { publisher, .. } => {
                    self.retry_at[publisher] = Some(Instant::now() + RETRY_AFTER);
                }
            }
        }
        for (at, was_idle) in answered_before.into_iter().enumerate() {
            if !was_idle && self.swarm.is_idle(at) && self.retry_at[at].is_none() {
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
