//! What was counted and what was wrong, and how both are told.

use std::fmt;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tidings_protocol::body::GapReason;

use crate::subscriber::{Act, Stage, Trouble};

/// Faults that are explained one by one; the rest is only counted.
const EXPLAINED_MAX: usize = 20;

/// What can be wrong; each is a property that a phase passes or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum FaultKind {
    /// An event that had to come did not.
    Lost,
    /// An event came, or was stored, twice.
    Duplicated,
    /// An event or position came after a later one.
    Reordered,
    /// Events are missing that retention or a restart removed, and nothing said so.
    UnsignalledGap,
    /// A gap was told where nothing was missing.
    SpuriousGap,
    /// Text, name, channel, id or place is not what was sent or answered.
    WrongContent,
    /// Framing or status that the contract does not have.
    BrokenProtocol,
    /// Something did not arrive by the deadline.
    Stuck,
    /// A stream was still open, or counted as open, whose reader had gone.
    LeftOver,
    /// The process did not start, did not end as it should, or panicked.
    Restart,
    /// The phase did not do what it is there for, so its zeros say nothing.
    NotExercised,
}

impl FaultKind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Lost,
        Self::Duplicated,
        Self::Reordered,
        Self::UnsignalledGap,
        Self::SpuriousGap,
        Self::WrongContent,
        Self::BrokenProtocol,
        Self::Stuck,
        Self::LeftOver,
        Self::Restart,
        Self::NotExercised,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Reordered => "reordered",
            Self::UnsignalledGap => "unsignalled gaps",
            Self::SpuriousGap => "spurious gaps",
            Self::WrongContent => "wrong content",
            Self::BrokenProtocol => "broken protocol",
            Self::Stuck => "stuck",
            Self::LeftOver => "left over",
            Self::Restart => "process faults",
            Self::NotExercised => "not exercised",
        }
    }
}

/// One thing that was wrong, explained so that a developer can go on from it.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) explanation: String,
}

impl Fault {
    pub(crate) fn new(kind: FaultKind, explanation: impl Into<String>) -> Self {
        Self { kind, explanation: explanation.into() }
    }
}

/// Counts of one phase, raised while it runs.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) published: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) deliveries: AtomicU64,
    pub(crate) streams: AtomicU64,
    pub(crate) resumes: AtomicU64,
    pub(crate) kills: AtomicU64,
    pub(crate) graceful_restarts: AtomicU64,
    gaps: [AtomicU64; GapReason::ALL.len()],
    /// What else is counted, by name.
    named: Mutex<Vec<(&'static str, u64)>>,
    /// What readers did, by stage.
    troubles: [[AtomicU64; Act::ALL.len()]; Stage::ALL.len()],
}

/// Raises a count.
pub(crate) fn add(count: &AtomicU64, by: usize) {
    count.fetch_add(by as u64, Ordering::Relaxed);
}

/// Reads a count.
pub(crate) fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl Figures {
    pub(crate) fn add_gap(&self, reason: GapReason) {
        if let Some(at) = GapReason::ALL.iter().position(|known| *known == reason) {
            add(&self.gaps[at], 1);
        }
    }

    pub(crate) fn gaps(&self, reason: GapReason) -> u64 {
        GapReason::ALL.iter().position(|known| *known == reason).map_or(0, |at| get(&self.gaps[at]))
    }

    /// Has something counted, from a number on.
    pub(crate) fn name_with(&self, name: &'static str, count: u64) {
        self.named.lock().expect("no holder panics").push((name, count));
    }

    /// Raises the count of what was named.
    pub(crate) fn add_named(&self, name: &str) {
        let mut named = self.named.lock().expect("no holder panics");
        named.iter_mut().filter(|(other, _)| *other == name).for_each(|(_, count)| *count += 1);
    }

    pub(crate) fn named(&self, name: &str) -> u64 {
        let named = self.named.lock().expect("no holder panics");
        named.iter().find(|(other, _)| *other == name).map_or(0, |(_, count)| *count)
    }

    pub(crate) fn add_trouble(&self, Trouble { act, stage, .. }: Trouble) {
        add(&self.troubles[stage as usize][act as usize], 1);
    }

    /// How often readers did this at this stage.
    pub(crate) fn troubles(&self, stage: Stage, act: Act) -> u64 {
        get(&self.troubles[stage as usize][act as usize])
    }

    pub(crate) fn restarts(&self) -> u64 {
        get(&self.kills) + get(&self.graceful_restarts)
    }

    fn rows(&self) -> Vec<(String, u64)> {
        let counts = [
            ("published", &self.published),
            ("acknowledged", &self.acknowledged),
            ("unknown", &self.unknown),
            ("deliveries", &self.deliveries),
            ("streams", &self.streams),
            ("resumes", &self.resumes),
            ("kills", &self.kills),
            ("graceful restarts", &self.graceful_restarts),
        ];
        let mut rows: Vec<_> = counts.iter().map(|(name, count)| ((*name).to_owned(), get(count))).collect();
        let named = self.named.lock().expect("no holder panics");
        rows.extend(named.iter().map(|(name, count)| ((*name).to_owned(), *count)));
        rows.extend(
            GapReason::ALL.iter().map(|&reason| (format!("gaps {}", reason.as_str()), self.gaps(reason))),
        );
        rows
    }
}

