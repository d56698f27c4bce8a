//! A publisher of numbered events, in every form of request.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::channels::is_strict;
use crate::counters::{Counters, add};
use crate::http::RawConnection;
use crate::oracle::{DeliveryClass, EventLabel, Oracle};
use crate::publish_response::{event_ids, is_not_stored, problem_code};
use crate::violation::{Violation, ViolationKind};

/// Longest time to a response.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// Longest time in which an event with an idempotency key is retried.
const RETRY_DEADLINE: Duration = Duration::from_secs(60);

/// Most events in one batch.
const BATCH_EVENTS_MAX: usize = 12;

/// Longest pause between two publishes.
const PAUSE_MAX: Duration = Duration::from_millis(40);

/// A publisher's connection, random choices and count.
pub(crate) struct NumberedPublisher {
    index: u32,
    /// Whether its events have idempotency keys, and are retried until they are acknowledged.
    is_idempotent: bool,
    next_number: u64,
    address: SocketAddr,
    rng: StdRng,
    oracle: Arc<Oracle>,
    counters: Arc<Counters>,
    connection: Option<RawConnection>,
    violations: Vec<Violation>,
}

/// An event without its request.
struct EventDraft {
    label: EventLabel,
    channels: Vec<usize>,
    kind: DeliveryClass,
    priority: Option<&'static str>,
    key: Option<String>,
    ttl: Option<u64>,
    name: Option<&'static str>,
    data: String,
    /// In a JSON body the data is sent as JSON, not as a string.
    is_json: bool,
}

/// A request as bytes, and its events.
struct PendingRequest {
    bytes: Vec<u8>,
    labels: Vec<EventLabel>,
    is_list: bool,
}

/// Result of a request.
enum ExchangeResult {
    /// No byte was sent.
    Unsent,
    /// Bytes were sent, and no response came.
    Broken,
    Complete(u16, Vec<u8>),
}

