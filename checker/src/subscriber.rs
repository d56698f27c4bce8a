//! A subscriber that makes trouble or is cut at random moments, and resumes with the last id its parser dispatched.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidings_protocol::sse::{MessageEvent, Parser, StreamItem};
use tidings_protocol::{EventId, Subscription, body::GapNotice};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::http::{Chunks, Wire};
use crate::report::{Fault, FaultKind, Figures, add};
use crate::truth::{GapSeen, Place, Record, Seen, Truth, label_of};

mod plan;

pub(crate) use plan::{Act, Cut, Plan, Stage, Trouble};

/// How long a stream's head may take once the request was sent.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long a stream may stay open whose reader has said that it will send no more.
const HALF_CLOSED_DEADLINE: Duration = Duration::from_secs(10);

/// Bytes of a frame that have come when a reader is well within it.
const WITHIN_FRAME_BYTES: usize = 1000;

/// Faults of one subscriber that are kept.
const FAULTS_MAX: usize = 100;

/// What everybody has to have received before a phase ends.
#[derive(Clone, Debug)]
pub(crate) struct Drain {
    /// Place of the last event of every channel.
    pub(crate) targets: Arc<Vec<Place>>,
    /// When those who are not there are stuck.
    pub(crate) deadline: Instant,
}

/// What makes one subscriber.
pub(crate) struct Options {
    pub(crate) index: usize,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) address: SocketAddr,
    pub(crate) seed: u64,
    /// Asks for all history until it has its first id.
    pub(crate) wants_history: bool,
    /// Longest time between two streams.
    pub(crate) absence_max: Duration,
    /// Changes when the hub is about to be asked to end.
    pub(crate) ending: watch::Receiver<u64>,
}

/// A subscriber: its last id, its choices, and what it saw.
pub(crate) struct Subscriber {
    options: Options,
    rng: StdRng,
    truth: Arc<Truth>,
    figures: Arc<Figures>,
    last_event_id: String,
    cursor: Option<Place>,
    seen: Vec<Seen>,
    faults: Vec<Fault>,
}

/// Whether to go on with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Continue,
    Cut,
}

impl Subscriber {
    pub(crate) fn new(options: Options, truth: Arc<Truth>, figures: Arc<Figures>) -> Self {
        let rng = StdRng::seed_from_u64(options.seed);
        let (last_event_id, cursor) = (String::new(), None);
        Self { options, rng, truth, figures, last_event_id, cursor, seen: Vec::new(), faults: Vec::new() }
    }

    /// Reads, is cut and resumes until the drain is told and its targets are reached.
    pub(crate) async fn run(mut self, mut drain: watch::Receiver<Option<Drain>>) -> (Record, Vec<Fault>) {
        loop {
            let present = drain.borrow_and_update().clone();
            let plan = match &present {
                None => Plan::draw(&mut self.rng),
                Some(_) => Plan::steady(),
            };
            if let Some(present) = &present {
                if self.has_reached(present) {
                    break;
                }
                if Instant::now() >= present.deadline {
                    self.is_stuck(present);
                    break;
                }
            }
            self.stream(plan, &mut drain, present).await;
            let absence =
                if drain.borrow().is_some() { Duration::from_millis(20) } else { self.options.absence_max };
            sleep(self.rng.random_range(Duration::ZERO..=absence)).await;
        }
        let record = Record {
            subscriber: self.options.index,
            subscriptions: self.options.subscriptions,
            is_from_beginning: self.options.wants_history,
            seen: self.seen,
        };
        (record, self.faults)
    }

