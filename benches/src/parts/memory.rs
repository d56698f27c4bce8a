//! Memory per idle connection: the growth of the proportional set size between a tenth of the connections and all.

use std::{fs, ops::Range, thread, time::Duration};

use super::fault_text;
use crate::{
    Arguments, Outcome,
    chart::Panel,
    report::Table,
    server::{Kind, Programs, Server},
    swarm::Swarm,
};

/// How long a server is left alone before its memory is read.
const REST: Duration = Duration::from_millis(1_500);
/// Events that each connection gets before it is measured again.
const EVENTS: u64 = 3;

/// One row.
struct Case {
    kind: Kind,
    name: &'static str,
    /// Whether all connections are on one channel, or each on its own.
    is_shared: bool,
    /// Whether streams are the second request of their connections.
    is_kept_alive: bool,
}

const CASES: [Case; 7] = [
    Case { kind: Kind::Interval, name: "tidings", is_shared: true, is_kept_alive: false },
    Case { kind: Kind::Interval, name: "tidings", is_shared: false, is_kept_alive: false },
    Case { kind: Kind::Interval, name: "tidings through hyper", is_shared: true, is_kept_alive: true },
    Case { kind: Kind::Baseline, name: "`axum` + broadcast", is_shared: true, is_kept_alive: false },
    Case { kind: Kind::Baseline, name: "`axum` + broadcast", is_shared: false, is_kept_alive: false },
    Case { kind: Kind::Nchan, name: "Nchan", is_shared: true, is_kept_alive: false },
    Case { kind: Kind::Pushpin, name: "Pushpin", is_shared: true, is_kept_alive: false },
];

/// KiB for each connection.
struct Figures {
    fresh: f64,
    after_events: Option<f64>,
    faults: String,
}

pub(crate) fn measure(arguments: &Arguments, programs: &Programs) -> Outcome<Table> {
    let (few, many) = (arguments.connections / 10, arguments.connections);
    let mut table = Table::new(
        "Memory per idle connection",
        &["server", "channels", "fresh, KiB", "after three events, KiB", "faults"],
        &format!(
            "Proportional set size of all processes of the server: what it grew by from {few} to {many} connections, \
             for each of them. Through hyper are streams that are the second request of their connection. Buffers of \
             the kernel are not in it."
        ),
    );
    let mut bars = Vec::new();
    for (at, case) in CASES.iter().enumerate().filter(|(_, case)| arguments.is_asked(case.kind)) {
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
                judge(&mut table, case, &figures);
                if case.is_shared {
                    bars.push((case.name.to_owned(), figures.fresh));
                }
                table.row(row([format!("{:.1}", figures.fresh), after, figures.faults]));
            }
            Err(error) if case.kind.is_ours() => return Err(error),
            Err(error) => table.row(row(["–".into(), "–".into(), error.to_string()])),
        }
    }
    let title = format!("Memory per idle connection, of {many}: less is better");
    table.panels.push(Panel { title, bars, unit: " KiB", reference: None });
    Ok(table)
}

fn judge(table: &mut Table, case: &Case, figures: &Figures) {
    let most = figures.after_events.map(|after| after.max(figures.fresh));
    match (case.kind, case.is_kept_alive) {
        (Kind::Interval, false) if case.is_shared => {
            let what = "memory per idle connection, direct, fresh and after events, KiB";
            table.reach(what, "≤ 2", most, |kib| kib <= 2.0);
        }
        (Kind::Interval, true) => {
            let what = "memory per idle connection, through hyper, KiB";
            table.reach(what, "≤ 12", most, |kib| kib <= 12.0);
        }
        _ => {}
    }
}

fn measure_one(programs: &Programs, case: &Case, at: usize, few: usize, many: usize) -> Outcome<Figures> {
    let name = format!("memory-{at}");
    let server = Server::start(programs, case.kind, &name, &[])?;
    let figures = grow(&server, case, few, many);
    drop(server);
    let _ = fs::remove_dir_all(programs.directory.join(name));
    figures
}

fn grow(server: &Server, case: &Case, few: usize, many: usize) -> Outcome<Figures> {
    let channel = |at: usize| if case.is_shared { "idle".to_owned() } else { format!("idle.{at}") };
    let mut swarm = Swarm::of(server)?;
    swarm.is_kept_alive = case.is_kept_alive;
    let open = |swarm: &mut Swarm, range: Range<usize>| -> Outcome<u64> {
        for at in range {
            swarm.subscribe(&channel(at), None)?;
        }
        swarm.open_all()?;
        thread::sleep(REST);
        server.pss_kib()
    };
    let at_few = open(&mut swarm, 0..few)?;
    let at_many = open(&mut swarm, few..many)?;
    let each = |kib: u64| kib.saturating_sub(at_few) as f64 / (many - few) as f64;
    let mut after_events = None;
    // What three events on each of so many channels take is the log's, not the connections'.
    if case.is_shared {
        swarm.add_publisher();
        for number in 0..EVENTS {
            let event = swarm.event(0, number)?;
            swarm.publish(0, &channel(0), event);
            swarm.drain((number + 1) * many as u64)?;
        }
        thread::sleep(REST);
        after_events = Some(each(server.pss_kib()?));
    }
    Ok(Figures { fresh: each(at_many), after_events, faults: fault_text(&swarm.faults) })
}
