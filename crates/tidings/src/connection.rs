//! One open stream: a principal's subscriptions and a cursor into the log. Replay and live are one loop; what a
//! connection has not been sent costs a number, not a queue.

mod control_frames;
mod handle;
mod subscription_index;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use tidings_protocol::{
    Epoch, EventId, Priority, Skip, Subscription, Tag,
    body::{EndNotice, EndReason, GapNotice, GapReason, OpenNotice},
};

pub use self::handle::ConnectionId;
pub(crate) use self::{
    handle::{ConnectionHandle, Termination},
    subscription_index::SubscriptionIndex,
};
pub use crate::log::resume::Start;
use crate::{
    limits::ConnectionPermit,
    log::{
        Log,
        entry::{Entry, Millis},
        read::{Page, PageEntry, ReadRequest},
        replica::{OffsetLookup, Waiter},
        resume::{Gap, ResumePoint},
        subscriptions::subscription_texts,
    },
    metrics::Metrics,
};

/// Frames that leave in one write, in bytes; a larger frame goes alone. All that a connection ever holds.
pub(crate) const WRITE_BYTES_MAX: usize = 64 << 10;

/// How a stream tells its position where no event carries it: at its beginning, and in keep-alives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PositionStyle {
    /// A named event with empty data. Every browser's `EventSource` keeps its id.
    Event,
    /// A block with an `id` and no data. A conforming client keeps the id; Firefox and WebKit do not.
    Id,
    /// No position. Several client libraries hand their application an empty message for one.
    #[default]
    None,
}

/// How a stream is to be served.
#[derive(Debug, Clone)]
pub struct StreamOptions {
    /// Where it begins. Default: with what is published from now on.
    pub start: Start,
    /// How positions are written. Default: not at all.
    pub positions: PositionStyle,
    /// Whether `tidings.open` comes first. Default: no.
    pub open_event: bool,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self { start: Start::Now, positions: PositionStyle::default(), open_event: false }
    }
}

/// A connection that no transport has yet.
pub(crate) struct NewConnection {
    pub(crate) connection: Connection,
    pub(crate) times: StreamTimers,
    /// There if `tidings.open` is to come first.
    pub(crate) greeting: Option<OpenEvent>,
}

/// Members of `tidings.open` about the node and the client's credential.
pub(crate) struct OpenEvent {
    /// ISO 8601.
    pub(crate) now: String,
    /// Seconds.
    pub(crate) keep_alive: serde_json::Number,
    pub(crate) node: String,
    /// ISO 8601; none where the credential has no end.
    pub(crate) expires_at: Option<String>,
}

/// Keep-alives that are due for a caught-up stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeepAliveDue {
    /// Nothing was sent for as long as `stream.keep_alive` says.
    pub(crate) comment: bool,
    /// No id was sent for so long.
    pub(crate) position: bool,
}

/// The times that a stream keeps to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamTimers {
    /// Silence at which a comment is sent, and age of the last id at which the position is; jittered already.
    pub(crate) keep_alive: Duration,
    pub(crate) max_age: Option<Duration>,
    /// Until the client's credentials end.
    pub(crate) time_left: Option<Duration>,
    /// What the client waits before it comes back.
    pub(crate) retry: Duration,
}

impl StreamTimers {
    /// How long until it ends by itself, and why it will.
    pub(crate) fn ends_in(&self) -> Option<(Duration, EndReason)> {
        let max_age = self.max_age.map(|age| (age, EndReason::MaxAge));
        let expiry = self.time_left.map(|left| (left, EndReason::TokenExpired));
        max_age.into_iter().chain(expiry).min_by_key(|(left, _)| *left)
    }
}

/// Where a connection has its seat.
pub(crate) trait Unregister: Send + Sync {
    /// Takes the seat away.
    fn unregister(&self, seat: &Arc<ConnectionHandle>);
}

/// Hears that something was stored, and reads it when it comes to it.
pub(crate) trait LogObserver: Send + Sync {
    /// Says that the log has grown.
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
    cursor: u64,
    tag: Tag,
    /// Events above the cursor that the client has, ascending.
    skips: Vec<Skip>,
    gaps_reported_to: u64,
    replay_until: u64,
    /// Breaks of the log's order that it was told of, and the epoch that its ids are written in.
    transitions_applied: u64,
    newest: Epoch,
    /// Where it asked to begin, and the question that must be answered first; none when it has a place.
    pending_start: Option<(Start, u64)>,
    /// It has not yet been at the head.
    is_replaying: bool,
    gap: Option<Gap>,
    /// What it counts for among all connections, until it is gone.
    _slot: ConnectionPermit,
}

