//! State of a run: its connections, its load and its measurements.

use std::time::Instant;

use tidings_load::ClientFleet;

use super::plan::BenchPlan;
use super::process_monitor::ProcessMonitor;
use super::publish_load::PublishLoad;
use super::statistics::Failures;
use super::streams::StreamPool;

/// State of one run.
pub(super) struct BenchState {
    pub(super) plan: BenchPlan,
    pub(super) fleet: ClientFleet,
    pub(super) load: PublishLoad,
    pub(super) streams: StreamPool,
    pub(super) publish_failures: Failures,
    pub(super) monitor: ProcessMonitor,
    /// Whether the run ended early because the server had gone.
    pub(super) is_server_gone: bool,
}

/// Counts at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct CountsSnapshot {
    pub(super) at: Instant,
    pub(super) requests: u64,
    pub(super) events: u64,
    pub(super) received: u64,
}

impl BenchState {
    /// Creates the publishers; streams are begun later.
    ///
    /// # Errors
    /// The system error of the poll.
    pub(super) fn new(plan: BenchPlan) -> Result<Self, String> {
        let mut fleet = ClientFleet::new(plan.run, plan.channels as usize, plan.publishers)
            .map_err(|error| format!("cannot watch sockets: {error}"))?;
        Ok(Self {
            load: PublishLoad::new(&plan, &mut fleet),
            streams: StreamPool::new(&plan),
            publish_failures: Failures::default(),
            monitor: ProcessMonitor::new(plan.processes.clone()),
            is_server_gone: false,
            fleet,
            plan,
        })
    }

    /// Returns the counts up to now.
    pub(super) fn snapshot(&self) -> CountsSnapshot {
        CountsSnapshot {
            at: Instant::now(),
            requests: self.load.sent,
            events: self.load.events,
            received: self.fleet.counts.received,
        }
    }
}
