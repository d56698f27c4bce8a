//! A connection as an HTTP body: what hyper polls, over HTTP/1.1 and HTTP/2, here or in somebody's own service.

use std::{
    convert::Infallible,
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

use super::socket::Pressure;
use crate::{
    connection::{Connection, ConnectionId, Ending, Seat, Turn},
    log::{entry::Entry, page::Page},
    metrics::Metrics,
};

/// Frames are joined into chunks of at most this many bytes; a larger frame goes alone.
const CHUNK_BYTES_MAX: usize = 64 << 10;

/// Stretches of the log that one poll may pass over without finding anything to send.
const TURNS_MAX: usize = 16;

/// The times that a stream keeps to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    /// Silence, and age of the last id, at which something is sent; jittered already.
    pub(crate) keep_alive: Duration,
    pub(crate) max_age: Option<Duration>,
    /// What the client waits before it comes back.
    pub(crate) retry: Duration,
}

/// A stream of events. Dropping it closes the connection.
pub struct EventStream {
    connection: Connection,
    metrics: Arc<Metrics>,
    pressure: Option<Arc<Pressure>>,
    times: Times,
    state: State,
    /// Frames that did not fit the last chunk.
    left: Vec<Bytes>,
    timer: Pin<Box<Sleep>>,
    last_sent: Instant,
    last_id: Instant,
    ends_at: Option<Instant>,
}

enum State {
    Opening,
    Open,
    Reading(JoinHandle<Page>),
    Ended,
}

impl EventStream {
    pub(crate) fn new(
        connection: Connection,
        metrics: Arc<Metrics>,
        pressure: Option<Arc<Pressure>>,
        times: Times,
    ) -> Self {
        let now = Instant::now();
        metrics.stream_opened();
        // On HTTP/2 the task that sends this stream is watched from outside.
        let _ = SENT_BY.try_with(|sent| sent.set(connection.seat().clone()));
        Self {
            connection,
            metrics,
            pressure,
            times,
            state: State::Opening,
            left: Vec::new(),
            timer: Box::pin(sleep_until(now + times.keep_alive)),
            last_sent: now,
            last_id: now,
            ends_at: times.max_age.map(|age| now + age),
        }
    }

    /// Names this connection.
    pub fn connection_id(&self) -> ConnectionId {
        self.connection.seat().id()
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(pressure) = &self.pressure
            && pressure.is_refusing(context.waker())
        {
            // Nothing is read from the log for a socket that takes nothing: the cursor waits.
            self.connection.seat().set_behind(true);
            return Poll::Pending;
        }
        if !self.left.is_empty() {
            return Poll::Ready(Some(self.join(Vec::new(), true)));
        }
        for _ in 0..TURNS_MAX {
            match &mut self.state {
                State::Ended => return Poll::Ready(None),
                State::Opening => {
                    self.state = State::Open;
                    let opening = self.connection.opening(self.times.retry);
                    return Poll::Ready(Some(self.sent(opening, true)));
                }
                State::Reading(reading) => {
                    let page = ready!(Pin::new(reading).poll(context));
                    self.state = State::Open;
                    // A reader that panicked or was stopped with the runtime read nothing: the page is asked for anew.
                    let Ok(page) = page else { continue };
                    let is_pressed = self.is_pressed();
                    let frames = self.connection.deliver(page, is_pressed);
                    if !frames.is_empty() {
                        return Poll::Ready(Some(self.join(frames, true)));
                    }
                }
                State::Open => {
                    self.connection.seat().listen(context.waker());
                    if let Some(ending) = self.ending(context) {
                        self.state = State::Ended;
                        self.metrics.stream_ended(&format!("{:?}", ending.reason).to_lowercase());
                        return Poll::Ready(Some(self.connection.ending(
                            ending.reason,
                            ending.reconnect,
                            ending.retry,
                        )));
                    }
                    match self.connection.turn(self.is_pressed()) {
                        Turn::Send { frames, .. } if frames.is_empty() => {}
                        Turn::Send { frames, has_id } => return Poll::Ready(Some(self.join(frames, has_id))),
                        Turn::Read(page) => self.state = State::Reading(self.read(page)),
                        Turn::Idle => {
                            if let Some(pressure) = &self.pressure {
                                pressure.forget();
                                self.connection.seat().set_behind(pressure.has_refused());
                            }
                            return self.poll_keep_alive(context).map(Some);
                        }
                    }
                }
            }
        }
        // Many stretches without anything to send: others have their turn first.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn is_pressed(&self) -> bool {
        self.pressure.as_ref().is_some_and(|pressure| pressure.has_refused())
    }

