//! A publisher of numbered events, in every form of request, at any node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::json;
use tidings_protocol::EventId;
use tidings_protocol::body::PublishAnswer;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::client_context::ClientContext;
use crate::counters::Count;
use crate::history::{DeliveryClass, EventLabel, History, PublishResult};
use crate::http::RawConnection;
use crate::random::rng;
use crate::violation::{Violation, ViolationKind};

/// Longest time to a response of a node that is never stopped.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);
/// Longest time to a response of one of several nodes: shorter than some stops of a node, so that the retry goes to another
/// node meanwhile.
const ANSWER_DEADLINE_OF_SEVERAL: Duration = Duration::from_millis(2500);
/// Longest time of retries after the last fault.
const RETRY_DEADLINE: Duration = Duration::from_secs(60);
/// Most events in one batch.
const BATCH_EVENTS_MAX: usize = 12;

/// A publisher's connection, random choices and count.
pub(crate) struct Publisher {
    context: Arc<ClientContext>,
    index: u32,
    next_number: u64,
    rng: StdRng,
    /// Its node, and the connection.
    connection: Option<(usize, RawConnection)>,
    violations: Vec<Violation>,
}

/// An event and the options with which it is sent.
struct NumberedEvent {
    label: EventLabel,
    channels: Vec<usize>,
    /// `event`, `priority`, `key` and `ttl`, if it has them.
    options: Vec<(&'static str, String)>,
    idempotency_key: Option<String>,
    data: String,
    /// In a JSON body the data is sent as JSON, not as a string.
    is_json: bool,
}

/// A request and its events.
struct PendingRequest {
    path: String,
    headers: String,
    body: String,
    labels: Vec<EventLabel>,
    /// Whether the response is a list.
    is_list: bool,
    is_idempotent: bool,
}

/// Result of one attempt.
enum Attempt {
    Acknowledged(Vec<EventId>),
    NotStored,
    Unknown,
    Unexpected(String),
}

impl Publisher {
    pub(crate) fn new(index: u32, context: Arc<ClientContext>) -> Self {
        let rng = rng(context.settings.seed, 1 << 32 | u64::from(index));
        Self { context, index, next_number: 0, rng, connection: None, violations: Vec::new() }
    }

    /// Publishes until `stop`, and completes the publish in flight; returns violations in the responses.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) -> Vec<Violation> {
        let pauses_max = self.context.settings.pauses_max;
        let pause_max = Duration::from_millis(pauses_max[self.index as usize % pauses_max.len()]);
        while !*stop.borrow_and_update() {
            let request = self.draw();
            self.deliver(&request, &stop).await;
            let pause = self.rng.random_range(Duration::ZERO..=pause_max);
            let _ = timeout(pause, stop.wait_for(|is_stopped| *is_stopped)).await;
        }
        self.violations
    }

    /// Publishes one last strict event on every channel, and returns their labels: readers that have them have caught up.
    pub(crate) async fn close(mut self) -> (Vec<EventLabel>, Vec<Violation>) {
        let (_keep, stop) = watch::channel(true);
        let mut labels = Vec::new();
        for channel in 0..self.context.history.channels.len() {
            let event = self.event(vec![channel], DeliveryClass::Strict, true);
            let request = self.single(&event);
            self.deliver(&request, &stop).await;
            labels.push(event.label);
        }
        (labels, self.violations)
    }

    fn draw(&mut self) -> PendingRequest {
        let form = self.rng.random_range(0..10);
        let is_idempotent = self.rng.random_bool(self.context.settings.idempotent);
        let count = if form < 7 { 1 } else { self.rng.random_range(1..=BATCH_EVENTS_MAX) };
        let events: Vec<_> = (0..count).map(|_| self.draw_event(form >= 5, is_idempotent)).collect();
        match form {
            0..5 => self.single(&events[0]),
            5..7 => self.json(&events, "application/json", |lines| lines.concat(), false),
            7 => self.json(&events, "application/json", |lines| format!("[{}]", lines.join(",")), true),
            _ => self.json(&events, "application/x-ndjson", |lines| lines.join("\n"), true),
        }
    }

    /// Draws an event. Events that may be skipped or overtake have channels of their own.
    fn draw_event(&mut self, may_have_several: bool, is_idempotent: bool) -> NumberedEvent {
        let is_strict = |history: &History, channel: usize| !history.channels[channel].contains(':');
        let channel = self.rng.random_range(0..self.context.history.channels.len());
        let class = match self.rng.random_range(0..4) {
            _ if is_strict(&self.context.history, channel) => DeliveryClass::Strict,
            0 => DeliveryClass::Urgent,
            1 => DeliveryClass::Low,
            2 => DeliveryClass::Keyed(self.rng.random_range(0..3)),
            _ => DeliveryClass::Strict,
        };
        let mut channels = vec![channel];
        if may_have_several && class == DeliveryClass::Strict && self.rng.random_bool(0.3) {
            for _ in 0..self.rng.random_range(1..=2) {
                let other = self.rng.random_range(0..self.context.history.channels.len());
                if is_strict(&self.context.history, other) && !channels.contains(&other) {
                    channels.push(other);
                }
            }
        }
        self.event(channels, class, is_idempotent)
    }

