//! How one stream is read, and at which moment it is cut.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// What cuts a stream, besides its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Once the request was sent, with no byte read.
    BeforeHead,
    /// After so many bytes of the body, mostly in the middle of a frame.
    AfterBytes(usize),
    /// With the block that brought the first new id.
    AfterFirstId,
    /// After its time, which may be idle.
    ByTime,
}

/// One stream's plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) cut: Cut,
    pub(crate) time_max: Duration,
    /// Wait before every read, for which the server has to hold back.
    pub(crate) pause: Duration,
    pub(crate) portion_bytes: usize,
    pub(crate) receive_bytes: Option<u32>,
    /// Ends the sending side after the request.
    pub(crate) is_half_closed: bool,
}

impl Plan {
    /// Reads all there is and is never cut.
    pub(crate) fn steady() -> Self {
        Self {
            cut: Cut::ByTime,
            time_max: Duration::from_secs(3600),
            pause: Duration::ZERO,
            portion_bytes: 64 << 10,
            receive_bytes: None,
            is_half_closed: false,
        }
    }

    /// Draws a plan.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let millis =
            |rng: &mut StdRng, from: u64, to: u64| Duration::from_millis(rng.random_range(from..=to));
        let mut plan = Self { time_max: millis(rng, 50, 3000), ..Self::steady() };
        match rng.random_range(0..20) {
            0 => plan.cut = Cut::BeforeHead,
            1 => plan.cut = Cut::AfterBytes(rng.random_range(1..=120)),
            2..8 => plan.cut = Cut::AfterBytes(rng.random_range(1..=40_000)),
            8..10 => plan.cut = Cut::AfterFirstId,
            10 => plan.is_half_closed = true,
            11..14 => {
                plan.receive_bytes = Some(4096);
                plan.portion_bytes = 2048;
                plan.pause = millis(rng, 5, 60);
            }
            14 => {
                plan.receive_bytes = Some(4096);
                plan.pause = millis(rng, 500, 1500);
            }
            _ => {}
        }
        plan
    }
}
