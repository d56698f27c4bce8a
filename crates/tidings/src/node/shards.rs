//! The shard threads, one per core, and the threads that read the store for them.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::Router;
use tokio::{runtime::Handle, task, time::timeout};

use super::supervisor::Supervisor;
use crate::hub::Hub;
use crate::transport::shard::{DiskReaders, ForwardToHyper, Shard, Shards};

/// Reader threads, which may wait for a disk at the same time. Entries in the page cache are read by one of them.
const READERS: usize = 4;

/// Owns the threads from start to end.
pub(super) struct ShardThreads {
    mailboxes: Arc<Shards>,
    reader: Arc<DiskReaders>,
    threads: Vec<JoinHandle<()>>,
    readers: Vec<JoinHandle<()>>,
}

impl ShardThreads {
    /// Starts the threads. Shards call `router` for their requests, and `forward_to_hyper` for all others.
    pub(super) fn start(hub: &Hub, router: &Router, forward_to_hyper: &ForwardToHyper) -> io::Result<Self> {
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
            let (shard, mailbox) =
                Shard::new(shared, &parts.settings, router, runtime, forward_to_hyper.clone())?;
            threads.push(supervisor.start(format!("tidings-shard-{number}"), move || shard.run())?);
            parts.subscribers.add_shard(mailbox.clone());
            mailboxes.push(mailbox);
        }
        Ok(Self { mailboxes: Arc::new(Shards::new(mailboxes)), reader, threads, readers })
    }

    pub(super) fn mailboxes(&self) -> Arc<Shards> {
        self.mailboxes.clone()
    }

    /// Answers the requests that have arrived, for at most `grace`. Then closes all connections and waits for the threads.
    pub(super) async fn end(self, grace: Duration) {
        self.mailboxes.finish();
        let mut joining = join(self.threads);
        if timeout(grace, &mut joining).await.is_err() {
            self.mailboxes.close();
            let _ = joining.await;
        }
        self.reader.close();
        let _ = join(self.readers).await;
    }
}

/// Waits for threads to end, on a thread that serves no sockets.
fn join(threads: Vec<JoinHandle<()>>) -> task::JoinHandle<()> {
    task::spawn_blocking(move || {
        for thread in threads {
            let _ = thread.join();
        }
    })
}
