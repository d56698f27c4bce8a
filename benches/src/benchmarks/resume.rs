//! Many clients that resume at once, and clients of quiet channels on a hub full of busy ones.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::stored_events::{BUSY_CHANNELS, full_hub};
use crate::numbers::{count, figure_text};
use crate::prelude::*;
use crate::requests::fill;

/// Events that each client missed, if the hub holds as many.
const MISSED: u64 = 1_000;
const LIVE_STREAMS: usize = 100;
/// Time in which live streams are measured before a storm.
const QUIET_BEFORE: Duration = Duration::from_secs(2);
const QUIET_CHANNELS: usize = 1_000;
const QUIET_EVENTS: u64 = 10;
/// Storms of one turn: the kernel counts CPU in ticks of 10 ms.
const QUIET_STORMS: u32 = 5;

/// Clients that resume at once.
struct ResumeStorm<'a> {
    clients: usize,
    /// Channel of each client.
    channel: &'a dyn Fn(usize) -> String,
    after: &'a str,
    events_each: u64,
}

/// Indices of the figures of a storm. Its CPU includes that of the live streams.
const SECONDS: usize = 1;
const CPU_SECONDS: usize = 2;
const EVENTS_PER_CPU_SECOND: usize = 3;
const GROWTH_KIB: usize = 4;
const SLOWEST_CONNECT_MS: usize = 5;
const LIVE_P99_MS: usize = 6;

pub(super) fn storms(context: &BenchContext) -> BenchResult<FigureTable> {
    let clients = context.arguments.clients;
    let mut table = FigureTable::new(
        format!("{} clients resume 1,000 events each", count(clients as f64)),
        &[
            "storm",
            "events",
            "s",
            "server CPU, s",
            "events per CPU s",
            "growth per client, KiB",
            "slowest connect, ms",
            "live p99 meanwhile, ms",
        ],
        "All connect at once with a `Last-Event-ID` from before the missed events, and read to the last event; each \
         event's number and order is checked. Before the first storm of each kind the server was restarted (events on \
         disk, the newest in its memory); the second follows without a restart (`again`). Growth is of the peak resident size, divided by the clients. Live are 100 streams of another \
         channel with 30 events/s, read by another thread of the load.",
    );
    let name = "storm";
    let (server, first) = full_hub(context, name)?;
    drop(server);
    let events_each = (context.arguments.events / BUSY_CHANNELS).min(MISSED);
    let shared = |_| "busy.500".to_owned();
    let own = |at: usize| format!("busy.{}", at as u64 % BUSY_CHANNELS);
    // The slowest storm of each kind, the largest growth, the slowest connect and the largest p99 of live streams.
    let (mut rates, mut grown, mut slowest_connect, mut live_ratio) = (Vec::new(), 0.0, 0.0, 0.0);
    for (text, clients, channel) in [
        ("one shared channel", clients, &shared as &dyn Fn(usize) -> String),
        ("1,000 clients, each its own channel", (BUSY_CHANNELS as usize).min(clients), &own),
        ("all clients over 1,000 channels", clients, &own),
    ] {
        let server = BenchServer::start_with_data(context, name)?;
        wait_until_idle(&server)?;
        let ((), live_before) = beside_live(&server, || thread::sleep(QUIET_BEFORE))?;
        let storm = ResumeStorm { clients, channel, after: &first, events_each };
        let mut rate = f64::INFINITY;
        for again in ["", ", again"] {
            let figures = storm.run_beside_live(&server, &format!("{text}{again}"), &mut table)?;
            rate = rate.min(figures[EVENTS_PER_CPU_SECOND] / 1e6);
            grown = figures[GROWTH_KIB].max(grown);
            slowest_connect = figures[SLOWEST_CONNECT_MS].max(slowest_connect);
            live_ratio = (figures[LIVE_P99_MS] / live_before).max(live_ratio);
        }
        rates.push(rate);
    }
    let name = "million events per CPU second, clients resuming the same channel from disk";
    table.at_least(name, 3.0, Some(rates[0]));
    table.at_least("million events per CPU second, each client its own channel", 1.0, Some(rates[1]));
    table.at_most("memory per resuming client, KiB", 16.0, Some(grown));
    let name = "slowest connect in a storm, ms (a dropped attempt is tried again after 1,000)";
    table.at_most(name, 1_000.0, Some(slowest_connect));
    table.at_most("p99 of live streams during a storm, × before it", 2.0, Some(live_ratio));
    Ok(table)
}

