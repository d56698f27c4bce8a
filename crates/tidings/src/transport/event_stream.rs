//! A connection as an HTTP body, which hyper or the host application's own server polls over HTTP/1.1 or HTTP/2.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use tidings_log::Page;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Sleep, sleep_until};

use super::socket::Backpressure;
use crate::connection::driver::{Driver, DriverStep, NewConnection, POLLS_MAX};
use crate::connection::{ConnectionHandle, ConnectionId};

/// Time without a poll, although there are bytes to send, after which a stream is behind.
///
/// Nothing else shows it for streams that share a socket, and for those whose socket the hub does not know.
const STALLED_AFTER: Duration = Duration::from_secs(1);

/// A stream of events as an HTTP body, and as an answer of an axum handler. Dropping it closes the connection.
///
/// [`Hub::body`](crate::Hub::body) opens one.
#[must_use = "a body is sent by the server that a handler returns it to"]
pub struct EventBody {
    driver: Driver,
    backpressure: Option<Arc<Backpressure>>,
    /// Refusals of the socket that were passed to the driver.
    refusals_seen: u64,
    /// The socket must be tried before it is given more bytes.
    must_flush: bool,
    state: BodyState,
    timer: Pin<Box<Sleep>>,
}

enum BodyState {
    Opening(Bytes),
    Open,
    Loading(JoinHandle<Page>),
    Ended,
}

impl EventBody {
    pub(crate) fn new(stream: NewConnection, backpressure: Option<Arc<Backpressure>>) -> Self {
        let (driver, opening) = Driver::new(stream, now());
        // On HTTP/2 a deadline runs beside the task that sends this stream.
        let _ = SENT_BY.try_with(|sent| sent.set(driver.handle().clone()));
        Self {
            refusals_seen: backpressure.as_ref().map_or(0, |pressure| pressure.refusals()),
            backpressure,
            must_flush: false,
            state: BodyState::Opening(opening),
            timer: Box::pin(sleep_until(driver.due().into())),
            driver,
        }
    }

    /// Returns the id of this connection.
    pub fn connection_id(&self) -> ConnectionId {
        self.driver.handle().id()
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(pressure) = &self.backpressure
            && pressure.is_refusing(context.waker())
        {
            // Nothing is read from the log for a socket that takes nothing: the cursor waits.
            self.driver.fall_behind();
            return Poll::Pending;
        }
        if std::mem::take(&mut self.must_flush) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        for _ in 0..POLLS_MAX {
            self.note_refusals();
            match &mut self.state {
                BodyState::Ended => return Poll::Ready(None),
                BodyState::Opening(opening) => {
                    let opening = std::mem::take(opening);
                    self.state = BodyState::Open;
                    self.driver.note_sent(now(), true);
                    return Poll::Ready(Some(self.hand_over(opening)));
                }
                BodyState::Loading(loading) => {
                    let page = ready!(Pin::new(loading).poll(context));
                    self.state = BodyState::Open;
                    // Loading panicked and would again; the client reconnects.
                    let Ok(page) = page else {
                        self.state = BodyState::Ended;
                        return Poll::Ready(None);
                    };
                    if let Some(frames) = self.driver.on_page_loaded(page, now()) {
                        return Poll::Ready(Some(self.hand_over(join(frames))));
                    }
                }
                BodyState::Open => {
                    if let Some(outcome) = self.poll_driver(context) {
                        return outcome;
                    }
                }
            }
        }
        // Other tasks run before the next stretches of the log.
        context.waker().wake_by_ref();
        Poll::Pending
    }

    /// Polls the driver once; `None` if it is to be polled again.
    fn poll_driver(&mut self, context: &mut Context<'_>) -> Option<Poll<Option<Bytes>>> {
        if self.driver.handle().unpolled_for() >= STALLED_AFTER {
            self.driver.fall_behind();
        }
        match self.driver.poll(context.waker(), now(), true) {
            DriverStep::Write(frames) => Some(Poll::Ready(Some(self.hand_over(join(frames))))),
            DriverStep::Load(page) => {
                self.state = BodyState::Loading(self.load(page));
                None
            }
            DriverStep::WaitUntil(due) => match self.poll_timer(due.into(), context) {
                Poll::Ready(()) => None,
                Poll::Pending => Some(Poll::Pending),
            },
            DriverStep::Continue => None,
            DriverStep::Finish(frame) => {
                self.state = BodyState::Ended;
                Some(Poll::Ready(Some(frame)))
            }
        }
    }

    /// Tells the driver of refusals since the last call.
    fn note_refusals(&mut self) {
        let refusals = self.backpressure.as_ref().map_or(0, |pressure| pressure.refusals());
        if std::mem::replace(&mut self.refusals_seen, refusals) != refusals {
            self.driver.note_pressure();
        }
    }

    /// Loads a page on a thread that serves no sockets.
    fn load(&self, mut page: Page) -> JoinHandle<Page> {
        let log = self.driver.log().clone();
        tokio::task::spawn_blocking(move || {
            log.load(std::slice::from_mut(&mut page));
            page
        })
    }

    fn poll_timer(&mut self, due: Instant, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(context));
            if due <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(due);
        }
    }

    fn hand_over(&mut self, chunk: Bytes) -> Bytes {
        self.must_flush = self.driver.is_pressed();
        self.driver.handle().note_handed_over();
        chunk
    }
}

/// Returns the runtime's time, which tests stop.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// Makes one chunk of the frames of a write.
fn join(mut frames: Vec<Bytes>) -> Bytes {
    if frames.len() == 1 {
        return frames.remove(0);
    }
    let mut chunk = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
    frames.iter().for_each(|frame| chunk.extend_from_slice(frame));
    chunk.freeze()
}

tokio::task_local! {
    /// The connection whose stream the current task sends.
    static SENT_BY: Arc<OnceLock<Arc<ConnectionHandle>>>;
}

/// Runs the task of one HTTP/2 stream, and drops it when its client has taken nothing for `write_timeout`.
///
/// Dropping it resets that stream alone. hyper does not poll a body whose window is full, so the body cannot do this itself.
pub(crate) async fn with_stream_deadline(work: impl Future, write_timeout: Duration) {
    let sent: Arc<OnceLock<Arc<ConnectionHandle>>> = Arc::default();
    let deadline = async {
        loop {
            tokio::time::sleep(write_timeout / 4).await;
            if sent.get().is_some_and(|handle| handle.unpolled_for() >= write_timeout) {
                return;
            }
        }
    };
    tokio::select! {
        _ = SENT_BY.scope(sent.clone(), work) => {}
        () = deadline => {}
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
