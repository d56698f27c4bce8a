//! Oracle of a phase: what publishers sent and were answered, the losses that the checker caused, and the log at the end.
//! Readers and histories are compared with it.
//!
//! - A reader receives each of its events once and in order, as far as the event's delivery class demands it.
//! - Each gap has a cause, and each missing event has a gap.
//! - The log has each acknowledged event once, unless a loss or retention removed it.

mod entries;
mod facts;
mod log;
mod losses;
mod retention;
mod stream;

use entries::LogEntries;
pub(crate) use facts::{ComparisonResult, LogRecord, LossRule, Oracle};
use retention::Retention;

impl Oracle {
    /// Returns all violations and counts.
    pub(crate) fn compare(&self) -> ComparisonResult {
        let mut result = ComparisonResult::default();
        let entries = LogEntries::build(self, &mut result);
        log::compare(self, &entries, &mut result);
        let retention = match self.rule {
            LossRule::Trimmed { retention_events } => {
                Some(Retention::build(self, &entries, retention_events))
            }
            _ => None,
        };
        for record in &self.readers {
            stream::compare(self, &entries, retention.as_ref(), record, &mut result);
        }
        if let LossRule::Injected { is_alone } = self.rule {
            losses::compare(self, &entries, is_alone, &mut result);
        }
        result
    }
}

#[cfg(test)]
mod tests;