    /// Opens one stream and reads it until it ends or the plan cuts it.
    async fn stream(
        &mut self,
        mut plan: Plan,
        drain: &mut watch::Receiver<Option<Drain>>,
        mut present: Option<Drain>,
    ) {
        let mut ending = self.options.ending.clone();
        ending.borrow_and_update();
        let Ok(wire) = Wire::connect(self.options.address, plan.receive_bytes).await else { return };
        let mut stream = Stream::new(wire, &self.last_event_id, plan.time_max);
        let request = self.request();
        if self.ask(&mut stream, &mut plan, request.as_bytes()).await == Step::Cut
            || !self.open(&mut stream.wire).await
            || self.reach(Stage::Head, &mut stream, &mut plan).await == Step::Cut
        {
            return;
        }
        loop {
            let deadline = present.as_ref().map_or(stream.until, |present| present.deadline);
            let live_at = stream.live_at(&plan);
            let step = tokio::select! {
                bytes = read(&mut stream.wire, &plan) => self.read(&mut stream, &mut plan, bytes).await,
                () = sleep_until(deadline) => {
                    self.is_over(&stream, present.is_some());
                    return;
                }
                () = sleep_until(live_at.unwrap_or(deadline)), if live_at.is_some() => {
                    self.reach(Stage::Live, &mut stream, &mut plan).await
                }
                Ok(()) = ending.changed() => self.reach(Stage::Ending, &mut stream, &mut plan).await,
                _ = drain.changed(), if present.is_none() => {
                    present = drain.borrow_and_update().clone();
                    plan = Plan::steady();
                    if stream.is_half_closed { Step::Cut } else { Step::Continue }
                }
            };
            stream.recover(&mut plan);
            if step == Step::Cut || present.as_ref().is_some_and(|present| self.has_reached(present)) {
                return;
            }
        }
    }

    /// Sends the request, with the trouble that comes before its answer.
    async fn ask(&mut self, stream: &mut Stream, plan: &mut Plan, request: &[u8]) -> Step {
        let early = plan.trouble.filter(|it| matches!(it.stage, Stage::Connected | Stage::Request));
        let sent = match early {
            Some(Trouble { stage: Stage::Request, .. }) => self.rng.random_range(1..request.len()),
            _ => 0,
        };
        if stream.wire.send(&request[..sent]).await.is_err() {
            return Step::Cut;
        }
        let mut portion = request.len();
        if let Some(trouble) = early {
            if self.reach(trouble.stage, stream, plan).await == Step::Cut {
                return Step::Cut;
            }
            if stream.is_half_closed {
                // No answer, or a refusal: what was asked is not known.
                let outcome = timeout(HALF_CLOSED_DEADLINE, stream.wire.read_to_end()).await;
                self.is_over(stream, outcome.is_ok());
                return Step::Cut;
            }
            portion = if trouble.act == Act::Crawl { 3 } else { portion };
        }
        for part in request[sent..].chunks(portion) {
            if stream.wire.send(part).await.is_err() {
                return Step::Cut;
            }
            if portion < request.len() {
                sleep(CRAWL_PAUSE).await;
            }
        }
        self.reach(Stage::Asked, stream, plan).await
    }

    /// Takes what was read, and makes the trouble that comes with it.
    async fn read(&mut self, stream: &mut Stream, plan: &mut Plan, bytes: std::io::Result<Vec<u8>>) -> Step {
        let bytes = bytes.unwrap_or_default();
        if bytes.is_empty() || self.take(&mut stream.reader, plan, &bytes) == Step::Cut {
            return Step::Cut;
        }
        match plan.trouble {
            Some(trouble) if trouble.stage == Stage::Replay && stream.reader.blocks >= trouble.blocks => {
                self.reach(Stage::Replay, stream, plan).await
            }
            Some(_) if stream.reader.frame_bytes >= WITHIN_FRAME_BYTES => {
                self.reach(Stage::Frame, stream, plan).await
            }
            _ => Step::Continue,
        }
    }

