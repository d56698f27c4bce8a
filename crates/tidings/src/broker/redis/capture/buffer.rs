//! The messages to capture, in the order in which every node hears them.
//!
//! All nodes hear the same messages and the same marks in one order. So a place, *the mark before it and the messages since
//! then*, means the same to all, and whoever takes over goes on behind what the one before has appended.

use std::{collections::VecDeque, fmt};

use tokio::sync::Notify;

use crate::{
    broker::redis::record::hex,
    log::entry::NewEntry,
    sync::{Lock, Mutex, MutexGuard},
};

/// Bytes that may wait here, as they are counted: text, and what each message costs besides.
const BYTES_MAX: usize = 64 << 20;
const MESSAGE_BYTES: usize = 200;
/// Marks that are known besides those of what waits.
const MARKERS_MAX: usize = 64;

/// Up to where messages are in the log: as many as `count` after this mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker::redis) struct CapturePosition {
    /// Of the settings that say which messages count. A place of other settings says nothing here.
    pub(super) settings: u64,
    pub(super) mark: u64,
    pub(super) count: u64,
}

impl CapturePosition {
    pub(in crate::broker::redis) fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (settings, mark, count) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self { settings: hex(settings, 16)?, mark: hex(mark, 16)?, count: count.parse().ok()? })
    }
}

impl fmt::Display for CapturePosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x} {:016x} {}", self.settings, self.mark, self.count)
    }
}

/// How this node stands with what is said in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BufferStatus {
    /// It hears nothing.
    Away,
    /// It hears, and does not know where it is: this mark is to be set.
    Unmarked(u64),
    /// It knows.
    Marked,
}

/// Shared by who hears and who appends.
pub(in crate::broker::redis) struct CaptureBuffer {
    state: Mutex<BufferState>,
    settings: u64,
    /// The standing is another, or the lease may be free.
    changed: Notify,
    /// Something waits.
    heard: Notify,
}

struct BufferState {
    standing: BufferStatus,
    /// Marks that were heard, oldest first; the newest is that which `count` counts from.
    marks: VecDeque<u64>,
    /// The number of the first of `marks`, of all that were heard.
    first_mark: u64,
    /// The number of the first mark since which nothing was missed.
    whole_since: u64,
    /// How often something was missed.
    holes: u64,
    count: u64,
    waiting: VecDeque<BufferedMessage>,
    bytes: usize,
}

/// A message that was heard.
struct BufferedMessage {
    /// The number of its mark.
    mark: u64,
    count: u64,
    /// None for one that is not fit: it counts all the same.
    draft: Option<NewEntry>,
}

impl BufferedMessage {
    fn bytes(&self) -> usize {
        MESSAGE_BYTES + self.draft.as_ref().map_or(0, |draft| draft.data.len())
    }
}

impl CaptureBuffer {
    pub(in crate::broker::redis) fn new(settings: u64) -> Self {
        let state = BufferState {
            standing: BufferStatus::Away,
            marks: VecDeque::new(),
            first_mark: 0,
            whole_since: 0,
            holes: 0,
            count: 0,
            waiting: VecDeque::new(),
            bytes: 0,
        };
        Self {
            state: Mutex::new(Lock::CaptureBuffer, state),
            settings,
            changed: Notify::new(),
            heard: Notify::new(),
        }
    }

    /// Everything that is said is heard from now on; this mark tells where that is.
    pub(in crate::broker::redis) fn back(&self, mark: u64) {
        self.state().standing = BufferStatus::Unmarked(mark);
        self.changed.notify_one();
    }

    /// Nothing is heard any more. What was heard stays.
    pub(in crate::broker::redis) fn away(&self) {
        let mut state = self.state();
        state.standing = BufferStatus::Away;
        state.holes += 1;
        drop(state);
        self.changed.notify_one();
    }

    /// A mark was heard.
    pub(in crate::broker::redis) fn mark(&self, mark: u64) {
        let mut state = self.state();
        if state.standing == BufferStatus::Away {
            return;
        }
        if state.standing != BufferStatus::Marked {
            state.standing = BufferStatus::Marked;
            state.whole_since = state.first_mark + state.marks.len() as u64;
        }
        state.marks.push_back(mark);
        state.count = 0;
        state.drop_old_markers();
        drop(state);
        self.changed.notify_one();
    }

