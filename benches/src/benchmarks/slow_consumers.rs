//! Subscribers that never read beside healthy ones: latency of the healthy ones, and memory of the server.

use std::time::{Duration, Instant};

use super::fanout::OneChannelLoad;
use crate::{
    arguments::BenchArguments,
    client_fleet::{BenchFleet, DeliveryFaults},
    numbers::{figure_text, median},
    report::FigureTable,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

const HEALTHY: usize = 500;
const STALLED: usize = 200;
const EVENTS_PER_SECOND: u32 = 100;
const EVENT_BYTES: usize = 2_048;
const WARM_UP: Duration = Duration::from_millis(500);
/// Interval between reads of memory.
const LOOK: Duration = Duration::from_millis(500);
const CHANNEL: &str = "project.1";
const KINDS: [ServerKind; 3] = [ServerKind::Interval, ServerKind::AxumBaseline, ServerKind::Nchan];

/// Figures of one turn of one server.
struct ConsumerSample {
    p99: f64,
    events_per_second: f64,
    peak_kib: f64,
    /// Memory at the end.
    last_kib: f64,
    /// Stalled streams that the server closed.
    cut: u64,
    faults: DeliveryFaults,
}

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    // Buffers of the kernel fill up in this time, and `write_timeout` of 30 s does not pass.
    let time = Duration::from_secs_f64((arguments.slice * 2.5).clamp(3.0, 20.0));
    let mut table = FigureTable::new(
        "200 never-reading subscribers beside 500 healthy, 100 events/s of 2 KB",
        &[
            "server",
            "p99 without them, ms",
            "with, ms",
            "with ÷ without",
            "events/s with them",
            "peak memory, MiB",
            "KiB per stalled client",
            "stalled clients cut",
            "faults",
        ],
        &format!(
            "Each server runs {time:.0?} without stalled clients and as long with them, in turns; medians. Peak memory is the \
             largest proportional set size, read every {LOOK:?}. KiB per stalled client: memory at the end with them \
             less memory without them. `write_timeout` is 30 s, so no stalled client may be cut within the turn. Faults \
             are those of the healthy clients. Pushpin is left out: it cannot do 50,000 deliveries/s here."
        ),
    );
    for kind in KINDS.into_iter().filter(|kind| arguments.is_chosen(*kind)) {
        match turns(arguments, programs, kind, time) {
            Ok(turns) => fill(&mut table, kind, &turns),
            Err(error) if kind.is_ours() => return Err(error),
            Err(error) => table.row_without_figures(&[kind.name()], error.to_string()),
        }
    }
    Ok(table)
}

/// Measures pairs of turns: without stalled subscribers and with them.
fn turns(
    arguments: &BenchArguments,
    programs: &Programs,
    kind: ServerKind,
    time: Duration,
) -> BenchResult<Vec<(ConsumerSample, ConsumerSample)>> {
    if let Some(reason) = kind.missing() {
        return Err(reason.into());
    }
    let rounds = 0..arguments.rounds.min(3);
    rounds.map(|_| Ok((turn(programs, kind, 0, time)?, turn(programs, kind, STALLED, time)?))).collect()
}

fn fill(table: &mut FigureTable, kind: ServerKind, turns: &[(ConsumerSample, ConsumerSample)]) {
    let of = |figure: &dyn Fn(&(ConsumerSample, ConsumerSample)) -> f64| median(turns.iter().map(figure));
    let ratio = of(&|(without, with)| with.p99 / without.p99);
    let per_client = of(&|(without, with)| (with.last_kib - without.last_kib) / STALLED as f64);
    let cut: u64 = turns.iter().map(|(_, with)| with.cut).sum();
    let faults = turns
        .iter()
        .fold(DeliveryFaults::default(), |sum, (without, with)| sum + without.faults + with.faults);
    table.row([
        kind.name().to_owned(),
        figure_text(of(&|(without, _)| without.p99)),
        figure_text(of(&|(_, with)| with.p99)),
        format!("{ratio:.2}"),
        figure_text(of(&|(_, with)| with.events_per_second)),
        figure_text(of(&|(_, with)| with.peak_kib) / 1024.0),
        figure_text(per_client),
        format!("{cut} of {}", STALLED * turns.len()),
        faults.to_string(),
    ]);
    if !kind.is_ours() {
        return;
    }
    if !faults.is_none() {
        table.errors.push(format!("{}: {}", kind.name(), faults));
    }
    let figure = "healthy p99 beside 200 never-reading subscribers, × without them";
    table.target(figure, "≤ 1.3", Some(ratio), |ratio| ratio <= 1.3);
    table.target("memory per stalled client, KiB", "≤ 8", Some(per_client), |kib| kib <= 8.0);
    let figure = "stalled clients cut before `write_timeout`";
    table.target(figure, "0", Some(cut as f64), |cut| cut < 0.5);
}

fn turn(
    programs: &Programs,
    kind: ServerKind,
    stalled: usize,
    time: Duration,
) -> BenchResult<ConsumerSample> {
    let name = "slow-consumers";
    let server = BenchServer::start(programs, kind, name, &[])?;
    let mut fleet = BenchFleet::of(&server)?;
    fleet.event_bytes = EVENT_BYTES;
    for _ in 0..HEALTHY {
        fleet.subscribe(CHANNEL, None)?;
    }
    for _ in 0..stalled {
        fleet.subscribe_stalled(CHANNEL)?;
    }
    fleet.open_all()?;
    fleet.add_publisher();
    let mut load = OneChannelLoad::new(CHANNEL);
    load.paced(&mut fleet, EVENTS_PER_SECOND, WARM_UP)?;
    fleet.forget_latencies();
    let (delivered, began) = (fleet.deliveries, Instant::now());
    let (mut peak, mut last) = (0, 0);
    while began.elapsed() < time {
        load.paced(&mut fleet, EVENTS_PER_SECOND, LOOK)?;
        last = server.pss_kib()?;
        peak = peak.max(last);
    }
    let events = (fleet.deliveries - delivered) as f64 / HEALTHY as f64;
    let events_per_second = events / began.elapsed().as_secs_f64();
    let p99 = fleet.latency().value_at_quantile(0.99) as f64 / 1e3;
    fleet.drain(load.published() * HEALTHY as u64)?;
    server.discard();
    let cut = fleet.cut;
    eprintln!(
        "  {}, {stalled} stalled: p99 {p99:.1} ms, {events_per_second:.1} events/s, {last} KiB",
        kind.name()
    );
    Ok(ConsumerSample {
        p99,
        events_per_second,
        peak_kib: peak as f64,
        last_kib: last as f64,
        cut,
        faults: fleet.faults,
    })
}