    /// Makes the plan's trouble if this is its place; it is made once.
    async fn reach(&mut self, stage: Stage, stream: &mut Stream, plan: &mut Plan) -> Step {
        let Some(trouble) = plan.trouble.take_if(|trouble| trouble.stage == stage) else {
            return Step::Continue;
        };
        self.figures.add_trouble(trouble);
        match trouble.act {
            Act::Stop => sleep(trouble.time).await,
            Act::Crawl => {
                (plan.portion_bytes, plan.pause) = (3, CRAWL_PAUSE);
                stream.crawls_until = Some(Instant::now() + trouble.time);
                if stage == Stage::Asked {
                    // The head, too.
                    let _ = stream.wire.trickle(60, plan.portion_bytes, CRAWL_PAUSE).await;
                }
            }
            Act::Reset => {
                let _ = stream.wire.will_reset();
                return Step::Cut;
            }
            Act::HalfClose => {
                if stream.wire.half_close().await.is_err() {
                    return Step::Cut;
                }
                stream.is_half_closed = true;
                stream.until = Instant::now() + HALF_CLOSED_DEADLINE;
            }
            Act::Close => return Step::Cut,
        }
        Step::Continue
    }

    /// Notes a stream that should have been ended long ago.
    fn is_over(&mut self, stream: &Stream, is_in_order: bool) {
        if stream.is_half_closed && !is_in_order {
            let seconds = HALF_CLOSED_DEADLINE.as_secs();
            self.fault(FaultKind::LeftOver, &format!("half-closed stream was still open after {seconds} s"));
        }
    }

