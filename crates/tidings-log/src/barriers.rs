//! Read barriers of a replica: numbered questions to the broker that an answer to a client may have to wait for.

use std::sync::{OnceLock, Weak};
use tidings_sync::{Mutex, MutexGuard};

use super::{resume::Start, state::LogState};
use crate::lock;

/// Waiters that are held before dropped ones are looked for.
const WAITERS_MIN: usize = 64;

/// Is called when a read barrier is complete.
pub trait Waiter: Send + Sync {
    /// Notes that the barrier is complete.
    fn on_barrier(&self);
}

/// Read barriers by number. A barrier is complete when the log holds everything that the broker had when it began.
pub struct ReadBarriers {
    barriers: Mutex<BarrierState>,
    on_request: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

#[derive(Default)]
struct BarrierState {
    begun: u64,
    completed: u64,
    /// Before this barrier is complete no stream has a position.
    disconnected_until: u64,
    /// Highest barrier with a waiter.
    wanted: u64,
    waiters: Vec<(u64, Weak<dyn Waiter>)>,
    /// Length of `waiters` from which dropped ones are removed.
    waiters_max: usize,
}

impl ReadBarriers {
    /// Makes the barriers of a replica or of an unopened log. A log that gives the order itself needs none.
    pub(crate) fn new(are_needed: bool) -> Self {
        let completed = if are_needed { 0 } else { u64::MAX };
        let barriers = BarrierState { completed, disconnected_until: 1, ..BarrierState::default() };
        Self { barriers: Mutex::new(&lock::READ_BARRIERS, barriers), on_request: OnceLock::new() }
    }

    fn lock(&self) -> MutexGuard<'_, BarrierState> {
        self.barriers.lock()
    }

    /// Returns the barrier that must be complete before `start` has a position. `waited_for` is the one of an earlier
    /// call for the same stream.
    pub(crate) fn barrier_for(
        &self,
        state: &LogState,
        start: &Start,
        waited_for: Option<u64>,
    ) -> Option<u64> {
        let barriers = self.lock();
        if barriers.completed < barriers.disconnected_until {
            // The broker may have answered a barrier that has begun before the client got its id.
            let least = if matches!(start, Start::After(_)) { barriers.begun + 1 } else { 0 };
            return Some(barriers.disconnected_until.max(waited_for.unwrap_or(least)));
        }
        let barrier = waited_for.unwrap_or(barriers.begun + 1);
        (barrier > barriers.completed && state.needs_barrier(start)).then_some(barrier)
    }

    /// Calls the waiter when the barrier is complete: at once if it is already, and possibly more than once.
    pub fn wait(&self, barrier: u64, waiter: Weak<dyn Waiter>) {
        let mut barriers = self.lock();
        if barrier <= barriers.completed {
            drop(barriers);
            waiter.upgrade().inspect(|waiter| waiter.on_barrier());
            return;
        }
        if barriers.waiters.len() >= barriers.waiters_max {
            barriers.waiters.retain(|(_, waiter)| waiter.strong_count() > 0);
            barriers.waiters_max = WAITERS_MIN.max(2 * barriers.waiters.len());
        }
        barriers.waiters.push((barrier, waiter));
        barriers.wanted = barriers.wanted.max(barrier);
        let is_new = barrier > barriers.begun;
        drop(barriers);
        if let Some(on_request) = self.on_request.get().filter(|_| is_new) {
            on_request();
        }
    }

    /// Sets the function to call when a stream waits for a barrier that has not begun. It must not block. Set once.
    pub fn on_request(&self, act: Box<dyn Fn() + Send + Sync>) {
        let _ = self.on_request.set(act);
    }

    /// Begins a barrier. Call it before the broker is asked for its epochs and its head.
    pub fn begin(&self) -> u64 {
        let mut barriers = self.lock();
        barriers.begun += 1;
        barriers.begun
    }

    /// Notes that the log holds everything that the broker had when this barrier began.
    pub fn complete(&self, barrier: u64) {
        let mut barriers = self.lock();
        barriers.completed = barriers.completed.max(barrier);
        let completed = barriers.completed;
        let due: Vec<_> = barriers.waiters.extract_if(.., |(number, _)| *number <= completed).collect();
        drop(barriers);
        due.iter().filter_map(|(_, waiter)| waiter.upgrade()).for_each(|waiter| waiter.on_barrier());
    }

    /// Notes that the broker is unreachable: no stream gets a position until a barrier that begins after this is complete.
    pub fn mark_disconnected(&self) {
        let mut barriers = self.lock();
        barriers.disconnected_until = barriers.begun + 1;
    }

    /// Whether streams get a position now.
    pub fn is_synced(&self) -> bool {
        let barriers = self.lock();
        barriers.completed >= barriers.disconnected_until
    }
}

#[cfg(test)]
mod tests;
