//! Starts the threads and tasks of a hub. The hub ends if one of them ends early.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;

use crate::failpoint;
use crate::hub::{Hub, Lifecycle, ThreadRegistry, WeakHub};

/// Longest shutdown window after a thread has ended early: the rest of the hub may not work.
const FAULT_WINDOW: Duration = Duration::from_secs(2);

/// Starts threads and tasks, and records how each ends.
#[derive(Clone)]
pub(super) struct Supervisor(Arc<ThreadRegistry>);

impl Supervisor {
    pub(super) fn new(threads: Arc<ThreadRegistry>) -> Self {
        Self(threads)
    }

    /// Returns the supervisor of a hub.
    pub(super) fn of(hub: &Hub) -> Self {
        Self(hub.inner().threads.clone())
    }

    /// Starts a thread that lasts as long as the hub.
    pub(super) fn start(
        &self,
        name: impl Into<String>,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        self.spawn(name.into(), work, false)
    }

    /// Starts a thread that ends when its work is done.
    pub(super) fn start_brief(
        &self,
        name: impl Into<String>,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        self.spawn(name.into(), work, true)
    }

    fn spawn(
        &self,
        name: String,
        work: impl FnOnce() + Send + 'static,
        is_brief: bool,
    ) -> io::Result<JoinHandle<()>> {
        let threads = self.0.clone();
        thread::Builder::new().name(name.clone()).spawn(move || {
            // The values of `work` are dropped by then.
            let outcome = catch_unwind(AssertUnwindSafe(work));
            threads.ended(&name, outcome, is_brief);
        })
    }

    /// Starts a task that lasts as long as the hub; its work ends early only when it sees that the hub was dropped.
    pub(super) fn spawn_until_end<Work>(
        &self,
        hub: &Hub,
        name: &'static str,
        work: impl FnOnce(WeakHub) -> Work,
    ) where
        Work: Future<Output = Option<()>> + Send + 'static,
    {
        let work = until_end(work(hub.downgrade()), hub.downgrade(), hub.lifecycle());
        tokio::spawn(self.watch(name, work));
    }

    /// Wraps the work of a task that lasts as long as the hub.
    pub(super) fn watch<Work>(
        &self,
        name: &'static str,
        work: Work,
    ) -> impl Future<Output = ()> + Send + use<Work>
    where
        Work: Future<Output = ()> + Send,
    {
        let threads = self.0.clone();
        async move {
            let work = async {
                tokio::select! {
                    () = work => {}
                    () = failpoint::panicked(name) => {}
                }
            };
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            threads.ended(name, outcome, false);
        }
    }
}

/// Runs `work` until the hub ends or is dropped.
async fn until_end(
    work: impl Future<Output = Option<()>>,
    weak: WeakHub,
    mut lifecycle: watch::Receiver<Lifecycle>,
) {
    tokio::select! {
        _ = work => {}
        // An error means that the hub was dropped.
        _ = lifecycle.wait_for(|stage| *stage == Lifecycle::Ended) => return,
    }
    if weak.upgrade().is_none() {
        // The work saw the drop begin; this waits until it is complete.
        let _ = lifecycle.wait_for(|_| false).await;
    }
}

/// Ends the hub if one of its threads or tasks ends early, or if its log cannot be opened.
pub(super) fn end_with(hub: &Hub) {
    let (threads, weak, mut lifecycle) = (hub.inner().threads.clone(), hub.downgrade(), hub.lifecycle());
    let opened = hub.inner().log.opening().wait();
    tokio::spawn(async move {
        let has_failed = tokio::select! {
            () = threads.failed() => true,
            Err(_) = opened => true,
            // An error means that the hub was dropped.
            _ = lifecycle.wait_for(|stage| *stage == Lifecycle::Ended) => false,
        };
        if let Some(hub) = weak.upgrade().filter(|_| has_failed) {
            hub.shutdown_within(hub.settings().shutdown.window.min(FAULT_WINDOW)).await;
        }
    });
}

#[cfg(test)]
mod tests;
