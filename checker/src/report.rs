//! Report of all phases.

use std::fmt;
use std::sync::Arc;

use crate::counters::Counters;
use crate::stream_plan::{ReaderAction, StreamStage};
use crate::violation::{Violation, ViolationKind};

/// Violations that are explained; further ones are only counted.
const EXPLAINED_MAX: usize = 20;

/// Counts and violations of one phase.
pub(crate) struct PhaseReport {
    pub(crate) name: &'static str,
    pub(crate) counters: Arc<Counters>,
    pub(crate) violations: Vec<Violation>,
}

impl PhaseReport {
    pub(crate) fn count(&self, kind: ViolationKind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    fn rows(&self) -> Vec<(String, u64)> {
        let violations = ViolationKind::ALL.map(|kind| (kind.as_str().to_owned(), self.count(kind) as u64));
        self.counters.rows().into_iter().chain(violations).collect()
    }
}

/// All phases of a run. Its `Display` is the whole report, with the verdict last.
pub(crate) struct CheckerReport {
    pub(crate) phases: Vec<PhaseReport>,
}

impl CheckerReport {
    /// Returns the numbers of phase-property pairs that passed and failed.
    pub(crate) fn passed_and_failed(&self) -> (usize, usize) {
        let pairs = self.phases.iter().flat_map(|phase| ViolationKind::ALL.map(|kind| phase.count(kind)));
        let failed = pairs.filter(|&count| count > 0).count();
        (self.phases.len() * ViolationKind::ALL.len() - failed, failed)
    }

    fn table(&self) -> String {
        let counted: Vec<Vec<(String, u64)>> = self.phases.iter().map(PhaseReport::rows).collect();
        // Phases have different counts: the row of each name follows the row of its predecessor.
        let mut names: Vec<&str> = Vec::new();
        for rows in &counted {
            let mut at = 0;
            for (name, _) in rows {
                at = names.iter().position(|known| known == name).unwrap_or_else(|| {
                    names.insert(at, name);
                    at
                }) + 1;
            }
        }
        let mut text = row("", self.phases.iter().map(|phase| phase.name));
        for name in names {
            let count =
                |rows: &Vec<(String, u64)>| rows.iter().find(|(other, _)| other == name).map(|row| row.1);
            let counts = counted.iter().map(count);
            text += &row(name, counts.map(|count| count.map_or("-".to_owned(), |count| count.to_string())));
        }
        text
    }

    /// Faults of readers by stage, over all phases.
    fn reader_faults(&self) -> String {
        let count = |stage, action| {
            self.phases.iter().map(|phase| phase.counters.reader_faults(stage, action)).sum::<u64>()
        };
        let rows =
            StreamStage::ALL.map(|stage| (stage, ReaderAction::ALL.map(|action| count(stage, action))));
        if rows.iter().all(|(_, counts)| counts.iter().all(|count| *count == 0)) {
            return String::new();
        }
        let rows = rows.map(|(stage, counts)| row(stage.as_str(), counts));
        row("readers, by stage", ReaderAction::ALL.map(ReaderAction::as_str)) + &rows.concat()
    }
}

/// A line of a table.
fn row<T: fmt::Display>(name: &str, cells: impl IntoIterator<Item = T>) -> String {
    let cells: String = cells.into_iter().map(|cell| format!("{cell:>12}")).collect();
    format!("{name:<22}{cells}\n")
}

impl fmt::Display for CheckerReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = || {
            self.phases
                .iter()
                .flat_map(|phase| phase.violations.iter().map(move |violation| (phase.name, violation)))
        };
        for (phase, violation) in all().take(EXPLAINED_MAX) {
            writeln!(f, "violation: {phase}: {}: {}", violation.kind.as_str(), violation.explanation)?;
        }
        let more = all().count().saturating_sub(EXPLAINED_MAX);
        if more > 0 {
            writeln!(f, "violation: {more} more are counted below")?;
        }
        write!(f, "{}{}", self.table(), self.reader_faults())?;
        let (passed, failed) = self.passed_and_failed();
        write!(f, "checker: {passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests;
