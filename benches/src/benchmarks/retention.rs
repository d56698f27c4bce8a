//! A hub at its retention limits beside a new one: publishes/s, and the size of its directory.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{publish::ManyChannelLoad, server_rounds::alternate};
use crate::{
    arguments::BenchArguments,
    client_fleet::BenchFleet,
    numbers::{figure_text, median, micros},
    report::FigureTable,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

/// Small, so the load reaches it in seconds.
const RETENTION_MIB: u64 = 64;
const SETTINGS: [(&str, &str); 1] = [("TIDINGS_LOG_RETENTION_BYTES", "64MiB")];
/// Documented bound of the directory.
const BOUND_MIB: u64 = RETENTION_MIB * 3 / 2 + 128;
const OLD: &str = "retention-old";

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        &format!("A hub that was at its limits for {} s beside a new one", arguments.seconds),
        &[
            "hub",
            "publishes/s",
            "CPU per publish, µs",
            "batched events/s",
            "CPU per batched event, µs",
            "largest directory, MiB",
        ],
        &format!(
            "`retention_bytes` of {RETENTION_MIB} MiB, durability `interval`, 2,000 channels without subscribers. The old \
             hub takes batches without a pause for the whole time, then both take turns, each new hub with an empty \
             directory. In parentheses: the median of the ratios to the new hub. The contract's bound for the \
             directory is {BOUND_MIB} MiB; it is read every 50 ms."
        ),
    );
    let old = BenchServer::start(programs, ServerKind::Interval, OLD, &SETTINGS)?;
    let (largest, ends) = (AtomicU64::new(0), AtomicBool::new(false));
    let samples = thread::scope(|scope| {
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                largest.fetch_max(old.data_bytes(), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(50));
            }
        });
        let samples = take_turns(arguments, programs, &old);
        ends.store(true, Ordering::Relaxed);
        samples
    })?;
    let largest = largest.into_inner() >> 20;
    drop(old);
    fs::remove_dir_all(programs.directory.join(OLD))?;
    for (at, name) in ["at its limits", "new"].into_iter().enumerate() {
        let cell = |figure: usize| {
            let value = median(samples[at].iter().map(|sample| sample[figure]));
            let ratio =
                median(samples[at].iter().zip(&samples[1]).map(|(one, other)| one[figure] / other[figure]));
            format!("{} ({ratio:.2})", figure_text(value))
        };
        let directory = if at == 0 { largest.to_string() } else { "–".into() };
        table.row([name.to_owned(), cell(0), cell(1), cell(2), cell(3), directory]);
    }
    if largest > BOUND_MIB {
        table.errors.push(format!("directory had {largest} MiB; its bound is {BOUND_MIB}"));
    }
    Ok(table)
}

fn take_turns(
    arguments: &BenchArguments,
    programs: &Programs,
    old: &BenchServer,
) -> BenchResult<Vec<Vec<[f64; 4]>>> {
    load(old, 100, Duration::from_secs(arguments.seconds))?;
    let mut round = 0;
    alternate(2, arguments.rounds, |at| {
        if at == 0 {
            return both(arguments, old);
        }
        round += 1;
        let name = format!("retention-new-{round}");
        let figures = both(arguments, &BenchServer::start(programs, ServerKind::Interval, &name, &SETTINGS)?);
        fs::remove_dir_all(programs.directory.join(name))?;
        figures
    })
}

/// Measures single publishes first: they are too few to bring a new hub to its limits.
fn both(arguments: &BenchArguments, server: &BenchServer) -> BenchResult<[f64; 4]> {
    let time = Duration::from_secs_f64(arguments.slice);
    load(server, 1, time / 4)?;
    let [single, single_cpu] = load(server, 1, time)?;
    // Batches reach 64 MiB within seconds, so their turn is short.
    let [batched, batched_cpu] = load(server, 100, time.min(Duration::from_millis(500)))?;
    Ok([single, single_cpu, batched, batched_cpu])
}

/// Returns events/s, and CPU per event in µs.
fn load(server: &BenchServer, batch: usize, time: Duration) -> BenchResult<[f64; 2]> {
    let mut fleet = BenchFleet::new(server.address)?;
    for _ in 0..if batch == 1 { 32 } else { 4 } {
        fleet.add_publisher();
    }
    let mut load = ManyChannelLoad::new(batch);
    let (cpu, began) = (server.cpu()?, Instant::now());
    load.run(&mut fleet, time)?;
    fleet.drain(0)?;
    let published = load.published as f64;
    Ok([published / began.elapsed().as_secs_f64(), micros(server.cpu()? - cpu) / published])
}