    /// Numbers an event, and records it before it is sent.
    fn event(&mut self, channels: Vec<usize>, class: DeliveryClass, is_idempotent: bool) -> NumberedEvent {
        let label = EventLabel { publisher: self.index, number: self.next_number };
        self.next_number += 1;
        let pad_chars = match self.rng.random_range(0..40) {
            0 => 8000,
            _ => self.rng.random_range(0..=self.context.settings.pad_max),
        };
        let pad = "é~ab\\n:".chars().cycle().take(pad_chars).collect::<String>();
        let mut data = format!("{{\"p\":{},\"n\":{},\"pad\":{}}}", label.publisher, label.number, json!(pad));
        let is_json = self.rng.random_bool(0.5);
        if !is_json && self.rng.random_bool(0.2) {
            data.push_str("\nid: smuggled\n\n data: second\n");
        }
        let name = self.rng.random_bool(0.3).then_some("note");
        let priority = match class {
            DeliveryClass::Urgent if self.rng.random_bool(0.5) => Some("critical"),
            DeliveryClass::Urgent => Some("high"),
            DeliveryClass::Low => Some("low"),
            DeliveryClass::Strict | DeliveryClass::Keyed(_) => None,
        };
        let key = if let DeliveryClass::Keyed(key) = class { Some(format!("key-{key}")) } else { None };
        let ttl = self.rng.random_bool(0.1).then(|| "3600000".to_owned());
        let options = [
            ("event", name.map(str::to_owned)),
            ("priority", priority.map(str::to_owned)),
            ("key", key),
            ("ttl", ttl),
        ];
        let options = options.into_iter().filter_map(|(option, value)| Some((option, value?))).collect();
        self.context.history.begin_publish(label, &channels, class, name, &data);
        let idempotency_key = is_idempotent.then(|| format!("checker-{label}"));
        NumberedEvent { label, channels, options, idempotency_key, data, is_json }
    }

    /// Builds the request of one event to its channel, with options in the query or in headers.
    fn single(&mut self, event: &NumberedEvent) -> PendingRequest {
        let mut path = format!("/api/v1/events/{}", self.context.history.channels[event.channels[0]]);
        let mut headers = "Content-Type: text/plain\r\n".to_owned();
        if self.rng.random_bool(0.5) {
            let query: Vec<_> = event.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
            path += &if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
        } else {
            event.options.iter().for_each(|(name, value)| headers += &format!("Tidings-{name}: {value}\r\n"));
        }
        if let Some(key) = &event.idempotency_key {
            headers += &format!("Idempotency-Key: {key}\r\n");
        }
        let (body, labels) = (event.data.clone(), vec![event.label]);
        let is_idempotent = event.idempotency_key.is_some();
        PendingRequest { path, headers, body, labels, is_list: false, is_idempotent }
    }

    fn json(
        &self,
        events: &[NumberedEvent],
        content_type: &str,
        join: impl Fn(&[String]) -> String,
        is_list: bool,
    ) -> PendingRequest {
        let lines: Vec<_> = events.iter().map(|event| self.message(event)).collect();
        PendingRequest {
            path: "/api/v1/publish".to_owned(),
            headers: format!("Content-Type: {content_type}\r\n"),
            body: join(&lines),
            labels: events.iter().map(|event| event.label).collect(),
            is_list,
            is_idempotent: events[0].idempotency_key.is_some(),
        }
    }

    fn message(&self, event: &NumberedEvent) -> String {
        let channels: Vec<_> =
            event.channels.iter().map(|&channel| &self.context.history.channels[channel]).collect();
        let mut text = format!("{{\"channels\":{}", json!(channels));
        for (name, value) in &event.options {
            let value = if *name == "ttl" { value.clone() } else { json!(value).to_string() };
            text += &format!(",\"{name}\":{value}");
        }
        if let Some(key) = &event.idempotency_key {
            text += &format!(",\"idempotencyKey\":{}", json!(key));
        }
        // The JSON text is sent as it is: the hub must keep the order of its members.
        let data = if event.is_json { event.data.clone() } else { json!(event.data).to_string() };
        text + &format!(",\"data\":{data}}}")
    }