    fn request(&mut self) -> String {
        let subscriptions: Vec<_> = self.options.subscriptions.iter().map(Subscription::as_str).collect();
        let mut query = Vec::new();
        let mut path = "/api/v1/events".to_owned();
        match subscriptions[..] {
            [one] if self.rng.random_bool(0.7) => path = format!("{path}/{one}"),
            _ => query.extend(subscriptions.iter().map(|one| format!("channel={one}"))),
        }
        query.extend(match self.rng.random_range(0..5) {
            0 => Some("hello=true&position=id".to_owned()),
            1 => Some("position=event".to_owned()),
            // A stream without positions has nothing to resume from before its first event.
            2 if !self.last_event_id.is_empty() => None,
            _ => Some("position=id".to_owned()),
        });
        let mut headers = String::new();
        if self.last_event_id.is_empty() {
            query.extend(self.options.wants_history.then(|| "history=all".to_owned()));
        } else if self.rng.random_bool(0.5) {
            headers = format!("Last-Event-ID: {}\r\n", self.last_event_id);
        } else {
            query.push(format!("lastEventId={}", self.last_event_id));
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let address = self.options.address;
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{headers}\r\n")
    }

    /// Reads the head and returns whether a stream follows.
    async fn open(&mut self, wire: &mut Wire) -> bool {
        match timeout(HEAD_DEADLINE, wire.read_head()).await {
            Ok(Ok(head)) if head.status == 200 => {
                if !head.content_type.starts_with("text/event-stream") || !head.is_chunked {
                    self.fault(FaultKind::BrokenProtocol, &format!("stream was answered with {head:?}"));
                    return false;
                }
                add(&self.figures.streams, 1);
                add(&self.figures.resumes, usize::from(!self.last_event_id.is_empty()));
                self.seen.push(Seen::Opened);
                true
            }
            // On its way down or up.
            Ok(Ok(head)) if head.status == 503 => false,
            Ok(Ok(head)) => {
                self.fault(FaultKind::BrokenProtocol, &format!("stream was answered with {head:?}"));
                false
            }
            Ok(Err(_)) => false,
            Err(_) => {
                let seconds = HEAD_DEADLINE.as_secs();
                self.fault(FaultKind::Stuck, &format!("stream was not answered within {seconds} s"));
                false
            }
        }
    }

    /// Gives bytes to the parser as far as the plan reaches, and takes what it dispatched.
    fn take(&mut self, reader: &mut Reader, plan: &mut Plan, bytes: &[u8]) -> Step {
        let mut body = Vec::new();
        if let Err(broken) = reader.chunks.feed(bytes, &mut body) {
            self.fault(FaultKind::BrokenProtocol, &format!("stream's framing: {broken}"));
            return Step::Cut;
        }
        let mut step = if reader.chunks.is_done() { Step::Cut } else { Step::Continue };
        if let Cut::AfterBytes(left) = &mut plan.cut {
            body.truncate(*left);
            *left -= body.len();
            if *left == 0 {
                step = Step::Cut;
            }
        }
        // Byte by byte where the cut comes right after a block.
        let portion = if plan.cut == Cut::AfterFirstId { 1 } else { body.len().max(1) };
        reader.count_frame(&body);
        for portion in body.chunks(portion) {
            let mut items = Vec::new();
            if let Err(error) = reader.parser.feed(portion, &mut |item| items.push(item)) {
                self.fault(FaultKind::BrokenProtocol, &error.to_string());
                return Step::Cut;
            }
            reader.blocks += items
                .iter()
                .filter(|item| matches!(item, StreamItem::Event(_) | StreamItem::Position(_)))
                .count();
            items.into_iter().for_each(|item| self.item(item));
            if reader.parser.last_event_id() != self.last_event_id {
                self.last_event_id = reader.parser.last_event_id().into();
            }
            if plan.cut == Cut::AfterFirstId && reader.has_moved() {
                return Step::Cut;
            }
        }
        step
    }

    fn item(&mut self, item: StreamItem) {
        match item {
            StreamItem::Position(id) => self.position(&id),
            StreamItem::Event(event) if event.name == "tidings.position" => {
                self.position(&event.last_event_id)
            }
            StreamItem::Event(event) if event.name == "tidings.gap" => self.gap(&event),
            // These may bring the stream's position, too; without one they repeat the last.
            StreamItem::Event(event) if matches!(&*event.name, "tidings.end" | "tidings.open") => {
                if !event.last_event_id.is_empty() {
                    self.position(&event.last_event_id);
                }
            }
            StreamItem::Event(event) => self.event(&event),
            StreamItem::Retry(_) | StreamItem::Comment(_) => {}
        }
    }

    fn position(&mut self, id: &str) {
        if let Some(id) = self.parse(id) {
            let place = self.truth.place(&id);
            self.cursor = Some(place);
            self.seen.push(Seen::Position(place));
        }
    }

    fn gap(&mut self, event: &MessageEvent) {
        let tick = self.truth.tick();
        let notice = match serde_json::from_str::<GapNotice>(&event.data) {
            Ok(notice) if notice.resumed_at == event.last_event_id => notice,
            _ => {
                let text = format!("gap is {:?} with id {}", event.data, event.last_event_id);
                return self.fault(FaultKind::WrongContent, &text);
            }
        };
        self.figures.add_gap(notice.reason);
        if let Some(id) = self.parse(&notice.resumed_at) {
            let resumed_at = self.truth.place(&id);
            self.cursor = Some(resumed_at);
            let GapNotice { reason, channels, requested, .. } = notice;
            self.seen.push(Seen::Gap(Box::new(GapSeen { reason, channels, requested, resumed_at, tick })));
        }
    }

    fn event(&mut self, event: &MessageEvent) {
        add(&self.figures.deliveries, 1);
        let Some(label) = label_of(&event.data).filter(|label| self.truth.knows(*label)) else {
            let text = format!("got {:?} named {}, which was never sent", event.data, event.name);
            return self.fault(FaultKind::WrongContent, &text);
        };
        let name = (event.name != "message").then_some(&*event.name);
        if let Err(text) = self.truth.check_content(label, name, &event.data) {
            self.fault(FaultKind::WrongContent, &text);
        }
        if let Some(id) = self.parse(&event.last_event_id) {
            let place = self.truth.place(&id);
            self.cursor = Some(place);
            let skips = id.skips.iter().map(|skip| skip.offset).collect();
            self.seen.push(Seen::Event { label, place, skips });
        }
    }

    fn parse(&mut self, id: &str) -> Option<EventId> {
        match id.parse() {
            Ok(id) => Some(id),
            Err(error) => {
                self.fault(FaultKind::WrongContent, &format!("{error}"));
                None
            }
        }
    }

    fn has_reached(&self, drain: &Drain) -> bool {
        // Whoever has none of the channels has nothing to wait for.
        let Some(target) = self.target(drain) else { return true };
        self.cursor.is_some_and(|cursor| cursor.life == target.life && cursor.offset >= target.offset)
    }

    /// The last event of all its channels.
    fn target(&self, drain: &Drain) -> Option<Place> {
        let channels = self.truth.channels.iter().zip(&*drain.targets);
        let own =
            channels.filter(|(channel, _)| self.options.subscriptions.iter().any(|one| one.matches(channel)));
        own.map(|(_, place)| *place).max_by_key(|place| place.offset)
    }

    fn is_stuck(&mut self, drain: &Drain) {
        let target = self.target(drain).map(|place| place.to_string());
        let text =
            format!("did not get to {target:?} by the deadline; its last id is {:?}", self.last_event_id);
        self.fault(FaultKind::Stuck, &text);
    }

    fn fault(&mut self, kind: FaultKind, text: &str) {
        if self.faults.len() < FAULTS_MAX {
            let names: Vec<_> = self.options.subscriptions.iter().map(Subscription::as_str).collect();
            let text = format!("subscriber {} of {}: {text}", self.options.index, names.join(", "));
            self.faults.push(Fault::new(kind, text));
        }
    }
}

/// Wait between two portions of who crawls.
const CRAWL_PAUSE: Duration = Duration::from_millis(2);

/// One open stream.
struct Stream {
    wire: Wire,
    reader: Reader,
    begun: Instant,
    /// When its time is over.
    until: Instant,
    is_half_closed: bool,
    crawls_until: Option<Instant>,
}

impl Stream {
    fn new(wire: Wire, last_event_id: &str, time_max: Duration) -> Self {
        let begun = Instant::now();
        let (reader, until) = (Reader::new(last_event_id), begun + time_max);
        Self { wire, reader, begun, until, is_half_closed: false, crawls_until: None }
    }

