//! Idle time of connections between two requests, and the header that announces it.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Version, header};
use tokio::{sync::watch, time::sleep};

/// Time that a connection stays open beyond the announced timeout: a request that left in time is still answered.
const GRACE: Duration = Duration::from_secs(2);
const KEEP_ALIVE: &str = "keep-alive";

/// Effect of `server.idle_timeout`.
#[derive(Debug, Clone)]
pub(crate) struct IdleTimeout {
    /// Idle time after which a connection is closed.
    pub(crate) closes_after: Duration,
    announcement: HeaderValue,
}

impl IdleTimeout {
    pub(crate) fn new(timeout: Duration) -> Self {
        let announcement = HeaderValue::try_from(format!("timeout={}", timeout.as_secs()));
        let announcement = announcement.expect("a number is a valid header value");
        Self { closes_after: timeout + GRACE, announcement }
    }

    /// Announces the timeout to the client of an HTTP/1.1 connection that stays open. No request follows a stream.
    pub(crate) fn announce(&self, headers: &mut HeaderMap) {
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_stream = content_type.is_some_and(|value| value.starts_with(b"text/event-stream"));
        if !is_stream && !headers.contains_key(header::CONNECTION) {
            headers.insert(KEEP_ALIVE, self.announcement.clone());
        }
    }
}

/// Records the activity of a connection that hyper serves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Activity(watch::Sender<ActivityState>);

/// Observes the activity of a connection.
#[derive(Debug, Clone)]
pub(crate) struct ActivityObserver(watch::Receiver<ActivityState>);

#[derive(Debug, Clone, Copy, Default)]
struct ActivityState {
    /// Version of its requests; `None` before the first.
    version: Option<Version>,
    /// Requests whose responses are incomplete.
    answering: usize,
    /// The first bytes of another head have arrived.
    has_begun: bool,
    /// A head missed its deadline.
    is_late: bool,
}

/// A request without a complete response; dropped with the body of the response.
#[derive(Debug)]
pub(crate) struct AnsweringGuard(Activity);

impl Activity {
    pub(crate) fn observer(&self) -> ActivityObserver {
        ActivityObserver(self.0.subscribe())
    }

    /// Notes the first bytes of a head.
    pub(crate) fn head_begins(&self) {
        self.0.send_modify(|state| state.has_begun = true);
    }

    /// Notes that a head missed its deadline.
    pub(crate) fn head_is_late(&self) {
        self.0.send_modify(|state| state.is_late = true);
    }

    /// Notes a request.
    pub(crate) fn request(&self, version: Version) -> AnsweringGuard {
        self.0.send_modify(|state| {
            state.version = Some(version);
            state.answering += 1;
            state.has_begun = false;
        });
        AnsweringGuard(self.clone())
    }
}

impl Drop for AnsweringGuard {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.answering -= 1);
    }
}

impl ActivityObserver {
    /// Whether the connection ends because a head missed its deadline. hyper reports it for the first head only.
    pub(crate) fn saw_late_head(&self) -> bool {
        self.0.borrow().is_late
    }

    /// Waits for the first request and returns its version; `None` if the connection ends without one.
    pub(crate) async fn first_version(&mut self) -> Option<Version> {
        self.0.wait_for(|state| state.version.is_some()).await.ok()?.version
    }

    /// Waits until the connection has been idle for `duration` since its last response. Cancel safe.
    pub(crate) async fn idle_for(&mut self, duration: Duration) {
        loop {
            let state = *self.0.borrow_and_update();
            let is_idle = state.version.is_some() && state.answering == 0 && !state.has_begun;
            tokio::select! {
                biased;
                changed = self.0.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = sleep(duration), if is_idle => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
