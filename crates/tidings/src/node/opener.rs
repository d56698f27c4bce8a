//! The thread that opens the log while the node serves, and then reads the newest entries into the cache.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;

use tidings_log::{Log, OpenError, UnreadLog};
use tracing::{info, warn};

use super::supervisor::Supervisor;
use crate::failpoint;

const NAME: &str = "tidings-open";

/// Starts the thread. It ends when the cache is filled or its sender is dropped.
pub(super) fn start(
    supervisor: &Supervisor,
    log: &Arc<Log>,
    unread: Option<UnreadLog>,
    event_bytes_max: u64,
) -> io::Result<(SyncSender<()>, JoinHandle<()>)> {
    let (stop, stopped) = sync_channel(0);
    let log = log.clone();
    let thread = supervisor.start_brief(NAME, move || {
        failpoint::hit(NAME);
        if let Some(unread) = unread
            && let Err(error) = open(&log, unread, event_bytes_max, &stopped)
        {
            return log.opening().fail(error);
        }
        while is_running(&stopped) && log.warm_cache() {}
    })?;
    Ok((stop, thread))
}

fn open(log: &Log, unread: UnreadLog, event_bytes_max: u64, stopped: &Receiver<()>) -> Result<(), OpenError> {
    let (read, recovered) = unread.read(&mut |files_read, files| {
        log.opening().note_read(files_read, files);
        failpoint::hold(NAME, || is_running(stopped));
        is_running(stopped)
    })?;
    read.require_room(event_bytes_max);
    log.take_over(read);
    info!(events = recovered.entries, head = recovered.head, "log opened");
    if let Some(lost) = &recovered.lost {
        warn!(lost, "events may be missing; clients that resume are told");
    }
    Ok(())
}

fn is_running(stopped: &Receiver<()>) -> bool {
    stopped.try_recv() == Err(TryRecvError::Empty)
}
