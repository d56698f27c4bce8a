//! Figures of a hub beside other servers, from one run on one machine: servers on the first core, load on the second.
//!
//! It prints figures. Lost, repeated or reordered events of the hub make its exit code 1.

mod arguments;
mod benchmarks;
mod chart;
mod comparison;
mod context;
mod faults;
mod fleet;
mod numbers;
mod prelude;
mod requests;
mod result;
mod server;
mod server_kind;
mod table;

use std::fs;
use std::process::{Command, ExitCode};

use clap::{Parser, ValueEnum};

use crate::arguments::{BenchArguments, Benchmark};
use crate::context::BenchContext;
use crate::result::BenchResult;

fn main() -> ExitCode {
    match run(BenchArguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: BenchArguments) -> BenchResult<()> {
    let context = BenchContext::new(arguments)?;
    // The servers run on the first core.
    let pinned = Command::new("taskset").args(["-pc", "1", &std::process::id().to_string()]).output()?;
    if !pinned.status.success() {
        return Err("this takes two cores: one for the server, one for the load".into());
    }
    fs::create_dir_all(&context.directory)?;
    let measured = measure(&context);
    fs::remove_dir_all(&context.directory)?;
    match measured? {
        0 => Ok(()),
        count => Err(format!("{count} counts were wrong, see above").into()),
    }
}

/// Prints the tables of each benchmark; returns the number of wrong counts.
fn measure(context: &BenchContext) -> BenchResult<usize> {
    let arguments = &context.arguments;
    let all = Benchmark::value_variants();
    let chosen = if arguments.benchmarks.is_empty() { all } else { &arguments.benchmarks };
    let (mut wrong, mut targets, mut panels) = (0, Vec::new(), Vec::new());
    for benchmark in chosen {
        let load = table::load_average()?;
        let name = benchmark.to_possible_value();
        let name = name.map_or_else(String::new, |value| value.get_name().to_owned());
        eprintln!("measuring: {name}, load {load}");
        let tables = benchmarks::measure(*benchmark, context)?;
        table::in_block(arguments.markdown, &name, || {
            tables.iter().try_for_each(|table| table.print(&load, arguments.markdown))
        })?;
        for table in tables {
            wrong += table.errors.len();
            targets.extend(table.targets);
            panels.extend(table.panels);
        }
    }
    if !targets.is_empty() {
        table::in_block(arguments.markdown, "targets", || {
            table::print_targets(&targets);
            Ok(())
        })?;
    }
    if let Some(file) = &arguments.chart {
        fs::write(file, chart::draw(&panels))?;
    }
    Ok(wrong)
}
