//! Seeds and random durations.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Returns the seed of one part of a phase; an odd multiplier spreads seeds of similar parts.
pub(crate) fn derive_seed(seed: u64, part: u64) -> u64 {
    (seed ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Returns a generator for one part of a phase.
pub(crate) fn rng(seed: u64, part: u64) -> StdRng {
    StdRng::seed_from_u64(derive_seed(seed, part))
}

/// Draws a duration of `from` to `to` milliseconds.
pub(crate) fn millis(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}

/// Draws the time for which a process is stopped: mostly shorter than any deadline of its clients.
pub(crate) fn draw_stop(rng: &mut StdRng) -> Duration {
    let most = if rng.random_bool(0.2) { 7000 } else { 1500 };
    millis(rng, 200, most)
}
