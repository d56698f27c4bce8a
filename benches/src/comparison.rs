//! Cases that are measured in turn, round by round: medians of their figures, and of the ratios within each round.

use std::ops::Range;

use crate::chart::ChartPanel;
use crate::context::BenchContext;
use crate::faults::DeliveryFaults;
use crate::numbers::{figure_text, median};
use crate::result::BenchResult;
use crate::server_kind::ServerKind;
use crate::table::FigureTable;

/// Figures of one turn of one case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sample {
    /// A figure that was not measured is NaN.
    pub(crate) figures: Vec<f64>,
    /// Cells after the figures.
    pub(crate) texts: Vec<String>,
    pub(crate) faults: DeliveryFaults,
}

/// One row of a table.
#[derive(Debug)]
pub(crate) struct Case<T> {
    /// The first cells.
    pub(crate) names: Vec<String>,
    /// The hub's faults are errors; those of another server are figures.
    pub(crate) server: ServerKind,
    pub(crate) setup: T,
}

/// Samples of all cases. The last case is the reference of the ratios.
#[derive(Debug)]
pub(crate) struct Comparison<T> {
    runs: Vec<CaseRun<T>>,
}

#[derive(Debug)]
struct CaseRun<T> {
    case: Case<T>,
    /// Samples of each round, or the reason for their absence.
    samples: Result<Vec<Sample>, String>,
}

impl<T> Case<T> {
    pub(crate) fn new(name: &str, server: ServerKind, setup: T) -> Self {
        Self { names: vec![name.to_owned()], server, setup }
    }

    fn name(&self) -> String {
        self.names.join(", ")
    }
}

impl Comparison<ServerKind> {
    /// Measures those of the servers that the arguments choose, in turn.
    pub(crate) fn of_servers(
        context: &BenchContext,
        rounds: usize,
        servers: &[ServerKind],
        turn: impl FnMut(&ServerKind) -> BenchResult<Sample>,
    ) -> BenchResult<Self> {
        let chosen = servers.iter().copied().filter(|server| context.is_chosen(*server));
        Self::measure(rounds, chosen.map(|server| Case::new(server.name(), server, server)), turn)
    }
}

impl<T> Comparison<T> {
    /// Measures the cases in turn. A foreign server that fails is not measured again.
    pub(crate) fn measure(
        rounds: usize,
        cases: impl IntoIterator<Item = Case<T>>,
        mut turn: impl FnMut(&T) -> BenchResult<Sample>,
    ) -> BenchResult<Self> {
        let runs = cases.into_iter().map(|case| {
            let samples = case.server.missing().map_or(Ok(Vec::new()), |reason| Err(reason.to_owned()));
            CaseRun { case, samples }
        });
        let mut runs: Vec<CaseRun<T>> = runs.collect();
        for _ in 0..rounds {
            for CaseRun { case, samples } in &mut runs {
                let Ok(measured) = samples else { continue };
                match turn(&case.setup) {
                    Ok(sample) => {
                        eprintln!("  {}: {:.1?} {}", case.name(), sample.figures, sample.faults);
                        measured.push(sample);
                    }
                    Err(error) if case.server.is_ours() => return Err(error),
                    Err(error) => {
                        eprintln!("  {}: {error}", case.name());
                        *samples = Err(format!("failed: {error}"));
                    }
                }
            }
        }
        Ok(Self { runs })
    }

    /// Set-ups of the cases.
    pub(crate) fn setups(&self) -> impl Iterator<Item = &T> {
        self.runs.iter().map(|run| &run.case.setup)
    }

    /// Position of the first case of a server.
    pub(crate) fn find(&self, server: ServerKind) -> Option<usize> {
        self.runs.iter().position(|run| run.case.server == server)
    }

    fn samples(&self, case: usize) -> &[Sample] {
        self.runs[case].samples.as_deref().unwrap_or_default()
    }

    /// Sum of the faults of all rounds.
    pub(crate) fn faults(&self, case: usize) -> DeliveryFaults {
        self.samples(case).iter().fold(DeliveryFaults::default(), |sum, sample| sum + sample.faults)
    }

    /// Median of a figure; `None` if it was not measured.
    pub(crate) fn median(&self, case: usize, figure: usize) -> Option<f64> {
        let figures = self.samples(case).iter().map(|sample| sample.figures[figure]);
        Some(median(figures)).filter(|median| !median.is_nan())
    }

    /// Median of the ratios of a figure to that of another case in the same round; `None` if one was not measured.
    pub(crate) fn ratio(&self, case: usize, to: usize, figure: usize) -> Option<f64> {
        let pairs = self.samples(case).iter().zip(self.samples(to));
        let ratios = pairs.map(|(one, other)| one.figures[figure] / other.figures[figure]);
        Some(median(ratios)).filter(|ratio| !ratio.is_nan())
    }

    /// As [`Comparison::ratio`], between two servers.
    pub(crate) fn server_ratio(&self, server: ServerKind, to: ServerKind, figure: usize) -> Option<f64> {
        self.ratio(self.find(server)?, self.find(to)?, figure)
    }

    /// Sum of a figure over all rounds.
    pub(crate) fn sum(&self, case: usize, figure: usize) -> f64 {
        self.samples(case).iter().map(|sample| sample.figures[figure]).sum()
    }

    /// Median of a figure as text.
    pub(crate) fn median_text(&self, case: usize, figure: usize) -> String {
        figure_text(self.median(case, figure).unwrap_or(f64::NAN))
    }

    /// Adds one row of medians for each case. The figures in `ratios` get their ratios to the last case.
    pub(crate) fn fill(&self, table: &mut FigureTable, ratios: Range<usize>) {
        self.fill_with(table, |case, figure| {
            let text = self.median_text(case, figure);
            match self.ratio(case, self.runs.len() - 1, figure).filter(|_| ratios.contains(&figure)) {
                Some(ratio) => format!("{text} ({ratio:.2})"),
                None => text,
            }
        });
    }

    /// Adds one row for each case, with the texts of its figures.
    pub(crate) fn fill_with(&self, table: &mut FigureTable, text: impl Fn(usize, usize) -> String) {
        for (at, CaseRun { case, samples }) in self.runs.iter().enumerate() {
            let mut row = case.names.clone();
            match samples {
                Ok(samples) => {
                    let last = samples.last().cloned().unwrap_or_default();
                    row.extend((0..last.figures.len()).map(|figure| text(at, figure)));
                    row.extend(last.texts);
                }
                Err(reason) => {
                    row.resize(table.columns.len() - 1, "–".to_owned());
                    row.push(reason.clone());
                }
            }
            let faults = self.faults(at);
            if row.len() < table.columns.len() {
                row.push(faults.to_string());
            }
            if case.server.is_ours() && faults != DeliveryFaults::default() {
                table.errors.push(format!("{}: {faults}", case.name()));
            }
            table.row(row);
        }
    }

    /// Bars of a figure of all cases, as multiples of the last case's.
    pub(crate) fn panel(&self, title: &str, figure: usize) -> ChartPanel {
        let bars =
            self.runs.iter().enumerate().filter_map(|(at, run)| {
                Some((run.case.name(), self.ratio(at, self.runs.len() - 1, figure)?))
            });
        ChartPanel { title: title.to_owned(), bars: bars.collect(), unit: " ×", reference: Some(1.0) }
    }
}
