//! A reader that injects faults or is cut at random times, resumes after the last id that its parser dispatched, at any
//! node, and records its observations.

mod stream;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use tidings_protocol::body::GapNotice;
use tidings_protocol::sse::{MessageEvent, StreamItem};
use tidings_protocol::{EventId, Subscription};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use stream::{HALF_CLOSED_DEADLINE, PlannedStream, StreamStep};

use crate::client_context::{ClientContext, NodeEndpoint};
use crate::counters::Count;
use crate::history::{EventLabel, LogPosition, PhaseTime};
use crate::observation::{Observation, ObservedGap, ObservedItem, ReaderHistory};
use crate::random::{millis, rng};
use crate::stream_plan::{StreamPlan, StreamStage};
use crate::violation::{Violation, ViolationKind};

/// Longest time from the request to the head of a stream.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Time to read on after the last event, for events that must not arrive.
const LINGER: Duration = Duration::from_millis(500);
/// Most violations kept of one reader.
const VIOLATIONS_MAX: usize = 100;

/// The last event of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClosingEvent {
    pub(crate) label: EventLabel,
    /// Time before it was sent.
    pub(crate) begun: PhaseTime,
    pub(crate) position: LogPosition,
}

/// The last events, by channel, and the deadline for their delivery.
#[derive(Clone, Debug)]
pub(crate) struct ClosingEvents {
    pub(crate) events: Arc<Vec<ClosingEvent>>,
    pub(crate) deadline: Instant,
}

/// A reader with its last id.
pub(crate) struct Reader {
    context: Arc<ClientContext>,
    rng: StdRng,
    last_event_id: String,
    /// Time at which the present stream was opened.
    opened: PhaseTime,
    node: usize,
    /// Last events that the reader has not received yet.
    missing: Option<Vec<ClosingEvent>>,
    /// Position of the last id.
    cursor: Option<LogPosition>,
    present: ReaderHistory,
    earlier: Vec<ReaderHistory>,
    violations: Vec<Violation>,
}