pub(super) fn quiet(context: &BenchContext) -> BenchResult<FigureTable> {
    let busy = count(context.arguments.events as f64);
    let mut cases = Vec::new();
    for (name, data, events) in [
        (format!("with {busy} busy events"), "quiet-busy", context.arguments.events),
        ("without".to_owned(), "quiet-alone", 0),
    ] {
        let setup = quiet_hub(context, data, events / QUIET_EVENTS)?;
        cases.push(Case::new(&name, ServerKind::Interval, setup));
    }
    let channel = |at: usize| format!("quiet.{at}");
    let rounds = Comparison::measure(context.arguments.rounds, cases, |(server, first)| {
        let clients = QUIET_CHANNELS;
        let storm = ResumeStorm { clients, channel: &channel, after: first, events_each: QUIET_EVENTS };
        let (mut cpu_seconds, mut seconds, mut faults) = (0.0, 0.0, DeliveryFaults::default());
        for _ in 0..QUIET_STORMS {
            let sample = storm.run(server)?;
            cpu_seconds += sample.figures[CPU_SECONDS] / f64::from(QUIET_STORMS);
            seconds += sample.figures[SECONDS] / f64::from(QUIET_STORMS);
            faults = faults + sample.faults;
        }
        let figures = vec![cpu_seconds * 1e6 / clients as f64, seconds * 1e3];
        Ok(Sample { figures, faults, ..Sample::default() })
    })?;
    let mut table = FigureTable::new(
        format!("1,000 clients of quiet channels resume, beside {busy} events of busy ones"),
        &["hub", "server CPU per client, µs", "time, ms"],
        "Ten events on each quiet channel, on one hub alone, on the other spread among the busy ones. Both hubs were \
         restarted, then take turns; medians. In parentheses: the median of the ratios to the hub without busy events.",
    );
    rounds.fill(&mut table, 0..2);
    let name = "CPU of 1,000 clients of quiet channels resuming, × on a hub without busy ones";
    table.at_most(name, 1.1, rounds.ratio(0, 1, 0));
    Ok(table)
}

/// Starts a hub whose quiet channels have events among `busy_each` times as many of busy channels. Returns an id from
/// before them, too.
fn quiet_hub(context: &BenchContext, data: &str, busy_each: u64) -> BenchResult<(BenchServer, String)> {
    let start = || BenchServer::start_with_data(context, data);
    let server = start()?;
    let first = fill(server.address, [("start".to_owned(), 0)])?;
    for round in 0..QUIET_EVENTS {
        fill(server.address, (0..QUIET_CHANNELS).map(|channel| (format!("quiet.{channel}"), round)))?;
        if busy_each > 0 {
            let busy = round * busy_each..(round + 1) * busy_each;
            fill(server.address, busy.map(|at| (format!("busy.{}", at % BUSY_CHANNELS), at)))?;
        }
    }
    server.terminate()?;
    let server = start()?;
    wait_until_idle(&server)?;
    Ok((server, first))
}

/// Waits until a started server is idle: it loads its newest events into memory.
fn wait_until_idle(server: &BenchServer) -> BenchResult<()> {
    let mut before = server.cpu()?;
    loop {
        thread::sleep(Duration::from_millis(300));
        let now = server.cpu()?;
        // The kernel counts CPU in ticks of 10 ms, and idle threads wake now and then.
        if now.saturating_sub(before) <= Duration::from_millis(10) {
            return Ok(());
        }
        before = now;
    }
}

impl ResumeStorm<'_> {
    /// Runs a storm beside live streams, adds its row, and returns its figures.
    fn run_beside_live(
        &self,
        server: &BenchServer,
        name: &str,
        table: &mut FigureTable,
    ) -> BenchResult<Vec<f64>> {
        let (storm, live_p99) = beside_live(server, || self.run(server))?;
        let Sample { mut figures, faults, .. } = storm?;
        if faults != DeliveryFaults::default() {
            table.errors.push(format!("{name}: {faults}"));
        }
        figures.push(live_p99);
        eprintln!("  {name}: {figures:.2?}");
        table.row([name.to_owned()].into_iter().chain(figures.iter().copied().map(figure_text)));
        Ok(figures)
    }

    fn run(&self, server: &BenchServer) -> BenchResult<Sample> {
        server.forget_peak()?;
        let resident = server.status_kib("VmRSS:")?;
        let mut fleet = BenchFleet::new(&[server], 1, 0)?;
        let measured = fleet.measure(&[&server.trees], |fleet| {
            for at in 0..self.clients {
                fleet.resume(&(self.channel)(at), self.after, self.events_each)?;
            }
            fleet.drain()
        })?;
        let cpu_seconds = measured.cpu[0] / 1e6;
        let grown_kib = server.status_kib("VmHWM:")?.saturating_sub(resident);
        let slowest_connect = fleet.slowest_connect.as_secs_f64();
        fleet.finish(vec![
            measured.deliveries,
            measured.seconds,
            cpu_seconds,
            measured.deliveries / cpu_seconds.max(0.01),
            grown_kib as f64 / self.clients as f64,
            slowest_connect * 1e3,
        ])
    }
}

/// Measures streams of another channel while `meanwhile` runs: its result, and their p99 in ms.
fn beside_live<T>(server: &BenchServer, meanwhile: impl FnOnce() -> T) -> BenchResult<(T, f64)> {
    let (begun, ends) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        let live = scope.spawn(|| live_p99(server, &begun, &ends).map_err(|error| error.to_string()));
        begun.wait();
        let result = meanwhile();
        ends.store(true, Ordering::Relaxed);
        let p99 = live.join().map_err(|_| "live streams panicked")??;
        Ok((result, p99))
    })
}

fn live_p99(server: &BenchServer, begun: &Barrier, ends: &AtomicBool) -> BenchResult<f64> {
    let opened = BenchFleet::subscribed(server, LIVE_STREAMS, 1);
    // Also after an error: the other thread waits here.
    begun.wait();
    let mut fleet = opened?;
    let measured = fleet.measure(&[], |fleet| {
        while !ends.load(Ordering::Relaxed) {
            fleet.run_paced(30.0, Duration::from_millis(100))?;
        }
        fleet.drain()
    })?;
    let faults = fleet.faults();
    if faults != DeliveryFaults::default() {
        return Err(format!("live streams: {faults}").into());
    }
    Ok(measured.p99)
}
