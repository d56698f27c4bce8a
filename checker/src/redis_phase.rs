//! The phase with three nodes over one Redis with a replica: faults of nodes and Redis, and the comparison.

mod node_faults;
mod redis_faults;
mod redis_log;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidings_testkit::{RedisServer, TcpProxy};

use crate::client_context::{ClientSettings, lossy_channels};
use crate::counters::Counters;
use crate::disk::copy_directory;
use crate::history::History;
use crate::hub_server::HubServer;
use crate::node_history;
use crate::oracle::{ComparisonResult, LogRecord, LossRule};
use crate::phase::{Cluster, PhaseRun};
use crate::random::rng;
use crate::report::PhaseReport;
use crate::violation::{Violation, ViolationKind};

pub(crate) use node_faults::ExtraFault;
use node_faults::NodeFault;
use redis_faults::{BLIND, RedisFault, RedisPair};
use redis_log::follow;

const NODES: usize = 3;
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
        let run = PhaseRun {
            name: self.name,
            time: self.time,
            rule: LossRule::Injected { is_alone: false },
            clients: ClientSettings::of_lossy_phase(self.seed),
            history: Arc::new(History::new(lossy_channels(), false)),
            counters: Arc::clone(&counters),
        };
        let result = self.run_nodes(binary, directory, &run).await;
        let result = result.unwrap_or_else(|text| ComparisonResult {
            violations: vec![Violation::process_fault(text)],
            ..ComparisonResult::default()
        });
        counters.add_row("events lost by redis", result.lost);
        counters.add_row("losses to report", result.due);
        counters.add_row("gaps repeated", result.again);
        counters.add_row("gaps late", result.late);
        let mut violations = result.violations;
        violations.extend(self.not_exercised(&counters));
        if counters.value(BLIND) > 0 {
            let text = "no node could be read while redis was full, though redis could";
            violations.push(Violation::new(ViolationKind::Stuck, text));
        }
        run.write_schedule(&violations, directory);
        PhaseReport { name: self.name, counters, violations }
    }

    async fn run_nodes(
        &self,
        binary: &Path,
        directory: &Path,
        run: &PhaseRun,
    ) -> Result<ComparisonResult, String> {
        let (primary, replica, proxy) = block(|| {
            let primary = RedisServer::start_durable();
            let replica = RedisServer::start_durable();
            follow(&replica, &primary);
            let proxy = TcpProxy::start(primary.address());
            (primary, replica, proxy)
        })
        .await?;
        let settings = [
            ("TIDINGS_REDIS_URL", proxy.redis_url()),
            ("TIDINGS_REDIS_DEADLINE", "2s".into()),
            ("TIDINGS_LOG_RETENTION_EVENTS", "10000000".into()),
            ("TIDINGS_LOG_RETENTION_BYTES", "4GiB".into()),
        ];
        let mut servers = Vec::new();
        for node in 0..NODES {
            let directory = directory.join(format!("node-{node}"));
            servers.push(HubServer::start(binary, &directory, None, &settings).await?);
        }
        let nodes = servers.iter().map(|server| server.address).collect();
        let (history, counters) = (Arc::clone(&run.history), Arc::clone(&run.counters));
        let redis = RedisPair { primary, replica, proxy, nodes, history, counters };
        let redis = Arc::new(Mutex::new(redis));
        let mut cluster = RedisCluster { redis: Arc::clone(&redis), servers, phase: self };
        let result = run.drive(&mut cluster).await;
        if !result.violations.is_empty() {
            let redis = redis.lock().unwrap_or_else(PoisonError::into_inner);
            for (name, server) in [("redis-primary", &redis.primary), ("redis-replica", &redis.replica)] {
                copy_directory(server.directory(), &directory.join(name));
            }
        }
        Ok(result)
    }

    fn not_exercised(&self, counters: &Counters) -> Vec<Violation> {
        let mut needed = counters.traffic();
        if self.time >= EXERCISED_MIN {
            let faults = RedisFault::of(self.loses).iter().map(|fault| fault.as_str());
            let faults = faults.chain([NodeFault::Kill.as_str()]);
            needed.extend(faults.map(|fault| (fault.to_owned(), counters.value(fault))));
        }
        Violation::not_exercised(needed)
    }
}

/// The nodes and their Redis.
struct RedisCluster<'a> {
    redis: Arc<Mutex<RedisPair>>,
    servers: Vec<HubServer>,
    phase: &'a RedisPhase,
}

impl Cluster for RedisCluster<'_> {
    fn servers(&mut self) -> &mut [HubServer] {
        &mut self.servers
    }

    async fn inject_faults(&mut self, run: &PhaseRun) -> Result<(), String> {
        let RedisPhase { time, seed, loses, ref extra_faults, .. } = *self.phase;
        let until = run.history.now() + time;
        // A node reports a loss only if it lives on: half of the seeds let nodes live longer.
        let pause_max = if loses && seed.is_multiple_of(2) { 8000 } else { 2000 };
        let nodes = node_faults::inject(&mut self.servers, run, rng(seed, 1), until, pause_max, extra_faults);
        let redis_rng = rng(seed, 2);
        let redis = call_redis(&self.redis, move |redis| redis.inject(redis_rng, until, loses));
        let (of_nodes, of_redis) = tokio::join!(nodes, redis);
        of_nodes.and(of_redis)
    }

    /// Reads the log in Redis, and compares the histories of every node with it.
    async fn read_log(&mut self, run: &PhaseRun) -> Result<(Vec<LogRecord>, Vec<Violation>), String> {
        let log = call_redis(&self.redis, |redis| redis_log::read(&redis.primary)).await?;
        let mut violations = Vec::new();
        for (node, server) in self.servers.iter().enumerate() {
            let (found, of_node) = node_history::read_log(server.address, &run.history).await;
            violations.extend(of_node);
            violations.extend(node_history::compare(node, &found, &log, &run.history));
        }
        Ok((log, violations))
    }
}

/// Runs calls of Redis on a blocking thread. A panic of the calls becomes an error.
async fn block<T: Send + 'static>(calls: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(calls).await.map_err(|error| format!("redis: {error}"))
}

async fn call_redis<T: Send + 'static>(
    redis: &Arc<Mutex<RedisPair>>,
    calls: impl FnOnce(&mut RedisPair) -> T + Send + 'static,
) -> Result<T, String> {
    let redis = Arc::clone(redis);
    block(move || calls(&mut redis.lock().unwrap_or_else(PoisonError::into_inner))).await
}
