//! A publisher of numbered events, in every form that the contract has.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tidings_protocol::EventId;
use tidings_protocol::body::PublishAnswer;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::http::Wire;
use crate::phase::is_strict_channel;
use crate::report::{Fault, FaultKind, Figures, add};
use crate::truth::{Kind, Label, Truth};

/// How long an answer may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// How long an event with an idempotency key is sent again until it is acknowledged.
const RETRY_DEADLINE: Duration = Duration::from_secs(60);

/// Most events in one batch.
const BATCH_EVENTS_MAX: usize = 12;

/// Longest pause between two publishes.
const PAUSE_MAX: Duration = Duration::from_millis(40);

/// A publisher's connection, choices and count.
pub(crate) struct Publisher {
    index: u32,
    /// Whether its events carry idempotency keys, and are sent until they are acknowledged.
    is_idempotent: bool,
    next_number: u64,
    address: SocketAddr,
    rng: StdRng,
    truth: Arc<Truth>,
    figures: Arc<Figures>,
    wire: Option<Wire>,
    faults: Vec<Fault>,
}

/// An event before it is put into a request.
struct Draft {
    label: Label,
    channels: Vec<usize>,
    kind: Kind,
    priority: Option<&'static str>,
    key: Option<String>,
    ttl: Option<u64>,
    name: Option<&'static str>,
    data: String,
    /// In a JSON body the data is sent as it is, not as a string.
    is_json: bool,
}

/// A request as bytes, and the events that its answer speaks of.
struct Request {
    bytes: Vec<u8>,
    labels: Vec<Label>,
    is_list: bool,
}

/// How a request ended.
enum Answer {
    /// Nothing was sent.
    Unsent,
    /// Something was sent, and no answer came.
    Broken,
    Complete(u16, Vec<u8>),
}

