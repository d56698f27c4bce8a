//! A reader that comes to another node at each reconnect, is cut at random moments, and writes down what it saw.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tidings_protocol::body::{GapNotice, GapReason};
use tidings_protocol::sse::{MessageEvent, Parser, StreamItem};
use tidings_protocol::{EventId, Subscription};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::ledger::{Ledger, Moment, Place};
use crate::http::{Chunks, Wire};
use crate::report::{Fault, FaultKind, Figures, add};
use crate::subscriber::{Cut, Plan};
use crate::truth::{Label, label_of};

/// How long a node may take to answer a stream: it may stand still.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// How long it goes on after the last event, for what should not come.
const LINGER: Duration = Duration::from_millis(500);

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Event { label: Label, place: Place, at: Moment, node: usize },
    Gap { reason: GapReason, channels: Vec<String>, requested: Option<String>, at: Moment, node: usize },
}

/// All that a reader saw, from one beginning.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) reader: usize,
    pub(super) subscriptions: Vec<Subscription>,
    /// When it had its first id; none where it had none. Who asks for all history begins with the phase.
    pub(super) begun: Option<Moment>,
    /// Whether it went on until it had the last events.
    pub(super) is_whole: bool,
    pub(super) seen: Vec<Seen>,
}

/// The last events, and when those who have not got them are stuck.
#[derive(Clone, Debug)]
pub(super) struct Closing {
    /// By channel.
    pub(super) labels: Arc<Vec<Label>>,
    pub(super) deadline: Instant,
}

/// What makes a reader.
pub(super) struct Options {
    pub(super) index: usize,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) seed: u64,
    /// Begins with all history; others begin with now, and anew at times.
    pub(super) wants_history: bool,
}

/// A reader with its last id.
pub(super) struct Reader {
    options: Options,
    rng: StdRng,
    ledger: Arc<Ledger>,
    figures: Arc<Figures>,
    last_event_id: String,
    /// When its present stream was opened.
    opened: Moment,
    /// Of the last events, those that it is to get and has not got.
    waits_for: Option<BTreeSet<Label>>,
    record: Record,
    before: Vec<Record>,
    faults: Vec<Fault>,
}

impl Reader {
    pub(super) fn new(options: Options, ledger: Arc<Ledger>, figures: Arc<Figures>) -> Self {
        let rng = StdRng::seed_from_u64(options.seed);
        let begun = options.wants_history.then_some(Moment::ZERO);
        let record = Record {
            reader: options.index,
            subscriptions: options.subscriptions.clone(),
            begun,
            is_whole: false,
            seen: Vec::new(),
        };
        let (last_event_id, waits_for, before, faults) = (String::new(), None, Vec::new(), Vec::new());
        let opened = Moment::ZERO;
        Self { options, rng, ledger, figures, last_event_id, opened, waits_for, record, before, faults }
    }

    /// Reads until it has the last events.
    pub(super) async fn run(
        mut self,
        mut closing: watch::Receiver<Option<Closing>>,
    ) -> (Vec<Record>, Vec<Fault>) {
        loop {
            let present = closing.borrow_and_update().clone();
            let mut plan = Plan::steady();
            if let Some(present) = &present {
                if self.is_done(present) {
                    self.record.is_whole = true;
                    break;
                }
                if Instant::now() >= present.deadline {
                    self.is_stuck();
                    break;
                }
            } else {
                plan = Plan { trouble: None, ..Plan::draw(&mut self.rng) };
                if !self.options.wants_history && self.rng.random_bool(0.03) {
                    self.begin_anew();
                }
            }
            self.stream(plan, &mut closing, present).await;
            let is_closing = closing.borrow().is_some();
            sleep(self.absence(is_closing)).await;
        }
        self.before.push(self.record);
        (self.before, self.faults)
    }

    /// How long it is away; at times long enough to be below what was lost when it comes back.
    fn absence(&mut self, is_closing: bool) -> Duration {
        let most = if !is_closing && self.rng.random_bool(0.2) { 4000 } else { 300 };
        Duration::from_millis(self.rng.random_range(0..=most))
    }

    fn begin_anew(&mut self) {
        let fresh = Record { begun: None, seen: Vec::new(), ..self.record.clone() };
        self.before.push(std::mem::replace(&mut self.record, fresh));
        self.last_event_id.clear();
    }

    async fn stream(
        &mut self,
        mut plan: Plan,
        closing: &mut watch::Receiver<Option<Closing>>,
        mut present: Option<Closing>,
    ) {
        let node = self.rng.random_range(0..self.options.nodes.len());
        let Ok(mut wire) = Wire::connect(self.options.nodes[node], plan.receive_bytes).await else { return };
        self.opened = self.ledger.now();
        let request = self.request(node);
        if wire.send(request.as_bytes()).await.is_err() || !self.open(&mut wire, node).await {
            return;
        }
        let mut parser = Parser::new().with_last_event_id(&self.last_event_id);
        let mut chunks = Chunks::default();
        let cut = Instant::now() + plan.time_max;
        let mut done_at = None;
        loop {
            let until = done_at.or(present.as_ref().map(|present| present.deadline)).unwrap_or(cut);
            tokio::select! {
                bytes = read(&mut wire, &plan) => {
                    let bytes = bytes.unwrap_or_default();
                    if bytes.is_empty() || !self.take(&mut chunks, &mut parser, &mut plan, &bytes, node) {
                        return;
                    }
                }
                () = sleep_until(until) => return,
                _ = closing.changed(), if present.is_none() => {
                    present = closing.borrow_and_update().clone();
                    plan = Plan::steady();
                }
            }
            if done_at.is_none() && present.as_ref().is_some_and(|present| self.is_done(present)) {
                done_at = Some(Instant::now() + LINGER);
            }
        }
    }

