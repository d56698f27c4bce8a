//! The publishers and readers of one phase: their start, their end, and what they saw.

use std::net::SocketAddr;
use std::sync::Arc;

use tidings_protocol::Subscription;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ledger::Ledger;
use super::publisher::Publisher;
use super::reader::{Closing, Options, Reader, Record};
use super::trouble::Diary;
use super::{CLOSING_DEADLINE, seed_of};
use crate::report::{Fault, Figures};

/// Clients of one phase.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    pub(super) nodes: Vec<SocketAddr>,
    pub(super) publishers: u32,
    pub(super) readers: usize,
    /// Characters that pad an event, at most.
    pub(super) pad_max: usize,
    pub(super) seed: u64,
}

/// All who publish and read, and what ends them.
pub(super) struct Clients {
    crowd: Crowd,
    ledger: Arc<Ledger>,
    figures: Arc<Figures>,
    publishers: JoinSet<Vec<Fault>>,
    stop: watch::Sender<bool>,
    readers: JoinSet<(Vec<Record>, Vec<Fault>)>,
    closing: watch::Sender<Option<Closing>>,
}

impl Clients {
    /// Starts all of them.
    pub(super) fn start(crowd: Crowd, ledger: &Arc<Ledger>, figures: &Arc<Figures>) -> Self {
        let mut clients = Self {
            crowd,
            ledger: Arc::clone(ledger),
            figures: Arc::clone(figures),
            publishers: JoinSet::new(),
            stop: watch::Sender::new(false),
            readers: JoinSet::new(),
            closing: watch::Sender::new(None),
        };
        for index in 0..clients.crowd.readers {
            let reader = clients.reader(index);
            clients.readers.spawn(reader.run(clients.closing.subscribe()));
        }
        for index in 0..clients.crowd.publishers {
            let publisher = clients.publisher(index);
            clients.publishers.spawn(publisher.run(clients.stop.subscribe()));
        }
        clients
    }

    /// Has the publishers come to an end, and the readers get what was published.
    pub(super) async fn finish(&mut self, diary: &Diary) -> (Vec<Record>, Vec<Fault>) {
        let mut faults = Vec::new();
        self.stop.send_replace(true);
        while let Some(found) = self.publishers.join_next().await {
            faults.extend(found.expect("publishers do not panic"));
        }
        let (labels, found) = self.publisher(self.crowd.publishers).close().await;
        faults.extend(found);
        diary.note("everything is published");
        let deadline = Instant::now() + CLOSING_DEADLINE;
        self.closing.send_replace(Some(Closing { labels: Arc::new(labels), deadline }));
        let mut records = Vec::new();
        while let Some(done) = self.readers.join_next().await {
            let (record, found) = done.expect("readers do not panic");
            records.extend(record);
            faults.extend(found);
        }
        records.sort_by_key(|record| record.reader);
        (records, faults)
    }

    /// Ends those who still go on.
    pub(super) async fn shut_down(&mut self) {
        self.publishers.shutdown().await;
        self.readers.shutdown().await;
    }

    fn publisher(&self, index: u32) -> Publisher {
        let seed = seed_of(self.crowd.seed, 10 + u64::from(index));
        let (nodes, pad_max) = (self.crowd.nodes.clone(), self.crowd.pad_max);
        Publisher::new(index, nodes, seed, pad_max, Arc::clone(&self.ledger), Arc::clone(&self.figures))
    }

    fn reader(&self, index: usize) -> Reader {
        let channels = &self.ledger.channels;
        let name = |number: usize| channels[number % channels.len()].as_str();
        let texts = match index % 6 {
            0 | 1 => vec![name(index / 3)],
            2 => vec![name(index / 6), name(index / 6 + 1)],
            3 => vec!["nodes.a.*"],
            4 => vec![name(1), "nodes.a.*"],
            _ => vec!["nodes.**"],
        };
        let parse = |text: &&str| Subscription::parse(text).expect("it is in the grammar");
        let subscriptions = texts.iter().map(parse).collect();
        let (nodes, seed) = (self.crowd.nodes.clone(), seed_of(self.crowd.seed, 100 + index as u64));
        let options = Options { index, subscriptions, nodes, seed, wants_history: index % 4 != 3 };
        Reader::new(options, Arc::clone(&self.ledger), Arc::clone(&self.figures))
    }
}
