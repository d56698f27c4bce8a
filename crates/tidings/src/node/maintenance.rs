//! Threads of a hub beside its runtime: they open the log, append, sync and trim.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tidings_log::{Log, UnreadLog};
use tracing::error;

use super::{opener, supervisor::Supervisor};
use crate::broker::embedded::Writer;
use crate::config::{Durability, Settings};
use crate::failpoint;

/// Interval of fsyncs under durability `interval`.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest and longest interval of trims by age.
const TRIM_INTERVALS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Handles of the threads.
pub(super) struct MaintenanceThreads {
    /// `None` if Redis orders the log.
    writer: Option<JoinHandle<()>>,
    tickers: Vec<(SyncSender<()>, JoinHandle<()>)>,
}

impl MaintenanceThreads {
    pub(super) fn start(
        log: &Arc<Log>,
        unread: Option<UnreadLog>,
        writer: Option<Writer>,
        settings: &Settings,
        supervisor: &Supervisor,
    ) -> io::Result<Self> {
        let is_shared = writer.is_none();
        let start = |writer: Writer| supervisor.start("tidings-writer", move || writer.run());
        let writer = writer.map(start).transpose()?;
        let mut tickers = vec![opener::start(supervisor, log, unread, settings.limits.event_bytes)?];
        if settings.log.durability == Durability::Interval && !is_shared {
            tickers.push(ticker(supervisor, log, "tidings-sync", SYNC_INTERVAL, |log| {
                if let Err(error) = log.sync() {
                    error!(%error, "the log cannot be synced and takes no more events");
                }
            })?);
        }
        let trim_interval = (settings.log.retention_age / 4).clamp(TRIM_INTERVALS.0, TRIM_INTERVALS.1);
        tickers.push(ticker(supervisor, log, "tidings-trim", trim_interval, |log| {
            log.trim();
            if let Err(error) = log.maintain() {
                error!(%error, "disk space could not be freed");
            }
        })?);
        Ok(Self { writer, tickers })
    }

    /// Ends every thread and makes the log durable. The writer ends last, after it has answered all publishes.
    pub(super) fn end(self, log: &Log) {
        for (stop, thread) in self.tickers {
            drop(stop);
            let _ = thread.join();
        }
        self.writer.map(JoinHandle::join);
        if let Err(error) = log.close() {
            error!(%error, "the log could not be closed");
        }
    }
}

/// Starts a thread that acts on an open log at an interval. It ends when its sender is dropped.
fn ticker(
    supervisor: &Supervisor,
    log: &Arc<Log>,
    name: &'static str,
    interval: Duration,
    act: impl Fn(&Log) + Send + 'static,
) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (stop, stopped) = sync_channel(0);
    let log = log.clone();
    let thread = supervisor.start(name, move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
            failpoint::hit(name);
            if log.opening().is_open() {
                act(&log);
            }
        }
    })?;
    Ok((stop, thread))
}
