//! The phase with three nodes over one Redis with a replica: faults of nodes and Redis, and the comparison.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidings_testkit::{RedisServer, TcpProxy};
use tokio::time::timeout;

use super::clients::{CLOSING_DEADLINE, PhaseClientSettings, PhaseClients, channels};
use super::compare::NodesOracle;
use super::history::OperationHistory;
use super::node_faults::{ExtraFault, NodeFault, NodeSet};
use super::node_history;
use super::redis_calls::{call_redis, follow};
use super::redis_faults::{BLIND, RedisFault, RedisPair};
use super::redis_log;
use crate::counters::{Counters, get};
use crate::disk::copy_directory;
use crate::random::rng;
use crate::report::PhaseReport;
use crate::server::HubServer;
use crate::violation::{Violation, ViolationKind};

const NODES: usize = 3;
const PUBLISHERS: u32 = 4;
const READERS: usize = 24;
/// Most characters of an event's padding.
const PAD_MAX: usize = 160;
/// Shortest phase that must meet every condition.
const EXERCISED_MIN: Duration = Duration::from_secs(25);

/// Settings of one phase.
#[derive(Clone, Debug)]
pub(crate) struct RedisPhase {
    pub(crate) name: &'static str,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    /// Whether Redis loses events.
    pub(crate) loses: bool,
    pub(crate) extra_faults: Vec<ExtraFault>,
}

impl RedisPhase {
    /// Runs the phase in a directory of its own.
    pub(crate) async fn run(&self, binary: &Path, directory: &Path) -> PhaseReport {
        let counters = Arc::new(Counters::default());
        let nodes = NodeFault::ALL.map(NodeFault::as_str);
        let names = nodes.into_iter().chain(RedisFault::ALL.map(RedisFault::as_str)).chain([BLIND]);
        names.for_each(|name| counters.add_row(name, 0));
        let history = Arc::new(OperationHistory::new(channels()));
        let mut violations = match self.run_nodes(binary, directory, &history, &counters).await {
            Ok(violations) => violations,
            Err(text) => vec![Violation::restart(text)],
        };
        violations.extend(self.not_exercised(&counters));
        violations.extend((counters.value(BLIND) > 0).then(|| {
            Violation::new(
                ViolationKind::Stuck,
                "no node could be read while redis was full, though redis could",
            )
        }));
        let schedule = history.write_schedule(directory);
        if !violations.is_empty() {
            eprintln!("schedule of faults: {}", schedule.display());
        }
        let counters = Arc::into_inner(counters).expect("every task of the phase has ended");
        PhaseReport { name: self.name, counters, violations }
    }

    async fn run_nodes(
        &self,
        binary: &Path,
        directory: &Path,
        history: &Arc<OperationHistory>,
        counters: &Arc<Counters>,
    ) -> Result<Vec<Violation>, String> {
        let (mut redis, mut nodes) = start(binary, directory, history, counters).await?;
        let settings = PhaseClientSettings {
            nodes: redis.nodes.clone(),
            publishers: PUBLISHERS,
            readers: READERS,
            pad_max: PAD_MAX,
            seed: self.seed,
        };
        let mut clients = PhaseClients::start(settings, history, counters);
        let found = self.drive(&mut clients, &mut redis, &mut nodes).await;
        clients.shut_down().await;
        if !found.as_ref().is_ok_and(Vec::is_empty) {
            for (name, server) in [("redis-primary", &redis.primary), ("redis-replica", &redis.replica)] {
                copy_directory(server.directory(), &directory.join(name)).await;
            }
        }
        found
    }

