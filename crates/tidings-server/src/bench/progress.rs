//! The line that shows on a terminal how far the run is.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::report::grouped;
use crate::terminal;

const EVERY: Duration = Duration::from_millis(500);

/// Writes the line, and takes it away at the end.
#[derive(Debug)]
pub(super) struct Progress {
    is_shown: bool,
    last: Option<Instant>,
    /// Deliveries at that time.
    received: u64,
}

/// What the line says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) phase: &'a str,
    pub(super) left: Option<Duration>,
    pub(super) open: usize,
    pub(super) asked: usize,
    pub(super) received: u64,
    pub(super) lost: u64,
    /// In microseconds.
    pub(super) p50: u64,
    pub(super) p99: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), last: None, received: 0 }
    }

    /// Whether it is time for another line.
    pub(super) fn is_due(&self) -> bool {
        self.is_shown && self.last.is_none_or(|last| last.elapsed() >= EVERY)
    }

    pub(super) fn show(&mut self, now: Now<'_>) {
        let seconds = self.last.map_or(EVERY, |last| last.elapsed()).as_secs_f64();
        let rate = now.received.saturating_sub(self.received) as f64 / seconds;
        (self.last, self.received) = (Some(Instant::now()), now.received);
        let left = now.left.map(|left| format!(", {:.0} s left", left.as_secs_f64())).unwrap_or_default();
        terminal::print_note(&format!(
            "\r\x1b[K{}{left}: {}/{} streams, {} deliveries/s, p50 {:.1} ms, p99 {:.1} ms, lost {}",
            now.phase,
            grouped(now.open as u64),
            grouped(now.asked as u64),
            grouped(rate as u64),
            now.p50 as f64 / 1e3,
            now.p99 as f64 / 1e3,
            grouped(now.lost),
        ));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.last.is_some() {
            terminal::print_note("\r\x1b[K");
        }
    }
}
