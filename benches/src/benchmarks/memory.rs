//! Memory per idle connection: the growth of the proportional set size between a tenth of the connections and all.

use std::{ops::Range, thread, time::Duration};

use crate::{
    arguments::BenchArguments,
    chart::ChartPanel,
    client_fleet::BenchFleet,
    report::FigureTable,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

/// Time without load before memory is read.
const REST: Duration = Duration::from_millis(1_500);
/// Events to each connection before memory is read again.
const EVENTS: u64 = 3;

/// One row of the table.
struct MemoryCase {
    kind: ServerKind,
    name: &'static str,
    /// Whether all connections have one channel, or each has its own.
    is_shared: bool,
    /// Whether each stream is the second request of its connection.
    is_kept_alive: bool,
}

const CASES: [MemoryCase; 7] = [
    MemoryCase { kind: ServerKind::Interval, name: "tidings", is_shared: true, is_kept_alive: false },
    MemoryCase { kind: ServerKind::Interval, name: "tidings", is_shared: false, is_kept_alive: false },
    MemoryCase {
        kind: ServerKind::Interval,
        name: "tidings through hyper",
        is_shared: true,
        is_kept_alive: true,
    },
    MemoryCase {
        kind: ServerKind::AxumBaseline,
        name: "`axum` + broadcast",
        is_shared: true,
        is_kept_alive: false,
    },
    MemoryCase {
        kind: ServerKind::AxumBaseline,
        name: "`axum` + broadcast",
        is_shared: false,
        is_kept_alive: false,
    },
    MemoryCase { kind: ServerKind::Nchan, name: "Nchan", is_shared: true, is_kept_alive: false },
    MemoryCase { kind: ServerKind::Pushpin, name: "Pushpin", is_shared: true, is_kept_alive: false },
];

/// Memory per connection, in KiB.
struct MemoryFigures {
    fresh: f64,
    after_events: Option<f64>,
    faults: String,
}

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let (few, many) = (arguments.connections / 10, arguments.connections);
    let mut table = FigureTable::new(
        "Memory per idle connection",
        &["server", "channels", "fresh, KiB", "after three events, KiB", "faults"],
        &format!(
            "Growth of the proportional set size of all processes of the server from {few} to {many} connections, \
             for each of them. Through hyper are streams that are the second request of their connection. Buffers of \
             the kernel are not in it."
        ),
    );
    let mut bars = Vec::new();
    for (at, case) in CASES.iter().enumerate().filter(|(_, case)| arguments.is_chosen(case.kind)) {
        let channels = if case.is_shared { "one" } else { "one each" };
        let row = |cells: [String; 3]| [case.name.to_owned(), channels.to_owned()].into_iter().chain(cells);
        let measured = match case.kind.missing() {
            Some(reason) => Err(reason.into()),
            None => measure_one(programs, case, at, few, many),
        };
        match measured {
            Ok(figures) => {
                eprintln!("  {}: {:.1} KiB, {}", case.name, figures.fresh, figures.faults);
                let after = figures.after_events.map_or("–".into(), |kib| format!("{kib:.1}"));
                if case.kind.is_ours() && figures.faults != "none" {
                    table.errors.push(format!("{}: {}", case.name, figures.faults));
                }
                compare_with_targets(&mut table, case, &figures);
                if case.is_shared {
                    bars.push((case.name.to_owned(), figures.fresh));
                }
                table.row(row([format!("{:.1}", figures.fresh), after, figures.faults]));
            }
            Err(error) if case.kind.is_ours() => return Err(error),
            Err(error) => table.row_without_figures(&[case.name, channels], error.to_string()),
        }
    }
    let title = format!("Memory per idle connection, of {many}: less is better");
    table.panels.push(ChartPanel { title, bars, unit: " KiB", reference: None });
    Ok(table)
}

fn compare_with_targets(table: &mut FigureTable, case: &MemoryCase, figures: &MemoryFigures) {
    let most = figures.after_events.map(|after| after.max(figures.fresh));
    match (case.kind, case.is_kept_alive) {
        (ServerKind::Interval, false) if case.is_shared => {
            let figure = "memory per idle connection, direct, fresh and after events, KiB";
            table.target(figure, "≤ 2", most, |kib| kib <= 2.0);
        }
        (ServerKind::Interval, true) => {
            let figure = "memory per idle connection, through hyper, KiB";
            table.target(figure, "≤ 12", most, |kib| kib <= 12.0);
        }
        _ => {}
    }
}

fn measure_one(
    programs: &Programs,
    case: &MemoryCase,
    at: usize,
    few: usize,
    many: usize,
) -> BenchResult<MemoryFigures> {
    let name = format!("memory-{at}");
    let server = BenchServer::start(programs, case.kind, &name, &[])?;
    let figures = grow(&server, case, few, many);
    server.discard();
    figures
}

fn grow(server: &BenchServer, case: &MemoryCase, few: usize, many: usize) -> BenchResult<MemoryFigures> {
    let channel = |at: usize| if case.is_shared { "idle".to_owned() } else { format!("idle.{at}") };
    let mut fleet = BenchFleet::of(server)?;
    fleet.is_kept_alive = case.is_kept_alive;
    let open = |fleet: &mut BenchFleet, range: Range<usize>| -> BenchResult<u64> {
        for at in range {
            fleet.subscribe(&channel(at), None)?;
        }
        fleet.open_all()?;
        thread::sleep(REST);
        server.pss_kib()
    };
    let at_few = open(&mut fleet, 0..few)?;
    let at_many = open(&mut fleet, few..many)?;
    let each = |kib: u64| kib.saturating_sub(at_few) as f64 / (many - few) as f64;
    let mut after_events = None;
    // Stored events of so many channels would add the log's memory to that of the connections.
    if case.is_shared {
        fleet.add_publisher();
        for number in 0..EVENTS {
            let event = fleet.event(0, number)?;
            fleet.publish(0, &channel(0), event);
            fleet.drain((number + 1) * many as u64)?;
        }
        thread::sleep(REST);
        after_events = Some(each(server.pss_kib()?));
    }
    Ok(MemoryFigures { fresh: each(at_many), after_events, faults: fleet.faults.to_string() })
}
