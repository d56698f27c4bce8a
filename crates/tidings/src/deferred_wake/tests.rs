//! Bells ring once each, when the work is done.

mod model;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{Ring, ring, together};

#[derive(Default)]
struct Bell(AtomicUsize);

impl Ring for Bell {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn bell_rings_at_once_where_nothing_is_put_off() {
    let bell = Arc::new(Bell::default());
    ring(&bell);
    ring(&bell);
    assert_eq!(bell.rung(), 2);
}

#[test]
fn bells_ring_once_each_when_the_work_is_done() {
    let bells = [Arc::new(Bell::default()), Arc::new(Bell::default())];
    together(|| {
        for _ in 0..3 {
            together(|| bells.iter().for_each(ring));
        }
        assert_eq!(bells[0].rung() + bells[1].rung(), 0);
    });
    assert_eq!([bells[0].rung(), bells[1].rung()], [1, 1]);
}

#[test]
fn bells_ring_after_work_that_panics() {
    let bell = Arc::new(Bell::default());
    let work = || {
        together(|| {
            ring(&bell);
            panic!("on purpose");
        });
    };
    assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
    assert_eq!(bell.rung(), 1);
    ring(&bell);
    assert_eq!(bell.rung(), 2);
}
