//! A reader that connects to any node at each reconnect, is cut at random times, and records its observations.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidings_protocol::body::{GapNotice, GapReason};
use tidings_protocol::sse::{MessageEvent, StreamItem};
use tidings_protocol::{EventId, Subscription};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::history::{OperationHistory, PhaseTime, TaggedOffset};
use crate::counters::{Counters, add};
use crate::http::RawConnection;
use crate::oracle::{EventLabel, label_of};
use crate::random::millis;
use crate::stream_decoder::{StreamDecoder, StreamStep, read};
use crate::stream_plan::StreamPlan;
use crate::violation::{Violation, ViolationKind};

/// Longest time to the head of a stream; a node may be stopped meanwhile.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// Time to read on after the last event, for events that must not arrive.
const LINGER: Duration = Duration::from_millis(500);

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NodeObservation {
    Event { label: EventLabel, place: TaggedOffset, at: PhaseTime, node: usize },
    Gap { reason: GapReason, channels: Vec<String>, requested: Option<String>, at: PhaseTime, node: usize },
}

/// Observations of a reader since it last began without an id.
#[derive(Clone, Debug)]
pub(super) struct ReaderHistory {
    pub(super) reader: usize,
    pub(super) subscriptions: Vec<Subscription>,
    /// Time of its first id, if it has one; 0 for a reader that requests all history.
    pub(super) begun: Option<PhaseTime>,
    /// Whether the reader received the last events.
    pub(super) is_whole: bool,
    pub(super) observations: Vec<NodeObservation>,
}

/// The last events, and the deadline for their delivery.
#[derive(Clone, Debug)]
pub(super) struct ClosingEvents {
    /// By channel.
    pub(super) labels: Arc<Vec<EventLabel>>,
    pub(super) deadline: Instant,
}

/// Options of one reader.
pub(super) struct ReaderOptions {
    pub(super) index: usize,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) seed: u64,
    /// Begins with all history. Other readers begin at the head of the log, and sometimes begin again.
    pub(super) wants_history: bool,
}

/// A reader with its last id.
pub(super) struct RoamingReader {
    options: ReaderOptions,
    rng: StdRng,
    history: Arc<OperationHistory>,
    counters: Arc<Counters>,
    last_event_id: String,
    /// Time at which the present stream was opened.
    opened: PhaseTime,
    /// Last events that the reader has not received yet.
    missing: Option<BTreeSet<EventLabel>>,
    present: ReaderHistory,
    earlier: Vec<ReaderHistory>,
    violations: Vec<Violation>,
}

