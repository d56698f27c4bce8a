//! Drives one connection for a transport: next frames, keep-alives, deadlines, back-pressure and termination. No I/O.

use std::{sync::Arc, task::Waker, time::Instant};

use bytes::Bytes;
use tidings_log::{Entry, Log, Millis, Page};
use tidings_protocol::body::EndReason;

use super::handle::{ConnectionHandle, Termination};
use super::keep_alive::KeepAlive;
use super::options::{OpenEvent, StreamTimers};
use super::{Connection, ConnectionStep};

/// Polls of one connection in a row, before the transport serves others.
pub(crate) const POLLS_MAX: usize = 16;

/// A connection that no transport has yet.
pub(crate) struct NewConnection {
    pub(crate) connection: Connection,
    pub(crate) timers: StreamTimers,
    /// Present if the stream begins with `tidings.open`.
    pub(crate) open_event: Option<OpenEvent>,
}

/// The next task of a transport.
pub(crate) enum DriverStep {
    /// Write these frames, then poll again.
    Write(Vec<Bytes>),
    /// Load the page, pass it to [`Driver::on_page_loaded`], then poll again.
    Load(Page),
    /// Poll again when the waker is woken, when the transport can write again, or at this time.
    WaitUntil(Instant),
    /// The stretch of the log that was read has nothing to send: poll again.
    Continue,
    /// Write this frame and end the stream. The driver is not polled any more.
    Finish(Bytes),
}

/// The state of a connection that both transports share.
pub(crate) struct Driver {
    connection: Connection,
    keep_alive: KeepAlive,
    /// Time at which the stream ends by itself.
    ends_at: Option<Instant>,
    /// Reason of that end. A field of its own: it fits the padding.
    end_reason: EndReason,
    /// The transport has refused bytes since the connection was last at the head.
    is_pressed: bool,
    /// The connection is at the head, and waits for new entries.
    is_idle: bool,
    is_finished: bool,
    load: LoadState,
    /// A page that was given up. The next page takes its entries instead of reading them again.
    stale_page: Option<Box<Page>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoadState {
    Idle,
    Loading,
    /// The transport refused bytes while the page was loading: entries that overtake must not wait behind it.
    Stale,
}

impl Driver {
    /// Returns the driver and the first bytes of the stream, which leave at once.
    pub(crate) fn new(new: NewConnection, now: Instant) -> (Self, Bytes) {
        let NewConnection { mut connection, timers, open_event } = new;
        let opening = connection.open_frames(timers.retry, open_event);
        let ends_in = timers.ends_in();
        let driver = Self {
            keep_alive: KeepAlive::new(timers.keep_alive, connection.has_positions(), now),
            ends_at: ends_in.map(|(left, _)| now + left),
            end_reason: ends_in.map_or(EndReason::MaxAge, |(_, reason)| reason),
            connection,
            is_pressed: false,
            is_idle: false,
            is_finished: false,
            load: LoadState::Idle,
            stale_page: None,
        };
        (driver, opening)
    }

    pub(crate) fn handle(&self) -> &Arc<ConnectionHandle> {
        self.connection.handle()
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        self.connection.log()
    }

    pub(crate) fn is_pressed(&self) -> bool {
        self.is_pressed
    }

    /// Whether the connection is at the head, and [`Driver::accept_live`] may take the next entry.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Whether [`DriverStep::Finish`] was returned.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_finished
    }

    /// Returns the time of the next poll if nothing else happens before.
    pub(crate) fn due(&self) -> Instant {
        let due = self.keep_alive.due();
        self.ends_at.map_or(due, |at| due.min(at))
    }

