//! Messages to capture, in the order in which every node receives them.
//!
//! All nodes receive the same messages and markers in one order. A position (a marker and a number of messages after it)
//! therefore means the same at every node, and the next holder of the lease continues after the messages that are appended.

use std::{collections::VecDeque, fmt};

use tidings_log::NewEntry;
use tidings_sync::{Mutex, MutexGuard};
use tokio::sync::Notify;

use crate::{broker::redis::record::hex, lock};

/// Bytes that may wait: the text of the messages, and the overhead of each message.
const BYTES_MAX: usize = 64 << 20;
const MESSAGE_BYTES: usize = 200;
/// Markers that are kept besides those of waiting messages.
const MARKERS_MAX: usize = 64;

/// Position up to which messages are in the log: `count` messages after a marker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker::redis) struct CapturePosition {
    /// Digest of the settings that select messages. A position under other settings does not apply.
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

/// Whether this node receives messages, and knows their positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BufferStatus {
    /// The node receives no messages.
    Disconnected,
    /// The node receives messages and does not know their position; it has to publish this marker.
    Unpositioned(u64),
    /// The node knows the position of each message.
    Positioned,
}

/// Buffer between the live event receiver and the capturer.
pub(in crate::broker::redis) struct CaptureBuffer {
    state: Mutex<BufferState>,
    settings: u64,
    /// Notified when the status changes or the lease may be free.
    changed: Notify,
    /// Notified when a message waits.
    message: Notify,
}

struct BufferState {
    status: BufferStatus,
    /// Received markers, oldest first; `count` counts from the newest.
    markers: VecDeque<u64>,
    /// Number of the first of `markers` among all received markers.
    first_marker: u64,
    /// Number of the first marker since which no message was missed.
    whole_since: u64,
    /// Number of gaps: times that messages may have been missed.
    gaps: u64,
    count: u64,
    waiting: VecDeque<BufferedMessage>,
    bytes: usize,
}

/// A received message.
struct BufferedMessage {
    /// Number of the marker before it.
    mark: u64,
    count: u64,
    /// `None` for a message that is not fit for the log; it counts all the same.
    entry: Option<NewEntry>,
}

impl BufferedMessage {
    fn bytes(&self) -> usize {
        MESSAGE_BYTES + self.entry.as_ref().map_or(0, |entry| entry.data.len())
    }
}

impl CaptureBuffer {
    pub(in crate::broker::redis) fn new(settings: u64) -> Self {
        let state = BufferState {
            status: BufferStatus::Disconnected,
            markers: VecDeque::new(),
            first_marker: 0,
            whole_since: 0,
            gaps: 0,
            count: 0,
            waiting: VecDeque::new(),
            bytes: 0,
        };
        Self {
            state: Mutex::new(&lock::CAPTURE_BUFFER, state),
            settings,
            changed: Notify::new(),
            message: Notify::new(),
        }
    }

    /// Notes that the node receives every message from now on. `mark` is the marker to publish.
    pub(in crate::broker::redis) fn connected(&self, mark: u64) {
        self.state().status = BufferStatus::Unpositioned(mark);
        self.changed.notify_one();
    }

    /// Notes that the node receives no messages. Messages that wait stay.
    pub(in crate::broker::redis) fn disconnected(&self) {
        let mut state = self.state();
        state.status = BufferStatus::Disconnected;
        state.gaps += 1;
        drop(state);
        self.changed.notify_one();
    }

    pub(in crate::broker::redis) fn note_marker(&self, mark: u64) {
        let mut state = self.state();
        if state.status == BufferStatus::Disconnected {
            return;
        }
        if state.status != BufferStatus::Positioned {
            state.status = BufferStatus::Positioned;
            state.whole_since = state.first_marker + state.markers.len() as u64;
        }
        state.markers.push_back(mark);
        state.count = 0;
        state.drop_old_markers();
        drop(state);
        self.changed.notify_one();
    }

