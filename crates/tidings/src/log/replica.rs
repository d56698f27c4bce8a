//! The log of a node that follows a broker: others give the order, this one keeps what it is told, and asks before it
//! calls an id bad.

use std::{
    fmt, io,
    sync::{Arc, OnceLock, Weak},
};

use tidings_protocol::{Epoch, EventId, Subscription, Tag};

use super::{
    Environment, Log, LogState,
    checkpoint::EpochRow,
    entry::{Entry, NewEntry},
    resume::{ResumePoint, Start},
    served::ServedLogs,
    store::StoreError,
    transitions::TruncatedTail,
};
use crate::{
    config::LogSettings,
    log::store::disk::OpenError,
    sync::{Lock, Mutex, MutexGuard},
};

/// How many who wait are held before those who went are looked for.
const WAITING_MIN: usize = 64;

/// An event with the offset, epoch and tag that the broker gave it.
#[derive(Debug, Clone)]
pub(crate) struct ReplicatedEntry {
    pub(crate) offset: u64,
    /// Epoch in which the event was appended.
    pub(crate) epoch: Epoch,
    pub(crate) tag: Tag,
    /// Tag of the entry before it; 0 if the broker does not name it. Another tag at this node means another history.
    pub(crate) before: Tag,
    /// The event without its idempotency key, which the broker keeps elsewhere.
    pub(crate) draft: NewEntry,
}

/// Why a batch was not placed; nothing of it was.
#[derive(Debug)]
pub(crate) enum ApplyError {
    /// The next must be `expected`: what is between is to be read first.
    MissingBefore { expected: u64, got: u64 },
    /// Its epoch is not known: the rows are to be read first.
    UnknownEpoch { offset: u64, epoch: Epoch },
    /// Another entry is held there: what is held is of a past that the broker does not have.
    Diverged { offset: u64 },
    /// It could not be kept.
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

/// Whether a start has a place yet.
#[derive(Debug)]
pub(crate) enum OffsetLookup {
    At(Box<ResumePoint>),
    /// Nobody knows before this question to the broker is answered.
    Unsure(u64),
}

/// Who waits for the answer to a question.
pub(crate) trait Waiter: Send + Sync {
    /// Says that it is there.
    fn on_barrier(&self);
}

/// What a replica does not know by itself.
pub(super) struct ReadBarriers {
    barriers: Mutex<BarrierState>,
    on_question: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

/// Questions to the broker, by number: each asks how it is now.
#[derive(Default)]
struct BarrierState {
    begun: u64,
    answered: u64,
    /// Before this one is answered nothing is known at all.
    blind_until: u64,
    /// The last that somebody waits for.
    wanted: u64,
    waiting: Vec<(u64, Weak<dyn Waiter>)>,
    /// When there are so many, those who went are let go.
    waiting_max: usize,
}

impl ReadBarriers {
    pub(super) fn new() -> Self {
        let barriers = BarrierState { blind_until: 1, ..BarrierState::default() };
        Self { barriers: Mutex::new(Lock::ReadBarriers, barriers), on_question: OnceLock::new() }
    }

    fn barrier_state(&self) -> MutexGuard<'_, BarrierState> {
        self.barriers.lock()
    }

    /// The question that must be answered before a start has a place. `waited_for` is the one that it was given before.
    fn barrier_for(&self, state: &LogState, start: &Start, waited_for: Option<u64>) -> Option<u64> {
        let barriers = self.barrier_state();
        if barriers.answered < barriers.blind_until {
            // One that has begun may have been answered by the broker before the client got its id.
            let least = if matches!(start, Start::After(_)) { barriers.begun + 1 } else { 0 };
            return Some(barriers.blind_until.max(waited_for.unwrap_or(least)));
        }
        let barrier = waited_for.unwrap_or(barriers.begun + 1);
        (barrier > barriers.answered && state.needs_barrier(start)).then_some(barrier)
    }
}

impl Log {
    /// An empty log in memory whose order a broker gives. It holds the lock of `directory`, for what is kept there beside
    /// the log. Nobody has a place in it before the first question is answered; see [`Log::begin_question`].
    ///
    /// # Errors
    /// When the directory cannot be used.
    pub(crate) fn replica(
        settings: &LogSettings,
        directory: Option<&std::path::Path>,
        environment: Arc<dyn Environment>,
    ) -> Result<Self, OpenError> {
        let log = Self::in_memory(settings, directory, environment, ServedLogs::await_broker)?;
        log.state_mut().epochs.clear();
        Ok(Self { unknowns: Some(ReadBarriers::new()), ..log })
    }

