//! Each thread is woken once, at the end of the work.

mod model;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Wakeable, batch_wakes, wake_or_defer};

#[derive(Default)]
struct CountedWakeable(AtomicUsize);

impl Wakeable for CountedWakeable {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl CountedWakeable {
    fn wakes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn a_thread_is_woken_at_once_outside_a_batch() {
    let waker = Arc::new(CountedWakeable::default());
    wake_or_defer(&waker);
    wake_or_defer(&waker);
    assert_eq!(waker.wakes(), 2);
}

#[test]
fn each_thread_is_woken_once_at_the_end_of_the_work() {
    let wakers = [Arc::new(CountedWakeable::default()), Arc::new(CountedWakeable::default())];
    batch_wakes(|| {
        for _ in 0..3 {
            batch_wakes(|| wakers.iter().for_each(wake_or_defer));
        }
        assert_eq!(wakers[0].wakes() + wakers[1].wakes(), 0);
    });
    assert_eq!([wakers[0].wakes(), wakers[1].wakes()], [1, 1]);
}

#[test]
fn threads_are_woken_after_work_that_panics() {
    let waker = Arc::new(CountedWakeable::default());
    let work = || {
        batch_wakes(|| {
            wake_or_defer(&waker);
            panic!("on purpose");
        });
    };
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
    assert_eq!(waker.wakes(), 1);
    wake_or_defer(&waker);
    assert_eq!(waker.wakes(), 2);
}
