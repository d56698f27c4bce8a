//! Progress of opening a log, for requests and tasks that wait until it is open.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::{fmt, mem};

use slab::Slab;
use tidings_sync::Mutex;

use crate::{lock, store::OpenError};

/// Progress of opening a log.
#[derive(Debug, Clone)]
pub enum OpenProgress {
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
pub struct Opening {
    state: Arc<Mutex<OpeningState>>,
    /// Same as [`OpenProgress::Done`], for callers on the publish path.
    is_open: AtomicBool,
}

#[derive(Default)]
struct OpeningState {
    progress: OpenProgress,
    waiting: Slab<Waker>,
}

/// Waits for the end of the opening.
struct Opened {
    state: Arc<Mutex<OpeningState>>,
    key: Option<usize>,
}

impl Opening {
    pub(crate) fn new(is_open: bool) -> Self {
        let progress = if is_open { OpenProgress::Done } else { OpenProgress::default() };
        let state = OpeningState { progress, waiting: Slab::new() };
        Self { state: Arc::new(Mutex::new(&lock::OPENING, state)), is_open: AtomicBool::new(is_open) }
    }

    pub(crate) fn finish(&self) {
        self.is_open.store(true, Ordering::Release);
        self.end(OpenProgress::Done);
    }

    /// Notes that the log cannot be opened.
    pub fn fail(&self, error: OpenError) {
        self.end(OpenProgress::Failed(Arc::new(error)));
    }

    fn end(&self, progress: OpenProgress) {
        let waiting = {
            let mut state = self.state.lock();
            state.progress = progress;
            mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(|(_, waker)| waker.wake());
    }

    /// Notes how many of the files are read.
    pub fn note_read(&self, files_read: usize, files: usize) {
        self.state.lock().progress = OpenProgress::Reading { files_read, files };
    }

    pub fn progress(&self) -> OpenProgress {
        self.state.lock().progress.clone()
    }

    /// Whether the log is open.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    /// Waits until the log is open.
    ///
    /// # Errors
    /// The reason why the log cannot be opened.
    pub fn wait(&self) -> impl Future<Output = Result<(), Arc<OpenError>>> + Send + use<> {
        Opened { state: self.state.clone(), key: None }
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        if matches!(self.progress(), OpenProgress::Reading { .. }) {
            self.fail(OpenError::Ended);
        }
    }
}

impl Future for Opened {
    type Output = Result<(), Arc<OpenError>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { state, key } = &mut *self;
        // A waker is code of an executor: it is cloned and dropped while the lock is free.
        let waker = context.waker().clone();
        let mut state = state.lock();
        let replaced = match &state.progress {
            OpenProgress::Done => return Poll::Ready(Ok(())),
            OpenProgress::Failed(error) => return Poll::Ready(Err(error.clone())),
            OpenProgress::Reading { .. } => match *key {
                Some(key) => Some(mem::replace(&mut state.waiting[key], waker)),
                None => {
                    *key = Some(state.waiting.insert(waker));
                    None
                }
            },
        };
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        // The end of the opening takes all wakers.
        let _waker = self.key.and_then(|key| self.state.lock().waiting.try_remove(key));
    }
}

#[cfg(test)]
mod tests;
