//! The registry of a hub's threads and tasks, and the first that ended before the hub.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tracing::error;

use crate::metrics::Metrics;

/// A thread or task that ended before its hub did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadEnded {
    name: Arc<str>,
    panic: Option<Arc<str>>,
}

impl ThreadEnded {
    /// Returns the name of the thread or task, for example `tidings-writer`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the message of its panic; `None` if it returned.
    pub fn panic(&self) -> Option<&str> {
        self.panic.as_deref()
    }
}

impl fmt::Display for ThreadEnded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.panic {
            Some(message) => write!(f, "thread {} panicked: {message}", self.name),
            None => write!(f, "thread {} ended before the hub", self.name),
        }
    }
}

impl std::error::Error for ThreadEnded {}

/// The registry that all threads and tasks of a hub share.
pub(crate) struct ThreadRegistry {
    /// The first thread that ended before the hub.
    first: watch::Sender<Option<ThreadEnded>>,
    /// The hub ends: its threads may end.
    may_end: AtomicBool,
    metrics: Arc<Metrics>,
}

impl ThreadRegistry {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { first: watch::Sender::new(None), may_end: AtomicBool::new(false), metrics })
    }

    /// Notes that threads may return from now on.
    pub(crate) fn may_end(&self) {
        self.may_end.store(true, Ordering::SeqCst);
    }

    /// Notes the end of a thread. `is_done` says that its work was finite.
    pub(crate) fn ended(&self, name: &str, outcome: Result<(), Box<dyn Any + Send>>, is_done: bool) {
        let panic = match outcome {
            Ok(()) if is_done || self.may_end.load(Ordering::SeqCst) => return,
            Ok(()) => None,
            Err(payload) => Some(message(&*payload)),
        };
        self.metrics.panics.thread(name);
        let ended = ThreadEnded { name: name.into(), panic };
        error!(thread = name, panic = ended.panic(), "a thread ended before the hub; the hub shuts down");
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(ended);
            is_first
        });
    }

    /// Returns the first thread that ended before the hub.
    pub(crate) fn first(&self) -> Option<ThreadEnded> {
        self.first.borrow().clone()
    }

    /// Waits until a thread ends before the hub.
    pub(crate) async fn failed(&self) {
        // The registry owns the sender, so the channel stays open.
        let _ = self.first.subscribe().wait_for(Option::is_some).await;
    }
}

/// Returns the message of a panic.
fn message(payload: &(dyn Any + Send)) -> Arc<str> {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").into()
}
