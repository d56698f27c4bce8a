//! Subscribers that never read beside healthy ones: latency of the healthy ones, and memory of the server.

use std::time::Duration;

use tidings_load::ReadPace;

use crate::prelude::*;

const HEALTHY: usize = 500;
const STALLED: usize = 200;
const EVENTS_PER_SECOND: f64 = 100.0;
const EVENT_BYTES: usize = 2_048;
const WARM_UP: Duration = Duration::from_millis(500);
/// Interval between reads of memory.
const MEMORY_INTERVAL: Duration = Duration::from_millis(500);
const KINDS: [ServerKind; 3] = [ServerKind::Interval, ServerKind::AxumBaseline, ServerKind::Nchan];

/// Indices of figures.
const RATIO: usize = 2;
const PER_CLIENT: usize = 5;
const CUT: usize = 6;

/// Figures of a server without stalled streams, or with them.
struct HealthyFigures {
    p99: f64,
    events_per_second: f64,
    peak_kib: u64,
    /// Memory at the end.
    last_kib: u64,
    /// Stalled streams that the server closed.
    cut: u64,
    sample: Sample,
}

pub(super) fn measure(context: &BenchContext) -> BenchResult<FigureTable> {
    // Buffers of the kernel fill up in this time, and `write_timeout` of 30 s does not pass.
    let time = Duration::from_secs_f64((context.arguments.slice * 2.5).clamp(3.0, 20.0));
    let rounds = Comparison::of_servers(context, context.arguments.rounds.min(3), &KINDS, |kind| {
        let without = run(&BenchServer::start(context, *kind, &[])?, 0, time)?;
        let with = run(&BenchServer::start(context, *kind, &[])?, STALLED, time)?;
        let figures = vec![
            without.p99,
            with.p99,
            with.p99 / without.p99,
            with.events_per_second,
            with.peak_kib as f64 / 1024.0,
            (with.last_kib as f64 - without.last_kib as f64) / STALLED as f64,
            with.cut as f64,
        ];
        let faults = without.sample.faults + with.sample.faults;
        Ok(Sample { figures, faults, ..Sample::default() })
    })?;
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
        format!(
            "Each server runs {time:.0?} without stalled clients and as long with them, in turns; medians. Peak memory is the \
             largest proportional set size, read every {MEMORY_INTERVAL:?}. KiB per stalled client: memory at the end with \
             them less memory without them. `write_timeout` is 30 s, so no stalled client may be cut within the turn. \
             Faults are those of the healthy clients. Pushpin is left out: it cannot do 50,000 deliveries/s here."
        ),
    );
    let stalled = STALLED * context.arguments.rounds.min(3);
    rounds.fill_with(&mut table, |case, figure| match figure {
        CUT => format!("{} of {stalled}", rounds.sum(case, CUT)),
        _ => rounds.median_text(case, figure),
    });
    let ours = |figure| rounds.median(rounds.find(ServerKind::Interval)?, figure);
    table.at_most("healthy p99 beside 200 never-reading subscribers, × without them", 1.3, ours(RATIO));
    table.at_most("memory per stalled client, KiB", 8.0, ours(PER_CLIENT));
    let cut = rounds.find(ServerKind::Interval).map(|case| rounds.sum(case, CUT));
    table.at_most("stalled clients cut before `write_timeout`", 0.0, cut);
    Ok(table)
}

fn run(server: &BenchServer, stalled: usize, time: Duration) -> BenchResult<HealthyFigures> {
    let mut fleet = BenchFleet::new(&[server], 1, 1)?;
    fleet.event_bytes = EVENT_BYTES;
    fleet.subscribe(HEALTHY)?;
    fleet.reading = ReadPace::Stalled;
    fleet.subscribe(stalled)?;
    fleet.run_paced(EVENTS_PER_SECOND, WARM_UP)?;
    let (mut peak_kib, mut last_kib) = (0, 0);
    let measured = fleet.measure(&[&server.trees], |fleet| {
        for _ in 0..time.div_duration_f64(MEMORY_INTERVAL).ceil() as usize {
            fleet.run_paced(EVENTS_PER_SECOND, MEMORY_INTERVAL)?;
            last_kib = server.pss_kib()?;
            peak_kib = peak_kib.max(last_kib);
        }
        Ok(())
    })?;
    let events_per_second = measured.per_second(measured.deliveries) / HEALTHY as f64;
    fleet.drain()?;
    let cut = fleet.cut;
    let sample = fleet.finish(Vec::new())?;
    Ok(HealthyFigures { p99: measured.p99, events_per_second, peak_kib, last_kib, cut, sample })
}
