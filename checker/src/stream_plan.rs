//! Plan of one stream: how it is read, where it is cut, and which fault its reader injects.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::random::millis;

/// Faults of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReaderAction {
    /// Stops reading for a while.
    Stop,
    /// Reads a few bytes at a time for a while.
    Crawl,
    /// Resets the connection.
    Reset,
    /// Ends its sending side and goes on reading.
    HalfClose,
    /// Closes the connection.
    Close,
}

impl ReaderAction {
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

/// Stage of a stream at which a reader injects its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamStage {
    /// Connected, before the first byte of the request.
    Connected,
    /// Within the request.
    Request,
    /// After the request, before the first byte of the response.
    Asked,
    /// After the head of the response.
    Head,
    /// After some events and positions of the replay.
    Replay,
    /// At the head of the log.
    Live,
    /// Within a frame, after a kilobyte of it.
    Frame,
    /// While the hub shuts down.
    Ending,
}

impl StreamStage {
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

/// A fault of a reader and its stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReaderFault {
    pub(crate) action: ReaderAction,
    pub(crate) stage: StreamStage,
    /// Events and positions before the fault, in [`StreamStage::Replay`].
    pub(crate) blocks: usize,
    /// Duration, if the fault ends.
    pub(crate) time: Duration,
}

/// Cut of a stream, besides its time and its fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CutPoint {
    /// After this many bytes of the body, mostly within a frame.
    AfterBytes(usize),
    /// After the block that brings the first new id.
    AfterFirstId,
    /// After `time_max`, perhaps while the stream is quiet.
    ByTime,
}

/// Plan of one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StreamPlan {
    pub(crate) cut: CutPoint,
    pub(crate) time_max: Duration,
    /// Pause before every read; the hub has to hold back meanwhile.
    pub(crate) pause: Duration,
    pub(crate) portion_bytes: usize,
    pub(crate) receive_bytes: Option<u32>,
    pub(crate) fault: Option<ReaderFault>,
}

impl StreamPlan {
    /// A plan without pauses, cuts and faults.
    pub(crate) fn steady() -> Self {
        Self {
            cut: CutPoint::ByTime,
            time_max: Duration::from_secs(3600),
            pause: Duration::ZERO,
            portion_bytes: 64 << 10,
            receive_bytes: None,
            fault: None,
        }
    }

    /// Draws a plan.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        let mut plan = Self { time_max: millis(rng, 50, 3000), ..Self::steady() };
        match rng.random_range(0..20) {
            0 => plan.cut = CutPoint::AfterBytes(rng.random_range(1..=120)),
            1..4 => plan.cut = CutPoint::AfterBytes(rng.random_range(1..=40_000)),
            4 => plan.cut = CutPoint::AfterFirstId,
            5..7 => {
                plan.receive_bytes = Some(4096);
                plan.portion_bytes = 2048;
                plan.pause = millis(rng, 5, 60);
            }
            7 => {
                plan.receive_bytes = Some(4096);
                plan.pause = millis(rng, 500, 1500);
            }
            8..17 => plan.draw_fault(rng),
            _ => {}
        }
        plan
    }

    fn draw_fault(&mut self, rng: &mut StdRng) {
        let action = ReaderAction::ALL[rng.random_range(0..ReaderAction::ALL.len())];
        let stage = StreamStage::ALL[rng.random_range(0..StreamStage::ALL.len())];
        if matches!(action, ReaderAction::Stop | ReaderAction::Crawl) {
            self.receive_bytes = Some(4096);
        }
        match stage {
            // Small portions stop the reader within a frame.
            StreamStage::Frame => self.portion_bytes = 600,
            // The stream must be open when the hub shuts down.
            StreamStage::Ending => self.time_max = millis(rng, 2000, 10_000),
            _ => {}
        }
        let (blocks, time) = (rng.random_range(1..=8), millis(rng, 200, 1500));
        self.fault = Some(ReaderFault { action, stage, blocks, time });
    }
}
