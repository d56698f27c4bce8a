//! Time from the start of the process to the first 200 of `/readyz`, with many stored events.

use std::fs;

use super::full_hub::full_hub;
use crate::{
    arguments::BenchArguments,
    client_fleet::BenchFleet,
    numbers::{count, median},
    report::FigureTable,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

const NAME: &str = "restart";

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let title = format!("Restart with {} stored events", count(arguments.events as f64));
    let note = "64-byte events on 1,000 channels, durability `interval`. Time from the start of the process to the \
                first 200 of `/readyz`, asked every 2 ms; median of the starts, and all of them. After each, one \
                channel is read from its first event to its last and counted. The baseline stores nothing.";
    let mut table = FigureTable::new(&title, &["server", "median, ms", "each, ms"], note);
    let (mut server, first) = full_hub(arguments, programs, NAME)?;
    let per_channel = arguments.events / 1_000;
    let (mut clean, mut killed) = (Vec::new(), Vec::new());
    for round in 0..arguments.rounds {
        for is_kill in [false, true] {
            if is_kill {
                drop(server);
            } else {
                server.terminate()?;
            }
            server = BenchServer::start(programs, ServerKind::Interval, NAME, &[])?;
            let ready = server.ready_after.as_secs_f64() * 1e3;
            eprintln!("  round {round}, killed {is_kill}: ready after {ready:.0} ms");
            if is_kill { &mut killed } else { &mut clean }.push(ready);
            let mut fleet = BenchFleet::new(server.address)?;
            fleet.subscribe("busy.500", Some(&first))?;
            fleet.drain(per_channel)?;
            if !fleet.faults.is_none() {
                table.errors.push(format!("after a restart: {}", fleet.faults));
            }
        }
    }
    drop(server);
    fs::remove_dir_all(programs.directory.join(NAME))?;
    let mut row = |name: &str, times: &[f64]| {
        let each: Vec<String> = times.iter().map(|time| format!("{time:.0}")).collect();
        table.row([name.to_owned(), format!("{:.0}", median(times.iter().copied())), each.join(", ")]);
    };
    row("tidings after SIGTERM", &clean);
    row("tidings after `kill -9`", &killed);
    let baseline = BenchServer::start(programs, ServerKind::AxumBaseline, "", &[])?;
    row("`axum` + broadcast, empty", &[baseline.ready_after.as_secs_f64() * 1e3]);
    let slower = [&clean, &killed].map(|times| median(times.iter().copied())).into_iter().reduce(f64::max);
    let figure = "start with 1,000,000 stored events to ready, also after `kill -9`, s";
    table.target(figure, "≤ 1", slower.map(|ms| ms / 1e3), |seconds| seconds <= 1.0);
    Ok(table)
}
