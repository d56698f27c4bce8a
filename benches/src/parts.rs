//! What is measured, one module for each part.

pub(crate) mod fanout;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod publish;
pub(crate) mod restart;
pub(crate) mod resume;

use std::time::Duration;

use crate::{
    Arguments, Outcome,
    http::Http,
    report::{Table, count, median},
    server::{Kind, Programs, Server},
    swarm::Faults,
};

/// The figures of one turn of one server; which they are is the part's affair.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) figures: Vec<f64>,
    pub(crate) faults: Faults,
}

/// Lets the servers take turns, and gives the samples of each, in order.
pub(crate) fn in_turn(
    kinds: &[Kind],
    rounds: usize,
    mut slice: impl FnMut(Kind, usize) -> Outcome<Sample>,
) -> Outcome<Vec<Vec<Sample>>> {
    let mut samples = vec![Vec::new(); kinds.len()];
    for round in 0..rounds {
        for (samples, kind) in samples.iter_mut().zip(kinds) {
            let sample = slice(*kind, round)?;
            eprintln!("  {}: {:.1?} {}", kind.name(), sample.figures, fault_text(&sample.faults));
            samples.push(sample);
        }
    }
    Ok(samples)
}

/// Lets `count` things take turns, and gives the figures of each, in order.
pub(crate) fn in_turn_of<const FIGURES: usize>(
    count: usize,
    rounds: usize,
    mut slice: impl FnMut(usize) -> Outcome<[f64; FIGURES]>,
) -> Outcome<Vec<Vec<[f64; FIGURES]>>> {
    let mut samples = vec![Vec::new(); count];
    for _ in 0..rounds {
        for (at, samples) in samples.iter_mut().enumerate() {
            let figures = slice(at)?;
            eprintln!("  {at}: {figures:.1?}");
            samples.push(figures);
        }
    }
    Ok(samples)
}

/// A hub on disk that holds events `0..` on each of the channels `busy.0` to `busy.999`, and an id from before them.
pub(crate) fn full_hub(arguments: &Arguments, programs: &Programs, name: &str) -> Outcome<(Server, String)> {
    let server = Server::start(programs, Kind::Interval, name, &[])?;
    let mut http = Http::connect(server.address)?;
    let first = http.fill([("start".to_owned(), 0)].into_iter())?;
    http.fill((0..arguments.events).map(|at| (format!("busy.{}", at % 1_000), at / 1_000)))?;
    Ok((server, first))
}

/// One row for each server: the median of each figure, and of its ratio to the last server's in the same round.
pub(crate) fn compare(table: &mut Table, kinds: &[Kind], samples: &[Vec<Sample>]) {
    let last = &samples[samples.len() - 1];
    for (kind, samples) in kinds.iter().zip(samples) {
        let mut row = vec![kind.name().to_owned()];
        for at in 0..samples[0].figures.len() {
            let figure = median(samples.iter().map(|sample| sample.figures[at]));
            let ratio =
                median(samples.iter().zip(last).map(|(one, other)| one.figures[at] / other.figures[at]));
            row.push(format!("{} ({ratio:.2})", figure_text(figure)));
        }
        let faults = samples.iter().fold(Faults::default(), |sum, sample| Faults {
            lost: sum.lost + sample.faults.lost,
            repeated: sum.repeated + sample.faults.repeated,
            gaps: sum.gaps + sample.faults.gaps,
            closed: sum.closed + sample.faults.closed,
        });
        row.push(fault_text(&faults));
        // The baseline and the floor promise nothing, so what they lose is a figure.
        if !matches!(kind, Kind::Baseline | Kind::Floor) && !faults.is_none() {
            table.errors.push(format!("{}: {}", kind.name(), fault_text(&faults)));
        }
        table.row(row);
    }
}

pub(crate) fn figure_text(value: f64) -> String {
    if value < 100.0 { format!("{value:.1}") } else { count(value) }
}

pub(crate) fn fault_text(faults: &Faults) -> String {
    if faults.is_none() {
        return "none".into();
    }
    let Faults { lost, repeated, gaps, closed } = faults;
    format!("lost {lost}, repeated {repeated}, gaps {gaps}, closed {closed}")
}

pub(crate) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
