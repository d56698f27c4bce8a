//! Where shards have the store read: threads that take whatever is asked for by then, so that one look at the disk does
//! for all who come back at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use tracing::error;

use super::mailbox::Mailbox;
use crate::{
    failpoint,
    log::{Log, read::Page},
    metrics::Metrics,
    sync::{Condvar, Lock, Mutex, MutexGuard},
};

/// Requests that are read together: what they miss is sorted, and held until all of it was read.
const TOGETHER_MAX: usize = 256;
/// A reader at work for so long waits for a disk: then another goes on. What is in memory one reads as fast as all, and
/// with the room of one.
const SLOW_AFTER: Duration = Duration::from_millis(50);

/// A stretch to be read for a stream.
pub(super) struct ReadJob {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) place: usize,
    /// Tells the stream from those that had its place before.
    pub(super) serial: u64,
    pub(super) page: Page,
}

/// What waits to be read; each stream asks for one stretch at a time.
pub(crate) struct DiskReaders {
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    queue: Mutex<ReadQueue>,
    job_added: Condvar,
}

#[derive(Default)]
struct ReadQueue {
    requests: Vec<ReadJob>,
    /// Threads at work.
    busy: usize,
    /// When one last took requests.
    taken_at: Option<Instant>,
    is_closed: bool,
}

impl DiskReaders {
    pub(crate) fn new(log: Arc<Log>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            log,
            metrics,
            queue: Mutex::new(Lock::ReadQueue, ReadQueue::default()),
            job_added: Condvar::default(),
        })
    }

    /// Reads what it is asked to until it is closed. Any number of threads may.
    pub(crate) fn run(&self) {
        let mut requests = Vec::new();
        while self.take(&mut requests) {
            failpoint::hit(thread::current().name().unwrap_or_default());
            self.read(&mut requests);
            self.queue().busy -= 1;
        }
    }

    /// Has every thread end.
    pub(crate) fn close(&self) {
        self.queue().is_closed = true;
        self.job_added.notify_all();
    }

    pub(super) fn submit(&self, requests: &mut Vec<ReadJob>) {
        if requests.is_empty() {
            return;
        }
        let mut waiting = self.queue();
        waiting.requests.append(requests);
        let is_slow = waiting.taken_at.is_some_and(|at| at.elapsed() > SLOW_AFTER);
        let must_wake = waiting.busy == 0 || is_slow;
        drop(waiting);
        if must_wake {
            self.job_added.notify_one();
        }
    }

    /// Waits for requests, and takes the oldest; false where there will be no more.
    fn take(&self, taken: &mut Vec<ReadJob>) -> bool {
        let mut waiting = self.queue();
        loop {
            if waiting.is_closed {
                return false;
            }
            if !waiting.requests.is_empty() {
                let count = waiting.requests.len().min(TOGETHER_MAX);
                taken.extend(waiting.requests.drain(..count));
                waiting.busy += 1;
                waiting.taken_at = Some(Instant::now());
                return true;
            }
            waiting = self.job_added.wait(waiting);
        }
    }

    fn read(&self, requests: &mut Vec<ReadJob>) {
        let (mut pages, mut askers) =
            (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
        for ReadJob { mailbox, place, serial, page } in requests.drain(..) {
            pages.push(page);
            askers.push((mailbox, place, serial));
        }
        let is_read = catch_unwind(AssertUnwindSafe(|| self.log.load(&mut pages))).is_ok();
        if !is_read {
            error!(streams = askers.len(), "reading the log panicked; the streams that asked are closed");
            self.metrics.panics.request();
        }
        let mut answers = askers.into_iter().zip(pages).peekable();
        while let Some(((mailbox, ..), _)) = answers.peek() {
            let mailbox = mailbox.clone();
            // Those of one shard stand together: it asks for all at once.
            mailbox.deliver(|waiting| {
                while let Some(((_, place, serial), page)) =
                    answers.next_if(|((other, ..), _)| Arc::ptr_eq(other, &mailbox))
                {
                    waiting.pages.push((place, serial, is_read.then_some(page)));
                }
            });
        }
    }

    fn queue(&self) -> MutexGuard<'_, ReadQueue> {
        self.queue.lock()
    }
}
