//! System calls per delivery in a paced broadcast, counted by `strace -c`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::Signal;
use tidings_testkit::ChildProcess;

use crate::{numbers::count, prelude::*};

const SUBSCRIBERS: usize = 1_000;
/// Events of one count.
const EVENTS: usize = 20;
const ATTACHED_WITHIN: Duration = Duration::from_secs(10);
/// Number of calls named in the table, the most frequent first.
const NAMED: usize = 3;

pub(super) fn measure(context: &BenchContext) -> BenchResult<FigureTable> {
    let servers = ServerKind::all_but(&[ServerKind::Before, ServerKind::Fsync]);
    let rows = Comparison::of_servers(context, 1, &servers, |kind| {
        Ok(match count_calls(context, *kind) {
            Ok((calls, sample)) => {
                Sample { figures: vec![calls.per_delivery()], texts: vec![calls.text()], ..sample }
            }
            // Without the right to trace there is no figure, but a reason.
            Err(error) => {
                Sample { figures: vec![f64::NAN], texts: vec![error.to_string()], ..Sample::default() }
            }
        })
    })?;
    let mut table = FigureTable::new(
        "System calls per delivery, paced",
        &["server", "system calls per delivery", "the most frequent, each per delivery", "faults"],
        "`strace -c -f` of all processes of the server while events go to 1,000 subscribers, each when all have the one \
         before (a traced server is too slow for more and would join them): all calls, those for the publishes as \
         well, divided by the deliveries.",
    );
    rows.fill_with(&mut table, |case, figure| {
        rows.median(case, figure).map_or_else(|| "–".to_owned(), |total| format!("{total:.3}"))
    });
    let ours = rows.find(ServerKind::Interval).and_then(|case| rows.median(case, 0));
    table.at_most("system calls per delivery, paced", 1.05, ours);
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

fn count_calls(context: &BenchContext, kind: ServerKind) -> BenchResult<(SyscallCounts, Sample)> {
    let server = BenchServer::start(context, kind, &[])?;
    let mut fleet = BenchFleet::subscribed(&server, SUBSCRIBERS, 1)?;
    publish_one_by_one(&mut fleet)?;
    let file = context.directory.join("strace");
    let mut strace = attach(&server, &file)?;
    let delivered = fleet.deliveries();
    publish_one_by_one(&mut fleet)?;
    strace.signal(Signal::INT);
    strace.wait();
    let calls = SyscallCounts::read(&fs::read_to_string(&file)?, fleet.deliveries() - delivered);
    Ok((calls, fleet.finish(Vec::new())?))
}

fn publish_one_by_one(fleet: &mut BenchFleet) -> BenchResult<()> {
    for _ in 0..EVENTS {
        fleet.publish(0);
        fleet.drain()?;
    }
    Ok(())
}

/// Starts to count, and waits until every thread of the server is traced.
fn attach(server: &BenchServer, file: &Path) -> BenchResult<ChildProcess> {
    if Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_err() {
        return Err("strace is not installed".into());
    }
    let mut command = Command::new("strace");
    command.args(["-c", "-f", "-q", "-o"]).arg(file);
    for process in server.processes() {
        command.args(["-p", &process.0.to_string()]);
    }
    let mut strace = ChildProcess::spawn(command.stderr(Stdio::null()));
    let began = Instant::now();
    while !server.processes().iter().all(|process| is_traced(process.0)) {
        if !strace.is_running() || began.elapsed() > ATTACHED_WITHIN {
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
