//! Connections between two requests: how long they may be idle, and how their clients are told.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Version, header};
use tokio::{sync::watch, time::sleep};

/// A connection stays open for so long past what its client was told: a request that left in time is still answered.
const GRACE: Duration = Duration::from_secs(2);
const KEEP_ALIVE: &str = "keep-alive";

/// Effect of `server.idle_timeout`.
#[derive(Debug, Clone)]
pub(crate) struct IdleTimeout {
    /// After this an idle connection is closed.
    pub(crate) patience: Duration,
    told: HeaderValue,
}

impl IdleTimeout {
    pub(crate) fn new(timeout: Duration) -> Self {
        let told = HeaderValue::try_from(format!("timeout={}", timeout.as_secs()));
        Self { patience: timeout + GRACE, told: told.expect("a number is a header's value") }
    }

    /// Tells the client of an HTTP/1.1 connection that stays open. Behind a stream nothing follows.
    pub(crate) fn announce(&self, headers: &mut HeaderMap) {
        let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_stream = content_type.is_some_and(|value| value.starts_with(b"text/event-stream"));
        if !is_stream && !headers.contains_key(header::CONNECTION) {
            headers.insert(KEEP_ALIVE, self.told.clone());
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
    /// Of its requests; none before the first.
    version: Option<Version>,
    /// Requests whose answers were not passed on whole.
    answering: usize,
    /// The first bytes of another head have come.
    has_begun: bool,
    /// A head was not whole in time.
    is_late: bool,
}

/// A request that is being answered; dropped with the answer's body.
#[derive(Debug)]
pub(crate) struct AnsweringGuard(Activity);

impl Activity {
    pub(crate) fn observer(&self) -> ActivityObserver {
        ActivityObserver(self.0.subscribe())
    }

    /// Notes the first bytes of a head.
    pub(crate) fn head_begins(&self) {
        self.0.send_modify(|stand| stand.has_begun = true);
    }

    /// Notes that a head was not whole in time.
    pub(crate) fn head_is_late(&self) {
        self.0.send_modify(|stand| stand.is_late = true);
    }

    /// Notes a request.
    pub(crate) fn request(&self, version: Version) -> AnsweringGuard {
        self.0.send_modify(|stand| {
            stand.version = Some(version);
            stand.answering += 1;
            stand.has_begun = false;
        });
        AnsweringGuard(self.clone())
    }
}

impl Drop for AnsweringGuard {
    fn drop(&mut self) {
        self.0.0.send_modify(|stand| stand.answering -= 1);
    }
}

impl ActivityObserver {
    /// Whether the connection ends because a head was not whole in time. hyper tells it only of the first one.
    pub(crate) fn saw_late_head(&self) -> bool {
        self.0.borrow().is_late
    }

    /// Waits for the first request, and answers its version; none if there will be none.
    pub(crate) async fn first_version(&mut self) -> Option<Version> {
        self.0.wait_for(|stand| stand.version.is_some()).await.ok()?.version
    }

    /// Waits until a connection that has had its first answer has been idle for so long. Cancel safe.
    pub(crate) async fn idle_for(&mut self, patience: Duration) {
        loop {
            let stand = *self.0.borrow_and_update();
            let is_idle = stand.version.is_some() && stand.answering == 0 && !stand.has_begun;
            tokio::select! {
                biased;
                changed = self.0.changed() => if changed.is_err() {
                    return std::future::pending().await;
                },
                () = sleep(patience), if is_idle => return,
            }
        }
    }
}

#[cfg(test)]
mod tests;
