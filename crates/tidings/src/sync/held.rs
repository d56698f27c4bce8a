//! The locks that this thread holds, in debug builds.

use super::Lock;

/// The name of a lock; a release build does not keep it.
pub(super) struct LockName {
    #[cfg(debug_assertions)]
    lock: Lock,
}

/// Notes that this thread holds a lock, until it is dropped.
pub(super) struct HeldLock {
    #[cfg(debug_assertions)]
    lock: Option<Lock>,
}

#[cfg(not(debug_assertions))]
impl LockName {
    pub(super) fn new(_lock: Lock) -> Self {
        Self {}
    }

    pub(super) fn hold(&self) -> HeldLock {
        HeldLock {}
    }

    pub(super) fn hold_unordered(&self) -> HeldLock {
        HeldLock {}
    }
}

/// Panics in a debug build if this thread holds a lock; `act` describes the caller's next step.
#[cfg(not(debug_assertions))]
pub(crate) fn assert_none_held(_act: &str) {}

#[cfg(debug_assertions)]
pub(crate) use self::checked::assert_none_held;

#[cfg(debug_assertions)]
mod checked {
    use std::cell::RefCell;

    use super::{HeldLock, Lock, LockName};

    thread_local! {
        /// In the order in which they were taken.
        static HELD: RefCell<Vec<Lock>> = const { RefCell::new(Vec::new()) };
    }

    impl LockName {
        pub(in crate::sync) fn new(lock: Lock) -> Self {
            Self { lock }
        }

        /// Notes that this thread waits for the lock. Panics if the order forbids that.
        pub(in crate::sync) fn hold(&self) -> HeldLock {
            let lock = self.lock;
            let forbidden = with_held(|held| held.iter().copied().find(|held| !held.allows(lock))).flatten();
            if let Some(held) = forbidden.filter(|_| !std::thread::panicking()) {
                panic!(
                    "lock order broken: `{lock:?}` is taken while `{held:?}` is held; see docs/locks.md for the order"
                );
            }
            self.hold_unordered()
        }

        /// Notes that this thread has the lock.
        pub(in crate::sync) fn hold_unordered(&self) -> HeldLock {
            let noted = with_held(|held| held.push(self.lock));
            HeldLock { lock: noted.map(|()| self.lock) }
        }
    }

    impl Drop for HeldLock {
        fn drop(&mut self) {
            let Some(lock) = self.lock else { return };
            with_held(|held| {
                if let Some(newest) = held.iter().rposition(|other| *other == lock) {
                    held.remove(newest);
                }
            });
        }
    }

    /// Panics in a debug build if this thread holds a lock; `act` describes the caller's next step.
    pub(crate) fn assert_none_held(act: &str) {
        let held = with_held(|held| held.last().copied()).flatten();
        if let Some(held) = held.filter(|_| !std::thread::panicking()) {
            panic!("{act} while `{held:?}` is held; see docs/locks.md");
        }
    }

    /// `None` if it is not known: the thread ends, or the threads of a model share this one.
    fn with_held<T>(act: impl FnOnce(&mut Vec<Lock>) -> T) -> Option<T> {
        #[cfg(test)]
        if crate::sync::model::is_running() {
            return None;
        }
        HELD.try_with(|held| act(&mut held.borrow_mut())).ok()
    }
}
