//! Wake-ups of other threads and tasks that a thread defers until the end of a unit of work. Each thread is then woken once,
//! no wake-up preempts the work, and none runs while the thread holds a lock.

use std::{cell::RefCell, sync::Arc, task::Waker};

/// A thread that can be woken.
pub(crate) trait Wakeable: Send + Sync {
    /// Wakes the thread if it sleeps, so that it checks its queue.
    fn wake(&self);
}

/// Deferred wake-ups.
#[derive(Default)]
struct DeferredWakes {
    /// Bounded by the connections of the hub.
    wakers: Vec<Waker>,
    /// Bounded by the threads of the hub.
    threads: Vec<Arc<dyn Wakeable>>,
}

thread_local! {
    /// `None` outside [`batch_wakes`].
    static DEFERRED: RefCell<Option<DeferredWakes>> = const { RefCell::new(None) };
}

#[cfg(test)]
loom::thread_local! {
    /// As `DEFERRED`: the threads of a model share a thread of the system.
    static MODELLED_DEFERRED: RefCell<Option<DeferredWakes>> = RefCell::new(None);
}

fn with_deferred<T>(act: impl FnOnce(&mut Option<DeferredWakes>) -> T) -> T {
    #[cfg(test)]
    if tidings_sync::model::is_running() {
        return MODELLED_DEFERRED.with(|deferred| act(&mut deferred.borrow_mut()));
    }
    DEFERRED.with_borrow_mut(act)
}

/// Wakes a thread, or defers that.
pub(crate) fn wake_or_defer<R: Wakeable + 'static>(wakeable: &Arc<R>) {
    let is_deferred = with_deferred(|deferred| {
        let Some(DeferredWakes { threads, .. }) = deferred else { return false };
        let address = Arc::as_ptr(wakeable).cast::<()>();
        if !threads.iter().any(|other| Arc::as_ptr(other).cast::<()>() == address) {
            threads.push(wakeable.clone());
        }
        true
    });
    if !is_deferred {
        wakeable.wake();
    }
}

/// Wakes a task, or defers that. A waker runs code of the executor, possibly of the host application. So a thread that
/// holds a lock calls this within [`batch_wakes`], and releases the lock within it, too.
pub(crate) fn wake(waker: Waker) {
    let now = with_deferred(|deferred| match deferred {
        Some(DeferredWakes { wakers, .. }) => {
            wakers.push(waker);
            None
        }
        None => Some(waker),
    });
    if let Some(waker) = now {
        tidings_sync::assert_none_held("a waker is called");
        waker.wake();
    }
}

/// Calls `work`, and then makes the wake-ups that it deferred.
pub(crate) fn batch_wakes<T>(work: impl FnOnce() -> T) -> T {
    /// Makes the wake-ups also after a panic: the threads would sleep for ever.
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            let DeferredWakes { wakers, threads } = with_deferred(Option::take).unwrap_or_default();
            wakers.into_iter().for_each(wake);
            threads.into_iter().for_each(|thread| thread.wake());
        }
    }
    let is_outermost = with_deferred(|deferred| {
        let is_outermost = deferred.is_none();
        deferred.get_or_insert_default();
        is_outermost
    });
    let _release = is_outermost.then(|| Release);
    work()
}

#[cfg(test)]
mod tests;
