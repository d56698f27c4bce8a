//! Figures of a hub beside other servers, from one run on one machine: servers on the first core, load on the second.
//!
//! It prints figures. Lost, repeated or reordered events of the hub make its exit code 1.

mod arguments;
mod benchmarks;
mod chart;
mod client_fleet;
mod event;
mod numbers;
mod report;
mod requests;
mod result;
mod server;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::{
    arguments::{BenchArguments, Benchmark},
    report::FigureTable,
    result::BenchResult,
    server::Programs,
};

fn main() -> ExitCode {
    match run(&BenchArguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &BenchArguments) -> BenchResult<()> {
    let BenchArguments { server, before, directory, .. } = arguments.clone();
    let programs = Programs::find(server, before, directory)?;
    report::pin_to_second_core()?;
    std::fs::create_dir_all(&programs.directory)?;
    let measured = measure(arguments, &programs);
    std::fs::remove_dir_all(&programs.directory)?;
    match measured? {
        0 => Ok(()),
        count => Err(format!("{count} counts were wrong, see above").into()),
    }
}

/// Prints the tables of each benchmark; returns the number of wrong counts.
fn measure(arguments: &BenchArguments, programs: &Programs) -> BenchResult<usize> {
    let all = Benchmark::value_variants();
    let chosen = if arguments.benchmarks.is_empty() { all } else { &arguments.benchmarks };
    let (mut wrong, mut targets, mut panels) = (0, Vec::new(), Vec::new());
    for benchmark in chosen {
        let load = report::load()?;
        let name =
            benchmark.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        eprintln!("measuring: {name}, load {load}");
        let tables = tables(*benchmark, arguments, programs)?;
        report::in_block(arguments.markdown, &name, || {
            report::print_machine()?;
            tables.iter().try_for_each(|table| table.print(&load, arguments.markdown))
        })?;
        for table in tables {
            wrong += table.errors.len();
            targets.extend(table.targets);
            panels.extend(table.panels);
        }
    }
    if !targets.is_empty() {
        report::in_block(arguments.markdown, "targets", || {
            report::print_machine()?;
            report::print_targets(&targets);
            Ok(())
        })?;
    }
    if let Some(file) = &arguments.chart {
        std::fs::write(file, chart::draw(&panels))?;
    }
    Ok(wrong)
}

fn tables(
    benchmark: Benchmark,
    arguments: &BenchArguments,
    programs: &Programs,
) -> BenchResult<Vec<FigureTable>> {
    Ok(match benchmark {
        Benchmark::Fanout => benchmarks::fanout::measure(arguments, programs)?,
        Benchmark::Publish => benchmarks::publish::measure(arguments, programs)?,
        Benchmark::Memory => vec![benchmarks::memory::measure(arguments, programs)?],
        Benchmark::SlowConsumers => vec![benchmarks::slow_consumers::measure(arguments, programs)?],
        Benchmark::Growth => vec![benchmarks::growth::measure(arguments, programs)?],
        Benchmark::Syscalls => vec![benchmarks::syscalls::measure(arguments, programs)?],
        Benchmark::Resume => benchmarks::resume::measure(arguments, programs)?,
        Benchmark::Restart => vec![benchmarks::restart::measure(arguments, programs)?],
        Benchmark::Retention => vec![benchmarks::retention::measure(arguments, programs)?],
        Benchmark::Redis => benchmarks::redis::measure(arguments, programs)?,
        Benchmark::Fastapi => vec![benchmarks::fastapi::measure(arguments, programs)?],
    })
}