    /// Whether another log took events in the node's directory since that of the broker, known by its epochs, served there.
    pub(crate) fn is_behind(&self, epochs: &[Epoch]) -> bool {
        self.served().broker_is_behind(epochs)
    }

    /// Puts on record that the broker's log, known by its epochs, oldest first, serves.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn note_served(&self, epochs: &[Epoch]) -> io::Result<()> {
        self.served().serve_broker(epochs)
    }

    fn served(&self) -> MutexGuard<'_, ServedLogs> {
        self.served.lock()
    }

    /// Takes the broker's epochs, oldest first. What is held above the begin of one that is new here is of a past that the
    /// broker does not have: it is cut off and returned, as by [`Log::rewind`].
    ///
    /// Everyone who is open must be woken after this: they are told what the new epochs began without.
    pub(crate) fn install_epochs(&self, rows: Vec<EpochRow>) -> Vec<Arc<Entry>> {
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

    /// Appends entries that the broker placed, and returns those that are new here. What is held already is passed over.
    ///
    /// # Errors
    /// Why nothing was placed.
    pub(crate) fn apply(&self, placed: Vec<ReplicatedEntry>) -> Result<Vec<Arc<Entry>>, ApplyError> {
        self.check_whole().map_err(ApplyError::NotKept)?;
        let (new, newest) = {
            let state = self.state();
            (state.new_of(placed)?, state.newest())
        };
        let entries: Vec<Arc<Entry>> = new
            .into_iter()
            .map(|ReplicatedEntry { offset, epoch, tag, draft, .. }| {
                Arc::new(Entry::new(draft, offset, epoch, tag, newest))
            })
            .collect();
        if !entries.is_empty() {
            self.store().append(&entries).map_err(ApplyError::NotKept)?;
            self.state_mut().report_truncated_tail();
            self.make_visible(&entries);
        }
        Ok(entries)
    }

    /// Begins at the oldest entry that the broker keeps, or goes on there where it has let go of what is missing here:
    /// every channel counts as having lost what is below. `before` is the tag of the entry below, if it is known.
    pub(crate) fn reset_to(&self, oldest: u64, before: Tag) {
        let mut state = self.state_mut();
        let begins_after = oldest.saturating_sub(1);
        if begins_after <= state.head {
            return;
        }
        state.index.mark_lost_through(begins_after);
        // What is new must not be handed on as if it followed what was.
        state.entry_cache.clear();
        (state.head, state.head_tag) = (begins_after, before);
    }

    /// Cuts off what is held above `to`, where the broker's log ends since it lost the rest, and returns it, ascending.
    /// Of offsets between that are not returned nothing is known any more.
    ///
    /// Cursors above go down when they are looked at. They are told with the epochs that are adopted next; what those do
    /// not name is told before anything is placed.
    pub(crate) fn truncate_after(&self, to: u64) -> Vec<Arc<Entry>> {
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
        let cut = state.cut.get_or_insert_with(TruncatedTail::default);
        dropped.iter().for_each(|entry| cut.add(&entry.channels));
        (state.head, state.head_tag) = (to, state.index.tag(to).unwrap_or(Tag(0)));
        state.note_truncation(to);
        dropped
    }

    /// The tag of the entry at an offset, or the tag that compares with none.
    pub(crate) fn tag_at(&self, offset: u64) -> Tag {
        self.state().tag_at(offset)
    }

    /// Finds where a stream begins, or which question must be answered first. `waited_for` is the one that it was given
    /// before.
    pub(crate) fn find(
        &self,
        start: &Start,
        subscriptions: &[Subscription],
        waited_for: Option<u64>,
    ) -> OffsetLookup {
        let state = self.state();
        let unknowns = self.unknowns.as_ref();
        match unknowns.and_then(|unknowns| unknowns.barrier_for(&state, start, waited_for)) {
            Some(barrier) => OffsetLookup::Unsure(barrier),
            None => {
                // Whatever was published since the log was opened follows.
                let opened_at = state.opened_at.filter(|_| waited_for.is_some() && *start == Start::Now);
                let resume_point = match opened_at {
                    Some(head) => state.resume_point_at(head),
                    None => state.resume_point(start, subscriptions, self.now()),
                };
                OffsetLookup::At(Box::new(resume_point))
            }
        }
    }

    /// Has somebody told when a question is answered. It may come at once, and more than once.
    pub(crate) fn wait_for(&self, barrier: u64, waiter: Weak<dyn Waiter>) {
        let Some(unknowns) = &self.unknowns else { return };
        let mut barriers = unknowns.barrier_state();
        if barrier <= barriers.answered {
            drop(barriers);
            waiter.upgrade().inspect(|waiter| waiter.on_barrier());
            return;
        }
        if barriers.waiting.len() >= barriers.waiting_max {
            barriers.waiting.retain(|(_, waiter)| waiter.strong_count() > 0);
            barriers.waiting_max = WAITING_MIN.max(2 * barriers.waiting.len());
        }
        barriers.waiting.push((barrier, waiter));
        barriers.wanted = barriers.wanted.max(barrier);
        let is_new = barrier > barriers.begun;
        drop(barriers);
        if let Some(on_question) = unknowns.on_question.get().filter(|_| is_new) {
            on_question();
        }
    }

    /// Has `act` called when somebody begins to wait for a question that was not begun: it must not block. Set once.
    pub(crate) fn when_unsure(&self, act: Box<dyn Fn() + Send + Sync>) {
        self.unknowns.as_ref().inspect(|unknowns| drop(unknowns.on_question.set(act)));
    }

    /// Whether somebody waits for a question that was not begun.
    #[cfg(test)]
    pub(crate) fn has_open_barrier(&self) -> bool {
        self.unknowns.as_ref().is_some_and(|unknowns| {
            let barriers = unknowns.barrier_state();
            barriers.wanted > barriers.begun
        })
    }

    /// Begins a question, before the broker is asked for its epochs and its head. When the rows are adopted and everything
    /// up to that head is placed, [`Log::answer`] it.
    pub(crate) fn begin_barrier(&self) -> u64 {
        self.unknowns.as_ref().map_or(0, |unknowns| {
            let mut barriers = unknowns.barrier_state();
            barriers.begun += 1;
            barriers.begun
        })
    }

    /// Says that the log knows everything that the broker knew when this question began.
    pub(crate) fn complete_barrier(&self, barrier: u64) {
        let Some(unknowns) = &self.unknowns else { return };
        let mut barriers = unknowns.barrier_state();
        barriers.answered = barriers.answered.max(barrier);
        let answered = barriers.answered;
        let told: Vec<_> = barriers.waiting.extract_if(.., |(number, _)| *number <= answered).collect();
        drop(barriers);
        told.iter().filter_map(|(_, waiter)| waiter.upgrade()).for_each(|waiter| waiter.on_barrier());
    }

    /// Says that the broker is out of sight: nobody gets a place until a question that begins after this is answered.
    pub(crate) fn mark_disconnected(&self) {
        let Some(unknowns) = &self.unknowns else { return };
        let mut barriers = unknowns.barrier_state();
        barriers.blind_until = barriers.begun + 1;
    }

    /// Whether streams get a place now.
    pub(crate) fn is_synced(&self) -> bool {
        self.unknowns.as_ref().is_none_or(|unknowns| {
            let barriers = unknowns.barrier_state();
            barriers.answered >= barriers.blind_until
        })
    }
}

impl LogState {
    /// Those of a batch that are not held.
    fn new_of(&self, placed: Vec<ReplicatedEntry>) -> Result<Vec<ReplicatedEntry>, ApplyError> {
        let mut new = Vec::with_capacity(placed.len());
        let mut expected = self.head + 1;
        for it in placed {
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

    /// Whether the broker may know better than this log what a start is worth.
    fn needs_barrier(&self, start: &Start) -> bool {
        let Start::After(text) = start else { return false };
        let Ok(id) = text.parse::<EventId>() else { return false };
        let Some(end) = self.end_of(id.epoch) else { return true };
        // An epoch that has ended does not grow.
        let may_be_short = id.epoch == self.newest();
        let mut places = id.skips.iter().map(|skip| (skip.offset, skip.tag)).chain([(id.offset, id.tag)]);
        places.any(|(offset, tag)| (offset > end && may_be_short) || self.differs(offset, tag))
    }
}

#[cfg(test)]
mod tests;
