//! Locks with names. After a panic under a lock it can be taken again; `is_poisoned` is then true.

use std::fmt;
use std::sync::{PoisonError, TryLockError};

#[cfg(not(feature = "model"))]
use std::sync as base;
#[cfg(not(feature = "model"))]
pub use std::sync::atomic::AtomicBool;

use crate::Lock;
use crate::guard::deref;
use crate::held::{HeldLock, LockName};
#[cfg(feature = "model")]
use crate::model::base;
#[cfg(feature = "model")]
pub use crate::model::base::AtomicBool;

/// Mutual exclusion around a value.
pub struct Mutex<T> {
    name: LockName,
    inner: base::Mutex<T>,
}

/// Access to the value of a [`Mutex`]; the lock is free again when this is dropped.
pub struct MutexGuard<'a, T> {
    // Fields are dropped in this order: the lock is free before it is noted as free.
    inner: base::MutexGuard<'a, T>,
    held: HeldLock,
}

impl<T> Mutex<T> {
    /// Makes the lock of a row.
    pub fn new(lock: &'static Lock, value: T) -> Self {
        Self { name: LockName::new(lock), inner: base::Mutex::new(value) }
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = self.name.hold();
        MutexGuard { inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner), held }
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a thread panicked while it held the lock. The value stays usable.
    pub fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    /// Takes the lock if it is free. It does not wait, so the order of locks does not apply.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
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

/// Lock for many readers or one writer. A thread must not take it twice for reading: a reader waits while a writer waits.
pub struct RwLock<T> {
    name: LockName,
    inner: base::RwLock<T>,
}

/// Shared access to the value of an [`RwLock`].
pub struct RwLockReadGuard<'a, T> {
    inner: base::RwLockReadGuard<'a, T>,
    _held: HeldLock,
}

/// Sole access to the value of an [`RwLock`].
pub struct RwLockWriteGuard<'a, T> {
    inner: base::RwLockWriteGuard<'a, T>,
    _held: HeldLock,
}

impl<T> RwLock<T> {
    /// Makes the lock of a row.
    pub fn new(lock: &'static Lock, value: T) -> Self {
        Self { name: LockName::new(lock), inner: base::RwLock::new(value) }
    }

    /// Waits until no thread changes the value or waits to change it.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let held = self.name.hold();
        RwLockReadGuard { inner: self.inner.read().unwrap_or_else(PoisonError::into_inner), _held: held }
    }

    /// Waits until no other thread uses the value.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let held = self.name.hold();
        RwLockWriteGuard { inner: self.inner.write().unwrap_or_else(PoisonError::into_inner), _held: held }
    }

    /// Returns the value.
    pub fn into_inner(self) -> T {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a thread panicked while it changed the value. The value stays usable.
    pub fn is_poisoned(&self) -> bool {
        self.inner.is_poisoned()
    }

    /// Replaces the value, and drops the old one after the lock is free again.
    pub fn replace(&self, value: T) {
        let before = std::mem::replace(&mut *self.write(), value);
        drop(before);
    }
}

impl<T> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").finish_non_exhaustive()
    }
}

deref!(mut MutexGuard);
deref!(RwLockReadGuard);
deref!(mut RwLockWriteGuard);

/// Condition variable for the value of a [`Mutex`].
#[derive(Default)]
pub struct Condvar(base::Condvar);

impl Condvar {
    /// Releases the lock, waits for a notification, and takes the lock again. It may also return spuriously.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        let MutexGuard { inner, held } = guard;
        let inner = self.0.wait(inner).unwrap_or_else(PoisonError::into_inner);
        MutexGuard { inner, held }
    }

    /// Wakes one waiting thread.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiting threads.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

#[cfg(test)]
mod tests;
