//! Runs a test in `loom`: every order in which its threads can run, within bounds, and every value that an atomic may be
//! read as.
//!
//! `loom`'s locks work inside a model only, and other tests use the real ones. So with the feature `model` the locks are both:
//! those that are made inside a model are its own. That way models need no build of their own.

use std::cell::Cell;
use std::sync::{Arc, PoisonError};
use std::task::Wake;

pub(crate) mod base;

/// Words of stack of a thread of a model: the log of a debug build needs much.
const STACK_WORDS: usize = 1 << 16;
/// Points at which `loom` may change threads, in one run.
const BRANCHES_MAX: usize = 50_000;

thread_local! {
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is a thread of a model. All threads of one model share a thread of the system.
pub fn is_running() -> bool {
    IS_RUNNING.get()
}

/// Preemptions that nightly runs add to the bound of each model.
const MORE_PREEMPTIONS: &str = "TIDINGS_MODEL_PREEMPTIONS";

/// Runs `test` in every order with at most `preemptions` preemptions.
pub fn check(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    struct Running;
    impl Drop for Running {
        fn drop(&mut self) {
            IS_RUNNING.set(false);
        }
    }
    let mut builder = loom::model::Builder::new();
    let more = std::env::var(MORE_PREEMPTIONS).ok().and_then(|number| number.parse().ok());
    builder.preemption_bound = Some(preemptions + more.unwrap_or(0));
    builder.max_branches = BRANCHES_MAX;
    IS_RUNNING.set(true);
    let _running = Running;
    let test = Arc::new(test);
    builder.check(move || {
        let test = test.clone();
        // The thread that a model begins with has little stack.
        spawn(move || test()).join().expect("a thread of the model panicked");
    });
}

/// Starts a thread of a model.
pub fn spawn<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> loom::thread::JoinHandle<T> {
    loom::thread::Builder::new().stack_size(STACK_WORDS).spawn(act).expect("a model has room for it")
}

/// Sleep of a thread of a model. A wake-up before the sleep ends it at once, as for a thread that polls an event queue.
pub struct Sleeper {
    is_woken: loom::sync::Mutex<bool>,
    changed: loom::sync::Condvar,
}

impl Sleeper {
    /// A sleeper that is not woken yet.
    #[allow(clippy::new_ret_no_self)]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { is_woken: loom::sync::Mutex::new(false), changed: loom::sync::Condvar::new() })
    }

    /// Sleeps until it is woken. A model whose threads all sleep panics.
    pub fn sleep(&self) {
        let mut is_woken = self.is_woken.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *is_woken) {
            is_woken = self.changed.wait(is_woken).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        *self.is_woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_one();
    }
}
