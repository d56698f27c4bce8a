//! A connection as an HTTP body: what hyper polls, over HTTP/1.1 and HTTP/2, here or in somebody's own service.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tidings_protocol::body::EndReason;
use tokio::{
    task::JoinHandle,
    time::{Instant, Sleep, sleep_until},
};

use super::{keep_alive::KeepAlive, socket::Backpressure};
use crate::{
    connection::{
        Connection, ConnectionHandle, ConnectionId, NewConnection, OpenEvent, Step, StreamTimers, Termination,
    },
    log::read::{Page, PageEntry},
    metrics::Metrics,
};

/// A transport that looks for nothing for so long, although there is something, takes nothing: the stream is behind.
/// Streams that share a socket, or have none that the hub knows, are found out by this alone.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// Stretches of the log that one poll may pass over without finding anything to send.
const TURNS_MAX: usize = 16;

/// A stream of events as an HTTP body, and as an answer of an axum handler. Dropping it closes the connection.
///
/// [`Hub::body`](crate::Hub::body) opens one.
#[must_use = "a body is sent by the server that a handler returns it to"]
pub struct EventBody {
    connection: Connection,
    metrics: Arc<Metrics>,
    backpressure: Option<Arc<Backpressure>>,
    timers: StreamTimers,
    /// Refusals of the socket that are over: the stream has been at the head since.
    refusals_seen: u64,
    has_stalled: bool,
    /// The socket is to be tried before it is given more.
    must_flush: bool,
    state: BodyState,
    /// Entries that were read for a page that was given up.
    spare: Vec<PageEntry>,
    timer: Pin<Box<Sleep>>,
    keep_alive: KeepAlive<Instant>,
    /// When it ends by itself, and why.
    ends_at: Option<(Instant, EndReason)>,
}

enum BodyState {
    Opening(Option<Box<OpenEvent>>),
    Open,
    /// Of a page that was asked for after so many refusals.
    Reading(JoinHandle<Page>, u64),
    Ended,
}

impl EventBody {
    pub(crate) fn new(
        NewConnection { connection, times, greeting }: NewConnection,
        metrics: Arc<Metrics>,
        backpressure: Option<Arc<Backpressure>>,
    ) -> Self {
        let now = Instant::now();
        // On HTTP/2 the task that sends this stream is watched from outside.
        let _ = SENT_BY.try_with(|sent| sent.set(connection.handle().clone()));
        let ends_at = times.ends_in().map(|(left, reason)| (now + left, reason));
        let keep_alive = KeepAlive::new(times.keep_alive, connection.has_positions(), now);
        let keep_alive_at = keep_alive.due();
        Self {
            connection,
            metrics,
            refusals_seen: backpressure.as_ref().map_or(0, |pressure| pressure.refusals()),
            backpressure,
            timers: times,
            has_stalled: false,
            must_flush: false,
            state: BodyState::Opening(greeting.map(Box::new)),
            spare: Vec::new(),
            timer: Box::pin(sleep_until(ends_at.map_or(keep_alive_at, |(at, _)| at.min(keep_alive_at)))),
            keep_alive,
            ends_at,
        }
    }

    /// Names this connection.
    pub fn connection_id(&self) -> ConnectionId {
        self.connection.handle().id()
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(pressure) = &self.backpressure
            && pressure.is_refusing(context.waker())
        {
            // Nothing is read from the log for a socket that takes nothing: the cursor waits.
            self.fall_behind();
            return Poll::Pending;
        }
        if std::mem::take(&mut self.must_flush) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        for _ in 0..TURNS_MAX {
            match &mut self.state {
                BodyState::Ended => return Poll::Ready(None),
                BodyState::Opening(greeting) => {
                    let greeting = greeting.take().map(|greeting| *greeting);
                    self.state = BodyState::Open;
                    let opening = self.connection.open_frames(self.timers.retry, greeting);
                    return Poll::Ready(Some(self.note_sent(opening, true)));
                }
                BodyState::Reading(reading, refusals) => {
                    let refusals = *refusals;
                    let page = ready!(Pin::new(reading).poll(context));
                    self.state = BodyState::Open;
                    // A reader that panicked would do so again: the client comes back by itself.
                    let Ok(page) = page else {
                        self.state = BodyState::Ended;
                        return Poll::Ready(None);
                    };
                    if refusals != self.refusals() || self.is_over() {
                        // Meanwhile the socket was full: what is urgent by now must not wait behind this page. Or the
                        // right to read it ended.
                        self.spare = page.entries;
                        continue;
                    }
                    let frames = self.connection.deliver(page, self.is_pressed());
                    if !frames.is_empty() {
                        return Poll::Ready(Some(self.join(frames, true)));
                    }
                }
                BodyState::Open => {
                    if let Some(outcome) = self.poll_open(context) {
                        return outcome;
                    }
                }
            }
        }
        // Many stretches without anything to send: others have their turn first.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes one turn; `None` where there is to be another.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Option<Poll<Option<Bytes>>> {
        if self.connection.handle().unpolled_for() >= STALLED_AFTER {
            self.has_stalled = true;
            self.fall_behind();
        }
        self.connection.handle().register_waker(context.waker());
        if let Some(Termination { reason, reconnect, retry }) = self.poll_termination(context) {
            self.state = BodyState::Ended;
            self.metrics.connections.stream_ended(reason);
            return Some(Poll::Ready(Some(self.connection.end_frame(reason, reconnect, retry))));
        }
        match self.connection.next_step(self.is_pressed()) {
            Step::Send { frames, .. } if frames.is_empty() => None,
            Step::Send { frames, has_id } => Some(Poll::Ready(Some(self.join(frames, has_id)))),
            Step::Read(mut page) => {
                page.recall(std::mem::take(&mut self.spare));
                self.state = BodyState::Reading(self.read(page), self.refusals());
                None
            }
            Step::Idle => {
                (self.refusals_seen, self.has_stalled) = (self.refusals(), false);
                self.connection.handle().set_behind(false);
                Some(self.poll_keep_alive(context).map(Some))
            }
        }
    }

