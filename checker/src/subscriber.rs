//! A subscriber that injects faults or is cut at random times, and resumes after the last id that its parser dispatched.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidings_protocol::sse::{MessageEvent, StreamItem};
use tidings_protocol::{EventId, Subscription, body::GapNotice};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::counters::{Counters, add};
use crate::http::RawConnection;
use crate::oracle::{LogPosition, Observation, ObservedGap, Oracle, SubscriberHistory, label_of};
use crate::stream_decoder::{StreamDecoder, StreamStep, read};
use crate::stream_plan::{ReaderAction, ReaderFault, StreamPlan, StreamStage};
use crate::violation::{Violation, ViolationKind};

/// Longest time from the request to the head of a stream.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// Longest time that a half-closed stream may stay open.
const HALF_CLOSED_DEADLINE: Duration = Duration::from_secs(10);

/// Bytes of a frame after which a reader is within it.
const WITHIN_FRAME_BYTES: usize = 1000;

/// Pause between two portions of a crawling reader.
const CRAWL_PAUSE: Duration = Duration::from_millis(2);

/// Most violations kept of one subscriber.
const VIOLATIONS_MAX: usize = 100;

/// Positions that every subscriber must reach before the phase ends.
#[derive(Clone, Debug)]
pub(crate) struct DrainTargets {
    /// Position of the last event of each channel.
    pub(crate) targets: Arc<Vec<LogPosition>>,
    pub(crate) deadline: Instant,
}

/// Options of one subscriber.
pub(crate) struct SubscriberOptions {
    pub(crate) index: usize,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) address: SocketAddr,
    pub(crate) seed: u64,
    /// Requests all history until it has an id.
    pub(crate) wants_history: bool,
    /// Longest time between two streams.
    pub(crate) absence_max: Duration,
    /// Changes before the hub gets SIGTERM.
    pub(crate) ending: watch::Receiver<u64>,
}

/// A subscriber: its last id, its random choices, and its observations.
pub(crate) struct FaultySubscriber {
    options: SubscriberOptions,
    rng: StdRng,
    oracle: Arc<Oracle>,
    counters: Arc<Counters>,
    last_event_id: String,
    cursor: Option<LogPosition>,
    observations: Vec<Observation>,
    violations: Vec<Violation>,
}

