//! Timers of very many streams: each knows when it is next due, and is looked at about then.

use std::time::{Duration, Instant};

/// How exact a timer is: it is late by as much, at most, and never early.
const TICK: Duration = Duration::from_millis(64);
/// What is due later is looked at once a turn of the wheel, and put down again.
const TICKS: usize = 1024;

/// A ring of ticks with the streams that are due in each.
pub(super) struct TimerWheel {
    ticks: Vec<Vec<(usize, u64)>>,
    begun: Instant,
    /// Ticks that were looked at.
    passed: u64,
    armed: usize,
}

impl TimerWheel {
    pub(super) fn new(now: Instant) -> Self {
        Self { ticks: (0..TICKS).map(|_| Vec::new()).collect(), begun: now, passed: 0, armed: 0 }
    }

    /// Has a place looked at when it is due, or before. `timer` tells it from what was armed for the place earlier.
    pub(super) fn arm(&mut self, place: usize, timer: u64, due: Instant) {
        let ticks = due.saturating_duration_since(self.begun).as_nanos().div_ceil(TICK.as_nanos());
        let latest = self.passed + TICKS as u64 - 1;
        let tick = u64::try_from(ticks).unwrap_or(u64::MAX).clamp(self.passed + 1, latest);
        self.ticks[tick as usize % TICKS].push((place, timer));
        self.armed += 1;
    }

    /// How long nothing needs to be looked at.
    pub(super) fn sleep(&self, now: Instant) -> Option<Duration> {
        if self.armed == 0 {
            return None;
        }
        let ahead =
            (1..=TICKS as u64).find(|ahead| !self.ticks[(self.passed + ahead) as usize % TICKS].is_empty());
        let due = self.begun + TICK * u32::try_from(self.passed + ahead.unwrap_or(1)).unwrap_or(u32::MAX);
        Some(due.saturating_duration_since(now))
    }

    /// Takes the streams that are to be looked at by now.
    pub(super) fn expire(&mut self, now: Instant, due: &mut Vec<(usize, u64)>) {
        let reached = (now.saturating_duration_since(self.begun).as_nanos() / TICK.as_nanos()) as u64;
        // After a long pause one turn of the wheel has them all.
        let from = self.passed.max(reached.saturating_sub(TICKS as u64));
        for tick in from + 1..=reached {
            due.append(&mut self.ticks[tick as usize % TICKS]);
        }
        self.passed = self.passed.max(reached);
        self.armed -= due.len();
    }
}

#[cfg(test)]
mod tests;
