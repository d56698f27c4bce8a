//! Runs one command as a step: shows or logs its output, counts its tests, ends it when it takes too long.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::counts::{Counts, Runner};
use crate::tally::{Tally, closing, heading};

/// A minute, for limits in minutes.
pub(crate) const MINUTES: Duration = Duration::from_secs(60);
/// Time after which a lint, a build of documents or another check has failed, on any machine.
pub(crate) const CHECK_LIMIT: Duration = Duration::from_secs(30 * 60);
/// Time that a process may run on after its command ended or got a signal.
const GRACE: Duration = Duration::from_secs(10);
/// Interval at which a running command is polled.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Counts that a step adds to the sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// Nothing, unless it fails: an installation or a build.
    Preparation,
    /// One: the command is a check.
    Check,
    /// The counts in the closing lines of this runner.
    Tests(Runner),
}

/// Installs or builds; says whether it succeeded.
pub(crate) fn prepare(tally: &mut Tally, name: &str, command: Command, limit: Duration) -> bool {
    run(tally, name, command, Counted::Preparation, limit)
}

/// Runs a command that is one check.
pub(crate) fn check(tally: &mut Tally, name: &str, command: Command, limit: Duration) -> bool {
    run(tally, name, command, Counted::Check, limit)
}

/// Runs tests, and counts them by the closing lines of their runner.
pub(crate) fn test(tally: &mut Tally, name: &str, command: Command, runner: Runner, limit: Duration) -> bool {
    run(tally, name, command, Counted::Tests(runner), limit)
}

/// Runs a command as a step, adds it to the sum, and says whether all of it passed. At `limit` the command and all that
/// it started are ended, and the step has failed.
fn run(tally: &mut Tally, name: &str, command: Command, counted: Counted, limit: Duration) -> bool {
    let log = tally.open_log(name);
    heading(name, log.is_none());
    let start = Instant::now();
    let outcome = log
        .as_ref()
        .map_or(Ok(None), |log| log.file().map(Some))
        .and_then(|file| execute(command, counted, limit, file));
    let (counts, fault) = match outcome {
        Ok((counts, true)) => (counts, None),
        Ok((counts, false)) => (counts, Some("it ended with an error".to_owned())),
        Err(error) => (Counts::default(), Some(error)),
    };
    // A runner without tests proves nothing.
    let ran_nothing = matches!(counted, Counted::Tests(_)) && counts == Counts::default();
    let fault = fault.or_else(|| ran_nothing.then(|| "no test was run".to_owned()));
    // A runner that broke off has failed, whatever its counts.
    let failed = counts.failed.max(u64::from(fault.is_some()));
    let passed = if counted == Counted::Check { 1 - failed } else { counts.passed };
    closing(passed, failed, start.elapsed());
    if let Some(log) = log.filter(|_| failed > 0) {
        log.print();
    }
    if let Some(fault) = fault {
        println!("  {name}: {fault}");
    }
    tally.add(name, passed, failed);
    failed == 0
}

/// Runs a command to its end and says what it counted and whether it succeeded. Its output goes to `log`, else to ours.
fn execute(
    mut command: Command,
    counted: Counted,
    limit: Duration,
    log: Option<File>,
) -> crate::workspace::Result<(Counts, bool)> {
    command.stdin(Stdio::null());
    if let Some(log) = &log {
        let copy = || log.try_clone().map_err(|error| format!("its log cannot be written: {error}"));
        command.stdout(copy()?).stderr(copy()?);
    }
    // In a group of its own a command can be ended with all that it started. At a terminal it stays in ours, where
    // Ctrl-C reaches it, and the person there is the limit.
    let own_group = !std::io::stdin().is_terminal();
    if own_group {
        command.process_group(0);
    }
    let runner = if let Counted::Tests(runner) = counted { Some(runner) } else { None };
    if runner.is_some() {
        command.stdout(Stdio::piped());
    }
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command.spawn().map_err(|error| format!("`{program}` does not start: {error}"))?;
    let group = own_group.then(|| Pid::from_child(&child));
    let counts = child.stdout.take().zip(runner).map(|(output, runner)| follow(output, runner, log));
    let status = wait(&mut child, group, limit);
    let counts = counts.map_or(Ok(Counts::default()), |counts| finish(&counts, group));
    Ok((counts?, status?.success()))
}

/// Copies the output line by line on a thread of its own, and sends the counts when it ends.
fn follow(output: ChildStdout, runner: Runner, mut log: Option<File>) -> Receiver<Counts> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut counts = Counts::default();
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line);
            counts.read(runner, &text);
            if let Some(log) = &mut log {
                let _ = log.write_all(&line);
            } else {
                // Through `print!`, which a test of this module captures: a sample's counts must not look like ours.
                print!("{text}");
                let _ = std::io::stdout().flush();
            }
            line.clear();
        }
        let _ = sender.send(counts);
    });
    receiver
}

/// Waits for the command, and ends its group at the limit.
fn wait(child: &mut Child, group: Option<Pid>, limit: Duration) -> crate::workspace::Result<ExitStatus> {
    let start = Instant::now();
    let mut is_terminated = false;
    loop {
        if let Some(status) = child.try_wait().map_err(|error| format!("waiting failed: {error}"))? {
            return if is_terminated {
                Err(format!("it took longer than its limit of {} s", limit.as_secs()))
            } else {
                Ok(status)
            };
        }
        if let Some(group) = group {
            if !is_terminated && start.elapsed() > limit {
                let _ = kill_process_group(group, Signal::TERM);
                is_terminated = true;
            } else if start.elapsed() > limit + GRACE {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns the counts. A process that outlives its command and holds the output is killed, and the step fails.
fn finish(counts: &Receiver<Counts>, group: Option<Pid>) -> crate::workspace::Result<Counts> {
    match counts.recv_timeout(GRACE) {
        Ok(counts) => Ok(counts),
        Err(RecvTimeoutError::Disconnected) => Err("its output could not be read".to_owned()),
        Err(RecvTimeoutError::Timeout) => {
            if let Some(group) = group {
                let _ = kill_process_group(group, Signal::KILL);
            }
            Err("it left a process running that holds its output".to_owned())
        }
    }
}

#[cfg(test)]
mod tests;