impl NumberedPublisher {
    pub(crate) fn new(
        index: u32,
        is_idempotent: bool,
        address: SocketAddr,
        seed: u64,
        oracle: Arc<Oracle>,
        counters: Arc<Counters>,
    ) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        let (connection, violations) = (None, Vec::new());
        Self { index, is_idempotent, next_number: 0, address, rng, oracle, counters, connection, violations }
    }

    /// Publishes until `stop`; returns violations in the responses.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Vec<Violation> {
        while !*stop.borrow_and_update() {
            let request = self.draw();
            self.deliver(&request, &stop).await;
            let pause = self.rng.random_range(Duration::ZERO..=PAUSE_MAX);
            let _ = timeout(pause, stop.wait_for(|is_stopped| *is_stopped)).await;
        }
        self.violations
    }

    /// Publishes one last strict event on every channel, as the target of the drain.
    pub(crate) async fn close(mut self) -> Vec<Violation> {
        let (_keep, stop) = watch::channel(false);
        for channel in 0..self.oracle.channels.len() {
            let draft = self.draft(vec![channel], DeliveryClass::Strict);
            self.register(&draft);
            let request = self.single(&draft);
            self.deliver(&request, &stop).await;
            if !self.violations.is_empty() {
                break;
            }
        }
        self.violations
    }

    fn draw(&mut self) -> PendingRequest {
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

    /// Draws an event. Events that may be skipped or overtake have channels of their own.
    fn draw_draft(&mut self, may_have_several: bool) -> EventDraft {
        let channel = self.rng.random_range(0..self.oracle.channels.len());
        let kind = match self.rng.random_range(0..4) {
            _ if is_strict(channel) => DeliveryClass::Strict,
            0 => DeliveryClass::Urgent,
            1 => DeliveryClass::Low,
            2 => DeliveryClass::Keyed(self.rng.random_range(0..3)),
            _ => DeliveryClass::Strict,
        };
        let mut channels = vec![channel];
        if may_have_several && kind == DeliveryClass::Strict && self.rng.random_bool(0.3) {
            for _ in 0..self.rng.random_range(1..=2) {
                let other = self.rng.random_range(0..self.oracle.channels.len());
                if is_strict(other) && !channels.contains(&other) {
                    channels.push(other);
                }
            }
        }
        self.draft(channels, kind)
    }

    fn draft(&mut self, channels: Vec<usize>, kind: DeliveryClass) -> EventDraft {
        let label = EventLabel { publisher: self.index, number: self.next_number };
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
        EventDraft {
            label,
            channels,
            kind,
            priority: match kind {
                DeliveryClass::Urgent if self.rng.random_bool(0.5) => Some("critical"),
                DeliveryClass::Urgent => Some("high"),
                DeliveryClass::Low => Some("low"),
                DeliveryClass::Strict | DeliveryClass::Keyed(_) => None,
            },
            key: match kind {
                DeliveryClass::Keyed(key) => Some(format!("key-{key}")),
                _ => None,
            },
            ttl: self.rng.random_bool(0.1).then_some(3_600_000),
            name: self.rng.random_bool(0.3).then_some("note"),
            data,
            is_json,
        }
    }

    fn register(&self, draft: &EventDraft) {
        self.oracle.register(draft.label, draft.channels.clone(), draft.kind, draft.name, &draft.data);
    }

    fn idempotency_key(&self, label: EventLabel) -> Option<String> {
        self.is_idempotent.then(|| format!("checker-{label}"))
    }

    /// Builds the request of one event to its channel, with options in the query or in headers.
    fn single(&mut self, draft: &EventDraft) -> PendingRequest {
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
        let path = format!("/api/v1/events/{}{query}", self.oracle.channels[draft.channels[0]]);
        let bytes = self.request(&path, &headers, "text/plain", &draft.data);
        PendingRequest { bytes, labels: vec![draft.label], is_list: false }
    }

    fn json(
        &self,
        drafts: &[EventDraft],
        kind: &str,
        join: impl Fn(&[String]) -> String,
        is_list: bool,
    ) -> PendingRequest {
        let lines: Vec<_> = drafts.iter().map(|draft| self.message(draft)).collect();
        let bytes = self.request("/api/v1/publish", "", kind, &join(&lines));
        PendingRequest { bytes, labels: drafts.iter().map(|draft| draft.label).collect(), is_list }
    }

    fn message(&self, draft: &EventDraft) -> String {
        let channels: Vec<_> = draft.channels.iter().map(|&channel| &self.oracle.channels[channel]).collect();
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
        // The JSON text is sent as it is: the hub must keep the order of its members.
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

    /// Sends a request until its result is known, or cannot become known.
    async fn deliver(&mut self, request: &PendingRequest, stop: &watch::Receiver<bool>) {
        add(&self.counters.published, request.labels.len());
        let deadline = Instant::now() + RETRY_DEADLINE;
        let mut is_sent = false;
        while Instant::now() < deadline {
            match self.exchange(request).await {
                ExchangeResult::Complete(200, body) => return self.acknowledge(request, &body),
                // The server is ending or starting. Its response names the result, or says that it is unknown.
                ExchangeResult::Complete(503, body) if !self.is_idempotent => {
                    return self.unavailable(request, &body);
                }
                ExchangeResult::Complete(503, _) => is_sent = true,
                ExchangeResult::Complete(status, body) => {
                    let text = format!("publish was answered {status}: {}", String::from_utf8_lossy(&body));
                    return self.refused(request, &text);
                }
                ExchangeResult::Unsent if !is_sent && *stop.borrow() => {
                    return request.labels.iter().for_each(|label| self.oracle.refuse(*label));
                }
                ExchangeResult::Unsent => {}
                ExchangeResult::Broken if !self.is_idempotent => {
                    return add(&self.counters.unknown, request.labels.len());
                }
                ExchangeResult::Broken => is_sent = true,
            }
            sleep(Duration::from_millis(20)).await;
        }
        let (first, seconds) = (request.labels[0], RETRY_DEADLINE.as_secs());
        add(&self.counters.unknown, request.labels.len());
        let text = format!("publish of event {first} was not acknowledged within {seconds} s of retries");
        self.violations.push(Violation::new(ViolationKind::Stuck, text));
    }

    async fn exchange(&mut self, request: &PendingRequest) -> ExchangeResult {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match RawConnection::connect(self.address, None).await {
                Ok(connection) => connection,
                Err(_) => return ExchangeResult::Unsent,
            },
        };
        let exchange = async {
            connection.send(&request.bytes).await?;
            connection.read_response().await
        };
        match timeout(ANSWER_DEADLINE, exchange).await {
            Ok(Ok((head, body))) => {
                self.connection = head.keeps_alive.then_some(connection);
                ExchangeResult::Complete(head.status, body)
            }
            Ok(Err(_)) => ExchangeResult::Broken,
            Err(_) => {
                let (first, seconds) = (request.labels[0], ANSWER_DEADLINE.as_secs());
                let text = format!("publish of event {first} was not answered within {seconds} s");
                self.violations.push(Violation::new(ViolationKind::Stuck, text));
                ExchangeResult::Broken
            }
        }
    }

    fn acknowledge(&mut self, request: &PendingRequest, body: &[u8]) {
        let ids = event_ids(body, request.is_list).filter(|ids| ids.len() == request.labels.len());
        let Some(ids) = ids else {
            let count = request.labels.len();
            let text = format!("response to {count} events is {}", String::from_utf8_lossy(body));
            return self.refused(request, &text);
        };
        add(&self.counters.acknowledged, ids.len());
        for (label, id) in request.labels.iter().zip(ids) {
            self.violations.extend(self.oracle.acknowledge(*label, self.oracle.position(&id)).err());
        }
    }

    fn unavailable(&mut self, request: &PendingRequest, body: &[u8]) {
        if is_not_stored(&problem_code(body)) {
            request.labels.iter().for_each(|label| self.oracle.refuse(*label));
        } else {
            add(&self.counters.unknown, request.labels.len());
        }
    }

    fn refused(&mut self, request: &PendingRequest, text: &str) {
        add(&self.counters.unknown, request.labels.len());
        let first = request.labels[0];
        self.violations.push(Violation::new(ViolationKind::BrokenProtocol, format!("event {first}: {text}")));
    }
}
