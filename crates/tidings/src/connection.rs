//! One open stream: a principal's subscriptions and a cursor into the log.
//!
//! Replay and live delivery are one loop. Unsent events cost the connection a cursor, not a queue.

mod control_frames;
mod cursor;
pub(crate) mod driver;
mod handle;
mod keep_alive;
mod options;
mod subscription_index;

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tidings_log::{
    Entry, Gap, Log, Millis, OffsetLookup, Page, PageEntry, ReadRequest, ResumePoint, Waiter,
    subscription_texts,
};
use tidings_protocol::body::{EndNotice, EndReason, GapNotice, GapReason, OpenNotice};
use tidings_protocol::{Epoch, EventId, Priority, Subscription, Tag};

pub use self::handle::ConnectionId;
pub(crate) use self::handle::{ConnectionHandle, Termination};
pub(crate) use self::options::{OpenEvent, StreamTimers};
pub use self::options::{PositionStyle, StreamOptions};
pub(crate) use self::subscription_index::SubscriptionIndex;
use self::{cursor::Cursor, keep_alive::KeepAliveDue};
use crate::{limits::ConnectionPermit, metrics::Metrics};
pub use tidings_log::Start;

/// Bytes of the frames of one write, and the most that a connection ever holds. A larger frame is a write of its own.
pub(crate) const WRITE_BYTES_MAX: usize = 64 << 10;

/// The registry that a connection's handle is in.
pub(crate) trait Unregister: Send + Sync {
    /// Removes the handle of a connection that is dropped.
    fn unregister(&self, handle: &Arc<ConnectionHandle>);
}

/// Reader of the log that is notified of new entries.
pub(crate) trait LogObserver: Send + Sync {
    /// Notes that entries were appended. Does not block.
    fn on_append(self: Arc<Self>);
}

/// One open stream.
pub(crate) struct Connection {
    log: Arc<Log>,
    hub: Arc<dyn Unregister>,
    metrics: Arc<Metrics>,
    handle: Arc<ConnectionHandle>,
    subscriptions: Arc<[Subscription]>,
    positions: PositionStyle,
    cursor: Cursor,
    gaps_reported_to: u64,
    replay_until: u64,
    /// Epoch transitions that the cursor has passed.
    transitions_applied: u64,
    /// The requested start, and the barrier that must complete first; `None` once the cursor is known.
    pending_start: Option<(Start, u64)>,
    /// The cursor has not been at the head yet.
    is_replaying: bool,
    gap: Option<Gap>,
    /// Counts the connection against the limits.
    _permit: ConnectionPermit,
}

/// The next step of a connection.
pub(crate) enum ConnectionStep {
    /// Send these frames, if any, and ask for the next step. `has_id` says that one of them has an id.
    Send { frames: Vec<Bytes>, has_id: bool },
    /// Load the page's missing entries, then pass it to [`Connection::deliver`].
    Read(Page),
    /// Nothing to send: wait until the handle is woken.
    Idle,
}

impl Connection {
    /// Opens a connection at its start.
    ///
    /// The handle must be registered already: entries that are appended meanwhile then wake the connection.
    pub(crate) fn open(
        log: Arc<Log>,
        hub: Arc<dyn Unregister>,
        metrics: Arc<Metrics>,
        permit: ConnectionPermit,
        handle: Arc<ConnectionHandle>,
        options: &StreamOptions,
    ) -> Self {
        let subscriptions = handle.subscriptions().clone();
        let mut connection = Self {
            log,
            hub,
            metrics,
            handle,
            subscriptions,
            positions: options.positions,
            cursor: Cursor::new(0, Tag(0), Vec::new(), Epoch(0)),
            gaps_reported_to: 0,
            replay_until: 0,
            transitions_applied: 0,
            pending_start: None,
            is_replaying: true,
            gap: None,
            _permit: permit,
        };
        connection.begin(options.start.clone(), None);
        connection
    }

    /// Sets the cursor to `start`, or waits for the barrier that it needs.
    fn begin(&mut self, start: Start, waited_for: Option<u64>) {
        let resume_point = match self.log.find(&start, &self.subscriptions, waited_for) {
            OffsetLookup::At(resume_point) => *resume_point,
            OffsetLookup::Unsure(barrier) => {
                self.pending_start = Some((start, barrier));
                if waited_for != Some(barrier) {
                    let handle: Weak<dyn Waiter> = Arc::downgrade(&(self.handle.clone() as Arc<dyn Waiter>));
                    self.log.barriers().wait(barrier, handle);
                }
                return;
            }
        };
        let ResumePoint {
            cursor,
            tag,
            skips,
            gap,
            gaps_reported_to,
            replay_until,
            transitions_applied,
            newest,
        } = resume_point;
        if let Some(gap) = &gap {
            self.metrics.events.gap(gap.reason);
        }
        self.cursor = Cursor::new(cursor, tag, skips, newest);
        (self.gap, self.gaps_reported_to, self.replay_until) = (gap, gaps_reported_to, replay_until);
        self.transitions_applied = transitions_applied;
        // A connection at the head receives transient events from now on.
        let is_behind = cursor < self.log.head().offset;
        self.metrics.events.transient_dropped(self.handle.set_behind(is_behind));
    }