/// What one phase found.
pub(crate) struct PhaseReport {
    pub(crate) name: &'static str,
    pub(crate) figures: Figures,
    pub(crate) faults: Vec<Fault>,
}

impl PhaseReport {
    pub(crate) fn count(&self, kind: FaultKind) -> usize {
        self.faults.iter().filter(|fault| fault.kind == kind).count()
    }

    fn rows(&self) -> Vec<(String, u64)> {
        let faults = FaultKind::ALL.map(|kind| (kind.as_str().to_owned(), self.count(kind) as u64));
        self.figures.rows().into_iter().chain(faults).collect()
    }
}

/// All phases of a run; its `Display` is the whole report, the verdict last.
pub(crate) struct Report {
    pub(crate) phases: Vec<PhaseReport>,
}

impl Report {
    /// Returns how many pairs of phase and property held, and how many did not.
    pub(crate) fn passed_and_failed(&self) -> (usize, usize) {
        let pairs = self.phases.iter().flat_map(|phase| FaultKind::ALL.map(|kind| phase.count(kind)));
        let failed = pairs.filter(|&count| count > 0).count();
        (self.phases.len() * FaultKind::ALL.len() - failed, failed)
    }

    fn table(&self) -> String {
        let counted: Vec<Vec<(String, u64)>> = self.phases.iter().map(PhaseReport::rows).collect();
        // Phases count different things: each name has its row after the one that it follows.
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
        let mut text = format!("{:<22}", "");
        for phase in &self.phases {
            let _ = write!(text, "{:>12}", phase.name);
        }
        for name in names {
            let _ = write!(text, "\n{name:<22}");
            for rows in &counted {
                let count = rows.iter().find(|(other, _)| other == name);
                let _ = write!(text, "{:>12}", count.map_or("-".into(), |(_, count)| count.to_string()));
            }
        }
        text
    }

    /// What readers did to the server, by stage, over all phases.
    fn troubles(&self) -> String {
        let has_trouble = |phase: &PhaseReport| {
            Stage::ALL.iter().any(|&stage| Act::ALL.iter().any(|&act| phase.figures.troubles(stage, act) > 0))
        };
        if !self.phases.iter().any(has_trouble) {
            return String::new();
        }
        let mut text = format!("\n{:<22}", "readers, by stage");
        Act::ALL.iter().for_each(|act| text += &format!("{:>12}", act.as_str()));
        for stage in Stage::ALL {
            let _ = write!(text, "\n{:<22}", stage.as_str());
            for act in Act::ALL {
                let count: u64 = self.phases.iter().map(|phase| phase.figures.troubles(stage, act)).sum();
                let _ = write!(text, "{count:>12}");
            }
        }
        text
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all =
            || self.phases.iter().flat_map(|phase| phase.faults.iter().map(move |fault| (phase.name, fault)));
        for (phase, fault) in all().take(EXPLAINED_MAX) {
            writeln!(f, "fault: {phase}: {}: {}", fault.kind.as_str(), fault.explanation)?;
        }
        let more = all().count().saturating_sub(EXPLAINED_MAX);
        if more > 0 {
            writeln!(f, "fault: {more} more are counted below")?;
        }
        writeln!(f, "{}{}", self.table(), self.troubles())?;
        let (passed, failed) = self.passed_and_failed();
        write!(f, "checker: {passed} passed, {failed} failed")
    }
}

#[cfg(test)]
mod tests;