    /// Injects faults, and then compares all observations with the log.
    async fn drive(
        &self,
        clients: &mut PhaseClients,
        redis: &mut RedisPair,
        nodes: &mut NodeSet,
    ) -> Result<Vec<Violation>, String> {
        let (history, counters) = (Arc::clone(&nodes.history), Arc::clone(&nodes.counters));
        let until = history.now() + self.time;
        // A node reports a loss only if it lives on: half of the seeds let nodes live longer.
        let pause_max = if self.loses && self.seed.is_multiple_of(2) { 8000 } else { 2000 };
        let (of_nodes, of_redis) = tokio::join!(
            nodes.inject(rng(self.seed, 1), until, pause_max, &self.extra_faults),
            redis.inject(rng(self.seed, 2), until, self.loses)
        );
        of_nodes.and(of_redis)?;
        history.note("no more faults");
        for server in &mut nodes.servers {
            server.until_ready().await?;
        }
        history.note("all nodes are ready");
        let (readers, mut violations) = clients.finish().await;
        let log = call_redis(&redis.primary, redis_log::read).await?;
        for (node, server) in nodes.servers.iter_mut().enumerate() {
            let losses = history.losses();
            let compared = node_history::compare(server.address(), node, &history.channels, &log, &losses);
            let compared = timeout(CLOSING_DEADLINE, compared).await;
            violations.extend(compared.map_err(|_| format!("history of node {node} was not read in time"))?);
            let ended = server.unasked_end().or(server.terminate().await.err()).or(server.panic());
            violations.extend(ended.map(|text| Violation::restart(format!("node {node}: {text}"))));
        }
        let result = NodesOracle::new(&history, log, readers, false).compare();
        counters.add_row("events lost by redis", result.lost);
        counters.add_row("losses to report", result.due);
        counters.add_row("gaps repeated", result.again);
        counters.add_row("gaps late", result.late);
        result.notes.iter().for_each(|note| history.note(note.as_str()));
        violations.extend(result.violations);
        Ok(violations)
    }

    fn not_exercised(&self, counters: &Counters) -> Vec<Violation> {
        let mut needed = vec![
            ("acknowledged events", get(&counters.acknowledged)),
            ("deliveries", get(&counters.deliveries)),
            ("resumes", get(&counters.resumes)),
        ];
        if self.time >= EXERCISED_MIN {
            needed.push(("killed nodes", counters.value(NodeFault::Kill.as_str())));
            let all = RedisFault::of(self.loses);
            needed.extend(all.iter().map(|fault| (fault.as_str(), counters.value(fault.as_str()))));
        }
        Violation::not_exercised(needed)
    }
}

/// Starts a Redis with a replica, and the nodes.
async fn start(
    binary: &Path,
    directory: &Path,
    history: &Arc<OperationHistory>,
    counters: &Arc<Counters>,
) -> Result<(RedisPair, NodeSet), String> {
    let started = tokio::task::spawn_blocking(|| {
        let primary = RedisServer::start_durable();
        let replica = RedisServer::start_durable();
        follow(&replica, &primary);
        let proxy = TcpProxy::start(primary.address());
        (Arc::new(primary), Arc::new(replica), proxy)
    });
    let (primary, replica, proxy) = started.await.map_err(|error| format!("redis: {error}"))?;
    let settings = [
        ("TIDINGS_REDIS_URL", proxy.redis_url()),
        ("TIDINGS_REDIS_DEADLINE", "2s".into()),
        ("TIDINGS_LOG_RETENTION_EVENTS", "10000000".into()),
        ("TIDINGS_LOG_RETENTION_BYTES", "4GiB".into()),
        // Frequent positions: cuts meet some of them.
        ("TIDINGS_STREAM_KEEP_ALIVE", "1s".into()),
    ];
    let mut servers = Vec::new();
    for node in 0..NODES {
        servers.push(HubServer::start(binary, &directory.join(format!("node-{node}")), &settings).await?);
    }
    let addresses = servers.iter().map(HubServer::address).collect();
    let (history, counters) = (Arc::clone(history), Arc::clone(counters));
    let nodes = NodeSet { servers, history: Arc::clone(&history), counters: Arc::clone(&counters) };
    Ok((RedisPair { primary, replica, proxy, nodes: addresses, history, counters }, nodes))
}
