//! The checker: drives a real `tidings serve` with publishers, subscribers that are cut, and kills; tells every event
//! that was lost, doubled, reordered or missing without a word.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

mod history;
mod http;
mod nodes;
mod phase;
mod publisher;
mod report;
mod server;
mod subscriber;
mod truth;

use nodes::{DirectoryPhase, DirectoryTrouble, Extra, NodesPhase};
use phase::Phase;
use report::Report;
use truth::Gaps;

/// Newest events of a channel that are kept in the phase that trims.
const RETENTION_EVENTS: usize = 60;

/// Drives a real server and tells what the promise did not hold.
#[derive(Debug, Parser)]
#[command(name = "checker")]
struct Arguments {
    /// The `tidings` binary to drive.
    #[arg(long)]
    server: PathBuf,
    /// Drives three nodes over one Redis with a replica, instead of one server.
    #[arg(long)]
    redis: bool,
    /// Runs the phase `directory` alone, with these troubles; all of them where none is named.
    #[arg(long, value_enum, value_delimiter = ',', num_args = 0.., conflicts_with = "redis")]
    directory: Option<Vec<DirectoryTrouble>>,
    /// Faults besides those that always come, with `--redis`.
    #[arg(long, value_enum, requires = "redis", value_delimiter = ',')]
    with: Vec<Extra>,
    /// Keeps logs and data where all is well, too.
    #[arg(long)]
    keep: bool,
    /// Seconds of publishing, over all phases.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Seed of every choice; drawn and printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Which durability to check.
    #[arg(long, value_enum, default_value_t = Durability::All)]
    durability: Durability,
    /// Publishers at the same time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1000))]
    publishers: u32,
    /// Subscribers at the same time.
    #[arg(long, default_value_t = 60)]
    subscribers: usize,
    /// Channels; every third one takes priorities and keys.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    channels: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Durability {
    Interval,
    Fsync,
    Memory,
    All,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    println!("checker: seed {seed}");
    let server = match arguments.server.canonicalize() {
        Ok(server) => server,
        Err(error) => {
            eprintln!("server {} cannot be run: {error}; build it first", arguments.server.display());
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

async fn run(arguments: &Arguments, seed: u64, server: &Path, directory: &Path) -> Report {
    let mut report = Report { phases: Vec::new() };
    let show = std::io::stderr().is_terminal();
    if arguments.redis {
        for (name, loses) in [("redis", false), ("redis loses", true)] {
            let time = Duration::from_secs(arguments.seconds) / 2;
            let phase = NodesPhase {
                name,
                time,
                seed: seed.wrapping_add(loses.into()),
                loses,
                with: arguments.with.clone(),
            };
            report.phases.push(phase.run(server, &directory.join(name.replace(' ', "-"))).await);
        }
        return report;
    }
    let (phases, of_directory) = phases(arguments, seed);
    for phase in phases {
        report.phases.push(phase.run(server, &directory.join(phase.name), show).await);
    }
    if let Some(phase) = of_directory {
        report.phases.push(phase.run(server, &directory.join(phase.name)).await);
    }
    report
}

/// Returns the phases to run: one per durability, a short one with little retention, and one where the durability changes
/// unless a single one is to be checked.
fn phases(arguments: &Arguments, seed: u64) -> (Vec<Phase>, Option<DirectoryPhase>) {
    let of_directory = |time, troubles: &[DirectoryTrouble]| {
        let troubles = if troubles.is_empty() { &DirectoryTrouble::ALL } else { troubles };
        DirectoryPhase { name: "directory", time, seed, troubles: troubles.to_vec() }
    };
    let time = Duration::from_secs(arguments.seconds);
    if let Some(troubles) = &arguments.directory {
        return (Vec::new(), Some(of_directory(time, troubles)));
    }
    let all = [
        (Durability::Interval, "interval", Gaps::Never),
        (Durability::Fsync, "fsync", Gaps::Never),
        (Durability::Memory, "memory", Gaps::EachEpoch),
    ];
    let is_chosen =
        |durability| arguments.durability == Durability::All || arguments.durability == durability;
    let chosen: Vec<_> = all.into_iter().filter(|(durability, ..)| is_chosen(*durability)).collect();
    // The phase that trims is half as long as another, and so is that of the directory.
    let is_all = arguments.durability == Durability::All;
    let unit = time / (2 * u32::try_from(chosen.len()).unwrap_or(1) + 1 + u32::from(is_all));
    let phase = |name, durability, gaps, units: u32, has_restarts| Phase {
        name,
        durability,
        time: unit * units,
        seed: seed.wrapping_add(u64::from(units)).rotate_left(u32::try_from(str::len(name)).unwrap_or(0)),
        publishers: arguments.publishers,
        subscribers: arguments.subscribers,
        channels: arguments.channels as usize,
        has_restarts,
        gaps,
    };
    let mut phases: Vec<_> = chosen.iter().map(|&(_, name, gaps)| phase(name, name, gaps, 2, true)).collect();
    let gaps = Gaps::Trimmed { retention_events: RETENTION_EVENTS };
    // In memory a restart loses all, which would hide what trimming does.
    let (durability, has_restarts) = (chosen[0].1, chosen[0].0 != Durability::Memory);
    phases.push(phase("retention", durability, gaps, 1, has_restarts));
    (phases, is_all.then(|| of_directory(unit, &[])))
}