    /// Sets the cursor if the barrier has completed, and tells the client its position.
    fn begin_after_barrier(&mut self) -> ConnectionStep {
        if let Some((start, barrier)) = self.pending_start.take() {
            self.begin(start, Some(barrier));
        }
        if self.pending_start.is_some() {
            return ConnectionStep::Idle;
        }
        let position = self.position();
        let frame = match self.gap.take() {
            Some(gap) => control_frames::gap(&gap_notice(gap, &position), &position),
            None if !self.has_positions() => {
                return ConnectionStep::Send { frames: Vec::new(), has_id: false };
            }
            None => control_frames::keep_alive(false, Some(&position), self.positions),
        };
        ConnectionStep::Send { frames: vec![Bytes::from(frame)], has_id: true }
    }

    pub(crate) fn handle(&self) -> &Arc<ConnectionHandle> {
        &self.handle
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Returns the id that resumes at the cursor.
    pub(crate) fn position(&self) -> EventId {
        self.cursor.id()
    }

    /// Whether the stream writes its position if no event carries it.
    pub(crate) fn has_positions(&self) -> bool {
        self.positions != PositionStyle::None
    }

    /// Returns the first bytes. They leave at once and tell the client that it is connected.
    pub(crate) fn open_frames(&mut self, retry: Duration, open_event: Option<OpenEvent>) -> Bytes {
        let gap = self.gap.take();
        let position = self.position();
        let position_known = (gap.is_none() && self.pending_start.is_none()).then_some(&position);
        let notice = open_event.map(|OpenEvent { now, keep_alive, node, expires_at }| OpenNotice {
            connection_id: self.handle.id().to_string(),
            channels: subscription_texts(&self.subscriptions),
            position: position_known.map(EventId::to_string),
            now,
            keep_alive,
            node,
            expires_at,
        });
        let first =
            control_frames::OpenFrames { retry, position: position_known, style: self.positions, notice };
        let mut out = control_frames::open_frames(&first);
        if let Some(gap) = gap {
            out.extend_from_slice(&control_frames::gap(&gap_notice(gap, &position), &position));
        }
        Bytes::from(out)
    }

    /// Takes a new entry for a connection whose cursor is right before it; returns whether to send the entry.
    ///
    /// An entry that was sent already, or has expired, is not sent.
    pub(crate) fn accept_live(&mut self, entry: &Entry, now: Millis) -> bool {
        if entry.offset <= self.cursor.offset || self.pending_start.is_some() {
            return false;
        }
        self.cursor.move_to(entry.offset, entry.tag);
        if entry.has_expired(now) {
            self.metrics.events.expired.inc();
            return false;
        }
        self.metrics.events.delivered(1);
        true
    }

    /// Returns the next step. `is_pressed` says that the socket has refused bytes since the cursor was last at the head.
    pub(crate) fn next_step(&mut self, is_pressed: bool) -> ConnectionStep {
        if self.pending_start.is_some() {
            return self.begin_after_barrier();
        }
        let is_behind = is_pressed || self.is_replaying;
        let transient_after = self.handle.next_transient();
        let request = ReadRequest {
            subscriptions: &self.subscriptions,
            cursor: self.cursor.offset,
            skips: self.cursor.skips(),
            gaps_reported_to: self.gaps_reported_to,
            transitions_applied: self.transitions_applied,
            through: transient_after.unwrap_or(u64::MAX),
            overtaking_max: if is_behind { EventId::SKIPS_MAX - self.cursor.skips().len() } else { 0 },
            may_join: true,
        };
        let page = self.log.page(&request);
        if page.transitions_applied != self.transitions_applied {
            return self.apply_transition(page);
        }
        if !page.lost.is_empty() {
            return ConnectionStep::Send {
                frames: vec![self.report_gap(page, GapReason::Lagged)],
                has_id: true,
            };
        }
        if page.needs_store() {
            return ConnectionStep::Read(page);
        }
        let is_moving = !page.is_last;
        let mut frames = self.deliver(page, is_pressed);
        let has_id = !frames.is_empty();
        if let Some(after) = transient_after.filter(|after| self.cursor.offset >= *after) {
            let bytes: usize = frames.iter().map(Bytes::len).sum();
            let bytes_left = WRITE_BYTES_MAX.saturating_sub(bytes);
            frames.extend(self.handle.take_transient(after, bytes_left, !has_id));
        }
        if frames.is_empty() && !is_moving {
            ConnectionStep::Idle
        } else {
            ConnectionStep::Send { frames, has_id }
        }
    }

    /// Returns the frames of a page, up to one write, and moves the cursor behind them.
    ///
    /// Entries that do not fit one write stay in the log: urgent entries can overtake them while the socket is full.
    pub(crate) fn deliver(&mut self, page: Page, is_pressed: bool) -> Vec<Bytes> {
        let is_behind = is_pressed || self.is_replaying;
        let now = self.log.now();
        let mut out = Vec::with_capacity(page.chunks.len() + page.entries.len());
        let mut bytes = 0;
        let mut is_lag_counted = is_behind;
        // Shared chunks have no entry that overtook, and are sent as they are.
        for chunk in page.chunks {
            let (offset, tag) = chunk.end;
            self.cursor.move_to(offset, tag);
            self.metrics.events.delivered(chunk.events);
            out.push(chunk.frames);
        }
        let shared = out.len();
        for PageEntry { offset, overtakes, entry } in page.entries {
            let Some(entry) = entry else { break };
            let is_wanted = self.is_wanted(&entry, is_behind, is_pressed, now);
            let sent = match (overtakes, is_wanted) {
                (true, false) => continue,
                (true, true) => Some(self.cursor.frame_ahead(&entry, page.newest)),
                (false, true) => self.cursor.frame_in_order(&entry, page.newest),
                (false, false) => None,
            };
            if let Some(frame) = sent {
                bytes += frame.len();
                if bytes > WRITE_BYTES_MAX && !out.is_empty() {
                    self.metrics.events.delivered(out.len() - shared);
                    return out;
                }
                out.push(frame);
                if !std::mem::replace(&mut is_lag_counted, true) {
                    self.metrics.events.delivery_lag(now.saturating_sub(entry.published_at));
                }
            }
            if overtakes {
                self.cursor.skip(&entry);
            } else {
                self.cursor.move_to(offset, entry.tag);
            }
        }
        if let Some((end, tag)) = page.end {
            self.cursor.move_to(end, tag);
            self.gaps_reported_to = page.gaps_reported_to;
        }
        if page.is_last && self.is_replaying {
            self.is_replaying = false;
            self.handle.set_behind(is_pressed);
        }
        self.metrics.events.delivered(out.len() - shared);
        out
    }

    /// Whether the entry is to be sent: not expired, not superseded, and not of low priority under pressure.
    fn is_wanted(&self, entry: &Entry, is_behind: bool, is_pressed: bool, now: u64) -> bool {
        if entry.has_expired(now) {
            self.metrics.events.expired.inc();
            return false;
        }
        if is_pressed && entry.priority == Priority::Low && entry.offset > self.replay_until {
            self.metrics.events.skipped_low.inc();
            return false;
        }
        if is_behind && self.log.is_superseded(entry, &self.subscriptions) {
            self.metrics.events.superseded.inc();
            return false;
        }
        true
    }

    /// Moves the cursor over an epoch transition of the log.
    fn apply_transition(&mut self, page: Page) -> ConnectionStep {
        self.cursor.drop_skips_above(page.ceiling);
        if self.cursor.offset > page.ceiling {
            // Transient events wait for offsets that the transition has removed.
            self.metrics.events.transient_dropped(self.handle.set_behind(true));
        }
        if page.lost.is_empty() {
            self.move_cursor(&page);
            (self.transitions_applied, self.cursor.epoch) = (page.transitions_applied, page.newest);
            return ConnectionStep::Send { frames: Vec::new(), has_id: false };
        }
        let frame = self.report_gap(page, GapReason::Epoch);
        ConnectionStep::Send { frames: vec![frame], has_id: true }
    }

    /// Moves the cursor to the end of a page without steps, forwards or backwards.
    fn move_cursor(&mut self, page: &Page) {
        let Some((end, tag)) = page.end else { return };
        let tag = if end == self.cursor.offset { self.cursor.tag } else { tag };
        self.cursor.move_to(end, tag);
    }

    /// Returns the gap event for entries that were lost before the connection read them.
    fn report_gap(&mut self, page: Page, reason: GapReason) -> Bytes {
        self.metrics.events.gap(reason);
        let requested = self.position().to_string();
        self.move_cursor(&page);
        (self.gaps_reported_to, self.transitions_applied, self.cursor.epoch) =
            (page.gaps_reported_to, page.transitions_applied, page.newest);
        let gap = Gap { channels: page.lost.into_iter().collect(), reason, requested: Some(requested) };
        let position = self.position();
        Bytes::from(control_frames::gap(&gap_notice(gap, &position), &position))
    }

    /// Returns the keep-alive: a comment, the position, or both. Never empty.
    pub(crate) fn keep_alive(&self, due: KeepAliveDue) -> Bytes {
        let has_position = due.position && self.has_positions() && self.pending_start.is_none();
        let position = has_position.then(|| self.position());
        Bytes::from(control_frames::keep_alive(due.comment, position.as_ref(), self.positions))
    }

    /// Returns the last frame. `retry` replaces the stream's reconnection time.
    pub(crate) fn end_frame(&self, reason: EndReason, reconnect: bool, retry: Option<Duration>) -> Bytes {
        let position = self.pending_start.is_none().then(|| self.position());
        Bytes::from(control_frames::end(&EndNotice { reason, reconnect }, retry, position.as_ref()))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hub.unregister(&self.handle);
    }
}

fn gap_notice(gap: Gap, resumed_at: &EventId) -> GapNotice {
    GapNotice {
        channels: gap.channels,
        reason: gap.reason,
        requested: gap.requested,
        resumed_at: resumed_at.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
