//! Rounds of several servers: medians of their figures, and of the ratios within each round.

use crate::{
    arguments::BenchArguments,
    chart::ChartPanel,
    client_fleet::DeliveryFaults,
    numbers::{figure_text, median},
    report::FigureTable,
    result::BenchResult,
    server::ServerKind,
};

/// Figures of one turn of one server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) figures: Vec<f64>,
    pub(crate) faults: DeliveryFaults,
}

/// Samples of all servers.
pub(crate) struct ServerRounds {
    /// Samples of each server in order, or the reason for their absence.
    runs: Vec<(ServerKind, Result<Vec<Sample>, String>)>,
}

impl ServerRounds {
    /// Measures the servers in turn. A foreign server that fails is not measured again.
    pub(crate) fn take(
        kinds: &[ServerKind],
        arguments: &BenchArguments,
        mut slice: impl FnMut(ServerKind, usize) -> BenchResult<Sample>,
    ) -> BenchResult<Self> {
        let mut runs: Vec<(ServerKind, Result<Vec<Sample>, String>)> = kinds
            .iter()
            .filter(|kind| arguments.is_chosen(**kind))
            .map(|kind| (*kind, kind.missing().map_or(Ok(Vec::new()), |reason| Err(reason.to_owned()))))
            .collect();
        for round in 0..arguments.rounds {
            for (kind, run) in &mut runs {
                let Ok(samples) = run else { continue };
                match slice(*kind, round) {
                    Ok(sample) => {
                        let faults = sample.faults.to_string();
                        eprintln!("  {}: {:.1?} {faults}", kind.name(), sample.figures);
                        samples.push(sample);
                    }
                    Err(error) if kind.is_ours() => return Err(error),
                    Err(error) => {
                        eprintln!("  {}: {error}", kind.name());
                        *run = Err(format!("failed: {error}"));
                    }
                }
            }
        }
        Ok(Self { runs })
    }

    /// Samples of a server; empty if it was not measured.
    pub(crate) fn samples(&self, kind: ServerKind) -> &[Sample] {
        let run = self.runs.iter().find(|(other, _)| *other == kind);
        run.and_then(|(_, run)| run.as_deref().ok()).unwrap_or_default()
    }

    /// Median of a figure.
    pub(crate) fn median(&self, kind: ServerKind, figure: usize) -> Option<f64> {
        let samples = self.samples(kind);
        (!samples.is_empty()).then(|| median(samples.iter().map(|sample| sample.figures[figure])))
    }

    /// Median of the ratios of a figure to another server's in the same round.
    pub(crate) fn ratio(&self, kind: ServerKind, to: ServerKind, figure: usize) -> Option<f64> {
        let (samples, others) = (self.samples(kind), self.samples(to));
        let ratios =
            samples.iter().zip(others).map(|(one, other)| one.figures[figure] / other.figures[figure]);
        (!samples.is_empty() && !others.is_empty()).then(|| median(ratios))
    }

    /// Adds one row for each server, with ratios to the last.
    pub(crate) fn fill(&self, table: &mut FigureTable) {
        let Some((last, _)) = self.runs.last() else { return };
        for (kind, run) in &self.runs {
            let mut row = vec![kind.name().to_owned()];
            let samples = match run {
                Ok(samples) => samples,
                Err(reason) => {
                    table.row_without_figures(&[kind.name()], reason.clone());
                    continue;
                }
            };
            for at in 0..samples.first().map_or(0, |sample| sample.figures.len()) {
                let figure = figure_text(self.median(*kind, at).unwrap_or_default());
                row.push(match self.ratio(*kind, *last, at) {
                    Some(ratio) => format!("{figure} ({ratio:.2})"),
                    None => figure,
                });
            }
            let faults = samples.iter().fold(DeliveryFaults::default(), |sum, sample| sum + sample.faults);
            row.push(faults.to_string());
            if kind.is_ours() && !faults.is_none() {
                table.errors.push(format!("{}: {}", kind.name(), faults));
            }
            table.row(row);
        }
    }

    /// Bars of a figure of all servers, as multiples of the last server's.
    pub(crate) fn panel(&self, title: &str, figure: usize) -> ChartPanel {
        let last = self.runs.last().map_or(ServerKind::EpollBaseline, |(kind, _)| *kind);
        let bars = self.runs.iter().map(|(kind, _)| (*kind, self.ratio(*kind, last, figure)));
        ChartPanel {
            title: title.to_owned(),
            bars: bars.filter_map(|(kind, ratio)| Some((kind.name().to_owned(), ratio?))).collect(),
            unit: " ×",
            reference: Some(1.0),
        }
    }
}

/// Measures `count` subjects in turn, and returns the figures of each.
pub(super) fn alternate<const FIGURES: usize>(
    count: usize,
    rounds: usize,
    mut slice: impl FnMut(usize) -> BenchResult<[f64; FIGURES]>,
) -> BenchResult<Vec<Vec<[f64; FIGURES]>>> {
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