impl Reader {
    pub(crate) fn new(index: usize, context: Arc<ClientContext>) -> Self {
        let mut rng = rng(context.settings.seed, 2 << 32 | index as u64);
        let present = ReaderHistory {
            reader: index,
            subscriptions: draw_subscriptions(&mut rng, context.settings.patterns, &context.history.channels),
            begun: rng.random_bool(context.settings.with_history).then_some(PhaseTime::ZERO),
            is_whole: false,
            observations: Vec::new(),
        };
        Self {
            context,
            rng,
            last_event_id: String::new(),
            opened: PhaseTime::ZERO,
            node: 0,
            missing: None,
            cursor: None,
            present,
            earlier: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Reads, is cut and resumes, until it has received the last events.
    pub(crate) async fn run(
        mut self,
        mut closing: watch::Receiver<Option<ClosingEvents>>,
    ) -> (Vec<ReaderHistory>, Vec<Violation>) {
        loop {
            let present = closing.borrow_and_update().clone();
            let mut plan = StreamPlan::steady();
            if let Some(present) = &present {
                self.present.is_whole = self.is_done(present);
                if self.present.is_whole {
                    break;
                }
                if Instant::now() >= present.deadline {
                    self.report_stuck();
                    break;
                }
            } else {
                plan = StreamPlan::draw(&mut self.rng, self.context.settings.has_reader_faults);
                if !self.wants_history() && self.rng.random_bool(0.03) {
                    self.begin_again();
                }
            }
            self.stream(plan, &mut closing, present).await;
            let is_long =
                closing.borrow().is_none() && self.rng.random_bool(self.context.settings.long_absences);
            sleep(millis(&mut self.rng, 0, if is_long { 4000 } else { 300 })).await;
        }
        self.earlier.push(self.present);
        (self.earlier, self.violations)
    }

    /// Whether the reader requests all history until it has an id.
    fn wants_history(&self) -> bool {
        self.present.begun == Some(PhaseTime::ZERO)
    }

    fn begin_again(&mut self) {
        let fresh = ReaderHistory { begun: None, observations: Vec::new(), ..self.present.clone() };
        self.earlier.push(std::mem::replace(&mut self.present, fresh));
        self.last_event_id.clear();
    }

    /// Opens one stream and reads it until it ends or the plan cuts it.
    async fn stream(
        &mut self,
        plan: StreamPlan,
        closing: &mut watch::Receiver<Option<ClosingEvents>>,
        mut present: Option<ClosingEvents>,
    ) {
        self.node = self.rng.random_range(0..self.context.nodes.len());
        let NodeEndpoint { address, mut ending } = self.context.nodes[self.node].clone();
        ending.borrow_and_update();
        let counters = Arc::clone(&self.context.counters);
        self.opened = self.context.history.now();
        let connected = PlannedStream::connect(address, plan, &self.last_event_id).await;
        let Ok(mut stream) = connected else { return };
        let request = self.request(address);
        if stream.send_request(request.as_bytes(), &mut self.rng, &counters).await == StreamStep::Cut
            || !self.open(&mut stream).await
            || stream.reach(StreamStage::Head, &counters).await == StreamStep::Cut
        {
            return self.check_left_over(&stream);
        }
        let mut done_at = None;
        loop {
            let deadline = done_at.or(present.as_ref().map(|present| present.deadline));
            let deadline = deadline.unwrap_or(stream.until);
            let live_at = stream.live_at();
            let step = tokio::select! {
                body = stream.next_body() => match self.decode(&mut stream, body) {
                    StreamStep::Continue => stream.reach_content(&counters).await,
                    StreamStep::Cut => StreamStep::Cut,
                },
                () = sleep_until(deadline) => {
                    stream.is_left_over = stream.is_half_closed && present.is_none();
                    return self.check_left_over(&stream);
                }
                () = sleep_until(live_at.unwrap_or(deadline)), if live_at.is_some() => {
                    stream.reach(StreamStage::Live, &counters).await
                }
                Ok(()) = ending.changed() => stream.reach(StreamStage::Ending, &counters).await,
                _ = closing.changed(), if present.is_none() => {
                    present = closing.borrow_and_update().clone();
                    stream.plan = StreamPlan::steady();
                    if stream.is_half_closed { StreamStep::Cut } else { StreamStep::Continue }
                }
            };
            stream.recover();
            if step == StreamStep::Cut {
                return;
            }
            if done_at.is_none() && present.as_ref().is_some_and(|present| self.is_done(present)) {
                done_at = Some(Instant::now() + LINGER);
            }
        }
    }

    /// Reports a half-closed stream that the hub did not end in time.
    fn check_left_over(&mut self, stream: &PlannedStream) {
        if stream.is_left_over {
            let seconds = HALF_CLOSED_DEADLINE.as_secs();
            let text = format!("half-closed stream was still open after {seconds} s");
            self.violation(ViolationKind::LeftOver, &text);
        }
    }

    fn request(&mut self, address: SocketAddr) -> String {
        let subscriptions: Vec<_> = self.present.subscriptions.iter().map(Subscription::as_str).collect();
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
            query.extend(self.wants_history().then(|| "history=all".to_owned()));
        } else if self.rng.random_bool(0.5) {
            headers = format!("Last-Event-ID: {}\r\n", self.last_event_id);
        } else {
            query.push(format!("lastEventId={}", self.last_event_id));
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n{headers}\r\n")
    }

    /// Reads the head; returns whether a stream follows.
    async fn open(&mut self, stream: &mut PlannedStream) -> bool {
        match timeout(HEAD_DEADLINE, stream.read_head()).await {
            Ok(Ok(head)) if head.status == 200 && head.is_event_stream && head.is_chunked => {
                self.context.counters.add(Count::Streams, 1);
                self.context.counters.add(Count::Resumes, usize::from(!self.last_event_id.is_empty()));
                return true;
            }
            // The hub is starting or ending.
            Ok(Ok(head)) if head.status == 503 => {}
            Ok(Ok(head)) => {
                self.violation(ViolationKind::BrokenProtocol, &format!("stream was answered with {head:?}"));
            }
            // The node was killed.
            Ok(Err(_)) => {}
            // One of several nodes may be stopped.
            Err(_) if !self.context.has_one_node() => {}
            Err(_) => {
                let seconds = HEAD_DEADLINE.as_secs();
                self.violation(ViolationKind::Stuck, &format!("stream was not answered within {seconds} s"));
            }
        }
        false
    }

    /// Decodes content up to the cut of the plan, and records its items.
    fn decode(&mut self, stream: &mut PlannedStream, body: Result<Option<Vec<u8>>, String>) -> StreamStep {
        let mut items = Vec::new();
        let decoded = body.and_then(|body| stream.decode(body, &mut items));
        items.into_iter().for_each(|item| self.item(item));
        if stream.last_event_id() != self.last_event_id {
            self.last_event_id = stream.last_event_id().into();
            self.present.begun.get_or_insert_with(|| self.context.history.now());
        }
        decoded.unwrap_or_else(|text| {
            self.violation(ViolationKind::BrokenProtocol, &text);
            StreamStep::Cut
        })
    }

    fn item(&mut self, item: StreamItem) {
        match item {
            StreamItem::Position(id) => self.position(&id),
            StreamItem::Event(event) => match &*event.name {
                "tidings.gap" => self.gap(&event),
                "tidings.position" => self.position(&event.last_event_id),
                // These may carry the position of the stream; without one they repeat the last id.
                "tidings.end" | "tidings.open" if event.last_event_id.is_empty() => {}
                "tidings.end" | "tidings.open" => self.position(&event.last_event_id),
                _ => self.event(&event),
            },
            StreamItem::Retry(_) | StreamItem::Comment(_) => {}
        }
    }

    fn position(&mut self, id: &str) {
        if let Some(id) = self.parse(id) {
            self.observe(ObservedItem::Position(self.context.history.position(&id)));
        }
    }

    fn gap(&mut self, event: &MessageEvent) {
        let read_at = self.context.history.now();
        let notice = match serde_json::from_str::<GapNotice>(&event.data) {
            Ok(notice) if notice.resumed_at == event.last_event_id => notice,
            _ => {
                let text = format!("gap is {:?} with id {}", event.data, event.last_event_id);
                return self.violation(ViolationKind::WrongContent, &text);
            }
        };
        self.context.counters.add_gap(notice.reason);
        if let Some(id) = self.parse(&notice.resumed_at) {
            let resumed_at = self.context.history.position(&id);
            let GapNotice { reason, channels, requested, .. } = notice;
            let gap = ObservedGap { reason, channels, requested, resumed_at, read_at };
            self.observe(ObservedItem::Gap(Box::new(gap)));
        }
    }

    fn event(&mut self, event: &MessageEvent) {
        self.context.counters.add(Count::Deliveries, 1);
        let name = (event.name != "message").then_some(&*event.name);
        let label =
            EventLabel::parse(&event.data).ok_or_else(|| format!("got {event:?}, which was never sent"));
        let checked = label
            .and_then(|label| self.context.history.check_content(label, name, &event.data).map(|()| label));
        let label = match checked {
            Ok(label) => label,
            Err(text) => return self.violation(ViolationKind::WrongContent, &text),
        };
        if let Some(missing) = &mut self.missing {
            missing.retain(|event| event.label != label);
        }
        if let Some(id) = self.parse(&event.last_event_id) {
            let position = self.context.history.position(&id);
            let skips = id.skips.iter().map(|skip| skip.offset).collect();
            self.observe(ObservedItem::Event { label, position, skips });
        }
    }

    fn observe(&mut self, item: ObservedItem) {
        self.cursor = Some(match &item {
            ObservedItem::Event { position, .. } | ObservedItem::Position(position) => *position,
            ObservedItem::Gap(gap) => gap.resumed_at,
        });
        let at = if self.context.has_one_node() { self.opened } else { self.context.history.now() };
        self.present.observations.push(Observation { at, node: self.node, item });
    }

    fn parse(&mut self, id: &str) -> Option<EventId> {
        id.parse().map_err(|error| self.violation(ViolationKind::WrongContent, &format!("{error}"))).ok()
    }

    /// Whether the reader has received every last event, or has begun after it.
    fn is_done(&mut self, closing: &ClosingEvents) -> bool {
        let (present, channels) = (&self.present, &self.context.history.channels);
        let missing = self.missing.get_or_insert_with(|| {
            let received: BTreeSet<EventLabel> =
                present.observations.iter().filter_map(|observation| Some(observation.event()?.0)).collect();
            let own = channels.iter().zip(&*closing.events).filter(|(name, _)| present.wants(name));
            own.map(|(_, event)| *event).filter(|event| !received.contains(&event.label)).collect()
        });
        let is_passed = |event: &ClosingEvent| {
            let is_above = |cursor: LogPosition| {
                cursor.generation == event.position.generation && cursor.offset >= event.position.offset
            };
            present.begun.is_some_and(|begun| begun > event.begun) && self.cursor.is_some_and(is_above)
        };
        missing.iter().all(is_passed)
    }

    fn report_stuck(&mut self) {
        let (missing, id) = (&self.missing, &self.last_event_id);
        let text = format!("did not receive {missing:?} by the deadline; its last id is {id:?}");
        self.violation(ViolationKind::Stuck, &text);
    }

    fn violation(&mut self, kind: ViolationKind, text: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            let seconds = self.context.history.now().as_secs_f64();
            let text = format!("{} at {seconds:.3} s: {text}", self.present.name());
            self.violations.push(Violation::new(kind, text));
        }
    }
}

fn draw_subscriptions(rng: &mut StdRng, patterns: &[&str], channels: &[String]) -> Vec<Subscription> {
    let channel = |rng: &mut StdRng| channels[rng.random_range(0..channels.len())].as_str();
    let pattern = |rng: &mut StdRng| patterns[rng.random_range(0..patterns.len())];
    let mut texts = match rng.random_range(0..20) {
        0..8 => vec![channel(rng)],
        8..13 => (0..rng.random_range(2..=4)).map(|_| channel(rng)).collect(),
        13..15 => vec![channel(rng), pattern(rng)],
        15..18 => vec![pattern(rng)],
        _ => vec!["**"],
    };
    texts.sort_unstable();
    texts.dedup();
    texts.iter().map(|text| Subscription::parse(text).expect("these names are valid")).collect()
}

#[cfg(test)]
mod tests;
