//! Publishers and readers of one phase: their start, their end, and their observations.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidings_protocol::Subscription;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::history::OperationHistory;
use super::publisher::RoamingPublisher;
use super::reader::{ClosingEvents, ReaderHistory, ReaderOptions, RoamingReader};
use crate::counters::Counters;
use crate::random::derive_seed;
use crate::violation::Violation;

/// Longest time in which readers receive the rest after the last fault.
pub(super) const CLOSING_DEADLINE: Duration = Duration::from_secs(40);

const CHANNELS: usize = 6;

/// Channels of all publishers.
pub(super) fn channels() -> Vec<String> {
    (0..CHANNELS).map(|channel| format!("nodes.{}.{channel}", ["a", "b"][channel % 2])).collect()
}

/// Settings of the clients of one phase.
#[derive(Clone, Debug)]
pub(super) struct PhaseClientSettings {
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) publishers: u32,
    pub(super) readers: usize,
    /// Most characters of an event's padding.
    pub(super) pad_max: usize,
    pub(super) seed: u64,
}

/// All publishers and readers of a phase.
pub(super) struct PhaseClients {
    settings: PhaseClientSettings,
    history: Arc<OperationHistory>,
    counters: Arc<Counters>,
    publishers: JoinSet<Vec<Violation>>,
    stop: watch::Sender<bool>,
    readers: JoinSet<(Vec<ReaderHistory>, Vec<Violation>)>,
    closing: watch::Sender<Option<ClosingEvents>>,
}

impl PhaseClients {
    /// Starts all clients.
    pub(super) fn start(
        settings: PhaseClientSettings,
        history: &Arc<OperationHistory>,
        counters: &Arc<Counters>,
    ) -> Self {
        let mut clients = Self {
            settings,
            history: Arc::clone(history),
            counters: Arc::clone(counters),
            publishers: JoinSet::new(),
            stop: watch::Sender::new(false),
            readers: JoinSet::new(),
            closing: watch::Sender::new(None),
        };
        for index in 0..clients.settings.readers {
            let reader = clients.reader(index);
            clients.readers.spawn(reader.run(clients.closing.subscribe()));
        }
        for index in 0..clients.settings.publishers {
            let publisher = clients.publisher(index);
            clients.publishers.spawn(publisher.run(clients.stop.subscribe()));
        }
        clients
    }

    /// Ends the publishers, and waits until the readers have received the last events.
    pub(super) async fn finish(&mut self) -> (Vec<ReaderHistory>, Vec<Violation>) {
        let mut violations = Vec::new();
        self.stop.send_replace(true);
        while let Some(found) = self.publishers.join_next().await {
            violations.extend(found.expect("publishers do not panic"));
        }
        let (labels, found) = self.publisher(self.settings.publishers).close().await;
        violations.extend(found);
        self.history.note("every event is published");
        let deadline = Instant::now() + CLOSING_DEADLINE;
        self.closing.send_replace(Some(ClosingEvents { labels: Arc::new(labels), deadline }));
        let mut readers = Vec::new();
        while let Some(done) = self.readers.join_next().await {
            let (histories, found) = done.expect("readers do not panic");
            readers.extend(histories);
            violations.extend(found);
        }
        readers.sort_by_key(|history| history.reader);
        (readers, violations)
    }

    /// Aborts all clients.
    pub(super) async fn shut_down(&mut self) {
        self.publishers.shutdown().await;
        self.readers.shutdown().await;
    }

    fn publisher(&self, index: u32) -> RoamingPublisher {
        let seed = derive_seed(self.settings.seed, 10 + u64::from(index));
        let (nodes, pad_max) = (self.settings.nodes.clone(), self.settings.pad_max);
        let (history, counters) = (Arc::clone(&self.history), Arc::clone(&self.counters));
        RoamingPublisher::new(index, nodes, seed, pad_max, history, counters)
    }

    fn reader(&self, index: usize) -> RoamingReader {
        let channels = &self.history.channels;
        let name = |number: usize| channels[number % channels.len()].as_str();
        let texts = match index % 6 {
            0 | 1 => vec![name(index / 3)],
            2 => vec![name(index / 6), name(index / 6 + 1)],
            3 => vec!["nodes.a.*"],
            4 => vec![name(1), "nodes.a.*"],
            _ => vec!["nodes.**"],
        };
        let parse = |text: &&str| Subscription::parse(text).expect("these names are valid");
        let options = ReaderOptions {
            index,
            subscriptions: texts.iter().map(parse).collect(),
            nodes: self.settings.nodes.clone(),
            seed: derive_seed(self.settings.seed, 100 + index as u64),
            wants_history: index % 4 != 3,
        };
        RoamingReader::new(options, Arc::clone(&self.history), Arc::clone(&self.counters))
    }
}
