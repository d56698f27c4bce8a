//! System calls per delivery in a paced broadcast, counted by `strace -c`.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use super::fanout::OneChannelLoad;
use crate::{
    arguments::BenchArguments,
    client_fleet::BenchFleet,
    numbers::count,
    report::FigureTable,
    result::BenchResult,
    server::{BenchServer, Programs, ServerKind},
};

const SUBSCRIBERS: usize = 1_000;
/// Events of one count.
const EVENTS: usize = 20;
const ATTACHED_WITHIN: Duration = Duration::from_secs(10);
const CHANNEL: &str = "project.1";
const KINDS: [ServerKind; 6] = [
    ServerKind::Memory,
    ServerKind::Interval,
    ServerKind::AxumBaseline,
    ServerKind::Nchan,
    ServerKind::Pushpin,
    ServerKind::EpollBaseline,
];
/// Number of calls named in the table, the most frequent first.
const NAMED: usize = 3;

pub(crate) fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<FigureTable> {
    let mut table = FigureTable::new(
        "System calls per delivery, paced",
        &["server", "system calls per delivery", "the most frequent, each per delivery", "faults"],
        "`strace -c -f` of all processes of the server while events go to 1,000 subscribers, each when all have the one \
         before (a traced server is too slow for more and would join them): all calls, those for the publishes as \
         well, divided by the deliveries.",
    );
    let is_missing = Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err();
    for kind in KINDS.into_iter().filter(|kind| arguments.is_chosen(*kind)) {
        let missing = kind.missing().or(is_missing.then_some("strace is not installed"));
        let counted = missing.map_or_else(|| count_calls(programs, kind), |reason| Err(reason.into()));
        match counted {
            Ok((calls, faults)) => {
                let total = calls.per_delivery();
                eprintln!("  {}: {total:.3}, {faults}", kind.name());
                if kind == ServerKind::Interval {
                    let figure = "system calls per delivery, paced";
                    table.target(figure, "≤ 1.05", Some(total), |calls| calls <= 1.05);
                }
                table.row([kind.name().to_owned(), format!("{total:.3}"), calls.text(), faults]);
            }
            // Without the right to trace there is no figure.
            Err(error) => table.row_without_figures(&[kind.name()], error.to_string()),
        }
    }
    Ok(table)
}

/// Number of each call, most frequent first.
struct SyscallCounts {
    each: Vec<(String, u64)>,
    deliveries: u64,
}

impl SyscallCounts {
    /// Parses the table of `strace -c`: share, seconds, µs, calls, errors if any, name.
    fn read(text: &str, deliveries: u64) -> Self {
        let rows = text.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let calls = words.get(3)?.parse().ok()?;
            let name = (*words.last()?).to_owned();
            (name != "total").then_some((name, calls))
        });
        let mut each: Vec<(String, u64)> = rows.collect();
        each.sort_by_key(|(_, calls)| std::cmp::Reverse(*calls));
        Self { each, deliveries }
    }

    fn per_delivery(&self) -> f64 {
        self.each.iter().map(|(_, calls)| *calls).sum::<u64>() as f64 / self.deliveries as f64
    }

    fn text(&self) -> String {
        let each = self.each.iter().take(NAMED);
        let texts =
            each.map(|(name, calls)| format!("`{name}` {:.3}", *calls as f64 / self.deliveries as f64));
        texts.collect::<Vec<_>>().join(", ") + &format!(", of {} deliveries", count(self.deliveries as f64))
    }
}

fn count_calls(programs: &Programs, kind: ServerKind) -> BenchResult<(SyscallCounts, String)> {
    let name = "calls";
    let server = BenchServer::start(programs, kind, name, &[])?;
    let mut fleet = BenchFleet::subscribed(&server, CHANNEL, SUBSCRIBERS)?;
    fleet.add_publisher();
    let mut load = OneChannelLoad::new(CHANNEL);
    each_by_itself(&mut load, &mut fleet)?;
    let file = programs.directory.join("strace");
    let mut strace = attach(&server, &file)?;
    let delivered = fleet.deliveries;
    each_by_itself(&mut load, &mut fleet)?;
    kill_process(Pid::from_child(&strace), Signal::INT)?;
    strace.wait()?;
    let calls = SyscallCounts::read(&fs::read_to_string(&file)?, fleet.deliveries - delivered);
    server.discard();
    Ok((calls, fleet.faults.to_string()))
}

fn each_by_itself(load: &mut OneChannelLoad, fleet: &mut BenchFleet) -> BenchResult<()> {
    for _ in 0..EVENTS {
        load.send(fleet, 0)?;
        fleet.drain(load.published() * SUBSCRIBERS as u64)?;
    }
    Ok(())
}

/// Starts to count, and waits until every thread of the server is traced.
fn attach(server: &BenchServer, file: &Path) -> BenchResult<Child> {
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-q", "-o"]).arg(file);
    for process in server.processes() {
        command.args(["-p", &process.0.to_string()]);
    }
    let mut strace = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let began = Instant::now();
    while !server.processes().iter().all(|process| is_traced(process.0)) {
        if strace.try_wait()?.is_some() || began.elapsed() > ATTACHED_WITHIN {
            let _ = strace.kill();
            let _ = strace.wait();
            return Err("strace may not trace the server here".into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(strace)
}

fn is_traced(process: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads.map(|thread| fs::read_to_string(thread.path().join("status")).unwrap_or_default()).all(|status| {
        status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|id| id.trim() != "0"))
    })
}

#[cfg(test)]
mod tests;