    fn request(&mut self, node: usize) -> String {
        let names: Vec<_> = self.options.subscriptions.iter().map(Subscription::as_str).collect();
        let mut query: Vec<_> = names.iter().map(|name| format!("channel={name}")).collect();
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

    /// Reads the head; whether a stream follows.
    async fn open(&mut self, wire: &mut Wire, node: usize) -> bool {
        match timeout(HEAD_DEADLINE, wire.read_head()).await {
            Ok(Ok(head)) if head.status == 200 => {
                add(&self.figures.streams, 1);
                add(&self.figures.resumes, usize::from(!self.last_event_id.is_empty()));
                true
            }
            // On its way down.
            Ok(Ok(head)) if head.status == 503 => false,
            Ok(Ok(head)) => {
                let text = format!("stream of node {node} was answered with {head:?}");
                self.fault(FaultKind::BrokenProtocol, &text);
                false
            }
            // It was killed, or stands still.
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Takes what came, as far as the plan reaches; whether to go on.
    fn take(
        &mut self,
        chunks: &mut Chunks,
        parser: &mut Parser,
        plan: &mut Plan,
        bytes: &[u8],
        node: usize,
    ) -> bool {
        let mut body = Vec::new();
        if let Err(broken) = chunks.feed(bytes, &mut body) {
            self.fault(FaultKind::BrokenProtocol, &format!("stream's framing: {broken}"));
            return false;
        }
        let mut goes_on = !chunks.is_done();
        if let Cut::AfterBytes(left) = &mut plan.cut {
            body.truncate(*left);
            *left -= body.len();
            goes_on &= *left > 0;
        }
        // Byte by byte where the cut comes right after a block.
        let portion = if plan.cut == Cut::AfterFirstId { 1 } else { body.len().max(1) };
        for portion in body.chunks(portion) {
            let mut items = Vec::new();
            if let Err(error) = parser.feed(portion, &mut |item| items.push(item)) {
                self.fault(FaultKind::BrokenProtocol, &error.to_string());
                return false;
            }
            items.into_iter().for_each(|item| self.item(item, node));
            if parser.last_event_id() != self.last_event_id {
                self.last_event_id = parser.last_event_id().into();
                self.record.begun.get_or_insert_with(|| self.ledger.now());
                if plan.cut == Cut::AfterFirstId {
                    return false;
                }
            }
        }
        goes_on
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
            return self.fault(FaultKind::WrongContent, &format!("gap is {:?}", event.data));
        };
        self.figures.add_gap(notice.reason);
        let GapNotice { channels, reason, requested, .. } = notice;
        let at = self.moment();
        self.record.seen.push(Seen::Gap { reason, channels, requested, at, node });
    }

    fn event(&mut self, event: &MessageEvent, node: usize) {
        add(&self.figures.deliveries, 1);
        let id = event.last_event_id.parse::<EventId>();
        let (Ok(id), Some(label)) = (id, label_of(&event.data)) else {
            return self.fault(FaultKind::WrongContent, &format!("got {event:?}"));
        };
        if let Err(text) = self.ledger.check(label, &event.data) {
            return self.fault(FaultKind::WrongContent, &text);
        }
        if let Some(waits_for) = &mut self.waits_for {
            waits_for.remove(&label);
        }
        let (place, at) = (Place::from(&id), self.moment());
        self.record.seen.push(Seen::Event { label, place, at, node });
    }

    /// When something was seen. What a node tells that is alone is as old as the stream: from before each of its ends that
    /// came later, though a slow reader takes it after that.
    fn moment(&self) -> Moment {
        if self.options.nodes.len() == 1 { self.opened } else { self.ledger.now() }
    }

    fn is_done(&mut self, closing: &Closing) -> bool {
        let waits_for = self.waits_for.get_or_insert_with(|| {
            let channels = self.ledger.channels.iter().zip(&*closing.labels);
            let own =
                channels.filter(|(name, _)| self.options.subscriptions.iter().any(|it| it.matches(name)));
            let seen: BTreeSet<Label> = self.record.seen.iter().filter_map(Seen::label).collect();
            own.map(|(_, label)| *label).filter(|label| !seen.contains(label)).collect()
        });
        waits_for.is_empty()
    }

    fn is_stuck(&mut self) {
        let text = format!(
            "did not get {:?} by the deadline; its last id is {:?}",
            self.waits_for, self.last_event_id
        );
        self.fault(FaultKind::Stuck, &text);
    }

    fn fault(&mut self, kind: FaultKind, text: &str) {
        let text = format!("{} at {:.3} s: {text}", self.record.name(), self.ledger.now().as_secs_f64());
        self.faults.push(Fault::new(kind, text));
    }
}

impl Seen {
    fn label(&self) -> Option<Label> {
        match self {
            Self::Event { label, .. } => Some(*label),
            Self::Gap { .. } => None,
        }
    }

    pub(super) fn at(&self) -> Moment {
        match self {
            Self::Event { at, .. } | Self::Gap { at, .. } => *at,
        }
    }
}

impl Record {
    pub(super) fn name(&self) -> String {
        let names: Vec<_> = self.subscriptions.iter().map(Subscription::as_str).collect();
        format!("reader {} of {}", self.reader, names.join(", "))
    }

    pub(super) fn wants(&self, channel: &str) -> bool {
        self.subscriptions.iter().any(|subscription| subscription.matches(channel))
    }
}

/// Reads what is there, after the pause of a slow reader.
async fn read(wire: &mut Wire, plan: &Plan) -> std::io::Result<Vec<u8>> {
    if !plan.pause.is_zero() {
        sleep(plan.pause).await;
    }
    wire.read_some(plan.portion_bytes).await
}
