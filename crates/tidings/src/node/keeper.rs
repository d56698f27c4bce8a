//! The threads of a hub beside its runtime: the writer, the one that makes writes safe, the one that trims, and one that
//! brings the newest entries back into memory after a start.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use tracing::error;

use super::supervisor::Supervisor;
use crate::{
    broker::embedded::Writer,
    config::{Durability, LogSettings},
    failpoint,
    log::Log,
};

/// How often a log that does not make each batch safe is made safe as a whole.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// How often the log is looked at for what is too old, at most and at least.
const TRIM_INTERVALS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Owns the threads, from start to end.
pub(super) struct Keeper {
    /// None where another orders the log.
    writer: Option<JoinHandle<()>>,
    tickers: Vec<(SyncSender<()>, JoinHandle<()>)>,
}

impl Keeper {
    pub(super) fn start(
        log: &Arc<Log>,
        writer: Option<Writer>,
        settings: &LogSettings,
        supervisor: &Supervisor,
    ) -> io::Result<Self> {
        let is_shared = writer.is_none();
        let start = |writer: Writer| supervisor.start("tidings-writer", move || writer.run());
        let writer = writer.map(start).transpose()?;
        let mut tickers = Vec::new();
        if settings.durability == Durability::Interval && !is_shared {
            let log = log.clone();
            tickers.push(ticker(supervisor, "tidings-sync", SYNC_INTERVAL, move || {
                if let Err(error) = log.sync() {
                    error!(%error, "the log is not safe and takes no more events");
                }
            })?);
        }
        tickers.push(warmer(supervisor, log.clone())?);
        let trim_interval = (settings.retention_age / 4).clamp(TRIM_INTERVALS.0, TRIM_INTERVALS.1);
        let log = log.clone();
        tickers.push(ticker(supervisor, "tidings-trim", trim_interval, move || {
            log.trim();
            if let Err(error) = log.maintain() {
                error!(%error, "room on disk could not be taken back");
            }
        })?);
        Ok(Self { writer, tickers })
    }

    /// Ends every thread, the writer last, once it has answered all publishes, and makes the log safe.
    pub(super) fn end(self, log: &Log) {
        for (stop, thread) in self.tickers {
            drop(stop);
            let _ = thread.join();
        }
        self.writer.map(JoinHandle::join);
        if let Err(error) = log.close() {
            error!(%error, "the log could not be closed clean");
        }
    }
}

/// A thread that brings the newest entries back into memory, and ends then or when its sender is dropped.
fn warmer(supervisor: &Supervisor, log: Arc<Log>) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (stop, stopped) = sync_channel(0);
    let thread = supervisor.start_brief("tidings-warm", move || {
        failpoint::hit("tidings-warm");
        while stopped.try_recv() == Err(TryRecvError::Empty) && log.warm() {}
    })?;
    Ok((stop, thread))
}

/// A thread that acts at an interval until its sender is dropped.
fn ticker(
    supervisor: &Supervisor,
    name: &'static str,
    interval: Duration,
    mut act: impl FnMut() + Send + 'static,
) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (stop, stopped) = sync_channel(0);
    let thread = supervisor.start(name, move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
            failpoint::hit(name);
            act();
        }
    })?;
    Ok((stop, thread))
}
