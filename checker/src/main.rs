//! The checker: drives a real `tidings serve` with publishers, subscribers that are cut, and kills; reports every event
//! that was lost, duplicated, reordered, or missing without a gap.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

mod client_context;
mod clients;
mod counters;
mod directory_phase;
mod disk;
mod history;
mod http;
mod hub_phase;
mod hub_server;
mod named_enum;
mod node_history;
mod observation;
mod oracle;
mod phase;
mod publisher;
mod random;
mod reader;
mod redis_phase;
mod report;
mod stream_plan;
mod violation;

use directory_phase::{DirectoryFault, DirectoryPhase};
use hub_phase::HubPhase;
use oracle::LossRule;
use redis_phase::{ExtraFault, RedisPhase};
use report::CheckerReport;

/// Retention of the phase that trims, in events of a channel.
const RETENTION_EVENTS: usize = 60;

/// Drives a real server and reports violations of its promise.
#[derive(Debug, Parser)]
#[command(name = "checker")]
struct CheckerArguments {
    /// The `tidings` binary to drive.
    #[arg(long)]
    server: PathBuf,
    /// Drives three nodes over one Redis with a replica, instead of one server.
    #[arg(long)]
    redis: bool,
    /// Runs the phase `directory` alone, with these faults; all by default.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 0.., conflicts_with = "redis")]
    directory: Option<Vec<DirectoryFault>>,
    /// Further faults, with `--redis`.
    #[arg(long, value_enum, requires = "redis", value_delimiter = ',')]
    with: Vec<ExtraFault>,
    /// Keeps logs and data also without violations.
    #[arg(long)]
    keep: bool,
    /// Seconds of publishing, over all phases.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of every random choice; drawn and printed by default.
    #[arg(long)]
    seed: Option<u64>,
    /// Durability to check.
    #[arg(long, value_parser = ["interval", "fsync", "memory", "all"], default_value = "all")]
    durability: String,
    /// Concurrent publishers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    publishers: u32,
    /// Concurrent subscribers.
    #[arg(long, default_value_t = 60)]
    subscribers: usize,
    /// Channels; every third one has priorities and keys.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    channels: u32,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = CheckerArguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("checker: seed {seed}");
    let server = match arguments.server.canonicalize() {
        Ok(server) => server,
        Err(error) => {
            eprintln!("server not found: {}: {error}; build it first", arguments.server.display());
            return ExitCode::from(2);
        }
    };
    let directory = std::env::temp_dir().join(format!("tidings-checker-{}-{seed}", std::process::id()));
    let report = run(&arguments, seed, &server, &directory).await;
    println!("{report}");
    let (_, failed) = report.passed_and_failed();
    if failed > 0 || arguments.keep {
        eprintln!("server logs and data are kept in {}", directory.display());
        return if failed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    if let Err(error) = std::fs::remove_dir_all(&directory) {
        eprintln!("{} cannot be removed: {error}", directory.display());
    }
    ExitCode::SUCCESS
}

async fn run(arguments: &CheckerArguments, seed: u64, server: &Path, directory: &Path) -> CheckerReport {
    let mut report = CheckerReport { phases: Vec::new() };
    if arguments.redis {
        for (name, loses) in [("redis", false), ("redis loses", true)] {
            let time = Duration::from_secs(arguments.seconds) / 2;
            let phase = RedisPhase {
                name,
                time,
                seed: seed.wrapping_add(loses.into()),
                loses,
                extra_faults: arguments.with.clone(),
            };
            report.phases.push(phase.run(server, &directory.join(name.replace(' ', "-"))).await);
        }
        return report;
    }
    let (phases, of_directory) = phases(arguments, seed);
    for phase in phases {
        report.phases.push(phase.run(server, &directory.join(phase.name)).await);
    }
    if let Some(phase) = of_directory {
        report.phases.push(phase.run(server, &directory.join(phase.name)).await);
    }
    report
}

/// Returns the phases to run: one per durability, a short one with little retention, and the directory phase if every
/// durability is checked.
fn phases(arguments: &CheckerArguments, seed: u64) -> (Vec<HubPhase>, Option<DirectoryPhase>) {
    let of_directory = |time, faults: &[DirectoryFault]| {
        let faults = if faults.is_empty() { &DirectoryFault::ALL } else { faults };
        DirectoryPhase { name: "directory", time, seed, faults: faults.to_vec() }
    };
    let time = Duration::from_secs(arguments.seconds);
    if let Some(faults) = &arguments.directory {
        return (Vec::new(), Some(of_directory(time, faults)));
    }
    let is_all = arguments.durability == "all";
    let mut chosen =
        vec![("interval", LossRule::Never), ("fsync", LossRule::Never), ("memory", LossRule::EachEpoch)];
    chosen.retain(|(durability, _)| is_all || *durability == arguments.durability);
    // The retention and directory phases are half as long as the others.
    let unit = time / (2 * u32::try_from(chosen.len()).unwrap_or(1) + 1 + u32::from(is_all));
    let phase = |name, durability, rule, units: u32, has_restarts| HubPhase {
        name,
        durability,
        time: unit * units,
        seed: seed.wrapping_add(u64::from(units)).rotate_left(u32::try_from(str::len(name)).unwrap_or(0)),
        publishers: arguments.publishers,
        readers: arguments.subscribers,
        channels: arguments.channels as usize,
        has_restarts,
        rule,
    };
    let mut phases: Vec<_> = chosen.iter().map(|&(name, rule)| phase(name, name, rule, 2, true)).collect();
    let rule = LossRule::Trimmed { retention_events: RETENTION_EVENTS };
    // In memory a restart loses all events, which would hide the trimming.
    let (durability, has_restarts) = (chosen[0].0, chosen[0].0 != "memory");
    phases.push(phase("retention", durability, rule, 1, has_restarts));
    (phases, is_all.then(|| of_directory(unit, &[])))
}
