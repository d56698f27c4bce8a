//! Steps that pass, fail, count, hang and leave processes behind.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Counted, GRACE, run};
use crate::counts::Runner;
use crate::tally::Tally;

fn check(script: &str, counted: Counted, limit: Duration, expected: (u64, u64)) {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    let mut tally = Tally::default();
    let ok = run(&mut tally, "sample", command, counted, limit);
    assert_eq!(tally.counts(), expected, "{script}");
    assert_eq!(ok, expected.1 == 0, "{script}");
}

const MINUTE: Duration = Duration::from_secs(60);
const CHECKER: Counted = Counted::Tests(Runner::Checker);

#[test]
fn a_command_counts_as_one() {
    check("exit 0", Counted::Check, MINUTE, (1, 0));
    check("exit 3", Counted::Check, MINUTE, (0, 1));
}

#[test]
fn a_preparation_counts_only_when_it_fails() {
    check("exit 0", Counted::Preparation, MINUTE, (0, 0));
    check("exit 3", Counted::Preparation, MINUTE, (0, 1));
}

#[test]
fn a_runner_counts_its_tests() {
    check("echo 'checker: 4 passed, 0 failed'", CHECKER, MINUTE, (4, 0));
    check("echo 'checker: 4 passed, 2 failed'; exit 1", CHECKER, MINUTE, (4, 2));
}

#[test]
fn a_runner_that_breaks_off_or_ran_nothing_failed() {
    check("echo 'checker: 4 passed, 0 failed'; exit 1", CHECKER, MINUTE, (4, 1));
    check("exit 0", CHECKER, MINUTE, (0, 1));
}

#[test]
fn failed_tests_fail_the_step_though_the_exit_code_is_zero() {
    check("echo 'checker: 1 passed, 1 failed'", CHECKER, MINUTE, (1, 1));
}

#[test]
fn a_program_that_is_not_there_failed() {
    let mut tally = Tally::default();
    let command = Command::new("no-such-program-of-tidings");
    assert!(!run(&mut tally, "absent", command, Counted::Check, MINUTE));
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
    check("sleep 600 & wait", CHECKER, Duration::from_millis(100), (0, 1));
    assert!(start.elapsed() < GRACE * 3, "{:?}", start.elapsed());
}

#[test]
fn a_logged_step_has_its_output_and_errors_in_a_file_and_its_counts_as_ever() {
    let folder = std::env::temp_dir().join(format!("tidings-step-log-{}", std::process::id()));
    let mut tally = Tally::default();
    tally.log_steps_in(folder.clone());
    let mut run_step = |name, script, counted| {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(&mut tally, name, command, counted, MINUTE)
    };
    let script = "echo 'checker: 4 passed, 1 failed'; echo why >&2; exit 1";
    assert!(!run_step("the checker", script, CHECKER));
    assert!(run_step("a/check", "echo out; echo error >&2", Counted::Check));
    assert_eq!(tally.counts(), (5, 1));
    let read = |name| std::fs::read_to_string(folder.join(name)).expect("the step wrote its log");
    let log = read("01-the-checker.log");
    assert!(log.contains("checker: 4 passed, 1 failed\n") && log.contains("why\n"), "{log}");
    assert_eq!(read("02-a-check.log"), "out\nerror\n");
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
}

#[test]
fn a_log_that_cannot_be_made_fails_its_step() {
    let mut tally = Tally::default();
    tally.log_steps_in("/dev/null/logs".into());
    let command = Command::new("true");
    assert!(!run(&mut tally, "sample", command, Counted::Check, MINUTE));
    assert_eq!(tally.counts(), (0, 1));
}
