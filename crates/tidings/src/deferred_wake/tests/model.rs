//! No deferred wake-up of a thread or task is lost.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::task::Wake;

use tidings_sync::model::{self, Sleeper};
use tidings_sync::{AtomicBool, Mutex};

use super::super::*;
use crate::lock;

/// A thread that takes numbers, and is woken if it may be asleep.
struct Taker {
    left: Mutex<Vec<u32>>,
    is_asleep: AtomicBool,
    sleeper: Arc<Sleeper>,
}

impl Taker {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            left: Mutex::new(&lock::SHARD_MAILBOX, Vec::new()),
            is_asleep: AtomicBool::new(false),
            sleeper: Sleeper::new(),
        })
    }

    fn put(self: &Arc<Self>, number: u32) {
        self.left.lock().push(number);
        wake_or_defer(self);
    }

    /// Takes numbers until it has `count`.
    fn take(&self, count: usize) -> Vec<u32> {
        let mut taken = Vec::new();
        while taken.len() < count {
            self.is_asleep.swap(true, Ordering::AcqRel);
            let new = std::mem::take(&mut *self.left.lock());
            if new.is_empty() {
                self.sleeper.sleep();
            }
            taken.extend(new);
        }
        taken
    }
}

impl Wakeable for Taker {
    fn wake(&self) {
        if self.is_asleep.swap(false, Ordering::AcqRel) {
            self.sleeper.clone().wake();
        }
    }
}

#[test]
fn a_thread_gets_what_one_left_at_once_and_another_together() {
    model::check(3, || {
        let taker = Taker::new();
        let (one, two) = (taker.clone(), taker.clone());
        let threads = [
            model::spawn(move || {
                batch_wakes(|| {
                    one.put(1);
                    batch_wakes(|| one.put(2));
                });
            }),
            // The batch of the other thread does not defer this wake-up.
            model::spawn(move || two.put(3)),
        ];
        let mut taken = taker.take(3);
        taken.sort_unstable();
        assert_eq!(taken, [1, 2, 3]);
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    });
}

#[test]
fn a_task_is_woken_after_the_work_is_done_and_one_after_a_panic() {
    model::check(3, || {
        let (first, second) = (Sleeper::new(), Sleeper::new());
        let is_at_work = Arc::new(AtomicBool::new(false));
        let (wakers, works) = ([first.clone(), second.clone()], is_at_work.clone());
        let waking = model::spawn(move || {
            let [first, second] = wakers.map(Waker::from);
            batch_wakes(|| {
                works.store(true, Ordering::Release);
                wake(first);
                works.store(false, Ordering::Release);
            });
            let outcome = catch_unwind(AssertUnwindSafe(|| {
                batch_wakes(|| {
                    wake(second);
                    std::panic::resume_unwind(Box::new("on purpose"));
                });
            }));
            assert!(outcome.is_err());
        });
        first.sleep();
        assert!(!is_at_work.load(Ordering::Acquire), "the task runs before the work is done");
        second.sleep();
        waking.join().expect("it ends");
    });
}
