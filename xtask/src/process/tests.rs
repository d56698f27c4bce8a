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
fn a_step_counts_what_its_kind_of_command_counts() {
    let cases = [
        // A command that is a check counts as one.
        ("exit 0", Counted::Check, (1, 0)),
        ("exit 3", Counted::Check, (0, 1)),
        // A preparation counts only if it fails.
        ("exit 0", Counted::Preparation, (0, 0)),
        ("exit 3", Counted::Preparation, (0, 1)),
        // A runner counts its tests.
        ("echo 'checker: 4 passed, 0 failed'", CHECKER, (4, 0)),
        ("echo 'checker: 4 passed, 2 failed'; exit 1", CHECKER, (4, 2)),
        // A runner that breaks off or ran nothing has failed.
        ("echo 'checker: 4 passed, 0 failed'; exit 1", CHECKER, (4, 1)),
        ("exit 0", CHECKER, (0, 1)),
        // Failed tests fail the step though the exit code is zero.
        ("echo 'checker: 1 passed, 1 failed'", CHECKER, (1, 1)),
    ];
    for (script, counted, expected) in cases {
        check(script, counted, MINUTE, expected);
    }
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
