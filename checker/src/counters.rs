//! Counters of a phase.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tidings_protocol::body::GapReason;

use crate::named_enum::named_enum;
use crate::stream_plan::{ReaderAction, ReaderFault, StreamStage};

named_enum! {
    /// A count of every phase.
    pub(crate) enum Count {
        Published = "published",
        Acknowledged = "acknowledged",
        Unknown = "unknown",
        Deliveries = "deliveries",
        Streams = "streams",
        Resumes = "resumes",
        Kills = "kills",
        GracefulRestarts = "graceful restarts",
    }
}

/// Counts of one phase, raised while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    counts: [AtomicU64; Count::ALL.len()],
    gaps: [AtomicU64; GapReason::ALL.len()],
    /// Further counts, by name.
    named: Mutex<Vec<(&'static str, u64)>>,
    /// Faults of readers, by stage and action.
    reader_faults: [[AtomicU64; ReaderAction::ALL.len()]; StreamStage::ALL.len()],
}

impl Counters {
    pub(crate) fn add(&self, count: Count, by: usize) {
        self.counts[count as usize].fetch_add(by as u64, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, count: Count) -> u64 {
        self.counts[count as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn add_gap(&self, reason: GapReason) {
        if let Some(at) = GapReason::ALL.iter().position(|known| *known == reason) {
            self.gaps[at].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn gaps(&self, reason: GapReason) -> u64 {
        GapReason::ALL
            .iter()
            .position(|known| *known == reason)
            .map_or(0, |at| self.gaps[at].load(Ordering::Relaxed))
    }

    /// Adds a count with a name.
    pub(crate) fn add_row(&self, name: &'static str, count: u64) {
        self.named.lock().expect("no holder panics").push((name, count));
    }

    /// Raises a named count.
    pub(crate) fn increment(&self, name: &str) {
        let mut named = self.named.lock().expect("no holder panics");
        named.iter_mut().filter(|(other, _)| *other == name).for_each(|(_, count)| *count += 1);
    }

    pub(crate) fn value(&self, name: &str) -> u64 {
        let named = self.named.lock().expect("no holder panics");
        named.iter().find(|(other, _)| *other == name).map_or(0, |(_, count)| *count)
    }

    pub(crate) fn add_reader_fault(&self, ReaderFault { action, stage, .. }: ReaderFault) {
        self.reader_faults[stage as usize][action as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn reader_faults(&self, stage: StreamStage, action: ReaderAction) -> u64 {
        self.reader_faults[stage as usize][action as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.get(Count::Kills) + self.get(Count::GracefulRestarts)
    }

    /// Counts without which no phase proves anything.
    pub(crate) fn traffic(&self) -> Vec<(String, u64)> {
        let counts = [Count::Acknowledged, Count::Deliveries, Count::Resumes];
        counts.map(|count| (count.as_str().to_owned(), self.get(count))).into()
    }

    /// Names and counts, in the order of the report.
    pub(crate) fn rows(&self) -> Vec<(String, u64)> {
        let mut rows: Vec<_> =
            Count::ALL.iter().map(|&count| (count.as_str().to_owned(), self.get(count))).collect();
        let named = self.named.lock().expect("no holder panics");
        rows.extend(named.iter().map(|(name, count)| ((*name).to_owned(), *count)));
        rows.extend(
            GapReason::ALL.iter().map(|&reason| (format!("gaps {}", reason.as_str()), self.gaps(reason))),
        );
        rows
    }
}
