//! How many checks and tests passed and failed in one run of this tool.

use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The sum of a run, and the names of what failed in it.
#[derive(Default)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
}

impl Tally {
    /// Adds what a test runner counted. `name` is listed at the end where something failed.
    pub(crate) fn add(&mut self, name: &str, passed: u64, failed: u64) {
        self.passed += passed;
        self.failed += failed;
        if failed > 0 {
            self.failures.push(name.to_owned());
        }
    }

    /// Runs a check, prints its name, its faults and how long it took, and counts it as one.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> crate::Result<Vec<String>>) {
        heading(name);
        let start = Instant::now();
        let faults = check().unwrap_or_else(|error| vec![error]);
        for fault in &faults {
            println!("  {fault}");
        }
        closing(faults.is_empty(), start.elapsed());
        let failed = u64::from(!faults.is_empty());
        self.add(name, 1 - failed, failed);
    }

    /// Prints what failed and the closing line; a run that counted nothing closes silently.
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

/// Prints the line that opens a step.
pub(crate) fn heading(name: &str) {
    println!("== {name}");
}

/// Prints the line that ends a step.
pub(crate) fn closing(ok: bool, took: Duration) {
    println!("   {} in {:.1} s", if ok { "ok" } else { "FAILED" }, took.as_secs_f64());
}