    /// Sends a request until its result is known, or cannot become known.
    async fn deliver(&mut self, request: &PendingRequest, stop: &watch::Receiver<bool>) {
        let (count, first) = (request.labels.len(), request.labels[0]);
        self.context.counters.add(Count::Published, count);
        let mut stopped = None;
        let (mut is_doubtful, mut acknowledged) = (false, None);
        loop {
            let node = self.rng.random_range(0..self.context.nodes.len());
            match self.attempt(node, request).await {
                Attempt::Acknowledged(ids) => acknowledged = Some((node, ids)),
                Attempt::NotStored => {}
                Attempt::Unknown => is_doubtful = true,
                Attempt::Unexpected(text) => {
                    self.violation(
                        ViolationKind::BrokenProtocol,
                        format!("event {first} at node {node}: {text}"),
                    );
                    is_doubtful = true;
                    break;
                }
            }
            if acknowledged.is_some() || !request.is_idempotent {
                break;
            }
            if *stop.borrow() && stopped.get_or_insert_with(Instant::now).elapsed() > RETRY_DEADLINE {
                let seconds = RETRY_DEADLINE.as_secs();
                let text =
                    format!("event {first} was not acknowledged within {seconds} s after the last fault");
                self.violation(ViolationKind::Stuck, text);
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        for (number, label) in request.labels.iter().enumerate() {
            let result = match &acknowledged {
                Some((node, ids)) => {
                    let position = self.context.history.position(&ids[number]);
                    PublishResult::Acknowledged { position, at: self.context.history.now(), node: *node }
                }
                None if is_doubtful => PublishResult::Unknown,
                None => PublishResult::NotStored,
            };
            self.context.history.complete_publish(*label, result, is_doubtful);
        }
        match acknowledged {
            Some(_) => self.context.counters.add(Count::Acknowledged, count),
            None => self.context.counters.add(Count::Unknown, if is_doubtful { count } else { 0 }),
        }
    }

    async fn attempt(&mut self, node: usize, request: &PendingRequest) -> Attempt {
        let address = self.context.nodes[node].address;
        let mut connection = match self.connection.take().filter(|(other, _)| *other == node) {
            Some((_, connection)) => connection,
            None => match RawConnection::connect(address, None).await {
                Ok(connection) => connection,
                Err(_) => return Attempt::NotStored,
            },
        };
        let exchange = async {
            connection.send(request.encode(address).as_bytes()).await?;
            connection.read_response().await
        };
        let is_alone = self.context.has_one_node();
        let deadline = if is_alone { ANSWER_DEADLINE } else { ANSWER_DEADLINE_OF_SEVERAL };
        let (head, body) = match timeout(deadline, exchange).await {
            Ok(Ok(response)) => response,
            Ok(Err(_)) => return Attempt::Unknown,
            Err(_) => {
                if is_alone {
                    let (first, seconds) = (request.labels[0], deadline.as_secs());
                    let text = format!("publish of event {first} was not answered within {seconds} s");
                    self.violation(ViolationKind::Stuck, text);
                }
                return Attempt::Unknown;
            }
        };
        if head.keeps_alive {
            self.connection = Some((node, connection));
        }
        request.result_of(head.status, &body)
    }

    fn violation(&mut self, kind: ViolationKind, text: String) {
        self.violations.push(Violation::new(kind, text));
    }
}

impl PendingRequest {
    fn encode(&self, address: SocketAddr) -> String {
        let Self { path, headers, body, .. } = self;
        let bytes = body.len();
        format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {bytes}\r\n{headers}\r\n{body}")
    }

    fn result_of(&self, status: u16, body: &[u8]) -> Attempt {
        let problem: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
        match (status, problem["code"].as_str()) {
            (200, _) => match self.event_ids(body) {
                Some(ids) if ids.len() == self.labels.len() => return Attempt::Acknowledged(ids),
                _ => {}
            },
            // The node is ending or starting, or its disk is full.
            (503, Some("not_stored" | "shutting_down")) => return Attempt::NotStored,
            (503, Some("outcome_unknown")) => return Attempt::Unknown,
            _ => {}
        }
        let (count, body) = (self.labels.len(), String::from_utf8_lossy(body));
        Attempt::Unexpected(format!("publish of {count} events was answered with {status}: {body}"))
    }

    /// Parses the ids of a success response; each id must match the offset beside it.
    fn event_ids(&self, body: &[u8]) -> Option<Vec<EventId>> {
        let answers: Vec<PublishAnswer> = if self.is_list {
            serde_json::from_slice(body).ok()?
        } else {
            vec![serde_json::from_slice(body).ok()?]
        };
        let id = |answer: &PublishAnswer| {
            let id: EventId = answer.id.as_deref()?.parse().ok()?;
            (answer.offset == Some(id.offset)).then_some(id)
        };
        answers.iter().map(id).collect()
    }
}
