//! Wake-ups of other threads, which a thread may put off until it has done what it is at: then one wake-up does for all
//! that it left for them, and none takes its core away in between.

use std::{cell::RefCell, sync::Arc};

/// A thread that waits to be woken.
pub(crate) trait Ring: Send + Sync {
    /// Has it look at what was left for it, if it sleeps.
    fn ring(&self);
}

thread_local! {
    /// Those to wake later; none where nothing is put off. Bounded by the threads of the hub.
    static LATER: RefCell<Option<Vec<Arc<dyn Ring>>>> = const { RefCell::new(None) };
}

/// Wakes a thread, or notes that it is to be woken.
pub(crate) fn ring<R: Ring + 'static>(bell: &Arc<R>) {
    let is_later = LATER.with_borrow_mut(|later| {
        let Some(later) = later else { return false };
        let address = Arc::as_ptr(bell).cast::<()>();
        if !later.iter().any(|other| Arc::as_ptr(other).cast::<()>() == address) {
            later.push(bell.clone());
        }
        true
    });
    if !is_later {
        bell.ring();
    }
}

/// Does some work, and wakes then whom it would have woken.
pub(crate) fn together<T>(work: impl FnOnce() -> T) -> T {
    /// Also after a panic: who was to be woken would sleep for ever.
    struct Release;
    impl Drop for Release {
        fn drop(&mut self) {
            let woken = LATER.take();
            woken.into_iter().flatten().for_each(|bell| bell.ring());
        }
    }
    let is_outermost = LATER.with_borrow_mut(|later| {
        let is_outermost = later.is_none();
        later.get_or_insert_default();
        is_outermost
    });
    let _release = is_outermost.then(|| Release);
    work()
}

#[cfg(test)]
mod tests;
