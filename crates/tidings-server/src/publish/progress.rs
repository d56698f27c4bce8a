//! Progress of a publish from standard input.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use tidings_client::PublishAnswer;

/// Interval between two updates of the line.
const UPDATE_INTERVAL: Duration = Duration::from_millis(200);

/// Counts events on a terminal; prints nothing in a pipe.
pub(super) struct PublishProgress {
    is_shown: bool,
    started: Instant,
    updated: Instant,
    events: u64,
}

impl PublishProgress {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { is_shown: std::io::stderr().is_terminal(), started: now, updated: now, events: 0 }
    }

    /// Counts published events.
    pub(super) fn add(&mut self, answers: &[PublishAnswer]) {
        self.events += answers.len() as u64;
        // Ids on the same terminal show the progress already.
        if self.is_shown && !std::io::stdout().is_terminal() && self.updated.elapsed() > UPDATE_INTERVAL {
            self.updated = Instant::now();
            let _closed = write!(std::io::stderr(), "\r\x1b[K{}", self.text());
        }
    }

    /// Prints the total.
    pub(super) fn finish(&self) {
        if self.is_shown {
            let _closed = writeln!(std::io::stderr(), "\r\x1b[K{}", self.text());
        }
    }

    fn text(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let plural = if self.events == 1 { "" } else { "s" };
        format!(
            "published {} event{plural} in {seconds:.1} s ({:.0}/s)",
            self.events,
            self.events as f64 / seconds.max(0.001)
        )
    }
}
