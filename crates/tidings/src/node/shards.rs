//! The threads of the shards, one for each core, and those that read the store for them.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::Router;
use tokio::{runtime::Handle, task, time::timeout};

use super::supervisor::Supervisor;
use crate::{
    hub::Hub,
    transport::shard::{DiskReaders, ForwardToHyper, Shard, Shards},
};

/// Threads that read: as many as may wait for a disk at once. What is in memory, one of them reads.
const READERS: usize = 4;

/// Owns the threads, from start to end.
pub(super) struct ShardThreads {
    mailboxes: Arc<Shards>,
    reader: Arc<DiskReaders>,
    threads: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

impl ShardThreads {
    /// Starts them. They answer by these routes, and pass on what is not theirs.
    pub(super) fn start(hub: &Hub, router: &Router, onward: &ForwardToHyper) -> io::Result<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let parts = hub.inner();
        let (mut mailboxes, mut threads) = (Vec::with_capacity(cores), Vec::with_capacity(cores));
        let mut readers = Vec::with_capacity(READERS);
        let supervisor = Supervisor::of(hub);
        let reader = DiskReaders::new(parts.log.clone(), parts.metrics.clone());
        for number in 0..READERS {
            let reader = reader.clone();
            readers.push(supervisor.start(format!("tidings-reader-{number}"), move || reader.run())?);
        }
        for number in 0..cores {
            let shared = (parts.log.clone(), parts.metrics.clone(), reader.clone());
            let (router, runtime) = (router.clone(), Handle::current());
            let (shard, mailbox) = Shard::new(shared, &parts.settings, router, runtime, onward.clone())?;
            threads.push(supervisor.start(format!("tidings-shard-{number}"), move || shard.run())?);
            parts.subscribers.add_shard(mailbox.clone());
            mailboxes.push(mailbox);
        }
        Ok(Self { mailboxes: Arc::new(Shards::new(mailboxes)), reader, threads, readers })
    }

    pub(super) fn mailboxes(&self) -> Arc<Shards> {
        self.mailboxes.clone()
    }

    /// Answers what has come, for at most `patience`. Then closes what is still open, and waits until every thread has ended.
    pub(super) async fn end(self, patience: Duration) {
        self.mailboxes.finish();
        let mut joining = join(self.threads);
        if timeout(patience, &mut joining).await.is_err() {
            self.mailboxes.close();
            let _ = joining.await;
        }
        self.reader.close();
        let _ = join(self.readers).await;
    }
}

/// Waits for threads to end, off those that serve.
fn join(threads: Vec<JoinHandle<()>>) -> task::JoinHandle<()> {
    task::spawn_blocking(move || {
        for thread in threads {
            let _ = thread.join();
        }
    })
}
