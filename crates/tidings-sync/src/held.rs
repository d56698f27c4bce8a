//! The locks that this thread holds, in debug builds.

use crate::Lock;

/// The name of a lock; a release build does not keep it.
pub(crate) struct LockName {
    #[cfg(debug_assertions)]
    lock: &'static Lock,
}

/// Notes that this thread holds a lock, until it is dropped.
pub(crate) struct HeldLock {
    #[cfg(debug_assertions)]
    lock: Option<&'static Lock>,
}

#[cfg(not(debug_assertions))]
impl LockName {
    pub(crate) fn new(_lock: &'static Lock) -> Self {
        Self {}
    }

    pub(crate) fn hold(&self) -> HeldLock {
        HeldLock {}
    }

    pub(crate) fn hold_unordered(&self) -> HeldLock {
        HeldLock {}
    }
}

/// Panics in a debug build if this thread holds a lock; `act` describes the caller's next step.
#[cfg(not(debug_assertions))]
pub fn assert_none_held(_act: &str) {}

#[cfg(debug_assertions)]
pub use self::checked::assert_none_held;

#[cfg(debug_assertions)]
mod checked {
    use std::{cell::RefCell, ptr};

    use super::{HeldLock, LockName};
    use crate::Lock;

    thread_local! {
        /// In the order in which they were taken.
        static HELD: RefCell<Vec<&'static Lock>> = const { RefCell::new(Vec::new()) };
    }

    impl LockName {
        pub(crate) fn new(lock: &'static Lock) -> Self {
            Self { lock }
        }

        /// Notes that this thread waits for the lock. Panics if the order forbids that.
        pub(crate) fn hold(&self) -> HeldLock {
            let lock = self.lock;
            let forbidden = with_held(|held| held.iter().copied().find(|held| !allows(held, lock))).flatten();
            if let Some(held) = forbidden.filter(|_| !std::thread::panicking()) {
                panic!(
                    "lock order broken: `{}` is taken while `{}` is held; see docs/locks.md for the order",
                    lock.name(),
                    held.name()
                );
            }
            self.hold_unordered()
        }

        /// Notes that this thread has the lock.
        pub(crate) fn hold_unordered(&self) -> HeldLock {
            let noted = with_held(|held| held.push(self.lock));
            HeldLock { lock: noted.map(|()| self.lock) }
        }
    }

    impl Drop for HeldLock {
        fn drop(&mut self) {
            let Some(lock) = self.lock else { return };
            with_held(|held| {
                if let Some(newest) = held.iter().rposition(|other| ptr::eq(*other, lock)) {
                    held.remove(newest);
                }
            });
        }
    }

    /// Whether a thread that holds `held` may take `lock`.
    fn allows(held: &Lock, lock: &Lock) -> bool {
        held.inner().iter().any(|inner| ptr::eq(*inner, lock))
    }

    /// Panics in a debug build if this thread holds a lock; `act` describes the caller's next step.
    pub fn assert_none_held(act: &str) {
        let held = with_held(|held| held.last().copied()).flatten();
        if let Some(held) = held.filter(|_| !std::thread::panicking()) {
            panic!("{act} while `{}` is held; see docs/locks.md", held.name());
        }
    }

    /// `None` if it is not known: the thread ends, or the threads of a model share this one.
    fn with_held<T>(act: impl FnOnce(&mut Vec<&'static Lock>) -> T) -> Option<T> {
        #[cfg(feature = "model")]
        if crate::model::is_running() {
            return None;
        }
        HELD.try_with(|held| act(&mut held.borrow_mut())).ok()
    }
}
