//! Steps that pass, fail, count, hang and leave processes behind.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{GRACE, Step, run};
use crate::counts::Runner;
use crate::tally::Tally;

fn check(script: &str, runner: Option<Runner>, limit: Duration, expected: (u64, u64)) {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let mut tally = Tally::default();
    let ok = run(&mut tally, Step { name: "sample", command, runner, limit });
    assert_eq!(tally.counts(), expected, "{script}");
    assert_eq!(ok, expected.1 == 0, "{script}");
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn a_command_counts_as_one() {
    check("exit 0", None, MINUTE, (1, 0));
    check("exit 3", None, MINUTE, (0, 1));
}

#[test]
fn a_runner_counts_its_tests() {
    check("echo 'checker: 4 passed, 0 failed'", Some(Runner::Checker), MINUTE, (4, 0));
    check("echo 'checker: 4 passed, 2 failed'; exit 1", Some(Runner::Checker), MINUTE, (4, 2));
}

#[test]
fn a_runner_that_breaks_off_or_ran_nothing_failed() {
    check("echo 'checker: 4 passed, 0 failed'; exit 1", Some(Runner::Checker), MINUTE, (4, 1));
    check("exit 0", Some(Runner::Checker), MINUTE, (0, 1));
}

#[test]
fn failed_tests_fail_the_step_though_the_exit_code_is_zero() {
    check("echo 'checker: 1 passed, 1 failed'", Some(Runner::Checker), MINUTE, (1, 1));
}

#[test]
fn a_program_that_is_not_there_failed() {
    let mut tally = Tally::default();
    let command = Command::new("no-such-program-of-tidings");
    assert!(!run(&mut tally, Step { name: "absent", command, runner: None, limit: MINUTE }));
    assert_eq!(tally.counts(), (0, 1));
}

#[test]
fn a_command_past_its_limit_is_ended_with_what_it_started() {
    use std::io::IsTerminal;
    if std::io::stdin().is_terminal() {
        // There is no limit at a terminal.
        return;
    }
    let start = Instant::now();
    check("sleep 600 & wait", Some(Runner::Checker), Duration::from_millis(100), (0, 1));
    assert!(start.elapsed() < GRACE * 3, "{:?}", start.elapsed());
}
