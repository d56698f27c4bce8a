//! The log of a node that replicates a broker's log: the broker gives the order. An unknown id is checked with the broker
//! before it counts as bad.

use std::{fmt, io, sync::Arc};

use tidings_protocol::{Epoch, Subscription, Tag};

use super::barriers::ReadBarriers;
use super::checkpoint::EpochRow;
use super::entry::{Entry, NewEntry};
use super::resume::{ResumePoint, Start};
use super::served::ServedLogs;
use super::state::LogState;
use super::store::StoreError;
use super::store::disk::OpenError;
use super::transitions::TruncatedTail;
use super::{Environment, Log};
use tidings_sync::MutexGuard;

use crate::settings::LogSettings;

/// An event with the offset, epoch and tag that the broker gave it.
#[derive(Debug, Clone)]
pub struct ReplicatedEntry {
    pub offset: u64,
    /// Epoch in which the event was appended.
    pub epoch: Epoch,
    pub tag: Tag,
    /// Tag of the entry before it; 0 if the broker does not name it. Another tag at this node means another history.
    pub before: Tag,
    /// The event without its idempotency key, which the broker keeps elsewhere.
    pub entry: NewEntry,
}

/// Reason why a batch was not applied; none of it was.
#[derive(Debug)]
pub enum ApplyError {
    /// Entries from `expected` on are missing: read them from the broker first.
    MissingBefore { expected: u64, got: u64 },
    /// The epoch is not known: read the epochs from the broker first.
    UnknownEpoch { offset: u64, epoch: Epoch },
    /// The log holds another entry at this offset: the broker lost the tail that this log has.
    Diverged { offset: u64 },
    /// The store did not take it.
    NotKept(StoreError),
}

impl fmt::Display for ApplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingBefore { expected, got } => {
                write!(f, "event {got} came where {expected} was expected")
            }
            Self::UnknownEpoch { offset, epoch } => {
                write!(f, "event {offset} is of the unknown epoch {:016x}", epoch.0)
            }
            Self::Diverged { offset } => write!(f, "another event is held at {offset}"),
            Self::NotKept(error) => error.fmt(f),
        }
    }
}

/// Position of a stream, or the read barrier that it waits for.
#[derive(Debug)]
pub enum OffsetLookup {
    At(Box<ResumePoint>),
    /// The position is known when this read barrier is complete.
    Unsure(u64),
}

impl Log {
    /// Returns an empty log in memory whose order a broker gives. It locks `directory`, for the files beside the log. No
    /// stream has a position before the first read barrier is complete; see [`Log::barriers`].
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn replica(
        settings: &LogSettings,
        directory: Option<&std::path::Path>,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, OpenError> {
        let log = Self::in_memory(settings, directory, environment, ServedLogs::await_broker)?;
        log.state_mut().epochs.clear();
        Ok(Self { barriers: ReadBarriers::new(true), ..log })
    }

    /// Whether another log took events in the node's directory since the broker's log with these epochs served there.
    pub fn is_behind(&self, epochs: &[Epoch]) -> bool {
        self.served().broker_is_behind(epochs)
    }

    /// Records that the broker's log with these epochs, oldest first, serves.
    ///
    /// # Errors
    /// Errors of the file system.
    pub fn note_served(&self, epochs: &[Epoch]) -> io::Result<()> {
        self.served().serve_broker(epochs)
    }

    fn served(&self) -> MutexGuard<'_, ServedLogs> {
        self.served.lock()
    }

    /// Installs the broker's epochs, oldest first. Entries above the begin of a new epoch are a tail that the broker lost:
    /// they are truncated and returned, as by [`Log::truncate_after`].
    ///
    /// Wake all connections after this call: each applies the transition and reports its losses.
    pub fn install_epochs(&self, rows: Vec<EpochRow>) -> Vec<Arc<Entry>> {
        let mut state = self.state_mut();
        let Some(last) = rows.last().filter(|_| rows != state.epochs) else { return Vec::new() };
        if state.epochs.is_empty() {
            state.epochs = rows;
            return Vec::new();
        }
        let is_new = |row: &&EpochRow| state.epochs.iter().all(|known| known.epoch != row.epoch);
        let new: Vec<EpochRow> = rows.iter().filter(is_new).cloned().collect();
        let moves = new.is_empty() && last.epoch() != state.newest();
        let fork = new.iter().map(|row| row.begins_after).min().unwrap_or(u64::MAX);
        let dropped = self.truncate(&mut state, fork);
        state.epochs = rows;
        state.note_epochs(&new);
        if moves {
            let head = state.head;
            state.note_truncation(head);
        }
        self.chunk_cache().clear();
        self.release(state);
        dropped
    }

