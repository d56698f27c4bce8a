//! Threads that read the store for the shards.
//!
//! Each takes all jobs that wait: one pass over the disk serves all clients that reconnect at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tidings_log::{Log, Page};
use tidings_sync::{Condvar, Mutex, MutexGuard};
use tracing::error;

use super::mailbox::Mailbox;
use crate::{failpoint, lock, metrics::Metrics};

/// Jobs of one pass. Their missing entries are sorted, and held until all of them were read.
const BATCH_MAX: usize = 256;
/// Time after which a busy reader is taken to wait for a disk, and the next job wakes another reader.
///
/// Entries in the page cache are read by one reader, as fast as by all and with the memory of one.
const SLOW_AFTER: Duration = Duration::from_millis(50);

/// A page to be loaded for a stream.
pub(super) struct ReadJob {
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) key: usize,
    /// Distinguishes the stream from earlier slots with its key.
    pub(super) serial: u64,
    pub(super) page: Page,
}

/// The queue of jobs, and the reader threads. Each stream has at most one job.
pub(crate) struct DiskReaders {
    log: Arc<Log>,
    metrics: Arc<Metrics>,
    queue: Mutex<ReadQueue>,
    job_added: Condvar,
}

#[derive(Default)]
struct ReadQueue {
    jobs: Vec<ReadJob>,
    /// Readers that are loading pages.
    busy: usize,
    /// Time at which a reader last took jobs.
    taken_at: Option<Instant>,
    is_closed: bool,
}

impl DiskReaders {
    pub(crate) fn new(log: Arc<Log>, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            log,
            metrics,
            queue: Mutex::new(&lock::READ_QUEUE, ReadQueue::default()),
            job_added: Condvar::default(),
        })
    }

    /// Runs one reader until the queue is closed. Any number of threads may run one.
    pub(crate) fn run(&self) {
        let mut jobs = Vec::new();
        while self.take(&mut jobs) {
            failpoint::hit(thread::current().name().unwrap_or_default());
            self.read(&mut jobs);
            self.queue().busy -= 1;
        }
    }

    /// Ends all readers.
    pub(crate) fn close(&self) {
        self.queue().is_closed = true;
        self.job_added.notify_all();
    }

    pub(super) fn submit(&self, jobs: &mut Vec<ReadJob>) {
        if jobs.is_empty() {
            return;
        }
        let mut queue = self.queue();
        queue.jobs.append(jobs);
        let is_slow = queue.taken_at.is_some_and(|at| at.elapsed() > SLOW_AFTER);
        let must_wake = queue.busy == 0 || is_slow;
        drop(queue);
        if must_wake {
            self.job_added.notify_one();
        }
    }

    /// Waits for jobs and takes the oldest; `false` if the queue is closed.
    fn take(&self, taken: &mut Vec<ReadJob>) -> bool {
        let mut queue = self.queue();
        loop {
            if queue.is_closed {
                return false;
            }
            if !queue.jobs.is_empty() {
                let count = queue.jobs.len().min(BATCH_MAX);
                taken.extend(queue.jobs.drain(..count));
                queue.busy += 1;
                queue.taken_at = Some(Instant::now());
                return true;
            }
            queue = self.job_added.wait(queue);
        }
    }

    fn read(&self, jobs: &mut Vec<ReadJob>) {
        let (mut pages, mut streams) = (Vec::with_capacity(jobs.len()), Vec::with_capacity(jobs.len()));
        for ReadJob { mailbox, key, serial, page } in jobs.drain(..) {
            pages.push(page);
            streams.push((mailbox, key, serial));
        }
        let is_read = catch_unwind(AssertUnwindSafe(|| self.log.load(&mut pages))).is_ok();
        if !is_read {
            error!(streams = streams.len(), "reading the log panicked; its streams are closed");
            self.metrics.panics.requests.inc();
        }
        let mut answers = streams.into_iter().zip(pages).peekable();
        while let Some(((mailbox, ..), _)) = answers.peek() {
            let mailbox = mailbox.clone();
            // A shard submits its jobs together, so its pages are neighbours.
            mailbox.deliver(|inbox| {
                while let Some(((_, key, serial), page)) =
                    answers.next_if(|((other, ..), _)| Arc::ptr_eq(other, &mailbox))
                {
                    inbox.pages.push((key, serial, is_read.then_some(page)));
                }
            });
        }
    }

    fn queue(&self) -> MutexGuard<'_, ReadQueue> {
        self.queue.lock()
    }
}
