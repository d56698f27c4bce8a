//! Plan of one stream: how it is read, where it is cut, and which fault its reader injects.

use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;

use crate::named_enum::named_enum;
use crate::random::millis;

named_enum! {
    /// Faults of a reader.
    pub(crate) enum ReaderAction {
        /// Stops reading for a while.
        Stop = "stop",
        /// Reads a few bytes at a time for a while.
        Crawl = "crawl",
        /// Resets the connection.
        Reset = "reset",
        /// Ends its sending side and goes on reading.
        HalfClose = "half-close",
        /// Closes the connection.
        Close = "close",
    }
}

named_enum! {
    /// Stage of a stream at which a reader injects its fault.
    pub(crate) enum StreamStage {
        /// Connected, before the first byte of the request.
        Connected = "connected",
        /// Within the request.
        Request = "request",
        /// After the request, before the first byte of the response.
        Requested = "requested",
        /// After the head of the response.
        Head = "head",
        /// After some events and positions of the replay.
        Replay = "replay",
        /// At the head of the log.
        Live = "live",
        /// Within a frame, after a kilobyte of it.
        Frame = "frame",
        /// While the hub shuts down.
        Ending = "ending",
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

    /// Draws a plan, with a fault only if the reader injects faults.
    pub(crate) fn draw(rng: &mut StdRng, has_faults: bool) -> Self {
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
            8..17 if has_faults => plan.draw_fault(rng),
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
