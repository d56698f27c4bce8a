//! Wake-ups of other threads and tasks, which a thread may put off until it has done what it is at: then one wake-up does
//! for all that it left for them, none takes its core away in between, and none runs while it holds a lock.

use std::{cell::RefCell, sync::Arc, task::Waker};

use crate::sync;

/// A thread that waits to be woken.
pub(crate) trait Wakeable: Send + Sync {
    /// Has it look at what was left for it, if it sleeps.
    fn wake(&self);
}

/// Wake-ups that are put off.
#[derive(Default)]
struct DeferredWakes {
    /// Bounded by the connections of the hub.
    wakers: Vec<Waker>,
    /// Bounded by the threads of the hub.
    bells: Vec<Arc<dyn Wakeable>>,
}

thread_local! {
    /// None where nothing is put off.
    static LATER: RefCell<Option<DeferredWakes>> = const { RefCell::new(None) };
}

#[cfg(test)]
loom::thread_local! {
    /// As `LATER`: the threads of a model share a thread of the system.
    static MODELLED_LATER: RefCell<Option<DeferredWakes>> = RefCell::new(None);
}

fn with_later<T>(act: impl FnOnce(&mut Option<DeferredWakes>) -> T) -> T {
    #[cfg(test)]
    if sync::model::is_running() {
        return MODELLED_LATER.with(|later| act(&mut later.borrow_mut()));
    }
    LATER.with_borrow_mut(act)
}

/// Wakes a thread, or notes that it is to be woken.
pub(crate) fn wake_or_defer<R: Wakeable + 'static>(bell: &Arc<R>) {
    let is_later = with_later(|later| {
        let Some(DeferredWakes { bells, .. }) = later else { return false };
        let address = Arc::as_ptr(bell).cast::<()>();
        if !bells.iter().any(|other| Arc::as_ptr(other).cast::<()>() == address) {
            bells.push(bell.clone());
        }
        true
    });
    if !is_later {
        bell.wake();
    }
}

/// Wakes a task, or notes that it is to be woken. A waker runs code of the executor, which may be that of the host
/// application, so a thread that holds a lock calls this within [`together`], and lets go of the lock within it, too.
pub(crate) fn wake(waker: Waker) {
    let now = with_later(|later| match later {
        Some(DeferredWakes { wakers, .. }) => {
            wakers.push(waker);
            None
        }
        None => Some(waker),
    });
    if let Some(waker) = now {
        sync::assert_none_held("a waker is called");
        waker.wake();
    }
}

/// Does some work, and wakes then whom it would have woken.
pub(crate) fn batch_wakes<T>(work: impl FnOnce() -> T) -> T {
    /// Also after a panic: who was to be woken would sleep for ever.
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            let DeferredWakes { wakers, bells } = with_later(Option::take).unwrap_or_default();
            wakers.into_iter().for_each(wake);
            bells.into_iter().for_each(|bell| bell.wake());
        }
    }
    let is_outermost = with_later(|later| {
        let is_outermost = later.is_none();
        later.get_or_insert_default();
        is_outermost
    });
    let _release = is_outermost.then(|| Release);
    work()
}

#[cfg(test)]
mod tests;
