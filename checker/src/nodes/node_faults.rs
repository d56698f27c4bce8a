//! Faults of nodes: kills, shutdowns, stops and wrong clocks, drawn from a seed.

use std::sync::Arc;

use clap::ValueEnum;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use tokio::time::sleep;

use super::history::{NodeOutage, OperationHistory, PhaseTime};
use crate::counters::Counters;
use crate::random::{draw_stop, millis};
use crate::server::HubServer;

/// Clock offsets: beyond retention, and below a window of three minutes either way.
const CLOCK_OFFSETS: [&str; 4] = ["+25h", "-3m", "+3m", "+0"];

/// Faults that run only on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExtraFault {
    /// Nodes start with wrong clocks.
    ClockSkew,
}

/// A fault of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeFault {
    Kill,
    Terminate,
    Stop,
    /// Restart with another clock.
    Skew,
}

impl NodeFault {
    pub(super) const ALL: [Self; 4] = [Self::Kill, Self::Terminate, Self::Stop, Self::Skew];
    /// Faults of one round; their order is random.
    const ROUND: [Self; 6] = [Self::Kill, Self::Kill, Self::Kill, Self::Terminate, Self::Stop, Self::Stop];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Kill => "node killed",
            Self::Terminate => "node ended",
            Self::Stop => "node stopped",
            Self::Skew => "node with other clock",
        }
    }
}

/// The nodes of a phase.
pub(super) struct NodeSet {
    pub(super) servers: Vec<HubServer>,
    pub(super) history: Arc<OperationHistory>,
    pub(super) counters: Arc<Counters>,
}

impl NodeSet {
    /// Injects faults until `until`, with pauses of `pause_max` milliseconds at most.
    ///
    /// # Errors
    /// A fault could not be injected.
    pub(super) async fn inject(
        &mut self,
        mut rng: StdRng,
        until: PhaseTime,
        pause_max: u64,
        extra: &[ExtraFault],
    ) -> Result<(), String> {
        let skew = extra.contains(&ExtraFault::ClockSkew).then_some(NodeFault::Skew);
        let mut left: Vec<_> = skew.into_iter().chain([NodeFault::Kill]).collect();
        loop {
            sleep(millis(&mut rng, pause_max / 4, pause_max)).await;
            if self.history.now() >= until {
                return Ok(());
            }
            if left.is_empty() {
                left = NodeFault::ROUND.to_vec();
                left.extend(skew);
            }
            let fault = left.swap_remove(rng.random_range(0..left.len()));
            let node = rng.random_range(0..self.servers.len());
            self.inject_one(&mut rng, fault, node).await?;
        }
    }

    async fn inject_one(&mut self, rng: &mut StdRng, fault: NodeFault, node: usize) -> Result<(), String> {
        let server = &mut self.servers[node];
        if let Some(end) = server.unasked_end() {
            return Err(format!("node {node} {end}"));
        }
        self.counters.increment(fault.as_str());
        self.history.note(format!("{} {node}", fault.as_str()));
        let keeps_memory = fault == NodeFault::Stop;
        self.history.add_outage(NodeOutage { node, begun: self.history.now(), keeps_memory });
        match fault {
            NodeFault::Stop => {
                server.signal(Signal::STOP)?;
                sleep(draw_stop(rng)).await;
                server.signal(Signal::CONT)?;
            }
            NodeFault::Kill => server.kill().await?,
            NodeFault::Skew => {
                server.kill().await?;
                let skews = self.counters.value(fault.as_str());
                let offset = CLOCK_OFFSETS[(skews as usize - 1) % CLOCK_OFFSETS.len()];
                self.history.note(format!("clock of node {node}: offset {offset}"));
                server.set_clock_offset(offset)?;
            }
            NodeFault::Terminate => {
                server.terminate().await.map_err(|error| format!("node {node} {error}"))?;
            }
        }
        if !keeps_memory {
            sleep(millis(rng, 0, 400)).await;
            server.start_again()?;
        }
        self.history.note(format!("node {node} continues"));
        Ok(())
    }
}
