//! Many clients that resume at once, and clients of quiet channels on a hub full of busy ones.

use std::{
    fs,
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{fanout::OneChannelLoad, full_hub::full_hub, server_rounds::alternate};
use crate::{
    arguments::BenchArguments,
    client_fleet::BenchFleet,
    numbers::{count, median, micros},
    report::FigureTable,
    requests::fill,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

/// Events that each client missed.
const MISSED: u64 = 1_000;
/// Channels of the full hub: each has [`MISSED`] events if the hub holds 1,000,000.
const CHANNELS: usize = 1_000;
/// All clients read the same events.
const SHARED: &str = "one shared channel";
/// Each client reads events of its own.
const OWN: &str = "1,000 clients, each its own channel";
/// The channel of live streams.
const LIVE: &str = "live";
const LIVE_STREAMS: usize = 100;
/// Time in which live streams are measured before a storm.
const QUIET_BEFORE: Duration = Duration::from_secs(2);
const QUIET_CHANNELS: usize = 1_000;
const QUIET_EVENTS: u64 = 10;

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<Vec<FigureTable>> {
    Ok(vec![storms(arguments, programs)?, quiet(arguments, programs)?])
}

/// Waits until a started server is idle: it loads its newest events into memory.
fn settle(server: &BenchServer) -> BenchResult<()> {
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

/// Figures of one storm.
struct ResumeStorm {
    seconds: f64,
    cpu: Duration,
    events: u64,
    grown_kib: u64,
    slowest_connect: Duration,
    /// p99 of live streams of another channel, in ms. The storm's CPU includes theirs.
    live_p99: f64,
}

fn storms(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let clients = arguments.clients;
    let note = "All connect at once with a `Last-Event-ID` from before the missed events, and read to the last event; \
                each event's number and order is checked. What was just published is held in memory. Before the \
                first storm of each other kind the server was restarted (events on disk, the newest in its memory); the \
                second follows without a restart (`again`). Growth is of the peak \
                resident size, divided by the clients. Live are 100 streams of another channel with 30 events/s, read by another \
                thread of the load.";
    let mut table = FigureTable::new(
        &format!("{} clients resume 1,000 events each", count(clients as f64)),
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
        note,
    );
    let name = "storm";
    let (server, first) = full_hub(arguments, programs, name)?;
    let kept = (arguments.events / CHANNELS as u64).min(MISSED);
    let fresh = |_: usize| "fresh.0".to_owned();
    let before = fill(server.address, [("start".to_owned(), 1)])?;
    fill(server.address, (0..MISSED).map(|number| (fresh(0), number)))?;
    match storm(&server, clients, &fresh, &before, MISSED) {
        Ok(storm) => table.row(storm_row("one shared channel, just published", clients, &storm)),
        Err(error) => table.errors.push(format!("just published: {error}")),
    }
    drop(server);
    let shared = |_: usize| "busy.500".to_owned();
    let own = |at: usize| format!("busy.{}", at % CHANNELS);
    let (mut stored, mut slowest_connect, mut live_ratio) = (Vec::new(), Duration::ZERO, 0.0_f64);
    for (text, count_of, channel) in [
        (SHARED, clients, &shared as &dyn Fn(usize) -> String),
        (OWN, CHANNELS.min(clients), &own),
        ("all clients over 1,000 channels", clients, &own),
    ] {
        let server = BenchServer::start(programs, ServerKind::Interval, name, &[])?;
        settle(&server)?;
        let live_before = live_p99(&server, || thread::sleep(QUIET_BEFORE))?.1;
        for again in ["", ", again"] {
            match storm(&server, count_of, channel, &first, kept) {
                Ok(storm) => {
                    table.row(storm_row(&format!("{text}{again}"), count_of, &storm));
                    stored.push((text, storm.per_cpu_second(), storm.grown_per_client(count_of)));
                    slowest_connect = slowest_connect.max(storm.slowest_connect);
                    live_ratio = live_ratio.max(storm.live_p99 / live_before);
                }
                Err(error) => table.errors.push(format!("{text}{again}: {error}")),
            }
        }
    }
    fs::remove_dir_all(programs.directory.join(name))?;
    compare_with_targets(&mut table, &stored);
    let figure = "slowest connect in a storm, ms (a dropped attempt is tried again after 1,000)";
    table.target(figure, "< 1,000", Some(slowest_connect.as_secs_f64() * 1e3), |ms| ms < 1e3);
    let figure = "p99 of live streams during a storm, × before it";
    table.target(figure, "≤ 2", Some(live_ratio), |ratio| ratio <= 2.0);
    Ok(table)
}

/// Compares the slowest storms from disk with the targets: name, events per CPU second, growth per client.
fn compare_with_targets(table: &mut FigureTable, stored: &[(&str, f64, f64)]) {
    let slowest = |text: &str| {
        let rates = stored.iter().filter(|(other, ..)| *other == text).map(|(_, rate, _)| rate / 1e6);
        rates.reduce(f64::min)
    };
    let figure = "million events per CPU second, clients resuming the same channel from disk";
    table.target(figure, "≥ 3", slowest(SHARED), |rate| rate >= 3.0);
    let figure = "million events per CPU second, each client its own channel";
    table.target(figure, "≥ 1", slowest(OWN), |rate| rate >= 1.0);
    let most = stored.iter().map(|(_, _, grown)| *grown).reduce(f64::max);
    table.target("memory per resuming client, KiB", "≤ 16", most, |kib| kib <= 16.0);
}

impl ResumeStorm {
    fn per_cpu_second(&self) -> f64 {
        self.events as f64 / self.cpu.as_secs_f64().max(0.01)
    }

    fn grown_per_client(&self, clients: usize) -> f64 {
        self.grown_kib as f64 / clients as f64
    }
}

fn storm_row(text: &str, clients: usize, storm: &ResumeStorm) -> [String; 8] {
    [
        text.to_owned(),
        count(storm.events as f64),
        format!("{:.2}", storm.seconds),
        format!("{:.2}", storm.cpu.as_secs_f64()),
        count(storm.per_cpu_second()),
        format!("{:.1}", storm.grown_per_client(clients)),
        format!("{:.1}", storm.slowest_connect.as_secs_f64() * 1e3),
        format!("{:.1}", storm.live_p99),
    ]
}

/// Runs a storm beside live streams.
fn storm(
    server: &BenchServer,
    clients: usize,
    channel: &dyn Fn(usize) -> String,
    after: &str,
    events_each: u64,
) -> BenchResult<ResumeStorm> {
    let (storm, live_p99) = live_p99(server, || storm_alone(server, clients, channel, after, events_each))?;
    Ok(ResumeStorm { live_p99, ..storm? })
}

/// Measures streams of another channel while `meanwhile` runs: its result, and their p99 in ms.
fn live_p99<T>(server: &BenchServer, meanwhile: impl FnOnce() -> T) -> BenchResult<(T, f64)> {
    let (begun, ends) = (Barrier::new(2), AtomicBool::new(false));
    thread::scope(|scope| {
        let live = scope.spawn(|| live(server, &begun, &ends).map_err(|error| error.to_string()));
        begun.wait();
        let result = meanwhile();
        ends.store(true, Ordering::Relaxed);
        let p99 = live.join().map_err(|_| "live streams panicked")??;
        Ok((result, p99))
    })
}

fn live(server: &BenchServer, begun: &Barrier, ends: &AtomicBool) -> BenchResult<f64> {
    let opened = open_live(server);
    // Also after an error: the other thread waits here.
    begun.wait();
    let mut fleet = opened?;
    let mut load = OneChannelLoad::new(LIVE);
    while !ends.load(Ordering::Relaxed) {
        load.paced(&mut fleet, 30, Duration::from_millis(100))?;
    }
    fleet.drain(load.published() * LIVE_STREAMS as u64)?;
    if !fleet.faults.is_none() {
        return Err(format!("live streams: {}", fleet.faults).into());
    }
    Ok(fleet.latency().value_at_quantile(0.99) as f64 / 1e3)
}

fn open_live(server: &BenchServer) -> BenchResult<BenchFleet> {
    let mut fleet = BenchFleet::subscribed(server, LIVE, LIVE_STREAMS)?;
    fleet.add_publisher();
    Ok(fleet)
}

fn storm_alone(
    server: &BenchServer,
    clients: usize,
    channel: &dyn Fn(usize) -> String,
    after: &str,
    events_each: u64,
) -> BenchResult<ResumeStorm> {
    server.forget_peak()?;
    let (resident, cpu, began) = (server.resident_kib()?, server.cpu()?, Instant::now());
    let mut fleet = BenchFleet::new(server.address)?;
    for at in 0..clients {
        fleet.subscribe(&channel(at), Some(after))?;
    }
    fleet.drain(clients as u64 * events_each)?;
    let seconds = began.elapsed().as_secs_f64();
    let cpu = server.cpu()? - cpu;
    if !fleet.faults.is_none() || fleet.deliveries != clients as u64 * events_each {
        let faults = fleet.faults.to_string();
        return Err(
            format!("{} of {} events; {faults}", fleet.deliveries, clients as u64 * events_each).into()
        );
    }
    eprintln!("  storm of {clients}: {seconds:.2} s, {:.2} s of CPU", cpu.as_secs_f64());
    Ok(ResumeStorm {
        seconds,
        cpu,
        events: fleet.deliveries,
        grown_kib: server.peak_kib()?.saturating_sub(resident),
        slowest_connect: fleet.slowest_connect,
        live_p99: 0.0,
    })
}

fn quiet(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let busy = count(arguments.events as f64);
    let note = "Ten events on each quiet channel, on one hub alone, on the other spread among the busy ones. Both \
                hubs were restarted, then take turns; medians. In parentheses: the median of the ratios to the hub \
                without busy events.";
    let title = format!("1,000 clients of quiet channels resume, beside {busy} events of busy ones");
    let mut table = FigureTable::new(&title, &["hub", "server CPU per client, µs", "time, ms"], note);
    let mut hubs = Vec::new();
    for (name, events) in [("quiet-busy", arguments.events), ("quiet-alone", 0)] {
        let server = BenchServer::start(programs, ServerKind::Interval, name, &[])?;
        let first = fill(server.address, [("start".to_owned(), 0)])?;
        for round in 0..QUIET_EVENTS {
            fill(server.address, (0..QUIET_CHANNELS).map(|channel| (format!("quiet.{channel}"), round)))?;
            let each = events / QUIET_EVENTS;
            if each > 0 {
                fill(
                    server.address,
                    (round * each..(round + 1) * each).map(|at| (format!("busy.{}", at % 1_000), at)),
                )?;
            }
        }
        server.terminate()?;
        let server = BenchServer::start(programs, ServerKind::Interval, name, &[])?;
        settle(&server)?;
        hubs.push((server, first));
    }
    let channel = |at: usize| format!("quiet.{at}");
    // One turn has several storms: the kernel counts CPU in ticks of 10 ms.
    let samples = alternate(hubs.len(), arguments.rounds, |at| {
        let (server, first) = &hubs[at];
        let (mut cpu, mut seconds) = (Duration::ZERO, 0.0);
        for _ in 0..5 {
            let storm = storm_alone(server, QUIET_CHANNELS, &channel, first, QUIET_EVENTS)?;
            cpu += storm.cpu;
            seconds += storm.seconds;
        }
        Ok([micros(cpu) / 5.0 / QUIET_CHANNELS as f64, seconds * 1e3 / 5.0])
    })?;
    for (at, name) in [format!("with {busy} busy events"), "without".to_owned()].into_iter().enumerate() {
        let cell = |figure: usize| {
            let value = median(samples[at].iter().map(|sample| sample[figure]));
            let ratio =
                median(samples[at].iter().zip(&samples[1]).map(|(one, other)| one[figure] / other[figure]));
            format!("{value:.0} ({ratio:.2})")
        };
        table.row([name, cell(0), cell(1)]);
    }
    let figure = "CPU of 1,000 clients of quiet channels resuming, × on a hub without busy ones";
    let pairs = samples[0].iter().zip(&samples[1]);
    let ratio = median(pairs.map(|(one, other)| one[0] / other[0]));
    table.target(figure, "≤ 1.1", Some(ratio), |ratio| ratio <= 1.1);
    drop(hubs);
    Ok(table)
}
