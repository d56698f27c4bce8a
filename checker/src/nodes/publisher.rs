//! A publisher that goes from node to node: most events have a key and are sent until they are taken, the others once.

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

use super::ledger::{Fate, Ledger, Place};
use crate::http::Wire;
use crate::report::{Fault, FaultKind, Figures, add};
use crate::truth::Label;

/// How long a publisher waits for an answer: less than a node may stand still, so that its retry goes elsewhere meanwhile.
const ANSWER_DEADLINE: Duration = Duration::from_millis(2500);
/// How long an event is sent again once there is no more trouble.
const RETRY_DEADLINE: Duration = Duration::from_secs(40);
/// Longest pause between two events in milliseconds, of publishers of different kinds.
const PAUSES_MAX: [u64; 4] = [5, 30, 30, 400];

/// A publisher, which numbers its events.
pub(super) struct Publisher {
    index: u32,
    next_number: u64,
    nodes: Vec<SocketAddr>,
    rng: StdRng,
    /// Characters that pad an event, at most.
    pad_max: usize,
    ledger: Arc<Ledger>,
    figures: Arc<Figures>,
    faults: Vec<Fault>,
}

/// What one attempt came to.
enum Attempt {
    Taken(Place),
    NotStored,
    Unknown,
    Refused(String),
}

impl Publisher {
    pub(super) fn new(
        index: u32,
        nodes: Vec<SocketAddr>,
        seed: u64,
        pad_max: usize,
        ledger: Arc<Ledger>,
        figures: Arc<Figures>,
    ) -> Self {
        let rng = StdRng::seed_from_u64(seed);
        Self { index, next_number: 0, nodes, rng, pad_max, ledger, figures, faults: Vec::new() }
    }

    /// Publishes until it is told to stop, and then what is under way.
    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) -> Vec<Fault> {
        let pause_max = PAUSES_MAX[self.index as usize % PAUSES_MAX.len()];
        while !*stop.borrow() {
            let channels = self.draw_channels();
            let is_keyed = self.rng.random_bool(0.7);
            self.publish(channels, is_keyed, &stop).await;
            sleep(Duration::from_millis(self.rng.random_range(0..=pause_max))).await;
        }
        self.faults
    }

    /// Publishes one last event on every channel: whoever has got it has caught up. Answers their labels.
    pub(super) async fn close(mut self) -> (Vec<Label>, Vec<Fault>) {
        let (_keep, stop) = watch::channel(true);
        let mut labels = Vec::new();
        for channel in 0..self.ledger.channels.len() {
            labels.push(self.publish(vec![channel], true, &stop).await);
        }
        (labels, self.faults)
    }

    fn draw_channels(&mut self) -> Vec<usize> {
        let count = self.ledger.channels.len();
        let mut channels = vec![self.rng.random_range(0..count)];
        let other = self.rng.random_range(0..count);
        if self.rng.random_bool(0.2) && other != channels[0] {
            channels.push(other);
        }
        channels
    }

    async fn publish(&mut self, channels: Vec<usize>, is_keyed: bool, stop: &watch::Receiver<bool>) -> Label {
        let label = Label { publisher: self.index, number: self.next_number };
        self.next_number += 1;
        add(&self.figures.published, 1);
        let pad = "é.".repeat(self.rng.random_range(0..=self.pad_max / 2));
        let data = format!("{{\"p\":{},\"n\":{},\"pad\":\"{pad}\"}}", label.publisher, label.number);
        self.ledger.send(label, channels.clone(), data.clone());
        let mut stopped = None;
        let (mut fate, mut is_doubtful) = (Fate::NotStored, false);
        loop {
            let node = self.rng.random_range(0..self.nodes.len());
            let request = self.request(node, label, &channels, &data, is_keyed);
            match attempt(self.nodes[node], &request, channels.len() > 1).await {
                Attempt::Taken(place) => {
                    add(&self.figures.acknowledged, 1);
                    fate = Fate::Acknowledged { place, at: self.ledger.now(), node };
                    break;
                }
                Attempt::NotStored => {}
                Attempt::Unknown => (fate, is_doubtful) = (Fate::Unknown, true),
                Attempt::Refused(text) => {
                    let text = format!("publish of event {label} at node {node}: {text}");
                    self.faults.push(Fault::new(FaultKind::BrokenProtocol, text));
                    fate = Fate::Unknown;
                    break;
                }
            }
            if !is_keyed {
                break;
            }
            if *stop.borrow() && stopped.get_or_insert_with(Instant::now).elapsed() > RETRY_DEADLINE {
                let seconds = RETRY_DEADLINE.as_secs();
                let text = format!("event {label} was not taken within {seconds} s after the trouble");
                self.faults.push(Fault::new(FaultKind::Stuck, text));
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        if fate == Fate::Unknown {
            add(&self.figures.unknown, 1);
        }
        self.ledger.settle(label, fate, is_doubtful);
        label
    }

    fn request(
        &mut self,
        node: usize,
        label: Label,
        channels: &[usize],
        data: &str,
        is_keyed: bool,
    ) -> String {
        let address = self.nodes[node];
        let key = is_keyed.then(|| format!("checker-{label}"));
        let names: Vec<&String> = channels.iter().map(|&channel| &self.ledger.channels[channel]).collect();
        let (path, headers, body) = if let [name] = names[..] {
            let headers = key.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
            (format!("/api/v1/events/{name}"), headers, data.to_owned())
        } else {
            let mut body = json!({ "channels": names, "data": data });
            if let Some(key) = key {
                body["idempotencyKey"] = key.into();
            }
            let headers = "Content-Type: application/json\r\n".to_owned();
            // As a list, as the array's answer is one.
            ("/api/v1/publish".to_owned(), headers, format!("[{body}]"))
        };
        let bytes = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {bytes}\r\n{headers}\r\n{body}"
        )
    }
}

async fn attempt(node: SocketAddr, request: &str, is_list: bool) -> Attempt {
    let Ok(mut wire) = Wire::connect(node, None).await else { return Attempt::NotStored };
    let exchange = async {
        wire.send(request.as_bytes()).await?;
        let head = wire.read_head().await?;
        let body = wire.read_body(&head).await?;
        std::io::Result::Ok((head.status, body))
    };
    let Ok(Ok((status, body))) = timeout(ANSWER_DEADLINE, exchange).await else { return Attempt::Unknown };
    let text = || format!("{status}: {}", String::from_utf8_lossy(&body));
    match status {
        200 => match place_of(&body, is_list) {
            Some(place) => Attempt::Taken(place),
            None => Attempt::Refused(text()),
        },
        503 => {
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            match problem["code"].as_str() {
                Some("not_stored" | "shutting_down") => Attempt::NotStored,
                Some("outcome_unknown") => Attempt::Unknown,
                _ => Attempt::Refused(text()),
            }
        }
        _ => Attempt::Refused(text()),
    }
}

fn place_of(body: &[u8], is_list: bool) -> Option<Place> {
    let answer: PublishAnswer = if is_list {
        serde_json::from_slice::<Vec<PublishAnswer>>(body).ok()?.pop()?
    } else {
        serde_json::from_slice(body).ok()?
    };
    let id: EventId = answer.id.as_deref()?.parse().ok()?;
    (answer.offset == Some(id.offset)).then(|| Place::from(&id))
}
