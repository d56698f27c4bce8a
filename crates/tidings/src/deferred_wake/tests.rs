//! Bells ring once each, when the work is done.

mod model;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Wakeable, batch_wakes, wake_or_defer};

#[derive(Default)]
struct CountedWakeable(AtomicUsize);

impl Wakeable for CountedWakeable {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl CountedWakeable {
    fn rung(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn bell_rings_at_once_where_nothing_is_put_off() {
    let waker = Arc::new(CountedWakeable::default());
    wake_or_defer(&waker);
    wake_or_defer(&waker);
    assert_eq!(waker.rung(), 2);
}

#[test]
fn bells_ring_once_each_when_the_work_is_done() {
    let wakers = [Arc::new(CountedWakeable::default()), Arc::new(CountedWakeable::default())];
    batch_wakes(|| {
        for _ in 0..3 {
            batch_wakes(|| wakers.iter().for_each(wake_or_defer));
        }
        assert_eq!(wakers[0].rung() + wakers[1].rung(), 0);
    });
    assert_eq!([wakers[0].rung(), wakers[1].rung()], [1, 1]);
}

#[test]
fn bells_ring_after_work_that_panics() {
    let waker = Arc::new(CountedWakeable::default());
    let work = || {
        batch_wakes(|| {
            wake_or_defer(&waker);
            panic!("on purpose");
        });
    };
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
    assert_eq!(waker.rung(), 1);
    wake_or_defer(&waker);
    assert_eq!(waker.rung(), 2);
}