impl RoamingReader {
    pub(super) fn new(
        options: ReaderOptions,
        history: Arc<OperationHistory>,
        counters: Arc<Counters>,
    ) -> Self {
        let present = ReaderHistory {
            reader: options.index,
            subscriptions: options.subscriptions.clone(),
            begun: options.wants_history.then_some(PhaseTime::ZERO),
            is_whole: false,
            observations: Vec::new(),
        };
        Self {
            rng: StdRng::seed_from_u64(options.seed),
            options,
            history,
            counters,
            last_event_id: String::new(),
            opened: PhaseTime::ZERO,
            missing: None,
            present,
            earlier: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// Reads until it has received the last events.
    pub(super) async fn run(
        mut self,
        mut closing: watch::Receiver<Option<ClosingEvents>>,
    ) -> (Vec<ReaderHistory>, Vec<Violation>) {
        loop {
            let present = closing.borrow_and_update().clone();
            let mut plan = StreamPlan::steady();
            if let Some(present) = &present {
                if self.is_done(present) {
                    self.present.is_whole = true;
                    break;
                }
                if Instant::now() >= present.deadline {
                    self.report_stuck();
                    break;
                }
            } else {
                plan = StreamPlan { fault: None, ..StreamPlan::draw(&mut self.rng) };
                if !self.options.wants_history && self.rng.random_bool(0.03) {
                    self.begin_again();
                }
            }
            self.stream(plan, &mut closing, present).await;
            let is_closing = closing.borrow().is_some();
            sleep(self.draw_absence(is_closing)).await;
        }
        self.earlier.push(self.present);
        (self.earlier, self.violations)
    }

    /// Draws a time of absence. Some are so long that a loss passes the reader's last id.
    fn draw_absence(&mut self, is_closing: bool) -> Duration {
        let is_long = !is_closing && self.rng.random_bool(0.2);
        millis(&mut self.rng, 0, if is_long { 4000 } else { 300 })
    }

    fn begin_again(&mut self) {
        let fresh = ReaderHistory { begun: None, observations: Vec::new(), ..self.present.clone() };
        self.earlier.push(std::mem::replace(&mut self.present, fresh));
        self.last_event_id.clear();
    }

    async fn stream(
        &mut self,
        mut plan: StreamPlan,
        closing: &mut watch::Receiver<Option<ClosingEvents>>,
        mut present: Option<ClosingEvents>,
    ) {
        let node = self.rng.random_range(0..self.options.nodes.len());
        let connected = RawConnection::connect(self.options.nodes[node], plan.receive_bytes).await;
        let Ok(mut connection) = connected else { return };
        self.opened = self.history.now();
        let request = self.request(node);
        if connection.send(request.as_bytes()).await.is_err() || !self.open(&mut connection, node).await {
            return;
        }
        let mut decoder = StreamDecoder::new(&self.last_event_id);
        let cut = Instant::now() + plan.time_max;
        let mut done_at = None;
        loop {
            let until = done_at.or(present.as_ref().map(|present| present.deadline)).unwrap_or(cut);
            tokio::select! {
                body = read(&mut connection, &plan) => {
                    if self.decode(&mut decoder, &mut plan, body, node) == StreamStep::Cut {
                        return;
                    }
                }
                () = sleep_until(until) => return,
                _ = closing.changed(), if present.is_none() => {
                    present = closing.borrow_and_update().clone();
                    plan = StreamPlan::steady();
                }
            }
            if done_at.is_none() && present.as_ref().is_some_and(|present| self.is_done(present)) {
                done_at = Some(Instant::now() + LINGER);
            }
        }
    }

    fn request(&mut self, node: usize) -> String {
        let names = self.options.subscriptions.iter().map(Subscription::as_str);
        let mut query: Vec<_> = names.map(|name| format!("channel={name}")).collect();
        let mut header = String::new();
        if !self.last_event_id.is_empty() {
            header = format!("Last-Event-ID: {}\r\n", self.last_event_id);
        } else if self.options.wants_history {
            query.push("history=all".to_owned());
        }
        query.push(format!("position={}", if self.rng.random_bool(0.3) { "event" } else { "id" }));
        let (query, address) = (query.join("&"), self.options.nodes[node]);
        format!("GET /api/v1/events?{query} HTTP/1.1\r\nHost: {address}\r\n{header}\r\n")
    }

    /// Reads the head; returns whether a stream follows.
    async fn open(&mut self, connection: &mut RawConnection, node: usize) -> bool {
        match timeout(HEAD_DEADLINE, connection.read_head()).await {
            Ok(Ok(head)) if head.status == 200 => {
                add(&self.counters.streams, 1);
                add(&self.counters.resumes, usize::from(!self.last_event_id.is_empty()));
                true
            }
            // The node is ending.
            Ok(Ok(head)) if head.status == 503 => false,
            Ok(Ok(head)) => {
                let text = format!("stream of node {node} was answered with {head:?}");
                self.violation(ViolationKind::BrokenProtocol, &text);
                false
            }
            // The node was killed or is stopped.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Decodes content up to the cut of the plan, and records its items.
    fn decode(
        &mut self,
        decoder: &mut StreamDecoder,
        plan: &mut StreamPlan,
        body: Result<Option<Vec<u8>>, String>,
        node: usize,
    ) -> StreamStep {
        let mut items = Vec::new();
        let decoded = body.and_then(|body| decoder.decode(plan, body, &mut items));
        items.into_iter().for_each(|item| self.item(item, node));
        if decoder.last_event_id() != self.last_event_id {
            self.last_event_id = decoder.last_event_id().into();
            self.present.begun.get_or_insert_with(|| self.history.now());
        }
        decoded.unwrap_or_else(|text| {
            self.violation(ViolationKind::BrokenProtocol, &text);
            StreamStep::Cut
        })
    }

    fn item(&mut self, item: StreamItem, node: usize) {
        match item {
            StreamItem::Event(event) if event.name == "tidings.gap" => self.gap(&event, node),
            StreamItem::Event(event) if event.name.starts_with("tidings.") => {}
            StreamItem::Event(event) => self.event(&event, node),
            StreamItem::Position(_) | StreamItem::Retry(_) | StreamItem::Comment(_) => {}
        }
    }

    fn gap(&mut self, event: &MessageEvent, node: usize) {
        let Ok(notice) = serde_json::from_str::<GapNotice>(&event.data) else {
            return self.violation(ViolationKind::WrongContent, &format!("gap is {:?}", event.data));
        };
        self.counters.add_gap(notice.reason);
        let GapNotice { channels, reason, requested, .. } = notice;
        let at = self.time();
        self.present.observations.push(NodeObservation::Gap { reason, channels, requested, at, node });
    }

    fn event(&mut self, event: &MessageEvent, node: usize) {
        add(&self.counters.deliveries, 1);
        let id = event.last_event_id.parse::<EventId>();
        let (Ok(id), Some(label)) = (id, label_of(&event.data)) else {
            return self.violation(ViolationKind::WrongContent, &format!("got {event:?}"));
        };
        if let Err(text) = self.history.check_data(label, &event.data) {
            return self.violation(ViolationKind::WrongContent, &text);
        }
        if let Some(missing) = &mut self.missing {
            missing.remove(&label);
        }
        let (place, at) = (TaggedOffset::from(&id), self.time());
        self.present.observations.push(NodeObservation::Event { label, place, at, node });
    }

    /// Time of an observation. With a single node it is the start of the stream: all content of a stream is older than
    /// the next end of the node, though a slow reader takes it later.
    fn time(&self) -> PhaseTime {
        if self.options.nodes.len() == 1 { self.opened } else { self.history.now() }
    }

    fn is_done(&mut self, closing: &ClosingEvents) -> bool {
        let missing = self.missing.get_or_insert_with(|| {
            let channels = self.history.channels.iter().zip(&*closing.labels);
            let own = channels.filter(|(name, _)| self.present.wants(name)).map(|(_, label)| *label);
            let received = self.present.observations.iter().filter_map(NodeObservation::label);
            &own.collect::<BTreeSet<_>>() - &received.collect()
        });
        missing.is_empty()
    }

    fn report_stuck(&mut self) {
        let text = format!(
            "did not receive {:?} by the deadline; its last id is {:?}",
            self.missing, self.last_event_id
        );
        self.violation(ViolationKind::Stuck, &text);
    }

    fn violation(&mut self, kind: ViolationKind, text: &str) {
        let seconds = self.history.now().as_secs_f64();
        self.violations
            .push(Violation::new(kind, format!("{} at {seconds:.3} s: {text}", self.present.name())));
    }
}

impl NodeObservation {
    fn label(&self) -> Option<EventLabel> {
        match self {
            Self::Event { label, .. } => Some(*label),
            Self::Gap { .. } => None,
        }
    }

    pub(super) fn at(&self) -> PhaseTime {
        match self {
            Self::Event { at, .. } | Self::Gap { at, .. } => *at,
        }
    }
}

impl ReaderHistory {
    pub(super) fn name(&self) -> String {
        let names: Vec<_> = self.subscriptions.iter().map(Subscription::as_str).collect();
        format!("reader {} of {}", self.reader, names.join(", "))
    }

    pub(super) fn wants(&self, channel: &str) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.matches(channel))
    }
}
