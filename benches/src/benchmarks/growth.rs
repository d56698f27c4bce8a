//! Growth of the hub's CPU per delivery with connections and channels, beside that of the epoll baseline.

use std::time::Duration;

use crate::{numbers::count, prelude::*, requests::fill};

/// The same rate in all cases.
const DELIVERIES_PER_SECOND: f64 = 30_000.0;
/// Most events of one batch. With more channels, batches take turns with them.
const BATCH_EVENTS_MAX: usize = 1_000;
const WARM_UP: Duration = Duration::from_millis(500);

/// Numbers of connections and channels.
#[derive(Debug, Clone, Copy)]
struct GrowthCase {
    connections: usize,
    channels: usize,
    /// Further channels, each with one event and without a subscriber.
    quiet: usize,
}

impl GrowthCase {
    const fn of(connections: usize, channels: usize) -> Self {
        Self { connections, channels, quiet: 0 }
    }
}

/// The last case is the reference of the ratios.
const CASES: [GrowthCase; 9] = [
    GrowthCase::of(100, 1),
    GrowthCase::of(5_000, 1),
    GrowthCase::of(18_000, 1),
    GrowthCase { quiet: 100_000, ..GrowthCase::of(1_000, 1) },
    GrowthCase::of(1_000, 100),
    GrowthCase::of(1_000, 1_000),
    GrowthCase::of(1_000, 10_000),
    GrowthCase::of(1_000, 100_000),
    GrowthCase::of(1_000, 1),
];

/// Index of the hub's figure divided by the baseline's.
const RATIO: usize = 2;

pub(super) fn measure(context: &BenchContext) -> BenchResult<FigureTable> {
    let cases = CASES.into_iter().map(|case| {
        let names = [case.connections, case.channels, case.quiet].map(|number| count(number as f64));
        Case { names: names.to_vec(), server: ServerKind::Memory, setup: case }
    });
    let rounds = Comparison::measure(context.arguments.rounds.min(3), cases, |case| {
        let (ours, faults) = cpu_per_delivery(context, ServerKind::Memory, *case)?;
        let (baseline, _) = cpu_per_delivery(context, ServerKind::EpollBaseline, *case)?;
        Ok(Sample { figures: vec![ours, baseline, ours / baseline], faults, ..Sample::default() })
    })?;
    let mut table = FigureTable::new(
        "Growth with connections and channels",
        &[
            "connections",
            "channels",
            "quiet channels besides",
            "tidings, µs per delivery",
            "epoll baseline, µs",
            "tidings ÷ epoll baseline",
            "faults",
        ],
        format!(
            "Server CPU per delivery at {} deliveries/s, publishing included, durability `memory`; hub and epoll baseline \
             in turns, medians of the ratios within a round. In parentheses: their ratio to that of the last row. Events \
             are published in batches of one for each channel, of {} channels at most, which then take turns. With more \
             channels than connections, each connection has several and gets one event of each batch.",
            count(DELIVERIES_PER_SECOND),
            count(BATCH_EVENTS_MAX as f64),
        ),
    );
    rounds.fill(&mut table, RATIO..RATIO + 1);
    let worst = |is_chosen: &dyn Fn(&GrowthCase) -> bool| {
        let chosen = (0..CASES.len()).filter(|at| is_chosen(&CASES[*at]));
        chosen.filter_map(|at| rounds.ratio(at, CASES.len() - 1, RATIO)).reduce(f64::max)
    };
    let connections = worst(&|case| case.channels == 1);
    let channels = worst(&|case| case.connections == 1_000);
    let name = "growth of CPU per delivery ÷ epoll baseline, 100 to 18,000 connections";
    table.at_most(name, 1.15, connections);
    table.at_most("growth of CPU per delivery ÷ epoll baseline, 1 to 100,000 channels", 1.15, channels);
    Ok(table)
}

/// Returns CPU per delivery in µs, and the faults.
fn cpu_per_delivery(
    context: &BenchContext,
    kind: ServerKind,
    case: GrowthCase,
) -> BenchResult<(f64, DeliveryFaults)> {
    let server = BenchServer::start(context, kind, &[])?;
    if kind.is_ours() && case.quiet > 0 {
        fill(server.address, (0..case.quiet).map(|at| (format!("quiet.{at}"), 0)))?;
    }
    // A connection with several channels numbers the events of all of them as one sequence.
    let mut fleet = BenchFleet::new(&[&server], case.channels.min(case.connections), 1)?;
    fleet.names_per_channel = u32::try_from(case.channels.div_ceil(case.connections))?;
    let batch = case.channels.min(BATCH_EVENTS_MAX);
    fleet.batch = Some(batch);
    fleet.subscribe(case.connections)?;
    let deliveries = batch * (case.connections / case.channels).max(1);
    let batches_per_second = DELIVERIES_PER_SECOND / deliveries as f64;
    // Deliveries in flight are not measured.
    let run = |fleet: &mut BenchFleet, time| {
        fleet.run_paced(batches_per_second, time)?;
        fleet.drain()
    };
    run(&mut fleet, WARM_UP)?;
    let measured = fleet.measure(&[&server.trees], |fleet| run(fleet, context.slice()))?;
    Ok((measured.cpu_per_delivery(), fleet.faults()))
}
