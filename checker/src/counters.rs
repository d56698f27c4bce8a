//! Counters of a phase.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tidings_protocol::body::GapReason;

use crate::reader::{ReaderAction, ReaderFault, StreamStage};

/// Counts of one phase, raised while it runs.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) published: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) deliveries: AtomicU64,
    pub(crate) streams: AtomicU64,
    pub(crate) resumes: AtomicU64,
    pub(crate) kills: AtomicU64,
    pub(crate) graceful_restarts: AtomicU64,
    gaps: [AtomicU64; GapReason::ALL.len()],
    /// Further counts, by name.
    named: Mutex<Vec<(&'static str, u64)>>,
    /// Faults of readers, by stage and action.
    reader_faults: [[AtomicU64; ReaderAction::ALL.len()]; StreamStage::ALL.len()],
}

/// Raises a count.
pub(crate) fn add(count: &AtomicU64, by: usize) {
    count.fetch_add(by as u64, Ordering::Relaxed);
}

/// Reads a count.
pub(crate) fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

impl Counters {
    pub(crate) fn add_gap(&self, reason: GapReason) {
        if let Some(at) = GapReason::ALL.iter().position(|known| *known == reason) {
            add(&self.gaps[at], 1);
        }
    }

    pub(crate) fn gaps(&self, reason: GapReason) -> u64 {
        GapReason::ALL.iter().position(|known| *known == reason).map_or(0, |at| get(&self.gaps[at]))
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
        add(&self.reader_faults[stage as usize][action as usize], 1);
    }

    pub(crate) fn reader_faults(&self, stage: StreamStage, action: ReaderAction) -> u64 {
        get(&self.reader_faults[stage as usize][action as usize])
    }

    pub(crate) fn restarts(&self) -> u64 {
        get(&self.kills) + get(&self.graceful_restarts)
    }

    /// Counts without which no phase proves anything.
    pub(crate) fn traffic(&self) -> Vec<(String, u64)> {
        let counts = [
            ("acknowledged events", &self.acknowledged),
            ("deliveries", &self.deliveries),
            ("resumes", &self.resumes),
        ];
        counts.map(|(name, count)| (name.to_owned(), get(count))).into()
    }

    /// Names and counts, in the order of the report.
    pub(crate) fn rows(&self) -> Vec<(String, u64)> {
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
