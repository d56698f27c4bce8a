//! One stream of a reader: its plan decides how it is read, where it is cut and which fault is injected.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tidings_load::ResponseHead;
use tidings_protocol::sse::{Parser, StreamItem};
use tokio::time::{Instant, sleep, timeout};

use crate::counters::Counters;
use crate::http::RawConnection;
use crate::stream_plan::{CutPoint, ReaderAction, StreamPlan, StreamStage};

/// Longest time that a half-closed stream may stay open.
pub(super) const HALF_CLOSED_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a frame after which a reader is within it.
const WITHIN_FRAME_BYTES: usize = 1000;
/// Pause between two portions of a crawling reader.
const CRAWL_PAUSE: Duration = Duration::from_millis(2);

/// Whether to continue with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamStep {
    Continue,
    Cut,
}

/// A connection with its plan, its parser and their counts.
pub(super) struct PlannedStream {
    connection: RawConnection,
    pub(super) plan: StreamPlan,
    parser: Parser,
    first_id: String,
    /// Events and positions received.
    blocks: usize,
    /// Bytes received of the incomplete frame.
    frame_bytes: usize,
    begun: Instant,
    /// End of the plan's time.
    pub(super) until: Instant,
    pub(super) is_half_closed: bool,
    /// Whether the hub has not ended the half-closed stream in time.
    pub(super) is_left_over: bool,
    crawls_until: Option<Instant>,
}

impl PlannedStream {
    pub(super) async fn connect(
        address: SocketAddr,
        plan: StreamPlan,
        last_event_id: &str,
    ) -> io::Result<Self> {
        let connection = RawConnection::connect(address, plan.receive_bytes).await?;
        let begun = Instant::now();
        Ok(Self {
            connection,
            plan,
            parser: Parser::new().with_last_event_id(last_event_id),
            first_id: last_event_id.into(),
            blocks: 0,
            frame_bytes: 0,
            begun,
            until: begun + plan.time_max,
            is_half_closed: false,
            is_left_over: false,
            crawls_until: None,
        })
    }

    pub(super) fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// Whether the stream has brought a new id.
    fn has_moved(&self) -> bool {
        self.parser.last_event_id() != self.first_id
    }

    /// Time of a fault at the head of the log: the stream has a position by then.
    pub(super) fn live_at(&self) -> Option<Instant> {
        let fault = self.plan.fault.filter(|fault| fault.stage == StreamStage::Live && self.has_moved());
        fault.map(|fault| self.begun + fault.time)
    }

    /// Ends a crawl whose time is over.
    pub(super) fn recover(&mut self) {
        if self.crawls_until.take_if(|until| *until <= Instant::now()).is_some() {
            (self.plan.portion_bytes, self.plan.pause) = (64 << 10, Duration::ZERO);
        }
    }

    pub(super) async fn read_head(&mut self) -> io::Result<ResponseHead> {
        self.connection.read_head().await
    }

