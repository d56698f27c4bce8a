//! Progress line on a terminal.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use super::figure_text::grouped;
use crate::terminal;

const EVERY: Duration = Duration::from_millis(500);

/// Writer of the line; dropping it clears the line.
#[derive(Debug)]
pub(super) struct ProgressLine {
    is_shown: bool,
    last: Option<Instant>,
    /// Deliveries at `last`.
    received: u64,
}

/// Values of the line.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProgressValues<'a> {
    pub(super) phase: &'a str,
    pub(super) left: Option<Duration>,
    pub(super) open: usize,
    pub(super) asked: usize,
    pub(super) received: u64,
    pub(super) lost: u64,
    /// Latency in microseconds.
    pub(super) p50: u64,
    pub(super) p99: u64,
}

impl ProgressLine {
    pub(super) fn new() -> Self {
        Self { is_shown: std::io::stderr().is_terminal(), last: None, received: 0 }
    }

    /// Whether the next line is due.
    pub(super) fn is_due(&self) -> bool {
        self.is_shown && self.last.is_none_or(|last| last.elapsed() >= EVERY)
    }

    pub(super) fn show(&mut self, now: ProgressValues<'_>) {
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

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.last.is_some() {
            terminal::print_note("\r\x1b[K");
        }
    }
}
