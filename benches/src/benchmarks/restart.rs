//! Time from the start of the process to the first 200 of `/readyz`, with many stored events.

use super::stored_events::{BUSY_CHANNELS, full_hub};
use crate::numbers::{count, median};
use crate::prelude::*;

/// Directory of the hub's data.
const DATA: &str = "restart";

pub(super) fn measure(context: &BenchContext) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        format!("Restart with {} stored events", count(context.arguments.events as f64)),
        &["server", "median, ms", "each, ms"],
        "64-byte events on 1,000 channels, durability `interval`. Time from the start of the process to the first 200 \
         of `/readyz`, asked every 2 ms; median of the starts, and all of them. After each, one channel is read from \
         its first event to its last and counted. The baseline stores nothing.",
    );
    let (mut server, first) = full_hub(context, DATA)?;
    let (mut clean, mut killed) = (Vec::new(), Vec::new());
    for round in 0..context.arguments.rounds {
        for is_kill in [false, true] {
            if is_kill {
                drop(server);
            } else {
                server.terminate()?;
            }
            server = BenchServer::start_with_data(context, DATA)?;
            let ready = server.ready_after.as_secs_f64() * 1e3;
            eprintln!("  round {round}, killed {is_kill}: ready after {ready:.0} ms");
            if is_kill { &mut killed } else { &mut clean }.push(ready);
            let mut fleet = BenchFleet::new(&[&server], 1, 0)?;
            fleet.resume("busy.500", &first, context.arguments.events / BUSY_CHANNELS)?;
            let faults = fleet.finish(Vec::new())?.faults;
            if faults != DeliveryFaults::default() {
                table.errors.push(format!("after a restart: {faults}"));
            }
        }
    }
    let baseline = BenchServer::start(context, ServerKind::AxumBaseline, &[])?;
    for (name, times) in [
        ("tidings after SIGTERM", &clean),
        ("tidings after `kill -9`", &killed),
        ("`axum` + broadcast, empty", &vec![baseline.ready_after.as_secs_f64() * 1e3]),
    ] {
        let each: Vec<String> = times.iter().map(|time| format!("{time:.0}")).collect();
        table.row([name.to_owned(), format!("{:.0}", median(times.iter().copied())), each.join(", ")]);
    }
    let slower = median(clean).max(median(killed)) / 1e3;
    table.at_most("start with 1,000,000 stored events to ready, also after `kill -9`, s", 1.0, Some(slower));
    Ok(table)
}
