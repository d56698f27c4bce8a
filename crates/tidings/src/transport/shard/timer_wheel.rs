//! A timer wheel for the slots of a shard.

use std::time::{Duration, Instant};

/// Resolution: a timer is late by at most this much, and never early.
const TICK: Duration = Duration::from_millis(64);
/// Ticks of the wheel. A timer that is due later expires once per revolution, and the shard arms it again.
const TICKS: usize = 1024;

/// A ring of ticks, with the timers that expire in each.
pub(super) struct TimerWheel {
    ticks: Vec<Vec<(usize, u64)>>,
    begun: Instant,
    /// Ticks that have expired.
    passed: u64,
    armed: usize,
}

impl TimerWheel {
    pub(super) fn new(now: Instant) -> Self {
        Self { ticks: (0..TICKS).map(|_| Vec::new()).collect(), begun: now, passed: 0, armed: 0 }
    }

    /// Arms a timer that expires at `due`, or earlier if that is more than a revolution away.
    ///
    /// `timer` distinguishes it from earlier timers of the key.
    pub(super) fn arm(&mut self, key: usize, timer: u64, due: Instant) {
        let ticks = due.saturating_duration_since(self.begun).as_nanos().div_ceil(TICK.as_nanos());
        let latest = self.passed + TICKS as u64 - 1;
        let tick = u64::try_from(ticks).unwrap_or(u64::MAX).clamp(self.passed + 1, latest);
        self.ticks[tick as usize % TICKS].push((key, timer));
        self.armed += 1;
    }

    /// Returns the time until the next timer expires; `None` if no timer is armed.
    pub(super) fn sleep(&self, now: Instant) -> Option<Duration> {
        if self.armed == 0 {
            return None;
        }
        let ahead =
            (1..=TICKS as u64).find(|ahead| !self.ticks[(self.passed + ahead) as usize % TICKS].is_empty());
        let due = self.begun + TICK * u32::try_from(self.passed + ahead.unwrap_or(1)).unwrap_or(u32::MAX);
        Some(due.saturating_duration_since(now))
    }

    /// Takes the timers that have expired.
    pub(super) fn expire(&mut self, now: Instant, due: &mut Vec<(usize, u64)>) {
        let reached = (now.saturating_duration_since(self.begun).as_nanos() / TICK.as_nanos()) as u64;
        // After a long pause one revolution has all timers.
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
