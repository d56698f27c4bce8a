//! Figures of a hub beside other servers, from one run on one machine: servers on the first core, load on the second.
//! It prints figures and judges none; events that were lost, doubled or out of order end it with exit code 1.

mod chart;
mod event;
mod http;
mod parts;
mod report;
mod server;
mod swarm;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, ValueEnum};

use crate::{
    report::Table,
    server::{Kind, Programs},
};

/// What can go wrong in a program that only measures.
pub(crate) type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// 1,000 subscribers of one channel, paced and saturated.
    Fanout,
    /// Publishes/s on 2,000 channels of one subscriber each.
    Publish,
    /// Memory per idle connection.
    Memory,
    /// Subscribers that never read beside healthy ones.
    Stuck,
    /// CPU per delivery with more connections and more channels.
    Growth,
    /// System calls per delivery.
    Calls,
    /// Many clients that resume at once.
    Resume,
    /// Time to ready with 1,000,000 stored events.
    Restart,
    /// A hub at its retention limits beside a new one.
    Limits,
    /// Two nodes over one Redis, beside `redis-benchmark`.
    Redis,
    /// What the guides' own stack loses, beside two nodes.
    Guides,
}

/// Measures a hub beside an axum + tokio::broadcast server, and Nchan and Pushpin where they are installed.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// Parts to measure; all where none is named.
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// The hub's program; the one beside this if not given.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Another build of the hub, which `fanout` measures in turn with this one.
    #[arg(long)]
    before: Option<PathBuf>,
    /// Where servers keep their data; a temporary directory if not given.
    #[arg(long)]
    directory: Option<PathBuf>,
    /// Servers to measure, where a part compares several; all that are installed where none is named.
    #[arg(long, value_enum, value_delimiter = ',')]
    servers: Vec<Kind>,
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
    #[arg(long, default_value_t = 15_000)]
    pub(crate) connections: usize,
    /// Print Markdown, each part between marks of its own.
    #[arg(long)]
    markdown: bool,
    /// Draw a chart into this file, as SVG.
    #[arg(long)]
    chart: Option<PathBuf>,
}

impl Arguments {
    /// Whether this server is to be measured.
    pub(crate) fn is_asked(&self, kind: Kind) -> bool {
        let is_there = kind != Kind::Before || self.before.is_some();
        is_there && (self.servers.is_empty() || self.servers.contains(&kind))
    }
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
    let beside = |name: &str| std::env::current_exe().map(|this| this.with_file_name(name));
    let programs = Programs {
        server: arguments.server.clone().map_or_else(|| beside("tidings"), Ok)?,
        before: arguments.before.clone(),
        baseline: beside("baseline")?,
        floor: beside("floor")?,
        origin: beside("origin")?,
        directory: directory.clone(),
    };
    let ours = [&programs.server, &programs.baseline, &programs.floor, &programs.origin];
    for program in ours.into_iter().chain(&programs.before) {
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
    let (mut wrong, mut reach, mut panels) = (0, Vec::new(), Vec::new());
    for part in parts {
        let load = report::load()?;
        eprintln!("measuring: {part:?}, load {load}");
        let tables = part.measure(arguments, programs)?;
        let name = part.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        report::in_block(arguments.markdown, &name, || {
            report::print_machine()?;
            for table in &tables {
                table.print(&load, arguments.markdown)?;
            }
            Ok(())
        })?;
        for table in tables {
            wrong += table.errors.len();
            reach.extend(table.reach);
            panels.extend(table.panels);
        }
    }
    if !reach.is_empty() {
        report::in_block(arguments.markdown, "reach", || {
            report::print_machine()?;
            report::print_reach(&reach);
            Ok(())
        })?;
    }
    if let Some(file) = &arguments.chart {
        std::fs::write(file, chart::draw(&panels))?;
    }
    Ok(wrong)
}

impl Part {
    fn measure(self, arguments: &Arguments, programs: &Programs) -> Outcome<Vec<Table>> {
        Ok(match self {
            Self::Publish => parts::publish::measure(arguments, programs)?,
            Self::Fanout => parts::fanout::measure(arguments, programs)?,
            Self::Memory => vec![parts::memory::measure(arguments, programs)?],
            Self::Restart => vec![parts::restart::measure(arguments, programs)?],
            Self::Resume => parts::resume::measure(arguments, programs)?,
            Self::Limits => vec![parts::limits::measure(arguments, programs)?],
            Self::Stuck => vec![parts::stuck::measure(arguments, programs)?],
            Self::Growth => vec![parts::growth::measure(arguments, programs)?],
            Self::Redis => parts::redis::measure(arguments, programs)?,
            Self::Guides => vec![parts::guides::measure(arguments, programs)?],
            Self::Calls => vec![parts::calls::measure(arguments, programs)?],
        })
    }
}
