//! The threads of a hub beside its runtime: the writer, the one that makes writes safe, the one that trims, and one that
//! brings the newest entries back into memory after a start.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, SyncSender, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use tracing::error;

use crate::{
    broker::embedded::Writer,
    config::{Durability, LogSettings},
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
    pub(super) fn start(log: &Arc<Log>, writer: Option<Writer>, settings: &LogSettings) -> io::Result<Self> {
        let thread = || thread::Builder::new().name("tidings-writer".into());
        let is_shared = writer.is_none();
        let writer = writer.map(|writer| thread().spawn(move || writer.run())).transpose()?;
        let mut tickers = Vec::new();
        if settings.durability == Durability::Interval && !is_shared {
            let log = log.clone();
            tickers.push(ticker("tidings-sync", SYNC_INTERVAL, move || {
                if let Err(error) = log.sync() {
                    error!(%error, "the log is not safe and takes no more events");
                }
            })?);
        }
        tickers.push(warmer(log.clone())?);
        let trim_interval = (settings.retention_age / 4).clamp(TRIM_INTERVALS.0, TRIM_INTERVALS.1);
        let log = log.clone();
        tickers.push(ticker("tidings-trim", trim_interval, move || {
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
fn warmer(log: Arc<Log>) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (stop, stopped) = sync_channel(0);
    let thread = thread::Builder::new()
        .name("tidings-warm".into())
        .spawn(move || while stopped.try_recv() == Err(TryRecvError::Empty) && log.warm() {})?;
    Ok((stop, thread))
}

/// A thread that acts at an interval until its sender is dropped.
fn ticker(
    name: &str,
    interval: Duration,
    mut act: impl FnMut() + Send + 'static,
) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (stop, stopped) = sync_channel(0);
    let thread = thread::Builder::new().name(name.into()).spawn(move || {
        while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(interval) {
            act();
        }
    })?;
    Ok((stop, thread))
}