/// What to do next for a connection.
pub(crate) enum Step {
    /// Send these; maybe none, and look again. `has_id` says that an id is among them.
    Send { frames: Vec<Bytes>, has_id: bool },
    /// Read what the page misses, then [`Connection::deliver`] it.
    Read(Page),
    /// Nothing to send: wait until the seat is woken.
    Idle,
}

impl Connection {
    /// Finds the place to begin. The seat is taken already: entries that come meanwhile are read by the same loop.
    pub(crate) fn open(
        log: Arc<Log>,
        hub: Arc<dyn Unregister>,
        metrics: Arc<Metrics>,
        slot: ConnectionPermit,
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
            cursor: 0,
            tag: Tag(0),
            skips: Vec::new(),
            gaps_reported_to: 0,
            replay_until: 0,
            transitions_applied: 0,
            newest: Epoch(0),
            pending_start: None,
            is_replaying: true,
            gap: None,
            _slot: slot,
        };
        connection.begin(options.start.clone(), None);
        connection
    }

    /// Begins where it asked to, or goes on waiting for the answer that says where that is.
    fn begin(&mut self, start: Start, waited_for: Option<u64>) {
        let attached = match self.log.find(&start, &self.subscriptions, waited_for) {
            OffsetLookup::At(attached) => *attached,
            OffsetLookup::Unsure(barrier) => {
                self.pending_start = Some((start, barrier));
                if waited_for != Some(barrier) {
                    let handle: Weak<dyn Waiter> = Arc::downgrade(&(self.handle.clone() as Arc<dyn Waiter>));
                    self.log.wait_for_barrier(barrier, handle);
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
        } = attached;
        if let Some(gap) = &gap {
            self.metrics.events.gap(gap.reason);
        }
        (self.cursor, self.tag, self.skips) = (cursor, tag, skips);
        (self.gap, self.gaps_reported_to, self.replay_until) = (gap, gaps_reported_to, replay_until);
        (self.transitions_applied, self.newest) = (transitions_applied, newest);
        // Who begins at the head gets from now on what is not stored, too.
        let is_behind = cursor < self.log.head().offset;
        self.metrics.events.transient_dropped(self.handle.set_behind(is_behind));
    }

    /// Looks whether it has a place by now; says so to the client where it has.
    fn begin_late(&mut self) -> Step {
        if let Some((start, barrier)) = self.pending_start.take() {
            self.begin(start, Some(barrier));
        }
        if self.pending_start.is_some() {
            return Step::Idle;
        }
        let position = self.position();
        let frame = match self.gap.take() {
            Some(gap) => control_frames::gap(&notice(gap, &position), &position),
            None if !self.has_positions() => return Step::Send { frames: Vec::new(), has_id: false },
            None => control_frames::keep_alive(false, Some(&position), self.positions),
        };
        Step::Send { frames: vec![Bytes::from(frame)], has_id: true }
    }

    pub(crate) fn handle(&self) -> &Arc<ConnectionHandle> {
        &self.handle
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// The cursor as an id that resumes here.
    pub(crate) fn position(&self) -> EventId {
        let mut id = EventId::new(self.newest, self.cursor, self.tag);
        id.skips.clone_from(&self.skips);
        id
    }

    /// Whether the stream tells its position where no event carries it.
    pub(crate) fn has_positions(&self) -> bool {
        self.positions != PositionStyle::None
    }

    /// The first bytes: they leave at once, so that the client knows that it is connected. With a greeting they begin with
    /// `tidings.open`.
    pub(crate) fn open_frames(&mut self, retry: Duration, greeting: Option<OpenEvent>) -> Bytes {
        let gap = self.gap.take();
        let position = self.position();
        let position_known = (gap.is_none() && self.pending_start.is_none()).then_some(&position);
        let hello = greeting.map(|OpenEvent { now, keep_alive, node, expires_at }| OpenNotice {
            connection_id: self.handle.id().to_string(),
            channels: subscription_texts(&self.subscriptions),
            position: position_known.map(EventId::to_string),
            now,
            keep_alive,
            node,
            expires_at,
        });
        let first =
            control_frames::OpenFrames { retry, position: position_known, style: self.positions, hello };
        let mut out = control_frames::open_frames(&first);
        if let Some(gap) = gap {
            out.extend_from_slice(&control_frames::gap(&notice(gap, &position), &position));
        }
        Bytes::from(out)
    }

    /// Takes an entry that has just been stored, for a connection that was idle when the log ended before it; says whether
    /// it is to be sent: not where it was, and not where nobody wants it any more.
    pub(crate) fn accept_live(&mut self, entry: &Entry, now: Millis) -> bool {
        if entry.offset <= self.cursor || self.pending_start.is_some() {
            return false;
        }
        (self.cursor, self.tag) = (entry.offset, entry.tag);
        if entry.has_expired(now) {
            self.metrics.events.expired();
            return false;
        }
        self.metrics.events.delivered(1);
        true
    }

    /// What to do next. `is_pressed` says that the client's socket has refused bytes since it was last at the head.
    pub(crate) fn next_step(&mut self, is_pressed: bool) -> Step {
        if self.pending_start.is_some() {
            return self.begin_late();
        }
        let is_behind = is_pressed || self.is_replaying;
        let unstored_after = self.handle.next_transient();
        let ask = ReadRequest {
            subscriptions: &self.subscriptions,
            cursor: self.cursor,
            skips: &self.skips,
            gaps_reported_to: self.gaps_reported_to,
            transitions_applied: self.transitions_applied,
            through: unstored_after.unwrap_or(u64::MAX),
            overtaking_max: if is_behind { EventId::SKIPS_MAX - self.skips.len() } else { 0 },
            may_join: true,
        };
        let page = self.log.page(&ask);
        if page.transitions_applied != self.transitions_applied {
            return self.apply_transition(page);
        }
        if !page.lost.is_empty() {
            return Step::Send { frames: vec![self.report_gap(page, GapReason::Lagged)], has_id: true };
        }
        if page.needs_store() {
            return Step::Read(page);
        }
        let is_moving = !page.is_last;
        let mut frames = self.deliver(page, is_pressed);
        let has_id = !frames.is_empty();
        if let Some(after) = unstored_after.filter(|after| self.cursor >= *after) {
            let bytes: usize = frames.iter().map(Bytes::len).sum();
            let bytes_left = WRITE_BYTES_MAX.saturating_sub(bytes);
            frames.extend(self.handle.take_transient(after, bytes_left, !has_id));
        }
        if frames.is_empty() && !is_moving { Step::Idle } else { Step::Send { frames, has_id } }
    }

    /// Sends steps of a page and moves the cursor over them. What does not fit one write is left in the log, so that
    /// what becomes urgent while the socket is full can still overtake it.
    pub(crate) fn deliver(&mut self, page: Page, is_pressed: bool) -> Vec<Bytes> {
        let is_behind = is_pressed || self.is_replaying;
        let now = self.log.now();
        let mut out = Vec::with_capacity(page.chunks.len() + page.entries.len());
        let mut bytes = 0;
        let mut is_lag_counted = is_behind;
        // Nothing overtook what is joined, and it is for everybody as it is.
        for part in page.chunks {
            (self.cursor, self.tag) = part.end;
            self.metrics.events.delivered(part.events);
            out.push(part.frames);
        }
        let joined = out.len();
        for PageEntry { offset, overtakes, entry } in page.entries {
            let Some(entry) = entry else { break };
            let is_wanted = self.is_wanted(&entry, is_behind, is_pressed, now);
            let sent = match (overtakes, is_wanted) {
                (true, false) => continue,
                (true, true) => Some(self.frame_ahead(&entry, page.newest)),
                (false, true) => self.frame_in_order(&entry, page.newest),
                (false, false) => None,
            };
            if let Some(frame) = sent {
                bytes += frame.len();
                if bytes > WRITE_BYTES_MAX && !out.is_empty() {
                    self.metrics.events.delivered(out.len() - joined);
                    return out;
                }
                out.push(frame);
                if !std::mem::replace(&mut is_lag_counted, true) {
                    self.metrics.events.delivery_lag(now.saturating_sub(entry.published_at));
                }
            }
            if overtakes {
                self.skips = self.skips_with(&entry);
            } else {
                (self.cursor, self.tag) = (offset, entry.tag);
                self.pass_skips();
            }
        }
        if let Some((end, tag)) = page.end {
            (self.cursor, self.tag) = (end, tag);
            self.pass_skips();
            self.gaps_reported_to = page.gaps_reported_to;
        }
        if page.is_last && self.is_replaying {
            self.is_replaying = false;
            self.handle.set_behind(is_pressed);
        }
        self.metrics.events.delivered(out.len() - joined);
        out
    }

    /// The frame of an event that overtakes: the cursor stays, and the event is among the skips.
    fn frame_ahead(&self, entry: &Entry, newest: Epoch) -> Bytes {
        let skips = self.skips_with(entry);
        entry.frame_with_id(Some(&EventId { skips, ..EventId::new(newest, self.cursor, self.tag) }))
    }

    /// The frame of the event that the cursor moves to, unless the client has it already.
    fn frame_in_order(&self, entry: &Entry, newest: Epoch) -> Option<Bytes> {
        let passed = self.skips.partition_point(|skip| skip.offset <= entry.offset);
        let is_had = passed.checked_sub(1).is_some_and(|last| self.skips[last].offset == entry.offset);
        (!is_had).then(|| entry.frame(newest, &self.skips[passed..]))
    }

    fn skips_with(&self, entry: &Entry) -> Vec<Skip> {
        let at = self.skips.partition_point(|skip| skip.offset < entry.offset);
        let mut skips = self.skips.clone();
        skips.insert(at, Skip { offset: entry.offset, tag: entry.tag });
        skips
    }

    /// Whether the publisher still wants the client to have it.
    fn is_wanted(&self, entry: &Entry, is_behind: bool, is_pressed: bool, now: u64) -> bool {
        if entry.has_expired(now) {
            self.metrics.events.expired();
            return false;
        }
        if is_pressed && entry.priority == Priority::Low && entry.offset > self.replay_until {
            self.metrics.events.skipped_low();
            return false;
        }
        if is_behind && self.log.is_superseded(entry, &self.subscriptions) {
            self.metrics.events.superseded();
            return false;
        }
        true
    }

    fn pass_skips(&mut self) {
        let passed = self.skips.partition_point(|skip| skip.offset <= self.cursor);
        self.skips.drain(..passed);
    }

    /// Goes on over a break of the log's order.
    fn apply_transition(&mut self, page: Page) -> Step {
        let (transitions_applied, newest) = (page.transitions_applied, page.newest);
        self.skips.retain(|skip| skip.offset <= page.ceiling);
        if self.cursor > page.ceiling {
            // What waits for an end that is no more would wait for long.
            self.metrics.events.transient_dropped(self.handle.set_behind(true));
        }
        if page.lost.is_empty() {
            self.move_cursor(&page);
            (self.transitions_applied, self.newest) = (transitions_applied, newest);
            return Step::Send { frames: Vec::new(), has_id: false };
        }
        let frame = self.report_gap(page, GapReason::Epoch);
        Step::Send { frames: vec![frame], has_id: true }
    }

    /// Moves the cursor to the end of a page without steps, be it back.
    fn move_cursor(&mut self, page: &Page) {
        let Some((end, tag)) = page.end else { return };
        if end != self.cursor {
            (self.cursor, self.tag) = (end, tag);
        }
        self.pass_skips();
    }

    /// Tells of what was lost before this connection read it.
    fn report_gap(&mut self, page: Page, reason: GapReason) -> Bytes {
        self.metrics.events.gap(reason);
        let requested = self.position().to_string();
        self.move_cursor(&page);
        (self.gaps_reported_to, self.transitions_applied, self.newest) =
            (page.gaps_reported_to, page.transitions_applied, page.newest);
        let gap = Gap { channels: page.lost.into_iter().collect(), reason, requested: Some(requested) };
        let position = self.position();
        Bytes::from(control_frames::gap(&notice(gap, &position), &position))
    }

    /// The comment of a silent stream, the position of one whose last id is old, or both. Never empty.
    pub(crate) fn keep_alive(&self, due: KeepAliveDue) -> Bytes {
        let has_position = due.position && self.has_positions() && self.pending_start.is_none();
        let position = has_position.then(|| self.position());
        Bytes::from(control_frames::keep_alive(due.comment, position.as_ref(), self.positions))
    }

    /// The last frame. `retry` says when to come back, where that is not the stream's own value.
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

fn notice(gap: Gap, resumed_at: &EventId) -> GapNotice {
    GapNotice {
        channels: gap.channels,
        reason: gap.reason,
        requested: gap.requested,
        resumed_at: resumed_at.to_string(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