    /// Returns the next step. `can_write` says that the transport has sent all that it was given.
    ///
    /// While a page is loading, and after `can_write: false`, `waker` is not registered: the transport polls by itself.
    pub(crate) fn poll(&mut self, waker: &Waker, now: Instant, can_write: bool) -> DriverStep {
        self.is_idle = false;
        if !can_write {
            self.fall_behind();
        }
        if !can_write || self.load != LoadState::Idle {
            return DriverStep::WaitUntil(self.due());
        }
        // Registered before the log is read: an entry that is appended meanwhile wakes the transport again.
        self.handle().register_waker(waker);
        if let Some(termination) = self.termination(now) {
            return DriverStep::Finish(self.finish(termination));
        }
        match self.connection.next_step(self.is_pressed) {
            ConnectionStep::Send { frames, .. } if frames.is_empty() => DriverStep::Continue,
            ConnectionStep::Send { frames, has_id } => {
                self.note_sent(now, has_id);
                DriverStep::Write(frames)
            }
            ConnectionStep::Read(mut page) => {
                if let Some(stale) = self.stale_page.take() {
                    page.recall(stale.entries);
                }
                self.load = LoadState::Loading;
                DriverStep::Load(page)
            }
            ConnectionStep::Idle => self.poll_idle(now),
        }
    }

    fn poll_idle(&mut self, now: Instant) -> DriverStep {
        self.is_pressed = false;
        self.handle().set_behind(false);
        match self.keep_alive.take_due(now) {
            Some(due) => DriverStep::Write(vec![self.connection.keep_alive(due)]),
            None => {
                self.is_idle = true;
                DriverStep::WaitUntil(self.due())
            }
        }
    }

    /// Takes a page that was loaded; returns its frames, if it has any.
    ///
    /// Gives the page up if the transport refused bytes meanwhile, or if the stream has to end.
    pub(crate) fn on_page_loaded(&mut self, page: Page, now: Instant) -> Option<Vec<Bytes>> {
        let load = std::mem::replace(&mut self.load, LoadState::Idle);
        if load == LoadState::Stale || self.termination(now).is_some() {
            self.stale_page = Some(Box::new(page));
            return None;
        }
        let frames = self.connection.deliver(page, self.is_pressed);
        if frames.is_empty() {
            return None;
        }
        self.note_sent(now, true);
        Some(frames)
    }

    /// Takes a new entry for an idle connection; returns whether the transport is to send it.
    ///
    /// `has_room` says that the transport can queue the entry. If it cannot, the connection reads the log itself.
    pub(crate) fn accept_live(
        &mut self,
        entry: &Entry,
        now: Instant,
        now_millis: Millis,
        has_room: bool,
    ) -> bool {
        self.is_idle &= has_room && !self.is_over(now) && !self.handle().has_pending_control();
        self.is_idle && self.connection.accept_live(entry, now_millis)
    }

    /// Notes that bytes were handed to the transport, and whether they had an id.
    pub(crate) fn note_sent(&mut self, now: Instant, has_id: bool) {
        self.keep_alive.note_sent(now, has_id);
    }

    /// Notes that the transport refused bytes, although it may take more by now.
    pub(crate) fn note_pressure(&mut self) {
        self.is_pressed = true;
        if self.load == LoadState::Loading {
            self.load = LoadState::Stale;
        }
    }

    /// Notes that the transport takes no bytes: transient events are dropped until the connection is at the head again.
    pub(crate) fn fall_behind(&mut self) {
        self.is_idle = false;
        self.note_pressure();
        self.connection.metrics.events.transient_dropped(self.handle().set_behind(true));
    }

    fn termination(&self, now: Instant) -> Option<Termination> {
        if self.is_over(now) {
            return Some(Termination { reason: self.end_reason, reconnect: true, retry: None });
        }
        self.handle().termination()
    }

    fn is_over(&self, now: Instant) -> bool {
        self.ends_at.is_some_and(|at| at <= now)
    }

    fn finish(&mut self, Termination { reason, reconnect, retry }: Termination) -> Bytes {
        self.is_finished = true;
        self.connection.metrics.connections.stream_ended(reason);
        self.connection.end_frame(reason, reconnect, retry)
    }
}

#[cfg(test)]
mod tests;