impl FaultySubscriber {
    pub(crate) fn new(options: SubscriberOptions, oracle: Arc<Oracle>, counters: Arc<Counters>) -> Self {
        Self {
            rng: StdRng::seed_from_u64(options.seed),
            options,
            oracle,
            counters,
            last_event_id: String::new(),
            cursor: None,
            observations: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Reads, is cut and resumes, until the drain begins and its targets are reached.
    pub(crate) async fn run(
        mut self,
        mut drain: watch::Receiver<Option<DrainTargets>>,
    ) -> (SubscriberHistory, Vec<Violation>) {
        loop {
            let present = drain.borrow_and_update().clone();
            let plan = match &present {
                None => StreamPlan::draw(&mut self.rng),
                Some(_) => StreamPlan::steady(),
            };
            if let Some(present) = &present {
                if self.has_reached(present) {
                    break;
                }
                if Instant::now() >= present.deadline {
                    self.report_stuck(present);
                    break;
                }
            }
            self.stream(plan, &mut drain, present).await;
            let absence =
                if drain.borrow().is_some() { Duration::from_millis(20) } else { self.options.absence_max };
            sleep(self.rng.random_range(Duration::ZERO..=absence)).await;
        }
        let history = SubscriberHistory {
            subscriber: self.options.index,
            subscriptions: self.options.subscriptions,
            is_from_beginning: self.options.wants_history,
            observations: self.observations,
        };
        (history, self.violations)
    }

    /// Opens one stream and reads it until it ends or the plan cuts it.
    async fn stream(
        &mut self,
        mut plan: StreamPlan,
        drain: &mut watch::Receiver<Option<DrainTargets>>,
        mut present: Option<DrainTargets>,
    ) {
        let mut ending = self.options.ending.clone();
        ending.borrow_and_update();
        let connected = RawConnection::connect(self.options.address, plan.receive_bytes).await;
        let Ok(connection) = connected else { return };
        let mut stream = FaultyStream::new(connection, &self.last_event_id, plan.time_max);
        let request = self.request();
        if self.send_request(&mut stream, &mut plan, request.as_bytes()).await == StreamStep::Cut
            || !self.open(&mut stream.connection).await
            || self.reach(StreamStage::Head, &mut stream, &mut plan).await == StreamStep::Cut
        {
            return;
        }
        loop {
            let deadline = present.as_ref().map_or(stream.until, |present| present.deadline);
            let live_at = stream.live_at(&plan);
            let step = tokio::select! {
                body = read(&mut stream.connection, &plan) => self.read(&mut stream, &mut plan, body).await,
                () = sleep_until(deadline) => {
                    self.check_half_closed(&stream, present.is_some());
                    return;
                }
                () = sleep_until(live_at.unwrap_or(deadline)), if live_at.is_some() => {
                    self.reach(StreamStage::Live, &mut stream, &mut plan).await
                }
                Ok(()) = ending.changed() => self.reach(StreamStage::Ending, &mut stream, &mut plan).await,
                _ = drain.changed(), if present.is_none() => {
                    present = drain.borrow_and_update().clone();
                    plan = StreamPlan::steady();
                    if stream.is_half_closed { StreamStep::Cut } else { StreamStep::Continue }
                }
            };
            stream.recover(&mut plan);
            if step == StreamStep::Cut || present.as_ref().is_some_and(|present| self.has_reached(present)) {
                return;
            }
        }
    }

    /// Sends the request, with the faults of stages before its response.
    async fn send_request(
        &mut self,
        stream: &mut FaultyStream,
        plan: &mut StreamPlan,
        request: &[u8],
    ) -> StreamStep {
        let early =
            |fault: &ReaderFault| matches!(fault.stage, StreamStage::Connected | StreamStage::Request);
        let early = plan.fault.filter(early);
        let sent = match early {
            Some(ReaderFault { stage: StreamStage::Request, .. }) => self.rng.random_range(1..request.len()),
            _ => 0,
        };
        if stream.connection.send(&request[..sent]).await.is_err() {
            return StreamStep::Cut;
        }
        let mut portion = request.len();
        if let Some(fault) = early {
            if self.reach(fault.stage, stream, plan).await == StreamStep::Cut {
                return StreamStep::Cut;
            }
            if stream.is_half_closed {
                // The hub may answer an incomplete request with an error, or not at all.
                let outcome = timeout(HALF_CLOSED_DEADLINE, stream.connection.read_to_end()).await;
                self.check_half_closed(stream, outcome.is_ok());
                return StreamStep::Cut;
            }
            portion = if fault.action == ReaderAction::Crawl { 3 } else { portion };
        }
        for part in request[sent..].chunks(portion) {
            if stream.connection.send(part).await.is_err() {
                return StreamStep::Cut;
            }
            if portion < request.len() {
                sleep(CRAWL_PAUSE).await;
            }
        }
        self.reach(StreamStage::Asked, stream, plan).await
    }

    /// Handles content of the body, and injects the faults of its stage.
    async fn read(
        &mut self,
        stream: &mut FaultyStream,
        plan: &mut StreamPlan,
        body: Result<Option<Vec<u8>>, String>,
    ) -> StreamStep {
        if self.decode(&mut stream.decoder, plan, body) == StreamStep::Cut {
            return StreamStep::Cut;
        }
        match plan.fault {
            Some(fault) if fault.stage == StreamStage::Replay && stream.decoder.blocks >= fault.blocks => {
                self.reach(StreamStage::Replay, stream, plan).await
            }
            Some(_) if stream.decoder.frame_bytes >= WITHIN_FRAME_BYTES => {
                self.reach(StreamStage::Frame, stream, plan).await
            }
            _ => StreamStep::Continue,
        }
    }

    /// Injects the plan's fault if this is its stage; each fault is injected once.
    async fn reach(
        &mut self,
        stage: StreamStage,
        stream: &mut FaultyStream,
        plan: &mut StreamPlan,
    ) -> StreamStep {
        let Some(fault) = plan.fault.take_if(|fault| fault.stage == stage) else {
            return StreamStep::Continue;
        };
        self.counters.add_reader_fault(fault);
        match fault.action {
            ReaderAction::Stop => sleep(fault.time).await,
            ReaderAction::Crawl => {
                (plan.portion_bytes, plan.pause) = (3, CRAWL_PAUSE);
                stream.crawls_until = Some(Instant::now() + fault.time);
                if stage == StreamStage::Asked {
                    // The head is read slowly, too.
                    let _ = stream.connection.trickle(60, plan.portion_bytes, CRAWL_PAUSE).await;
                }
            }
            ReaderAction::Reset => {
                let _ = stream.connection.reset_on_drop();
                return StreamStep::Cut;
            }
            ReaderAction::HalfClose => {
                if stream.connection.half_close().await.is_err() {
                    return StreamStep::Cut;
                }
                stream.is_half_closed = true;
                stream.until = Instant::now() + HALF_CLOSED_DEADLINE;
            }
            ReaderAction::Close => return StreamStep::Cut,
        }
        StreamStep::Continue
    }

    /// Reports a half-closed stream that the hub did not end in time.
    fn check_half_closed(&mut self, stream: &FaultyStream, is_ended: bool) {
        if stream.is_half_closed && !is_ended {
            let seconds = HALF_CLOSED_DEADLINE.as_secs();
            let text = format!("half-closed stream was still open after {seconds} s");
            self.violation(ViolationKind::LeftOver, &text);
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
            // A stream without positions has no id to resume after before its first event.
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

    /// Reads the head; returns whether a stream follows.
    async fn open(&mut self, connection: &mut RawConnection) -> bool {
        match timeout(HEAD_DEADLINE, connection.read_head()).await {
            Ok(Ok(head)) if head.status == 200 && head.is_event_stream && head.is_chunked => {
                add(&self.counters.streams, 1);
                add(&self.counters.resumes, usize::from(!self.last_event_id.is_empty()));
                self.observations.push(Observation::Opened);
                true
            }
            // The hub is starting or ending.
            Ok(Ok(head)) if head.status == 503 => false,
            Ok(Ok(head)) => {
                self.violation(ViolationKind::BrokenProtocol, &format!("stream was answered with {head:?}"));
                false
            }
            Ok(Err(_)) => false,
            Err(_) => {
                let seconds = HEAD_DEADLINE.as_secs();
                self.violation(ViolationKind::Stuck, &format!("stream was not answered within {seconds} s"));
                false
            }
        }
    }

    /// Decodes content up to the cut of the plan, and records its items.
    fn decode(
        &mut self,
        decoder: &mut StreamDecoder,
        plan: &mut StreamPlan,
        body: Result<Option<Vec<u8>>, String>,
    ) -> StreamStep {
        let mut items = Vec::new();
        let decoded = body.and_then(|body| decoder.decode(plan, body, &mut items));
        items.into_iter().for_each(|item| self.item(item));
        if decoder.last_event_id() != self.last_event_id {
            self.last_event_id = decoder.last_event_id().into();
        }
        decoded.unwrap_or_else(|text| {
            self.violation(ViolationKind::BrokenProtocol, &text);
            StreamStep::Cut
        })
    }

    fn item(&mut self, item: StreamItem) {
        match item {
            StreamItem::Position(id) => self.position(&id),
            StreamItem::Event(event) if event.name == "tidings.position" => {
                self.position(&event.last_event_id);
            }
            StreamItem::Event(event) if event.name == "tidings.gap" => self.gap(&event),
            // These may carry the position of the stream; without one they repeat the last id.
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
            let position = self.oracle.position(&id);
            self.cursor = Some(position);
            self.observations.push(Observation::Position(position));
        }
    }

    fn gap(&mut self, event: &MessageEvent) {
        let tick = self.oracle.tick();
        let notice = match serde_json::from_str::<GapNotice>(&event.data) {
            Ok(notice) if notice.resumed_at == event.last_event_id => notice,
            _ => {
                let text = format!("gap is {:?} with id {}", event.data, event.last_event_id);
                return self.violation(ViolationKind::WrongContent, &text);
            }
        };
        self.counters.add_gap(notice.reason);
        if let Some(id) = self.parse(&notice.resumed_at) {
            let resumed_at = self.oracle.position(&id);
            self.cursor = Some(resumed_at);
            let GapNotice { reason, channels, requested, .. } = notice;
            let gap = ObservedGap { reason, channels, requested, resumed_at, tick };
            self.observations.push(Observation::Gap(Box::new(gap)));
        }
    }

    fn event(&mut self, event: &MessageEvent) {
        add(&self.counters.deliveries, 1);
        let Some(label) = label_of(&event.data).filter(|label| self.oracle.knows(*label)) else {
            let text = format!("got {:?} named {}, which was never sent", event.data, event.name);
            return self.violation(ViolationKind::WrongContent, &text);
        };
        let name = (event.name != "message").then_some(&*event.name);
        if let Err(text) = self.oracle.check_content(label, name, &event.data) {
            self.violation(ViolationKind::WrongContent, &text);
        }
        if let Some(id) = self.parse(&event.last_event_id) {
            let position = self.oracle.position(&id);
            self.cursor = Some(position);
            let skips = id.skips.iter().map(|skip| skip.offset).collect();
            self.observations.push(Observation::Event { label, position, skips });
        }
    }

    fn parse(&mut self, id: &str) -> Option<EventId> {
        id.parse().map_err(|error| self.violation(ViolationKind::WrongContent, &format!("{error}"))).ok()
    }

    fn has_reached(&self, drain: &DrainTargets) -> bool {
        // A subscriber without any of the channels has no target.
        let Some(target) = self.target(drain) else { return true };
        let has_passed =
            |cursor: LogPosition| cursor.generation == target.generation && cursor.offset >= target.offset;
        self.cursor.is_some_and(has_passed)
    }

    /// Position of the last event of the subscriber's channels.
    fn target(&self, drain: &DrainTargets) -> Option<LogPosition> {
        let channels = self.oracle.channels.iter().zip(&*drain.targets);
        let own =
            channels.filter(|(channel, _)| self.options.subscriptions.iter().any(|one| one.matches(channel)));
        own.map(|(_, position)| *position).max_by_key(|position| position.offset)
    }

    fn report_stuck(&mut self, drain: &DrainTargets) {
        let target = self.target(drain).map(|position| position.to_string());
        let text =
            format!("did not reach {target:?} by the deadline; its last id is {:?}", self.last_event_id);
        self.violation(ViolationKind::Stuck, &text);
    }

    fn violation(&mut self, kind: ViolationKind, text: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            let names: Vec<_> = self.options.subscriptions.iter().map(Subscription::as_str).collect();
            let text = format!("subscriber {} of {}: {text}", self.options.index, names.join(", "));
            self.violations.push(Violation::new(kind, text));
        }
    }
}

/// One open stream.
struct FaultyStream {
    connection: RawConnection,
    decoder: StreamDecoder,
    begun: Instant,
    /// End of the plan's time.
    until: Instant,
    is_half_closed: bool,
    crawls_until: Option<Instant>,
}

impl FaultyStream {
    fn new(connection: RawConnection, last_event_id: &str, time_max: Duration) -> Self {
        let begun = Instant::now();
        let (decoder, until) = (StreamDecoder::new(last_event_id), begun + time_max);
        Self { connection, decoder, begun, until, is_half_closed: false, crawls_until: None }
    }

    /// Time of a fault at the head of the log: the stream has a position by then.
    fn live_at(&self, plan: &StreamPlan) -> Option<Instant> {
        let fault = plan.fault.filter(|fault| fault.stage == StreamStage::Live && self.decoder.has_moved());
        fault.map(|fault| self.begun + fault.time)
    }

    /// Ends a crawl whose time is over.
    fn recover(&mut self, plan: &mut StreamPlan) {
        if self.crawls_until.take_if(|until| *until <= Instant::now()).is_some() {
            (plan.portion_bytes, plan.pause) = (64 << 10, Duration::ZERO);
        }
    }
}

#[cfg(test)]
mod tests;