    fn refusals(&self) -> u64 {
        self.backpressure.as_ref().map_or(0, |pressure| pressure.refusals())
    }

    /// Whether bytes were refused since the stream was last at the head.
    fn is_pressed(&self) -> bool {
        self.has_stalled || self.refusals() != self.refusals_seen
    }

    fn fall_behind(&self) {
        let missed = self.connection.handle().set_behind(true);
        self.metrics.events.transient_dropped(missed);
    }

    /// The disk is read off the threads that serve sockets.
    fn read(&self, mut page: Page) -> JoinHandle<Page> {
        let log = self.connection.log().clone();
        tokio::task::spawn_blocking(move || {
            log.load(std::slice::from_mut(&mut page));
            page
        })
    }

    fn is_over(&self) -> bool {
        self.ends_at.is_some_and(|(at, _)| at <= Instant::now())
            || self.connection.handle().termination().is_some()
    }

    fn poll_termination(&mut self, context: &mut Context<'_>) -> Option<Termination> {
        if let Some((_, reason)) = self.ends_at.filter(|(at, _)| *at <= Instant::now()) {
            return Some(Termination { reason, reconnect: true, retry: None });
        }
        // Makes sure that the timer wakes this task, whatever it waits for next.
        let _ = self.poll_timer(context);
        self.connection.handle().termination()
    }

    fn due(&self) -> Instant {
        let due = self.keep_alive.due();
        self.ends_at.map_or(due, |(at, _)| due.min(at))
    }

    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            let due = self.due();
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
    }

    fn poll_keep_alive(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        ready!(self.poll_timer(context));
        let Some(due) = self.keep_alive.take_due(Instant::now()) else { return Poll::Pending };
        let bytes = self.connection.keep_alive(due);
        let sent = self.note_sent(bytes, due.position);
        let due = self.due();
        self.timer.as_mut().reset(due);
        // The timer must be armed for the next one.
        let _ = self.timer.as_mut().poll(context);
        Poll::Ready(sent)
    }

    fn note_sent(&mut self, bytes: Bytes, with_id: bool) -> Bytes {
        self.keep_alive.sent(Instant::now(), with_id);
        self.must_flush = self.is_pressed();
        self.connection.handle().note_handed_over();
        bytes
    }

    /// Makes one chunk of the frames of a write.
    fn join(&mut self, mut frames: Vec<Bytes>, with_id: bool) -> Bytes {
        let chunk = match frames.len() {
            1 => frames.remove(0),
            _ => {
                let mut chunk = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
                frames.iter().for_each(|frame| chunk.extend_from_slice(frame));
                chunk.freeze()
            }
        };
        self.note_sent(chunk, with_id)
    }
}

tokio::task_local! {
    /// The connection that the task at hand sends.
    static SENT_BY: Arc<OnceLock<Arc<ConnectionHandle>>>;
}

/// Runs the task of one HTTP/2 stream, and drops it, which resets that stream alone, when its peer has taken nothing
/// for `write_timeout`. A body whose window is full is never polled, so this cannot be done inside it.
pub(crate) async fn with_stream_deadline(work: impl Future, write_timeout: Duration) {
    let sent: Arc<OnceLock<Arc<ConnectionHandle>>> = Arc::default();
    let watch = async {
        loop {
            tokio::time::sleep(write_timeout / 4).await;
            if sent.get().is_some_and(|handle| handle.unpolled_for() >= write_timeout) {
                return;
            }
        }
    };
    tokio::select! {
        _ = SENT_BY.scope(sent.clone(), work) => {}
        () = watch => {}
    }
}

impl fmt::Debug for EventBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventBody").field("connection_id", &self.connection_id()).finish_non_exhaustive()
    }
}

impl Body for EventBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = ready!(self.get_mut().poll_chunk(context));
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }
}

#[cfg(test)]
mod tests;
