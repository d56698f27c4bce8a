//! What is measured, one module for each part.

pub(crate) mod calls;
pub(crate) mod fanout;
pub(crate) mod growth;
pub(crate) mod guides;
pub(crate) mod limits;
pub(crate) mod memory;
pub(crate) mod publish;
pub(crate) mod redis;
pub(crate) mod restart;
pub(crate) mod resume;
pub(crate) mod stuck;
mod turns;

use std::time::Duration;

pub(crate) use self::turns::{Sample, Turns};
use crate::{
    Arguments, Outcome,
    http::Http,
    report::count,
    server::{Kind, Programs, Server},
    swarm::Faults,
};

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