    /// Appends entries of the broker, and returns those that are new here. Entries that the log holds already are ignored.
    ///
    /// # Errors
    /// The reason why nothing was applied.
    pub fn apply(&self, batch: Vec<ReplicatedEntry>) -> Result<Vec<Arc<Entry>>, ApplyError> {
        self.check_whole().map_err(ApplyError::NotKept)?;
        let (new, newest) = {
            let state = self.state();
            (state.new_of(batch)?, state.newest())
        };
        let entries: Vec<Arc<Entry>> = new
            .into_iter()
            .map(|ReplicatedEntry { offset, epoch, tag, entry, .. }| {
                Arc::new(Entry::new(entry, offset, epoch, tag, newest))
            })
            .collect();
        if !entries.is_empty() {
            self.store().append(&entries).map_err(ApplyError::NotKept)?;
            self.state_mut().report_truncated_tail();
            self.make_visible(&entries);
        }
        Ok(entries)
    }

    /// Moves the head to just below `oldest`, the oldest entry of the broker: every channel counts as having lost the
    /// missing entries below. `before` is the tag of the entry below, if it is known.
    pub fn reset_to(&self, oldest: u64, before: Tag) {
        let mut state = self.state_mut();
        let begins_after = oldest.saturating_sub(1);
        if begins_after <= state.head {
            return;
        }
        state.index.mark_lost_through(begins_after);
        // Entries in the cache must be contiguous.
        state.entry_cache.clear();
        (state.head, state.head_tag) = (begins_after, before);
    }

    /// Truncates the tail above `to`, which the broker lost, and returns its entries, ascending. Entries that cannot be
    /// read are left out.
    ///
    /// Cursors above `to` move down at their next read. The epochs that are installed next report the lost channels;
    /// channels that they do not name are reported before the next entries are applied.
    pub fn truncate_after(&self, to: u64) -> Vec<Arc<Entry>> {
        let mut state = self.state_mut();
        let dropped = self.truncate(&mut state, to);
        self.release(state);
        dropped
    }

    fn truncate(&self, state: &mut LogState, to: u64) -> Vec<Arc<Entry>> {
        if to >= state.head {
            return Vec::new();
        }
        let newest = state.newest();
        let offsets: Vec<u64> = state.index.above(to).collect();
        let read = |offsets: &[u64]| self.store().read(offsets, newest).unwrap_or_default();
        let dropped: Vec<Arc<Entry>> = read(&offsets).into_iter().flatten().collect();
        let key_of = |offset| read(&[offset]).pop()??.key.clone();
        state.index.truncate(to, &key_of);
        state.entry_cache.truncate(to);
        self.chunk_cache().clear();
        let tail = state.truncated_tail.get_or_insert_with(TruncatedTail::default);
        dropped.iter().for_each(|entry| tail.add(&entry.channels));
        (state.head, state.head_tag) = (to, state.index.tag(to).unwrap_or(Tag(0)));
        state.note_truncation(to);
        dropped
    }

    /// The tag of the entry at an offset, or 0 if it is not known.
    pub fn tag_at(&self, offset: u64) -> Tag {
        self.state().tag_at(offset)
    }

    /// Returns the position at which a stream begins, or the read barrier to wait for. `waited_for` is the barrier of the
    /// previous call.
    pub fn find(
        &self,
        start: &Start,
        subscriptions: &[Subscription],
        waited_for: Option<u64>,
    ) -> OffsetLookup {
        let state = self.state();
        match self.barriers.barrier_for(&state, start, waited_for) {
            Some(barrier) => OffsetLookup::Unsure(barrier),
            None => {
                // A stream that waited for the opening gets the events since then.
                let opened_at = state.opened_at.filter(|_| waited_for.is_some() && *start == Start::Now);
                let resume_point = match opened_at {
                    Some(head) => state.resume_point_at(head),
                    None => state.resume_point(start, subscriptions, self.now()),
                };
                OffsetLookup::At(Box::new(resume_point))
            }
        }
    }

    /// Returns the read barriers, which streams may have to wait for.
    pub fn barriers(&self) -> &ReadBarriers {
        &self.barriers
    }
}

impl LogState {
    /// Returns the entries of a batch that the log does not hold.
    fn new_of(&self, batch: Vec<ReplicatedEntry>) -> Result<Vec<ReplicatedEntry>, ApplyError> {
        let mut new = Vec::with_capacity(batch.len());
        let mut expected = self.head + 1;
        for it in batch {
            if it.offset < expected {
                let held = match new.iter().rev().find(|other: &&ReplicatedEntry| other.offset == it.offset) {
                    Some(other) => other.tag,
                    None => self.tag_at(it.offset),
                };
                if held != Tag(0) && held != it.tag {
                    return Err(ApplyError::Diverged { offset: it.offset });
                }
                continue;
            }
            if it.offset > expected {
                return Err(ApplyError::MissingBefore { expected, got: it.offset });
            }
            if self.epochs.iter().rev().all(|row| row.epoch() != it.epoch) {
                return Err(ApplyError::UnknownEpoch { offset: it.offset, epoch: it.epoch });
            }
            expected += 1;
            new.push(it);
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests;
