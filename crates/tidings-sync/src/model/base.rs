//! Locks and atomics that are real, or of the model that is running where they are made.

use std::sync::{LockResult, PoisonError, TryLockError, TryLockResult, atomic::Ordering};

use super::is_running;
use crate::guard::deref;

/// Value of a lock of a model, in a real lock that is free whenever the lock of the model is.
fn free<Guard>(outcome: TryLockResult<Guard>) -> Guard {
    match outcome {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => panic!("the model let two threads have a lock"),
    }
}

pub(crate) struct Mutex<T> {
    real: std::sync::Mutex<T>,
    modelled: Option<loom::sync::Mutex<()>>,
}

pub(crate) struct MutexGuard<'a, T> {
    of: &'a Mutex<T>,
    inner: std::sync::MutexGuard<'a, T>,
    modelled: Option<loom::sync::MutexGuard<'a, ()>>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            real: std::sync::Mutex::new(value),
            modelled: is_running().then(|| loom::sync::Mutex::new(())),
        }
    }

    pub(crate) fn into_inner(self) -> LockResult<T> {
        self.real.into_inner()
    }

    pub(crate) fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        let Some(modelled) = &self.modelled else {
            let inner = self.real.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(MutexGuard { of: self, inner, modelled: None });
        };
        let modelled = modelled.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { of: self, inner: free(self.real.try_lock()), modelled: Some(modelled) })
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.real.is_poisoned()
    }

    pub(crate) fn try_lock(&self) -> TryLockResult<MutexGuard<'_, T>> {
        let modelled = match &self.modelled {
            Some(modelled) => Some(modelled.try_lock().map_err(|_| TryLockError::WouldBlock)?),
            None => None,
        };
        let inner = match self.real.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(TryLockError::WouldBlock),
            outcome => free(outcome),
        };
        Ok(MutexGuard { of: self, inner, modelled })
    }
}

pub(crate) struct Condvar {
    real: std::sync::Condvar,
    modelled: Option<loom::sync::Condvar>,
}

impl Default for Condvar {
    fn default() -> Self {
        let modelled = is_running().then(loom::sync::Condvar::new);
        Self { real: std::sync::Condvar::new(), modelled }
    }
}

impl Condvar {
    pub(crate) fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> LockResult<MutexGuard<'a, T>> {
        let MutexGuard { of, inner, modelled } = guard;
        let Some((condvar, modelled)) = self.modelled.as_ref().zip(modelled) else {
            let inner = self.real.wait(inner).unwrap_or_else(PoisonError::into_inner);
            return Ok(MutexGuard { of, inner, modelled: None });
        };
        drop(inner);
        let modelled = condvar.wait(modelled).unwrap_or_else(PoisonError::into_inner);
        Ok(MutexGuard { of, inner: free(of.real.try_lock()), modelled: Some(modelled) })
    }

    pub(crate) fn notify_one(&self) {
        self.real.notify_one();
        self.modelled.as_ref().inspect(|condvar| condvar.notify_one());
    }

    pub(crate) fn notify_all(&self) {
        self.real.notify_all();
        self.modelled.as_ref().inspect(|condvar| condvar.notify_all());
    }
}

/// In a model it refuses readers while a writer waits, as that of the standard library does and that of `loom` does not.
pub(crate) struct RwLock<T> {
    real: std::sync::RwLock<T>,
    modelled: Option<Turnstile>,
}

pub(crate) struct RwLockReadGuard<'a, T> {
    inner: std::sync::RwLockReadGuard<'a, T>,
    _admitted: Option<TurnstileGuard<'a>>,
}

pub(crate) struct RwLockWriteGuard<'a, T> {
    inner: std::sync::RwLockWriteGuard<'a, T>,
    _admitted: Option<TurnstileGuard<'a>>,
}

impl<T> RwLock<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { real: std::sync::RwLock::new(value), modelled: is_running().then(Turnstile::default) }
    }

    pub(crate) fn into_inner(self) -> LockResult<T> {
        self.real.into_inner()
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.real.is_poisoned()
    }

    pub(crate) fn read(&self) -> LockResult<RwLockReadGuard<'_, T>> {
        let Some(turnstile) = &self.modelled else {
            let inner = self.real.read().unwrap_or_else(PoisonError::into_inner);
            return Ok(RwLockReadGuard { inner, _admitted: None });
        };
        let admitted = turnstile.admit_reader();
        Ok(RwLockReadGuard { inner: free(self.real.try_read()), _admitted: Some(admitted) })
    }

    pub(crate) fn write(&self) -> LockResult<RwLockWriteGuard<'_, T>> {
        let Some(turnstile) = &self.modelled else {
            let inner = self.real.write().unwrap_or_else(PoisonError::into_inner);
            return Ok(RwLockWriteGuard { inner, _admitted: None });
        };
        let admitted = turnstile.admit_writer();
        Ok(RwLockWriteGuard { inner: free(self.real.try_write()), _admitted: Some(admitted) })
    }
}

deref!(mut MutexGuard);
deref!(RwLockReadGuard);
deref!(mut RwLockWriteGuard);

/// Admits many readers or one writer, and no new reader while a writer waits.
struct Turnstile {
    state: loom::sync::Mutex<Admissions>,
    changed: loom::sync::Condvar,
}

#[derive(Default)]
struct Admissions {
    readers: usize,
    is_written: bool,
    writers_waiting: usize,
}

struct TurnstileGuard<'a>(&'a Turnstile);

impl Default for Turnstile {
    fn default() -> Self {
        Self { state: loom::sync::Mutex::new(Admissions::default()), changed: loom::sync::Condvar::new() }
    }
}

impl Turnstile {
    fn admit_reader(&self) -> TurnstileGuard<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.is_written || state.writers_waiting > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.readers += 1;
        TurnstileGuard(self)
    }

    fn admit_writer(&self) -> TurnstileGuard<'_> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.writers_waiting += 1;
        while state.is_written || state.readers > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.writers_waiting -= 1;
        state.is_written = true;
        TurnstileGuard(self)
    }
}

impl Drop for TurnstileGuard<'_> {
    fn drop(&mut self) {
        // A model that panics has failed already.
        if std::thread::panicking() {
            return;
        }
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_written {
            state.is_written = false;
        } else {
            state.readers -= 1;
        }
        drop(state);
        self.0.changed.notify_all();
    }
}

/// A flag that threads share.
#[derive(Debug)]
pub struct AtomicBool {
    real: std::sync::atomic::AtomicBool,
    modelled: Option<loom::sync::atomic::AtomicBool>,
}

impl AtomicBool {
    /// A flag with this value.
    pub fn new(value: bool) -> Self {
        let modelled = is_running().then(|| loom::sync::atomic::AtomicBool::new(value));
        Self { real: std::sync::atomic::AtomicBool::new(value), modelled }
    }

    /// Reads the value.
    pub fn load(&self, ordering: Ordering) -> bool {
        self.modelled.as_ref().map_or_else(|| self.real.load(ordering), |it| it.load(ordering))
    }

    /// Sets the value.
    pub fn store(&self, value: bool, ordering: Ordering) {
        match &self.modelled {
            Some(modelled) => modelled.store(value, ordering),
            None => self.real.store(value, ordering),
        }
    }

    /// Sets the value, and returns the one before.
    pub fn swap(&self, value: bool, ordering: Ordering) -> bool {
        match &self.modelled {
            Some(modelled) => modelled.swap(value, ordering),
            None => self.real.swap(value, ordering),
        }
    }
}
