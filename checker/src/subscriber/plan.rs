//! How one stream is read, what its reader does to the server, and at which moment.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

/// What a reader does besides reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Takes nothing for a while, and goes on.
    Stop,
    /// Takes a few bytes at a time for a while, and goes on.
    Crawl,
    /// Resets the connection.
    Reset,
    /// Says that it will send no more, and reads what still comes.
    HalfClose,
    /// Closes.
    Close,
}

impl Act {
    pub(crate) const ALL: [Self; 5] = [Self::Stop, Self::Crawl, Self::Reset, Self::HalfClose, Self::Close];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Crawl => "crawl",
            Self::Reset => "reset",
            Self::HalfClose => "half-close",
            Self::Close => "close",
        }
    }
}

/// Where in the life of a stream a reader acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Connected, with no byte sent.
    Connected,
    /// With a part of the request sent.
    Request,
    /// With the request sent and no byte of the answer read.
    Asked,
    /// Right after the head of the answer.
    Head,
    /// After so many events and positions of those that it missed, or the first that come.
    Replay,
    /// At the head of the log, after a while.
    Live,
    /// Within a frame of which a kilobyte has come.
    Frame,
    /// While the hub is ending.
    Ending,
}

impl Stage {
    pub(crate) const ALL: [Self; 8] = [
        Self::Connected,
        Self::Request,
        Self::Asked,
        Self::Head,
        Self::Replay,
        Self::Live,
        Self::Frame,
        Self::Ending,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Request => "request",
            Self::Asked => "asked",
            Self::Head => "head",
            Self::Replay => "replay",
            Self::Live => "live",
            Self::Frame => "frame",
            Self::Ending => "ending",
        }
    }
}

/// What is done, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) act: Act,
    pub(crate) stage: Stage,
    /// Blocks that come before, where it is done among events.
    pub(crate) blocks: usize,
    /// How long it takes where it has an end.
    pub(crate) time: Duration,
}

/// What cuts a stream, besides its time and its trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
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
    pub(crate) trouble: Option<Trouble>,
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
            trouble: None,
        }
    }

    /// Draws a plan.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let mut plan = Self { time_max: millis(rng, 50, 3000), ..Self::steady() };
        match rng.random_range(0..20) {
            0 => plan.cut = Cut::AfterBytes(rng.random_range(1..=120)),
            1..4 => plan.cut = Cut::AfterBytes(rng.random_range(1..=40_000)),
            4 => plan.cut = Cut::AfterFirstId,
            5..7 => {
                plan.receive_bytes = Some(4096);
                plan.portion_bytes = 2048;
                plan.pause = millis(rng, 5, 60);
            }
            7 => {
                plan.receive_bytes = Some(4096);
                plan.pause = millis(rng, 500, 1500);
            }
            8..17 => plan.draw_trouble(rng),
            _ => {}
        }
        plan
    }

    fn draw_trouble(&mut self, rng: &mut StdRng) {
        let act = Act::ALL[rng.random_range(0..Act::ALL.len())];
        let stage = Stage::ALL[rng.random_range(0..Stage::ALL.len())];
        if matches!(act, Act::Stop | Act::Crawl) {
            self.receive_bytes = Some(4096);
        }
        match stage {
            // A frame is met in its middle by those who read it in small portions.
            Stage::Frame => self.portion_bytes = 600,
            // It has to be there when the hub ends.
            Stage::Ending => self.time_max = millis(rng, 2000, 10_000),
            _ => {}
        }
        let (blocks, time) = (rng.random_range(1..=8), millis(rng, 200, 1500));
        self.trouble = Some(Trouble { act, stage, blocks, time });
    }
}

fn millis(rng: &mut StdRng, from: u64, to: u64) -> Duration {
    Duration::from_millis(rng.random_range(from..=to))
}
