//! Lines that count, and lines that do not.

use super::{Counts, Runner};

fn check(runner: Runner, output: &str, passed: u64, failed: u64) {
    let mut counts = Counts::default();
    for line in output.lines() {
        counts.read(runner, line);
    }
    assert_eq!(counts, Counts { passed, failed }, "{output}");
}

#[test]
fn cargo_lines_of_all_binaries_add_up() {
    check(
        Runner::Cargo,
        "running 2 tests\n\
         test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
         test result: FAILED. 40 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.20s\n",
        42,
        3,
    );
}

#[test]
fn colours_do_not_hide_a_count() {
    check(Runner::Cargo, "test result: \u{1b}[32mok\u{1b}[m. 7 passed; 0 failed; 0 ignored\r\n", 7, 0);
}

#[test]
fn node_counts_in_both_forms_and_a_cancelled_test_failed() {
    check(Runner::Node, "# tests 5\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 0\n", 3, 2);
    check(Runner::Node, "ℹ tests 4\nℹ pass 4\nℹ fail 0\nℹ duration_ms 12.5\n", 4, 0);
}

#[test]
fn checker_line_counts_and_others_do_not() {
    check(Runner::Checker, "published 12 passed\nchecker: 12 passed, 1 failed\n", 12, 1);
    check(Runner::Checker, "checker: starting, 1 failed\n", 0, 0);
}

#[test]
fn lines_of_another_runner_are_ignored() {
    check(Runner::Cargo, "# pass 3\nchecker: 1 passed, 0 failed\n9 passed, 0 failed\n", 0, 0);
    check(Runner::Node, "test result: ok. 2 passed; 0 failed; 0 ignored\n", 0, 0);
}
