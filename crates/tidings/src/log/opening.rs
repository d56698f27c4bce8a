//! Progress of opening a log, for requests and tasks that wait until it is open.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::watch, time::timeout};

use super::store::disk::OpenError;

/// Time that a request waits for the log to be opened.
const REQUEST_WAIT: Duration = Duration::from_secs(5);

/// Progress of opening a log.
#[derive(Debug, Clone)]
pub(crate) enum OpenProgress {
    /// The node reads the files of the log.
    Reading {
        files_read: usize,
        files: usize,
    },
    Done,
    Failed(Arc<OpenError>),
}

impl fmt::Display for OpenProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reading { files_read, files } => {
                write!(f, "the log is being opened: {files_read} of {files} files are read")
            }
            Self::Done => f.write_str("the log is open"),
            Self::Failed(error) if matches!(**error, OpenError::Ended) => error.fmt(f),
            Self::Failed(_) => f.write_str("the log cannot be opened; the hub's own log says why"),
        }
    }
}

impl Default for OpenProgress {
    fn default() -> Self {
        Self::Reading { files_read: 0, files: 0 }
    }
}

/// The progress, and the tasks that wait for its end.
pub(super) struct Opening {
    progress: watch::Sender<OpenProgress>,
    /// Same as [`OpenProgress::Done`], for callers on the publish path.
    is_open: AtomicBool,
}

impl Opening {
    pub(super) fn new(is_open: bool) -> Self {
        let progress = if is_open { OpenProgress::Done } else { OpenProgress::default() };
        Self { progress: watch::Sender::new(progress), is_open: AtomicBool::new(is_open) }
    }

    pub(super) fn finish(&self) {
        self.is_open.store(true, Ordering::Release);
        self.progress.send_replace(OpenProgress::Done);
    }

    pub(super) fn fail(&self, error: OpenError) {
        self.progress.send_replace(OpenProgress::Failed(Arc::new(error)));
    }

    /// Sets the progress without waking tasks that wait for the end.
    pub(super) fn note_read(&self, files_read: usize, files: usize) {
        self.progress.send_if_modified(|progress| {
            *progress = OpenProgress::Reading { files_read, files };
            false
        });
    }

    pub(super) fn progress(&self) -> OpenProgress {
        self.progress.borrow().clone()
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    pub(super) async fn wait_for_request(&self) -> Result<(), OpenProgress> {
        if self.is_open() {
            return Ok(());
        }
        let opened = timeout(REQUEST_WAIT, self.wait()).await;
        if matches!(opened, Ok(Ok(()))) { Ok(()) } else { Err(self.progress()) }
    }

    pub(super) fn wait(&self) -> impl Future<Output = Result<(), Arc<OpenError>>> + Send + use<> {
        let mut progress = self.progress.subscribe();
        async move {
            let ended = progress.wait_for(|progress| !matches!(progress, OpenProgress::Reading { .. })).await;
            match ended.as_deref() {
                Ok(OpenProgress::Done) => Ok(()),
                Ok(OpenProgress::Failed(error)) => Err(error.clone()),
                // The log was dropped.
                Ok(OpenProgress::Reading { .. }) | Err(_) => Err(Arc::new(OpenError::Ended)),
            }
        }
    }
}