    /// A message was heard. Before the first mark its place is not known, and it counts as not heard. Answers how many that
    /// waited had to go.
    pub(in crate::broker::redis) fn push(&self, draft: Option<NewEntry>) -> usize {
        let mut state = self.state();
        if state.standing != BufferStatus::Marked {
            return 0;
        }
        state.count += 1;
        let message = BufferedMessage { mark: state.newest_marker(), count: state.count, draft };
        state.bytes += message.bytes();
        let was_empty = state.waiting.is_empty();
        state.waiting.push_back(message);
        let mut lost = 0;
        while state.bytes > BYTES_MAX {
            state.pop();
            lost += 1;
        }
        drop(state);
        if was_empty {
            self.heard.notify_one();
        }
        lost
    }

    /// Another node says that it captures no more.
    pub(in crate::broker::redis) fn freed(&self) {
        self.changed.notify_one();
    }

    /// Waits until the standing is another or the lease may be free, since the last time.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until something waits here.
    pub(super) async fn heard(&self) {
        self.heard.notified().await;
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    /// How often something was missed.
    pub(super) fn gap_count(&self) -> u64 {
        self.state().holes
    }

    pub(super) fn status(&self) -> BufferStatus {
        self.state().standing
    }

    /// The marks since any of which all was heard, and how often something was missed before.
    pub(super) fn markers(&self) -> (Vec<u64>, u64) {
        let state = self.state();
        let missed =
            usize::try_from(state.whole_since.saturating_sub(state.first_mark)).unwrap_or(usize::MAX);
        (state.marks.iter().skip(missed).copied().collect(), state.holes)
    }

    /// What is up to there is in the log. A mark that is not known here was before all that waits here.
    pub(super) fn acknowledge(&self, place: Option<CapturePosition>) {
        let Some(place) = place else { return };
        let mut state = self.state();
        if place.settings != self.settings {
            // Nobody knows which of these are in the log.
            while state.pop().is_some() {}
            return;
        }
        let Some(index) = state.marks.iter().rposition(|mark| *mark == place.mark) else { return };
        let mark = state.first_mark + index as u64;
        while state.waiting.front().is_some_and(|it| (it.mark, it.count) <= (mark, place.count)) {
            state.pop();
        }
        state.drop_old_markers();
    }

    /// The next messages that are fit, of so many or so many bytes of text at most, and the place behind them. They wait on.
    /// None where something was missed since: another may have heard it.
    pub(super) fn next(
        &self,
        count_max: usize,
        bytes_max: usize,
        holes: u64,
    ) -> Option<(Vec<NewEntry>, CapturePosition)> {
        let state = self.state();
        if state.holes != holes {
            return None;
        }
        let (mut drafts, mut bytes, mut last) = (Vec::new(), 0, None);
        for message in &state.waiting {
            if drafts.len() >= count_max || bytes >= bytes_max {
                break;
            }
            bytes += message.bytes();
            drafts.extend(message.draft.clone());
            last = Some((message.mark, message.count));
        }
        let (mark, count) = last?;
        let index = usize::try_from(mark - state.first_mark).expect("marks are few");
        Some((drafts, CapturePosition { settings: self.settings, mark: state.marks[index], count }))
    }

    fn state(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock()
    }
}

impl BufferState {
    /// Zero where there was none.
    fn newest_marker(&self) -> u64 {
        (self.first_mark + self.marks.len() as u64).saturating_sub(1)
    }

    fn pop(&mut self) -> Option<BufferedMessage> {
        let message = self.waiting.pop_front()?;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// Forgets old marks, but for those of what waits.
    fn drop_old_markers(&mut self) {
        let oldest = self.waiting.front().map_or_else(|| self.newest_marker(), |it| it.mark);
        while self.first_mark < oldest && self.marks.len() > MARKERS_MAX {
            self.marks.pop_front();
            self.first_mark += 1;
        }
    }
}

#[cfg(test)]
mod tests;
