//! Settings and records that all publishers and readers of a phase share.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use crate::counters::Counters;
use crate::history::History;

/// Request that a node answers also while it can store no event.
pub(crate) const PROBE: &str = "/api/v1/channels/nodes.a.0/events?limit=1";

/// Channels of a phase in which events are lost; all their events are strict.
pub(crate) fn lossy_channels() -> Vec<String> {
    (0..6).map(|channel| format!("nodes.{}.{channel}", ["a", "b"][channel % 2])).collect()
}

/// Settings of the clients of one phase.
#[derive(Clone, Debug)]
pub(crate) struct ClientSettings {
    pub(crate) seed: u64,
    pub(crate) publishers: u32,
    /// Share of requests whose events have idempotency keys, and that are retried until they are acknowledged.
    pub(crate) idempotent: f64,
    /// Most characters of the padding of most events; a few have 8000.
    pub(crate) pad_max: usize,
    /// Longest pause between two publishes in milliseconds, by publisher.
    pub(crate) pauses_max: &'static [u64],
    pub(crate) readers: usize,
    /// Patterns of which some readers have one.
    pub(crate) patterns: &'static [&'static str],
    /// Share of readers that begin with all history. Others begin at the head of the log, and sometimes begin again.
    pub(crate) with_history: f64,
    /// Whether readers inject faults.
    pub(crate) has_reader_faults: bool,
    /// Share of readers' absences that are so long that a loss or a trim passes the last id.
    pub(crate) long_absences: f64,
}

impl ClientSettings {
    /// Clients of a phase in which events are lost. They inject no faults of their own: nodes are stopped for seconds.
    pub(crate) fn of_lossy_phase(seed: u64) -> Self {
        Self {
            seed,
            publishers: 4,
            idempotent: 0.7,
            pad_max: 160,
            pauses_max: &[5, 30, 30, 400],
            readers: 24,
            patterns: &["nodes.a.*", "nodes.b.*", "nodes.**"],
            with_history: 0.75,
            has_reader_faults: false,
            long_absences: 0.2,
        }
    }
}

/// A node as its clients know it.
#[derive(Clone, Debug)]
pub(crate) struct NodeEndpoint {
    pub(crate) address: SocketAddr,
    /// Changes before the node gets SIGTERM.
    pub(crate) ending: watch::Receiver<u64>,
}

/// Settings, nodes and records of a phase.
pub(crate) struct ClientContext {
    pub(crate) settings: ClientSettings,
    pub(crate) nodes: Vec<NodeEndpoint>,
    pub(crate) history: Arc<History>,
    pub(crate) counters: Arc<Counters>,
}

impl ClientContext {
    /// Whether the phase has a single node, which is never stopped.
    pub(crate) fn has_one_node(&self) -> bool {
        self.nodes.len() == 1
    }
}
