//! A publisher that sends to any node. Most events have an idempotency key and are retried, the others are sent once.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::history::{FinalResult, OperationHistory, TaggedOffset};
use crate::counters::{Counters, add};
use crate::http::RawConnection;
use crate::oracle::EventLabel;
use crate::publish_response::{event_ids, is_not_stored, problem_code};
use crate::violation::{Violation, ViolationKind};

/// Longest time to a response: shorter than some stops of a node, so that the retry goes to another node meanwhile.
const ANSWER_DEADLINE: Duration = Duration::from_millis(2500);
/// Longest time of retries after the last fault.
const RETRY_DEADLINE: Duration = Duration::from_secs(40);
/// Longest pause between two events in milliseconds, by publisher.
const PAUSES_MAX: [u64; 4] = [5, 30, 30, 400];

/// A publisher of numbered events.
pub(super) struct RoamingPublisher {
    index: u32,
    next_number: u64,
    nodes: Vec<SocketAddr>,
    rng: StdRng,
    /// Most characters of an event's padding.
    pad_max: usize,
    history: Arc<OperationHistory>,
    counters: Arc<Counters>,
    violations: Vec<Violation>,
}

/// Result of one attempt.
enum Attempt {
    Acknowledged(TaggedOffset),
    NotStored,
    Unknown,
    Unexpected(String),
}

impl RoamingPublisher {
    pub(super) fn new(
        index: u32,
        nodes: Vec<SocketAddr>,
        seed: u64,
        pad_max: usize,
        history: Arc<OperationHistory>,
        counters: Arc<Counters>,
    ) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { index, next_number: 0, nodes, rng, pad_max, history, counters, violations: Vec::new() }
    }

    /// Publishes until `stop`, and completes the publish in flight.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) -> Vec<Violation> {
        let pause_max = PAUSES_MAX[self.index as usize % PAUSES_MAX.len()];
        while !*stop.borrow() {
            let channels = self.draw_channels();
            let is_keyed = self.rng.random_bool(0.7);
            self.publish(channels, is_keyed, &stop).await;
            sleep(Duration::from_millis(self.rng.random_range(0..=pause_max))).await;
        }
        self.violations
    }

    /// Publishes one last event on every channel, and returns their labels: readers that have them have caught up.
    pub(super) async fn close(mut self) -> (Vec<EventLabel>, Vec<Violation>) {
        let (_keep, stop) = watch::channel(true);
        let mut labels = Vec::new();
        for channel in 0..self.history.channels.len() {
            labels.push(self.publish(vec![channel], true, &stop).await);
        }
        (labels, self.violations)
    }

    fn draw_channels(&mut self) -> Vec<usize> {
        let count = self.history.channels.len();
        let mut channels = vec![self.rng.random_range(0..count)];
        let other = self.rng.random_range(0..count);
        if self.rng.random_bool(0.2) && other != channels[0] {
            channels.push(other);
        }
        channels
    }

    async fn publish(
        &mut self,
        channels: Vec<usize>,
        is_keyed: bool,
        stop: &watch::Receiver<bool>,
    ) -> EventLabel {
        let label = EventLabel { publisher: self.index, number: self.next_number };
        self.next_number += 1;
        add(&self.counters.published, 1);
        let pad = "é.".repeat(self.rng.random_range(0..=self.pad_max / 2));
        let data = format!("{{\"p\":{},\"n\":{},\"pad\":\"{pad}\"}}", label.publisher, label.number);
        self.history.begin_publish(label, channels.clone(), data.clone());
        let mut stopped = None;
        let (mut result, mut is_doubtful) = (FinalResult::NotStored, false);
        loop {
            let node = self.rng.random_range(0..self.nodes.len());
            let request = self.request(node, label, &channels, &data, is_keyed);
            match attempt(self.nodes[node], &request, channels.len() > 1).await {
                Attempt::Acknowledged(place) => {
                    add(&self.counters.acknowledged, 1);
                    result = FinalResult::Acknowledged { place, at: self.history.now(), node };
                    break;
                }
                Attempt::NotStored => {}
                Attempt::Unknown => (result, is_doubtful) = (FinalResult::Unknown, true),
                Attempt::Unexpected(text) => {
                    let text = format!("publish of event {label} at node {node}: {text}");
                    self.violations.push(Violation::new(ViolationKind::BrokenProtocol, text));
                    result = FinalResult::Unknown;
                    break;
                }
            }
            if !is_keyed {
                break;
            }
            if *stop.borrow() && stopped.get_or_insert_with(Instant::now).elapsed() > RETRY_DEADLINE {
                let seconds = RETRY_DEADLINE.as_secs();
                let text =
                    format!("event {label} was not acknowledged within {seconds} s after the last fault");
                self.violations.push(Violation::new(ViolationKind::Stuck, text));
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        if result == FinalResult::Unknown {
            add(&self.counters.unknown, 1);
        }
        self.history.complete_publish(label, result, is_doubtful);
        label
    }

    fn request(
        &mut self,
        node: usize,
        label: EventLabel,
        channels: &[usize],
        data: &str,
        is_keyed: bool,
    ) -> String {
        let address = self.nodes[node];
        let key = is_keyed.then(|| format!("checker-{label}"));
        let names: Vec<&String> = channels.iter().map(|&channel| &self.history.channels[channel]).collect();
        let (path, headers, body) = if let [name] = names[..] {
            let headers = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
            (format!("/api/v1/events/{name}"), headers, data.to_owned())
        } else {
            let mut body = json!({ "channels": names, "data": data });
            if let Some(key) = key {
                body["idempotencyKey"] = key.into();
            }
            let headers = "Content-Type: application/json\r\n".to_owned();
            // An array, whose response is an array as well.
            ("/api/v1/publish".to_owned(), headers, format!("[{body}]"))
        };
        let bytes = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {bytes}\r\n{headers}\r\n{body}"
        )
    }
}

async fn attempt(node: SocketAddr, request: &str, is_list: bool) -> Attempt {
    let Ok(mut connection) = RawConnection::connect(node, None).await else { return Attempt::NotStored };
    let exchange = async {
        connection.send(request.as_bytes()).await?;
        connection.read_response().await
    };
    let Ok(Ok((head, body))) = timeout(ANSWER_DEADLINE, exchange).await else { return Attempt::Unknown };
    let unexpected = || Attempt::Unexpected(format!("{}: {}", head.status, String::from_utf8_lossy(&body)));
    match (head.status, &*problem_code(&body)) {
        (200, _) => match event_ids(&body, is_list).as_deref() {
            Some([.., id]) => Attempt::Acknowledged(TaggedOffset::from(id)),
            _ => unexpected(),
        },
        (503, code) if is_not_stored(code) => Attempt::NotStored,
        (503, "outcome_unknown") => Attempt::Unknown,
        _ => unexpected(),
    }
}