    /// When trouble is due that is to meet a stream at the head: once it has a position, after a while.
    fn live_at(&self, plan: &Plan) -> Option<Instant> {
        let trouble = plan.trouble.filter(|trouble| trouble.stage == Stage::Live && self.reader.has_moved());
        trouble.map(|trouble| self.begun + trouble.time)
    }

    /// Reads as fast as it can again after it has crawled.
    fn recover(&mut self, plan: &mut Plan) {
        if self.crawls_until.take_if(|until| *until <= Instant::now()).is_some() {
            (plan.portion_bytes, plan.pause) = (64 << 10, Duration::ZERO);
        }
    }
}

/// One stream's decoders.
struct Reader {
    chunks: Chunks,
    parser: Parser,
    first_id: String,
    /// Events and positions that came.
    blocks: usize,
    /// Bytes that have come of the frame that is not whole.
    frame_bytes: usize,
}

impl Reader {
    fn new(last_event_id: &str) -> Self {
        let parser = Parser::new().with_last_event_id(last_event_id);
        let (chunks, first_id) = (Chunks::default(), last_event_id.into());
        Self { chunks, parser, first_id, blocks: 0, frame_bytes: 0 }
    }

    fn has_moved(&self) -> bool {
        self.parser.last_event_id() != self.first_id
    }

    fn count_frame(&mut self, body: &[u8]) {
        match body.windows(2).rposition(|pair| pair == b"\n\n") {
            Some(end) => self.frame_bytes = body.len() - end - 2,
            None => self.frame_bytes += body.len(),
        }
    }
}

/// Reads what is there, after the pause of a slow reader.
async fn read(wire: &mut Wire, plan: &Plan) -> std::io::Result<Vec<u8>> {
    if !plan.pause.is_zero() {
        sleep(plan.pause).await;
    }
    wire.read_some(plan.portion_bytes).await
}

#[cfg(test)]
mod tests;
