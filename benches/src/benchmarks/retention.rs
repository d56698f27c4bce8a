//! A hub at its retention limits beside a new one: publishes/s, and the size of its directory.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::publish::{BATCH, BATCH_PUBLISHERS, CHANNELS, PUBLISHERS};
use crate::{fleet::Measured, prelude::*};

/// Small, so the load reaches it in seconds.
const RETENTION_MIB: u64 = 64;
const SETTINGS: [(&str, &str); 1] = [("TIDINGS_LOG_RETENTION_BYTES", "64MiB")];
/// Documented bound of the directory.
const BOUND_MIB: u64 = RETENTION_MIB * 3 / 2 + 128;

pub(super) fn measure(context: &BenchContext) -> BenchResult<FigureTable> {
    let old = BenchServer::start(context, ServerKind::Interval, &SETTINGS)?;
    let (largest, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    let rounds = thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                largest.fetch_max(old.data_bytes(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
        });
        let rounds = compare(context, &old);
        ends.store(true, Ordering::Relaxed);
        rounds
    })?;
    let largest = largest.into_inner() >> 20;
    let mut table = FigureTable::new(
        format!(
            "A hub that was at its limits for {} s beside a new one; its directory had at most {largest} MiB",
            context.arguments.seconds
        ),
        &["hub", "publishes/s", "CPU per publish, µs", "batched events/s", "CPU per batched event, µs"],
        format!(
            "`retention_bytes` of {RETENTION_MIB} MiB, durability `interval`, 2,000 channels without subscribers. The old \
             hub takes batches without a pause for the whole time, then both take turns, each new hub with an empty \
             directory. In parentheses: the median of the ratios to the new hub. The contract's bound for the \
             directory is {BOUND_MIB} MiB; it is read every 50 ms."
        ),
    );
    rounds.fill(&mut table, 0..4);
    if largest > BOUND_MIB {
        table.errors.push(format!("directory had {largest} MiB; its bound is {BOUND_MIB}"));
    }
    Ok(table)
}

fn compare<'a>(
    context: &BenchContext,
    old: &'a BenchServer,
) -> BenchResult<Comparison<Option<&'a BenchServer>>> {
    load(old, Some(BATCH), Duration::from_secs(context.arguments.seconds))?;
    let cases = [
        Case::new("at its limits", ServerKind::Interval, Some(old)),
        Case::new("new", ServerKind::Interval, None),
    ];
    Comparison::measure(context.arguments.rounds, cases, |old| match old {
        Some(old) => turn(context, old),
        None => turn(context, &BenchServer::start(context, ServerKind::Interval, &SETTINGS)?),
    })
}

/// Measures single publishes first: they are too few to bring a new hub to its limits.
fn turn(context: &BenchContext, server: &BenchServer) -> BenchResult<Sample> {
    let time = context.slice();
    load(server, None, time / 4)?;
    let single = load(server, None, time)?;
    // Batches reach 64 MiB within seconds, so their turn is short.
    let batched = load(server, Some(BATCH), time.min(Duration::from_millis(500)))?;
    let figures = [single, batched]
        .into_iter()
        .flat_map(|measured| [measured.per_second(measured.published), measured.cpu_per_event()]);
    Ok(Sample { figures: figures.collect(), ..Sample::default() })
}

fn load(server: &BenchServer, batch: Option<usize>, time: Duration) -> BenchResult<Measured> {
    let mut fleet = BenchFleet::new(&[server], CHANNELS, batch.map_or(PUBLISHERS, |_| BATCH_PUBLISHERS))?;
    fleet.batch = batch;
    fleet.measure(&[&server.trees], |fleet| {
        fleet.run_saturated(None, time)?;
        fleet.drain()
    })
}
