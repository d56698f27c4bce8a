//! Figures of a hub beside the baseline, from one run on one machine: servers on the first core, load on the second.
//! It prints figures and judges none; events that were lost, doubled or out of order end it with exit code 1.

mod event;
mod http;
mod parts;
mod report;
mod server;
mod swarm;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use crate::server::Programs;

/// What can go wrong in a program that only measures.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Publishes/s on 2,000 channels of one subscriber each.
    Publish,
    /// 1,000 subscribers of one channel, paced and saturated.
    Fanout,
    /// Memory per idle connection.
    Memory,
    /// Time to ready with 1,000,000 stored events.
    Restart,
    /// Many clients that resume at once.
    Resume,
    /// A hub at its retention limits beside a new one.
    Limits,
}

/// Measures a hub beside an axum + tokio::broadcast server.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Parts to measure; all where none is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// The hub's program.
    #[arg(long, default_value = "target/release/tidings")]
    server: PathBuf,
    /// Where servers keep their data; a temporary directory if not given.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Rounds in which the servers take turns.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) slice: f64,
    /// Seconds that a hub is kept at its limits; 600 to see what ten minutes do.
    #[arg(long, default_value_t = 20)]
    pub(crate) seconds: u64,
    /// Events that a full hub holds, a multiple of 1,000.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) events: u64,
    /// Clients that resume at once.
    #[arg(long, default_value_t = 5_000)]
    pub(crate) clients: usize,
    /// Connections that memory is measured with.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) connections: usize,
    /// Print titles as Markdown headings.
    #[arg(long)]
    markdown: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let directory = arguments
        .directory
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("tidings-benches-{}", std::process::id())));
    std::fs::create_dir_all(&directory)?;
    let programs = Programs {
        server: arguments.server.clone(),
        baseline: std::env::current_exe()?.with_file_name("baseline"),
        floor: std::env::current_exe()?.with_file_name("floor"),
        directory: directory.clone(),
    };
    for program in [&programs.server, &programs.baseline, &programs.floor] {
        if !program.exists() {
            let hint = "build both by `cargo build --release -p tidings-server -p benches`";
            return Err(format!("{} is not there; {hint}", program.display()).into());
        }
    }
    report::pin_to_second_core()?;
    let measured = measure(arguments, &programs);
    std::fs::remove_dir_all(&directory)?;
    match measured? {
        0 => Ok(()),
        count => Err(format!("{count} counts were wrong, see above").into()),
    }
}

/// Prints each part's tables as soon as they are known; returns how many counts were wrong.
fn measure(arguments: &Arguments, programs: &Programs) -> Outcome<usize> {
    let parts = if arguments.parts.is_empty() { Part::value_variants() } else { &arguments.parts };
    report::print_machine()?;
    let mut wrong = 0;
    for part in parts {
        let load = report::load()?;
        eprintln!("measuring: {part:?}, load {load}");
        let tables = match part {
            Part::Publish => parts::publish::measure(arguments, programs)?,
            Part::Fanout => parts::fanout::measure(arguments, programs)?,
            Part::Memory => vec![parts::memory::measure(arguments, programs)?],
            Part::Restart => vec![parts::restart::measure(arguments, programs)?],
            Part::Resume => parts::resume::measure(arguments, programs)?,
            Part::Limits => vec![parts::limits::measure(arguments, programs)?],
        };
        for table in tables {
            table.print(&load, arguments.markdown)?;
            wrong += table.errors.len();
        }
    }
    Ok(wrong)
}
