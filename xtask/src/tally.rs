//! How many checks and tests passed and failed in one run of this tool.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::step_log::StepLog;

/// Sum of a run, and the names of failed steps.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
    /// Folder for the output of steps; without it they write to the terminal.
    logs: Option<PathBuf>,
    steps_logged: usize,
}

impl Tally {
    /// Makes each later step write its output to a file of its own in `folder`, which is shown if the step fails.
    pub(crate) fn log_steps_in(&mut self, folder: PathBuf) {
        self.logs = Some(folder);
    }

    /// Opens the log of a step; `None` if steps write to the terminal.
    pub(crate) fn open_log(&mut self, step: &str) -> Option<StepLog> {
        let folder = self.logs.as_ref()?;
        self.steps_logged += 1;
        Some(StepLog::new(folder, self.steps_logged, step))
    }

    /// Adds the counts of a test runner. `name` is listed at the end if a test failed.
    pub(crate) fn add(&mut self, name: &str, passed: u64, failed: u64) {
        self.passed += passed;
        self.failed += failed;
        if failed > 0 {
            self.failures.push(name.to_owned());
        }
    }

    /// Runs a check, prints its name, its faults and how long it took, and counts it as one.
    pub(crate) fn check(
        &mut self,
        name: &str,
        check: impl FnOnce() -> crate::workspace::Result<Vec<String>>,
    ) {
        let start = Instant::now();
        let faults = check().unwrap_or_else(|error| vec![error]);
        let failed = u64::from(!faults.is_empty());
        heading(name, false);
        closing(1 - failed, failed, start.elapsed());
        for fault in &faults {
            println!("  {fault}");
        }
        self.add(name, 1 - failed, failed);
    }

    /// Prints the failed steps and the closing line; a run without counts prints nothing.
    pub(crate) fn close(self) -> ExitCode {
        if self.passed + self.failed == 0 {
            return ExitCode::SUCCESS;
        }
        println!();
        for failure in &self.failures {
            println!("failed: {failure}");
        }
        println!("{} passed, {} failed", self.passed, self.failed);
        if self.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    #[cfg(test)]
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.passed, self.failed)
    }
}

/// Prints the name of a step, which its end follows on the same line unless output of the step comes between.
pub(crate) fn heading(name: &str, output_follows: bool) {
    print!("{name} … {}", if output_follows { "\n" } else { "" });
    let _ = std::io::stdout().flush();
}

/// Prints the end of a step: its time and the counts.
pub(crate) fn closing(passed: u64, failed: u64, took: Duration) {
    println!("{}", closing_line(passed, failed, took));
}

fn closing_line(passed: u64, failed: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    match (passed, failed) {
        // An installation or a build counts nothing.
        (0, 0) => format!("ok in {seconds:.1} s"),
        (_, 0) => format!("ok in {seconds:.1} s: {passed} passed"),
        _ => format!("FAILED in {seconds:.1} s: {passed} passed, {failed} failed"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::closing_line;

    #[test]
    fn a_step_ends_with_its_time_and_counts() {
        let check = |passed, failed, expected| {
            assert_eq!(closing_line(passed, failed, Duration::from_millis(12_340)), expected);
        };
        check(0, 0, "ok in 12.3 s");
        check(7, 0, "ok in 12.3 s: 7 passed");
        check(7, 2, "FAILED in 12.3 s: 7 passed, 2 failed");
        check(0, 1, "FAILED in 12.3 s: 0 passed, 1 failed");
    }
}
