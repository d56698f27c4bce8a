//! Turns of several servers: the medians of their figures, and of the ratios within each round.

use super::{fault_text, figure_text};
use crate::{
    Arguments, Outcome,
    chart::Panel,
    report::{Table, median},
    server::Kind,
    swarm::Faults,
};

/// The figures of one turn of one server; which they are is the part's affair.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    pub(crate) figures: Vec<f64>,
    pub(crate) faults: Faults,
}

/// What came of all turns.
pub(crate) struct Turns {
    /// Each server's samples in order, or why there are none.
    runs: Vec<(Kind, Result<Vec<Sample>, String>)>,
}

impl Turns {
    /// Lets the servers take turns. One that is not ours and fails takes no further turns.
    pub(crate) fn take(
        kinds: &[Kind],
        arguments: &Arguments,
        mut slice: impl FnMut(Kind, usize) -> Outcome<Sample>,
    ) -> Outcome<Self> {
        let mut runs: Vec<(Kind, Result<Vec<Sample>, String>)> = kinds
            .iter()
            .filter(|kind| arguments.is_asked(**kind))
            .map(|kind| (*kind, kind.missing().map_or(Ok(Vec::new()), |reason| Err(reason.to_owned()))))
            .collect();
        for round in 0..arguments.rounds {
            for (kind, run) in &mut runs {
                let Ok(samples) = run else { continue };
                match slice(*kind, round) {
                    Ok(sample) => {
                        let faults = fault_text(&sample.faults);
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

    /// The samples of a server; none where it was not measured.
    pub(crate) fn samples(&self, kind: Kind) -> &[Sample] {
        let run = self.runs.iter().find(|(other, _)| *other == kind);
        run.and_then(|(_, run)| run.as_deref().ok()).unwrap_or_default()
    }

    /// The median of a figure.
    pub(crate) fn median(&self, kind: Kind, figure: usize) -> Option<f64> {
        let samples = self.samples(kind);
        (!samples.is_empty()).then(|| median(samples.iter().map(|sample| sample.figures[figure])))
    }

    /// The median of the ratios of a figure to another server's in the same round.
    pub(crate) fn ratio(&self, kind: Kind, to: Kind, figure: usize) -> Option<f64> {
        let (samples, others) = (self.samples(kind), self.samples(to));
        let ratios =
            samples.iter().zip(others).map(|(one, other)| one.figures[figure] / other.figures[figure]);
        (!samples.is_empty() && !others.is_empty()).then(|| median(ratios))
    }

    /// One row for each server, with ratios to the last.
    pub(crate) fn fill(&self, table: &mut Table) {
        let Some((last, _)) = self.runs.last() else { return };
        for (kind, run) in &self.runs {
            let mut row = vec![kind.name().to_owned()];
            let samples = match run {
                Ok(samples) => samples,
                Err(reason) => {
                    row.resize(table.columns.len() - 1, "–".to_owned());
                    row.push(reason.clone());
                    table.row(row);
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
            let faults = samples.iter().fold(Faults::default(), |sum, sample| sum + sample.faults);
            row.push(fault_text(&faults));
            if kind.is_ours() && !faults.is_none() {
                table.errors.push(format!("{}: {}", kind.name(), fault_text(&faults)));
            }
            table.row(row);
        }
    }

    /// A figure of all servers as bars, as multiples of the last server's.
    pub(crate) fn panel(&self, title: &str, figure: usize) -> Panel {
        let last = self.runs.last().map_or(Kind::Floor, |(kind, _)| *kind);
        let bars = self.runs.iter().map(|(kind, _)| (*kind, self.ratio(*kind, last, figure)));
        Panel {
            title: title.to_owned(),
            bars: bars.filter_map(|(kind, ratio)| Some((kind.name().to_owned(), ratio?))).collect(),
            unit: " ×",
            reference: Some(1.0),
        }
    }
}