impl Publisher {
    pub(crate) fn new(
        index: u32,
        is_idempotent: bool,
        address: SocketAddr,
        seed: u64,
        truth: Arc<Truth>,
        figures: Arc<Figures>,
    ) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let (wire, faults) = (None, Vec::new());
        Self { index, is_idempotent, next_number: 0, address, rng, truth, figures, wire, faults }
    }

    /// Publishes until it is told to stop, and returns what was wrong with the answers.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Vec<Fault> {
        while !*stop.borrow_and_update() {
            let request = self.draw();
            self.deliver(&request, &stop).await;
            let pause = self.rng.random_range(Duration::ZERO..=PAUSE_MAX);
            let _ = timeout(pause, stop.wait_for(|is_stopped| *is_stopped)).await;
        }
        self.faults
    }

    /// Publishes one last strict event on every channel: whoever has got it has caught up.
    pub(crate) async fn close(mut self) -> Vec<Fault> {
        let (_keep, stop) = watch::channel(false);
        for channel in 0..self.truth.channels.len() {
            let draft = self.draft(vec![channel], Kind::Strict);
            self.register(&draft);
            let request = self.single(&draft);
            self.deliver(&request, &stop).await;
            if !self.faults.is_empty() {
                break;
            }
        }
        self.faults
    }

    fn draw(&mut self) -> Request {
        let form = self.rng.random_range(0..10);
        let count = if form < 7 { 1 } else { self.rng.random_range(1..=BATCH_EVENTS_MAX) };
        let drafts: Vec<_> = (0..count).map(|_| self.draw_draft(form >= 5)).collect();
        drafts.iter().for_each(|draft| self.register(draft));
        match form {
            0..5 => self.single(&drafts[0]),
            5..7 => self.json(&drafts, "application/json", |lines| lines.concat(), false),
            7 => self.json(&drafts, "application/json", |lines| format!("[{}]", lines.join(",")), true),
            _ => self.json(&drafts, "application/x-ndjson", |lines| lines.join("\n"), true),
        }
    }

    /// Draws an event: kinds that may be skipped or overtake stay on channels of their own.
    fn draw_draft(&mut self, may_have_several: bool) -> Draft {
        let channel = self.rng.random_range(0..self.truth.channels.len());
        let kind = match self.rng.random_range(0..4) {
            _ if is_strict_channel(channel) => Kind::Strict,
            0 => Kind::Urgent,
            1 => Kind::Low,
            2 => Kind::Keyed(self.rng.random_range(0..3)),
            _ => Kind::Strict,
        };
        let mut channels = vec![channel];
        if may_have_several && kind == Kind::Strict && self.rng.random_bool(0.3) {
            for _ in 0..self.rng.random_range(1..=2) {
                let other = self.rng.random_range(0..self.truth.channels.len());
                if is_strict_channel(other) && !channels.contains(&other) {
                    channels.push(other);
                }
            }
        }
        self.draft(channels, kind)
    }

    fn draft(&mut self, channels: Vec<usize>, kind: Kind) -> Draft {
        let label = Label { publisher: self.index, number: self.next_number };
        self.next_number += 1;
        let pad_bytes = match self.rng.random_range(0..20) {
            0 => 8000,
            1..5 => 400,
            _ => self.rng.random_range(0..60),
        };
        let pad = "é~ab\\n:".chars().cycle().take(pad_bytes).collect::<String>();
        let pad = serde_json::to_string(&pad).expect("a string is JSON");
        let mut data = format!("{{\"p\":{},\"n\":{},\"pad\":{pad}}}", label.publisher, label.number);
        let is_json = self.rng.random_bool(0.5);
        if !is_json && self.rng.random_bool(0.2) {
            data.push_str("\nid: smuggled\n\n data: second\n");
        }
        Draft {
            label,
            channels,
            kind,
            priority: match kind {
                Kind::Urgent if self.rng.random_bool(0.5) => Some("critical"),
                Kind::Urgent => Some("high"),
                Kind::Low => Some("low"),
                Kind::Strict | Kind::Keyed(_) => None,
            },
            key: match kind {
                Kind::Keyed(key) => Some(format!("key-{key}")),
                _ => None,
            },
            ttl: self.rng.random_bool(0.1).then_some(3_600_000),
            name: self.rng.random_bool(0.3).then_some("note"),
            data,
            is_json,
        }
    }

    fn register(&self, draft: &Draft) {
        self.truth.register(draft.label, draft.channels.clone(), draft.kind, draft.name, &draft.data);
    }

    fn idempotency_key(&self, label: Label) -> Option<String> {
        self.is_idempotent.then(|| format!("checker-{label}"))
    }

    /// One event as the body of a request to its channel, its options in the query or in headers.
    fn single(&mut self, draft: &Draft) -> Request {
        let ttl = draft.ttl.map(|ttl| ttl.to_string());
        let options = [
            ("event", draft.name),
            ("priority", draft.priority),
            ("key", draft.key.as_deref()),
            ("ttl", ttl.as_deref()),
        ];
        let options = options.iter().filter_map(|&(name, value)| Some((name, value?)));
        let (mut query, mut headers) = (String::new(), String::new());
        let is_in_query = self.rng.random_bool(0.5);
        for (name, value) in options {
            let _ = if is_in_query {
                write!(query, "{}{name}={value}", if query.is_empty() { '?' } else { '&' })
            } else {
                write!(headers, "Tidings-{name}: {value}\r\n")
            };
        }
        if let Some(key) = self.idempotency_key(draft.label) {
            let _ = write!(headers, "Idempotency-Key: {key}\r\n");
        }
        let path = format!("/api/v1/events/{}{query}", self.truth.channels[draft.channels[0]]);
        let bytes = self.request(&path, &headers, "text/plain", &draft.data);
        Request { bytes, labels: vec![draft.label], is_list: false }
    }

    fn json(
        &self,
        drafts: &[Draft],
        kind: &str,
        join: impl Fn(&[String]) -> String,
        is_list: bool,
    ) -> Request {
        let lines: Vec<_> = drafts.iter().map(|draft| self.message(draft)).collect();
        let bytes = self.request("/api/v1/publish", "", kind, &join(&lines));
        Request { bytes, labels: drafts.iter().map(|draft| draft.label).collect(), is_list }
    }

    fn message(&self, draft: &Draft) -> String {
        let channels: Vec<_> = draft.channels.iter().map(|&channel| &self.truth.channels[channel]).collect();
        let mut text = format!("{{\"channels\":{}", json!(channels));
        let mut member = |name: &str, value: Option<serde_json::Value>| {
            if let Some(value) = value {
                let _ = write!(text, ",\"{name}\":{value}");
            }
        };
        member("event", draft.name.map(Into::into));
        member("priority", draft.priority.map(Into::into));
        member("key", draft.key.clone().map(Into::into));
        member("ttl", draft.ttl.map(Into::into));
        member("idempotencyKey", self.idempotency_key(draft.label).map(Into::into));
        // JSON is sent as it is, so that the order of its members has to survive.
        let data = if draft.is_json { draft.data.clone() } else { json!(draft.data).to_string() };
        let _ = write!(text, ",\"data\":{data}}}");
        text
    }

    fn request(&self, path: &str, headers: &str, content_type: &str, body: &str) -> Vec<u8> {
        let (address, bytes) = (self.address, body.len());
        format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {content_type}\r\n\
             Content-Length: {bytes}\r\n{headers}\r\n{body}"
        )
        .into_bytes()
    }

    /// Sends a request until its fate is as known as it gets.
    async fn deliver(&mut self, request: &Request, stop: &watch::Receiver<bool>) {
        add(&self.figures.published, request.labels.len());
        let deadline = Instant::now() + RETRY_DEADLINE;
        let mut is_sent = false;
        while Instant::now() < deadline {
            match self.exchange(request).await {
                Answer::Complete(200, body) => return self.acknowledge(request, &body),
                // The server goes down or comes up: it says what became of the event, or that is unknown.
                Answer::Complete(503, body) if !self.is_idempotent => {
                    return self.unavailable(request, &body);
                }
                Answer::Complete(503, _) => is_sent = true,
                Answer::Complete(status, body) => {
                    let text = format!("publish was answered {status}: {}", String::from_utf8_lossy(&body));
                    return self.refused(request, &text);
                }
                Answer::Unsent if !is_sent && *stop.borrow() => {
                    return request.labels.iter().for_each(|label| self.truth.refuse(*label));
                }
                Answer::Unsent => {}
                Answer::Broken if !self.is_idempotent => {
                    return add(&self.figures.unknown, request.labels.len());
                }
                Answer::Broken => is_sent = true,
            }
            sleep(Duration::from_millis(20)).await;
        }
        let (first, seconds) = (request.labels[0], RETRY_DEADLINE.as_secs());
        add(&self.figures.unknown, request.labels.len());
        let text = format!("publish of event {first} was not acknowledged within {seconds} s of retries");
        self.faults.push(Fault::new(FaultKind::Stuck, text));
    }

    async fn exchange(&mut self, request: &Request) -> Answer {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => match Wire::connect(self.address, None).await {
                Ok(wire) => wire,
                Err(_) => return Answer::Unsent,
            },
        };
        match timeout(ANSWER_DEADLINE, exchange(&mut wire, &request.bytes)).await {
            Ok(Ok((status, body, is_last))) => {
                self.wire = (!is_last).then_some(wire);
                Answer::Complete(status, body)
            }
            Ok(Err(_)) => Answer::Broken,
            Err(_) => {
                let (first, seconds) = (request.labels[0], ANSWER_DEADLINE.as_secs());
                let text = format!("publish of event {first} was not answered within {seconds} s");
                self.faults.push(Fault::new(FaultKind::Stuck, text));
                Answer::Broken
            }
        }
    }

    fn acknowledge(&mut self, request: &Request, body: &[u8]) {
        let answers: Result<Vec<PublishAnswer>, _> = if request.is_list {
            serde_json::from_slice(body)
        } else {
            serde_json::from_slice(body).map(|answer| vec![answer])
        };
        let answers = answers.ok().filter(|answers| answers.len() == request.labels.len());
        let places = answers.and_then(|answers| answers.iter().map(place_of).collect::<Option<Vec<_>>>());
        let Some(places) = places else {
            let count = request.labels.len();
            let text = format!("answer to {count} events is {}", String::from_utf8_lossy(body));
            return self.refused(request, &text);
        };
        add(&self.figures.acknowledged, places.len());
        for (label, id) in request.labels.iter().zip(places) {
            self.faults.extend(self.truth.acknowledge(*label, self.truth.place(&id)).err());
        }
    }

    fn unavailable(&mut self, request: &Request, body: &[u8]) {
        let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        if matches!(problem["code"].as_str(), Some("not_stored" | "shutting_down")) {
            request.labels.iter().for_each(|label| self.truth.refuse(*label));
        } else {
            add(&self.figures.unknown, request.labels.len());
        }
    }

    fn refused(&mut self, request: &Request, text: &str) {
        add(&self.figures.unknown, request.labels.len());
        let first = request.labels[0];
        self.faults.push(Fault::new(FaultKind::BrokenProtocol, format!("event {first}: {text}")));
    }
}

async fn exchange(wire: &mut Wire, bytes: &[u8]) -> io::Result<(u16, Vec<u8>, bool)> {
    wire.send(bytes).await?;
    let head = wire.read_head().await?;
    let body = wire.read_body(&head).await?;
    Ok((head.status, body, head.is_last))
}

/// Reads an answer's id, which must be of the offset beside it.
fn place_of(answer: &PublishAnswer) -> Option<EventId> {
    let id: EventId = answer.id.as_deref()?.parse().ok()?;
    (answer.offset == Some(id.offset)).then_some(id)
}
