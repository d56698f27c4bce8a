//! Faults of nodes: kills, shutdowns, stops and wrong clocks, drawn from a seed.

use clap::ValueEnum;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::history::{NodeOutage, PhaseTime};
use crate::hub_server::HubServer;
use crate::named_enum::named_enum;
use crate::phase::PhaseRun;
use crate::random::{draw_stop, millis};

/// Clock offsets: beyond retention, and below a window of three minutes either way.
const CLOCK_OFFSETS: [&str; 4] = ["+25h", "-3m", "+3m", "+0"];

/// Faults that run only on request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExtraFault {
    /// Nodes start with wrong clocks.
    ClockSkew,
}

named_enum! {
    /// A fault of a node.
    pub(super) enum NodeFault {
        Kill = "node killed",
        Terminate = "node ended",
        Stop = "node stopped",
        /// Restart with another clock.
        Skew = "node with other clock",
    }
}

/// Faults of one round; their order is random.
const ROUND: [NodeFault; 6] = [
    NodeFault::Kill,
    NodeFault::Kill,
    NodeFault::Kill,
    NodeFault::Terminate,
    NodeFault::Stop,
    NodeFault::Stop,
];

/// Injects faults until `until`, with pauses of `pause_max` milliseconds at most.
pub(super) async fn inject(
    servers: &mut [HubServer],
    run: &PhaseRun,
    mut rng: StdRng,
    until: PhaseTime,
    pause_max: u64,
    extra: &[ExtraFault],
) -> Result<(), String> {
    let skew = extra.contains(&ExtraFault::ClockSkew).then_some(NodeFault::Skew);
    let mut left: Vec<_> = skew.into_iter().chain([NodeFault::Kill]).collect();
    loop {
        sleep(millis(&mut rng, pause_max / 4, pause_max)).await;
        if run.history.now() >= until {
            return Ok(());
        }
        if left.is_empty() {
            left = ROUND.to_vec();
            left.extend(skew);
        }
        let fault = left.swap_remove(rng.random_range(0..left.len()));
        let node = rng.random_range(0..servers.len());
        let injected = inject_one(&mut servers[node], run, &mut rng, fault, node).await;
        injected.map_err(|error| format!("node {node}: {error}"))?;
    }
}

async fn inject_one(
    server: &mut HubServer,
    run: &PhaseRun,
    rng: &mut StdRng,
    fault: NodeFault,
    node: usize,
) -> Result<(), String> {
    if let Some(end) = server.unasked_end() {
        return Err(end);
    }
    let (history, counters) = (&run.history, &run.counters);
    counters.increment(fault.as_str());
    history.note(format!("{} {node}", fault.as_str()));
    let keeps_memory = fault == NodeFault::Stop;
    history.add_outage(NodeOutage { node, begun: history.now(), keeps_memory });
    match fault {
        NodeFault::Stop => {
            server.signal(Signal::STOP)?;
            sleep(draw_stop(rng)).await;
            server.signal(Signal::CONT)?;
        }
        NodeFault::Kill => server.kill(),
        NodeFault::Skew => {
            server.kill();
            let skews = counters.value(fault.as_str());
            let offset = CLOCK_OFFSETS[(skews as usize - 1) % CLOCK_OFFSETS.len()];
            history.note(format!("clock of node {node}: offset {offset}"));
            server.set_clock_offset(offset)?;
        }
        NodeFault::Terminate => server.terminate().await?,
    }
    if !keeps_memory {
        sleep(millis(rng, 0, 400)).await;
        server.start_again()?;
    }
    history.note(format!("node {node} continues"));
    Ok(())
}
