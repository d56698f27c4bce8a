//! Decoder of one stream, which ends where its plan cuts it.

use std::io;

use tidings_protocol::sse::{Parser, StreamItem};
use tokio::time::sleep;

use crate::http::RawConnection;
use crate::stream_plan::{CutPoint, StreamPlan};

/// Whether to continue with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamStep {
    Continue,
    Cut,
}

/// Parser and counts of one stream.
pub(crate) struct StreamDecoder {
    parser: Parser,
    first_id: String,
    /// Events and positions received.
    pub(crate) blocks: usize,
    /// Bytes received of the incomplete frame.
    pub(crate) frame_bytes: usize,
}

impl StreamDecoder {
    pub(crate) fn new(last_event_id: &str) -> Self {
        let parser = Parser::new().with_last_event_id(last_event_id);
        Self { parser, first_id: last_event_id.into(), blocks: 0, frame_bytes: 0 }
    }

    pub(crate) fn last_event_id(&self) -> &str {
        self.parser.last_event_id()
    }

    /// Whether the stream has brought a new id.
    pub(crate) fn has_moved(&self) -> bool {
        self.parser.last_event_id() != self.first_id
    }

    /// Parses a part of the body up to the cut of the plan, and appends its items. `None` is the end of the body.
    ///
    /// # Errors
    /// The text of a syntax error.
    pub(crate) fn decode(
        &mut self,
        plan: &mut StreamPlan,
        body: Option<Vec<u8>>,
        items: &mut Vec<StreamItem>,
    ) -> Result<StreamStep, String> {
        let Some(mut body) = body else { return Ok(StreamStep::Cut) };
        let mut step = StreamStep::Continue;
        if let CutPoint::AfterBytes(left) = &mut plan.cut {
            body.truncate(*left);
            *left -= body.len();
            if *left == 0 {
                step = StreamStep::Cut;
            }
        }
        self.count_frame(&body);
        // A cut right after a block needs single bytes.
        let portion = if plan.cut == CutPoint::AfterFirstId { 1 } else { body.len().max(1) };
        for portion in body.chunks(portion) {
            let before = items.len();
            let parsed = self.parser.feed(portion, &mut |item| items.push(item));
            parsed.map_err(|error| error.to_string())?;
            let is_block =
                |item: &&StreamItem| matches!(item, StreamItem::Event(_) | StreamItem::Position(_));
            self.blocks += items[before..].iter().filter(is_block).count();
            if plan.cut == CutPoint::AfterFirstId && self.has_moved() {
                return Ok(StreamStep::Cut);
            }
        }
        Ok(step)
    }

    fn count_frame(&mut self, body: &[u8]) {
        match body.windows(2).rposition(|pair| pair == b"\n\n") {
            Some(end) => self.frame_bytes = body.len() - end - 2,
            None => self.frame_bytes += body.len(),
        }
    }
}

/// Reads the next content of a stream, after the pause of a slow reader; `None` at its end. Cancel-safe.
///
/// # Errors
/// The text of a framing error. A broken connection is an end.
pub(crate) async fn read(
    connection: &mut RawConnection,
    plan: &StreamPlan,
) -> Result<Option<Vec<u8>>, String> {
    if !plan.pause.is_zero() {
        sleep(plan.pause).await;
    }
    match connection.read_some(plan.portion_bytes).await {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(format!("framing of the stream: {error}"))
        }
        outcome => Ok(outcome.unwrap_or_default()),
    }
}
