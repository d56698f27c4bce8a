//! Lines that count, and lines that do not.

use super::{Counts, Runner};

fn check(runner: Runner, output: &str, passed: u64, failed: u64) {
    let mut counts = Counts::default();
    for line in output.lines() {
        counts.read(runner, line);
    }
    assert_eq!(counts, Counts { passed, failed }, "{output}");
}

const CARGO: &str = "running 2 tests
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 40 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 1.20s
";

#[test]
fn closing_lines_of_a_runner_add_up_and_other_lines_do_not() {
    let cases = [
        (Runner::Cargo, CARGO, 42, 3),
        // Colours do not hide a count.
        (Runner::Cargo, "test result: \u{1b}[32mok\u{1b}[m. 7 passed; 0 failed; 0 ignored\r\n", 7, 0),
        // Node counts in both forms; a cancelled test failed.
        (Runner::Node, "# tests 5\n# pass 3\n# fail 1\n# cancelled 1\n# skipped 0\n", 3, 2),
        (Runner::Node, "ℹ tests 4\nℹ pass 4\nℹ fail 0\nℹ duration_ms 12.5\n", 4, 0),
        (Runner::Checker, "published 12 passed\nchecker: 12 passed, 1 failed\n", 12, 1),
        (Runner::Checker, "checker: starting, 1 failed\n", 0, 0),
        // Lines of another runner are ignored.
        (Runner::Cargo, "# pass 3\nchecker: 1 passed, 0 failed\n9 passed, 0 failed\n", 0, 0),
        (Runner::Node, "test result: ok. 2 passed; 0 failed; 0 ignored\n", 0, 0),
    ];
    for (runner, output, passed, failed) in cases {
        check(runner, output, passed, failed);
    }
}
