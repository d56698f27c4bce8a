//! The locks of the hub. Each has a name; [`Lock`] lists the locks that a thread may take while it holds another.
//!
//! A debug build panics if a thread breaks that order, even without contention. A release build has the plain locks of the
//! standard library. After a panic under a lock it can be taken again; `is_poisoned` is then true.
//!
//! Unit tests may run code over these locks in `loom`, which tries the orders in which threads can run; see `model`.

mod held;
#[cfg(test)]
pub(crate) mod model;
mod order;

use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::{PoisonError, TryLockError},
};

#[cfg(test)]
use self::model::base;
#[cfg(test)]
pub(crate) use self::model::base::AtomicBool;
#[cfg(not(test))]
use std::sync as base;
#[cfg(not(test))]
pub(crate) use std::sync::atomic::AtomicBool;

use self::held::{HeldLock, LockName};
pub(crate) use self::{held::assert_none_held, order::Lock};

/// Mutual exclusion around a value.
pub(crate) struct Mutex<T> {
    name: LockName,
    inner: base::Mutex<T>,
}

/// Access to the value of a [`Mutex`]; the lock is free again when this is dropped.
pub(crate) struct MutexGuard<'a, T> {
    // Fields are dropped in this order: the lock is free before it is noted as free.
    inner: base::MutexGuard<'a, T>,
    held: HeldLock,
}

impl<T> Mutex<T> {
    pub(crate) fn new(lock: Lock, value: T) -> Self {
        Self { name: LockName::new(lock), inner: base::Mutex::new(value) }
    }

    /// Waits for the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = self.name.hold();
        MutexGuard { inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner), held }
    }

    /// Returns the value.
    pub(crate) fn into_inner(self) -> T {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a thread panicked while it held the lock. The value stays usable.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    /// Takes the lock if it is free. It does not wait, so the order of locks does not apply.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let inner = match self.inner.try_lock() {
            Ok(inner) => inner,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { inner, held: self.name.hold_unordered() })
    }
}

impl<T> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").finish_non_exhaustive()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// Lock for many readers or one writer. A thread must not take it twice for reading: a reader waits while a writer waits.
pub(crate) struct RwLock<T> {
    name: LockName,
    inner: base::RwLock<T>,
}

/// Shared access to the value of an [`RwLock`].
pub(crate) struct RwLockReadGuard<'a, T> {
    inner: base::RwLockReadGuard<'a, T>,
    _held: HeldLock,
}

/// Sole access to the value of an [`RwLock`].
pub(crate) struct RwLockWriteGuard<'a, T> {
    inner: base::RwLockWriteGuard<'a, T>,
    _held: HeldLock,
}

impl<T> RwLock<T> {
    pub(crate) fn new(lock: Lock, value: T) -> Self {
        Self { name: LockName::new(lock), inner: base::RwLock::new(value) }
    }

    /// Waits until no thread changes the value or waits to change it.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        let held = self.name.hold();
        RwLockReadGuard { inner: self.inner.read().unwrap_or_else(PoisonError::into_inner), _held: held }
    }

    /// Waits until no other thread uses the value.
    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
        let held = self.name.hold();
        RwLockWriteGuard { inner: self.inner.write().unwrap_or_else(PoisonError::into_inner), _held: held }
    }

    /// Returns the value.
    pub(crate) fn into_inner(self) -> T {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a thread panicked while it changed the value. The value stays usable.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    /// Replaces the value, and drops the old one after the lock is free again.
    pub(crate) fn replace(&self, value: T) {
        let before = std::mem::replace(&mut *self.write(), value);
        drop(before);
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").finish_non_exhaustive()
    }
}

impl<T> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// Condition variable for the value of a [`Mutex`].
#[derive(Default)]
pub(crate) struct Condvar(base::Condvar);

impl Condvar {
    /// Releases the lock, waits for a notification, and takes the lock again. It may also return spuriously.
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { inner, held } = guard;
        let inner = self.0.wait(inner).unwrap_or_else(PoisonError::into_inner);
        MutexGuard { inner, held }
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(test)]
mod tests;