    /// Reads the next content, after the pause of a slow reader; `None` at its end. Cancel-safe.
    pub(super) async fn next_body(&mut self) -> Result<Option<Vec<u8>>, String> {
        if !self.plan.pause.is_zero() {
            sleep(self.plan.pause).await;
        }
        match self.connection.read_some(self.plan.portion_bytes).await {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(format!("framing of the stream: {error}"))
            }
            outcome => Ok(outcome.unwrap_or_default()),
        }
    }

    /// Parses a part of the body up to the cut of the plan, and appends its items. `None` is the end of the body.
    pub(super) fn decode(
        &mut self,
        body: Option<Vec<u8>>,
        items: &mut Vec<StreamItem>,
    ) -> Result<StreamStep, String> {
        let Some(mut body) = body else { return Ok(StreamStep::Cut) };
        let mut step = StreamStep::Continue;
        if let CutPoint::AfterBytes(left) = &mut self.plan.cut {
            body.truncate(*left);
            *left -= body.len();
            if *left == 0 {
                step = StreamStep::Cut;
            }
        }
        match body.windows(2).rposition(|pair| pair == b"\n\n") {
            Some(end) => self.frame_bytes = body.len() - end - 2,
            None => self.frame_bytes += body.len(),
        }
        // A cut right after a block needs single bytes.
        let portion = if self.plan.cut == CutPoint::AfterFirstId { 1 } else { body.len().max(1) };
        for portion in body.chunks(portion) {
            let before = items.len();
            let parsed = self.parser.feed(portion, &mut |item| items.push(item));
            parsed.map_err(|error| error.to_string())?;
            let is_block =
                |item: &&StreamItem| matches!(item, StreamItem::Event(_) | StreamItem::Position(_));
            self.blocks += items[before..].iter().filter(is_block).count();
            if self.plan.cut == CutPoint::AfterFirstId && self.has_moved() {
                return Ok(StreamStep::Cut);
            }
        }
        Ok(step)
    }

    /// Sends the request, with the faults of stages before its response.
    pub(super) async fn send_request(
        &mut self,
        request: &[u8],
        rng: &mut StdRng,
        counters: &Counters,
    ) -> StreamStep {
        let stage = self.plan.fault.map(|fault| fault.stage);
        let stage = stage.filter(|stage| matches!(stage, StreamStage::Connected | StreamStage::Request));
        let sent = if stage == Some(StreamStage::Request) { rng.random_range(1..request.len()) } else { 0 };
        if self.connection.send(&request[..sent]).await.is_err() {
            return StreamStep::Cut;
        }
        if let Some(stage) = stage {
            if self.reach(stage, counters).await == StreamStep::Cut {
                return StreamStep::Cut;
            }
            if self.is_half_closed {
                // The hub may answer an incomplete request with an error, or not at all.
                let outcome = timeout(HALF_CLOSED_DEADLINE, self.connection.read_to_end()).await;
                self.is_left_over = outcome.is_err();
                return StreamStep::Cut;
            }
        }
        let crawls = self.crawls_until.is_some();
        for part in request[sent..].chunks(if crawls { 3 } else { request.len() }) {
            if self.connection.send(part).await.is_err() {
                return StreamStep::Cut;
            }
            if crawls {
                sleep(CRAWL_PAUSE).await;
            }
        }
        self.reach(StreamStage::Requested, counters).await
    }

    /// Injects the fault of the stage that the content has reached.
    pub(super) async fn reach_content(&mut self, counters: &Counters) -> StreamStep {
        match self.plan.fault {
            Some(fault) if fault.stage == StreamStage::Replay && self.blocks >= fault.blocks => {
                self.reach(StreamStage::Replay, counters).await
            }
            Some(_) if self.frame_bytes >= WITHIN_FRAME_BYTES => {
                self.reach(StreamStage::Frame, counters).await
            }
            _ => StreamStep::Continue,
        }
    }

    /// Injects the plan's fault if this is its stage; each fault is injected once.
    pub(super) async fn reach(&mut self, stage: StreamStage, counters: &Counters) -> StreamStep {
        let Some(fault) = self.plan.fault.take_if(|fault| fault.stage == stage) else {
            return StreamStep::Continue;
        };
        counters.add_reader_fault(fault);
        match fault.action {
            ReaderAction::Stop => sleep(fault.time).await,
            ReaderAction::Crawl => {
                (self.plan.portion_bytes, self.plan.pause) = (3, CRAWL_PAUSE);
                self.crawls_until = Some(Instant::now() + fault.time);
                if stage == StreamStage::Requested {
                    // The head is read slowly, too.
                    let _ = self.connection.trickle(60, self.plan.portion_bytes, CRAWL_PAUSE).await;
                }
            }
            ReaderAction::Reset => {
                let _ = self.connection.reset_on_drop();
                return StreamStep::Cut;
            }
            ReaderAction::HalfClose => {
                if self.connection.half_close().await.is_err() {
                    return StreamStep::Cut;
                }
                self.is_half_closed = true;
                self.until = Instant::now() + HALF_CLOSED_DEADLINE;
            }
            ReaderAction::Close => return StreamStep::Cut,
        }
        StreamStep::Continue
    }
}