    /// Adds a received message; before the first marker its position is unknown, and it is ignored. Returns the number of
    /// waiting messages that were dropped for it.
    pub(in crate::broker::redis) fn push(&self, entry: Option<NewEntry>) -> usize {
        let mut state = self.state();
        if state.status != BufferStatus::Positioned {
            return 0;
        }
        state.count += 1;
        let message = BufferedMessage { mark: state.newest_marker(), count: state.count, entry };
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
            self.message.notify_one();
        }
        lost
    }

    /// Notes that another node released the lease.
    pub(in crate::broker::redis) fn lease_released(&self) {
        self.changed.notify_one();
    }

    /// Waits until the status has changed since the last call, or the lease may be free.
    pub(super) async fn wait_changed(&self) {
        self.changed.notified().await;
    }

    pub(super) async fn wait_message(&self) {
        self.message.notified().await;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    pub(super) fn gap_count(&self) -> u64 {
        self.state().gaps
    }

    pub(super) fn status(&self) -> BufferStatus {
        self.state().status
    }

    /// Returns the markers since which no message was missed, and the number of gaps.
    pub(super) fn markers(&self) -> (Vec<u64>, u64) {
        let state = self.state();
        let missed =
            usize::try_from(state.whole_since.saturating_sub(state.first_marker)).unwrap_or(usize::MAX);
        (state.markers.iter().skip(missed).copied().collect(), state.gaps)
    }

    /// Removes the messages up to a position, which are in the log. An unknown marker is older than every waiting message.
    pub(super) fn acknowledge(&self, place: Option<CapturePosition>) {
        let Some(place) = place else { return };
        let mut state = self.state();
        if place.settings != self.settings {
            // Positions under other settings do not tell which of these messages are in the log.
            while state.pop().is_some() {}
            return;
        }
        let Some(index) = state.markers.iter().rposition(|mark| *mark == place.mark) else { return };
        let mark = state.first_marker + index as u64;
        while state.waiting.front().is_some_and(|it| (it.mark, it.count) <= (mark, place.count)) {
            state.pop();
        }
        state.drop_old_markers();
    }

    /// Returns the next messages that are fit for the log, within these bounds, and the position after them. They stay in the
    /// buffer. Returns `None` if there is a new gap: another node may have received the missed messages.
    pub(super) fn next(
        &self,
        count_max: usize,
        bytes_max: usize,
        gaps: u64,
    ) -> Option<(Vec<NewEntry>, CapturePosition)> {
        let state = self.state();
        if state.gaps != gaps {
            return None;
        }
        let (mut entries, mut bytes, mut last) = (Vec::new(), 0, None);
        for message in &state.waiting {
            if entries.len() >= count_max || bytes >= bytes_max {
                break;
            }
            bytes += message.bytes();
            entries.extend(message.entry.clone());
            last = Some((message.mark, message.count));
        }
        let (mark, count) = last?;
        let index = usize::try_from(mark - state.first_marker).expect("markers are few");
        Some((entries, CapturePosition { settings: self.settings, mark: state.markers[index], count }))
    }

    fn state(&self) -> MutexGuard<'_, BufferState> {
        self.state.lock()
    }
}

impl BufferState {
    /// Number of the newest marker; 0 if there is none.
    fn newest_marker(&self) -> u64 {
        (self.first_marker + self.markers.len() as u64).saturating_sub(1)
    }

    fn pop(&mut self) -> Option<BufferedMessage> {
        let message = self.waiting.pop_front()?;
        self.bytes -= message.bytes();
        Some(message)
    }

    /// Forgets old markers, except those of waiting messages.
    fn drop_old_markers(&mut self) {
        let oldest = self.waiting.front().map_or_else(|| self.newest_marker(), |it| it.mark);
        while self.first_marker < oldest && self.markers.len() > MARKERS_MAX {
            self.markers.pop_front();
            self.first_marker += 1;
        }
    }
}

#[cfg(test)]
mod tests;