    /// The disk is read off the threads that serve sockets.
    fn read(&self, mut page: Page) -> JoinHandle<Page> {
        let log = self.connection.log().clone();
        tokio::task::spawn_blocking(move || {
            let read: Vec<Option<Arc<Entry>>> = log.read(&page.missing(), page.newest);
            page.fill(read);
            page
        })
    }

    fn ending(&mut self, context: &mut Context<'_>) -> Option<Ending> {
        let is_old = self.ends_at.is_some_and(|ends_at| ends_at <= Instant::now());
        if is_old {
            return Some(Ending { reason: EndReason::MaxAge, reconnect: true, retry: None });
        }
        // Makes sure that the timer wakes this task, whatever it waits for next.
        let _ = self.poll_timer(context);
        self.connection.seat().ending()
    }

    fn due(&self) -> Instant {
        let due = self.last_sent.min(self.last_id) + self.times.keep_alive;
        self.ends_at.map_or(due, |ends_at| due.min(ends_at))
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
        let is_id_old = self.last_id.elapsed() >= self.times.keep_alive;
        let keep_alive = self.connection.keep_alive(is_id_old && self.connection.is_caught_up());
        let sent = self.sent(keep_alive, is_id_old);
        let due = self.due();
        self.timer.as_mut().reset(due);
        // The timer must be armed for the next one.
        let _ = self.timer.as_mut().poll(context);
        Poll::Ready(sent)
    }

    fn sent(&mut self, bytes: Bytes, with_id: bool) -> Bytes {
        self.last_sent = Instant::now();
        if with_id {
            self.last_id = self.last_sent;
        }
        bytes
    }

    /// Makes one chunk of as many frames as fit, so that they leave in one write.
    fn join(&mut self, frames: Vec<Bytes>, with_id: bool) -> Bytes {
        self.left.extend(frames);
        if self.left.len() == 1 || self.left[0].len() >= CHUNK_BYTES_MAX {
            let only = self.left.remove(0);
            return self.sent(only, with_id);
        }
        let mut chunk =
            BytesMut::with_capacity(self.left.iter().map(Bytes::len).sum::<usize>().min(CHUNK_BYTES_MAX));
        let fitting = self
            .left
            .iter()
            .scan(0, |bytes, frame| {
                *bytes += frame.len();
                Some(*bytes)
            })
            .take_while(|bytes| *bytes <= CHUNK_BYTES_MAX)
            .count();
        for frame in self.left.drain(..fitting) {
            chunk.extend_from_slice(&frame);
        }
        self.sent(chunk.freeze(), with_id)
    }
}

tokio::task_local! {
    /// The connection that the task at hand sends.
    static SENT_BY: Arc<OnceLock<Arc<Seat>>>;
}

/// Runs the task of one HTTP/2 stream, and drops it, which resets that stream alone, when its peer has taken nothing
/// for `write_timeout`. A body whose window is full is never polled, so this cannot be done inside it.
pub(crate) async fn watched(work: impl Future, write_timeout: Duration) {
    let sent: Arc<OnceLock<Arc<Seat>>> = Arc::default();
    let watch = async {
        loop {
            tokio::time::sleep(write_timeout / 4).await;
            if sent.get().is_some_and(|seat| seat.unheard_for() >= write_timeout) {
                return;
            }
        }
    };
    tokio::select! {
        _ = SENT_BY.scope(sent.clone(), work) => {}
        () = watch => {}
    }
}

impl Body for EventStream {
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
