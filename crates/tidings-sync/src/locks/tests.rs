//! A lock says when its order is broken, and is free again after a panic.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::*;
use crate::{assert_none_held, model};

mod lock {
    crate::locks! {
        IDEMPOTENCY_KEYS => [LOG_STATE];
        LOG_STATE => [];
        TICKETS => [];
        AUTH_POLICY => [];
        READ_QUEUE => [];
    }
}

/// The panic message of `act`, if it panics.
fn panic_of(act: impl FnOnce()) -> Option<String> {
    let panicked = catch_unwind(AssertUnwindSafe(act)).err()?;
    panicked.downcast_ref::<String>().cloned()
}

#[test]
fn a_lock_is_taken_within_one_that_allows_it() {
    let (keys, state) = (Mutex::new(&lock::IDEMPOTENCY_KEYS, 1), RwLock::new(&lock::LOG_STATE, 2));
    let keys = keys.lock();
    assert_eq!((*keys, *state.read()), (1, 2));
    *state.write() = 3;
    assert_eq!(*state.read(), 3);
}

#[test]
fn a_lock_that_is_taken_against_the_order_panics_though_it_is_free() {
    let (keys, state) = (Mutex::new(&lock::IDEMPOTENCY_KEYS, ()), RwLock::new(&lock::LOG_STATE, ()));
    let panicked = panic_of(|| {
        let _state = state.read();
        let _keys = keys.lock();
    });
    let expected = "lock order broken: `IDEMPOTENCY_KEYS` is taken while `LOG_STATE` is held; see docs/locks.md for the order";
    assert_eq!(panicked.as_deref(), Some(expected));
    // Nothing of it is left behind on this thread.
    let _keys = keys.lock();
    drop(state.write());
}

#[test]
fn a_value_is_not_read_twice_by_one_thread() {
    let state = RwLock::new(&lock::LOG_STATE, ());
    let panicked = panic_of(|| {
        let _first = state.read();
        let _second = state.read();
    });
    assert!(panicked.is_some_and(|text| text.contains("`LOG_STATE` is taken while `LOG_STATE` is held")));
}

#[test]
fn a_lock_that_is_only_tried_has_no_order() {
    let (keys, state) = (Mutex::new(&lock::IDEMPOTENCY_KEYS, ()), RwLock::new(&lock::LOG_STATE, ()));
    let _state = state.read();
    let tried = keys.try_lock();
    assert!(tried.is_some() && keys.try_lock().is_none());
}

#[test]
fn locks_that_are_let_go_in_any_order_are_free() {
    let (keys, state) = (Mutex::new(&lock::IDEMPOTENCY_KEYS, ()), RwLock::new(&lock::LOG_STATE, ()));
    let (outer, inner) = (keys.lock(), state.read());
    drop(outer);
    assert!(panic_of(|| assert_none_held("a waker is called")).is_some());
    drop(inner);
    assert_none_held("a waker is called");
}

#[test]
fn a_lock_is_usable_after_its_holder_panicked() {
    let value = Mutex::new(&lock::TICKETS, 1);
    let panicked = panic_of(|| {
        let mut value = value.lock();
        *value = 2;
        std::panic::panic_any("on purpose".to_owned());
    });
    assert_eq!((panicked.as_deref(), *value.lock()), (Some("on purpose"), 2));
}

#[test]
fn a_value_that_is_replaced_is_dropped_without_the_lock() {
    struct Locks(Arc<Mutex<()>>);
    impl Drop for Locks {
        fn drop(&mut self) {
            drop(self.0.lock());
        }
    }
    let other = Arc::new(Mutex::new(&lock::TICKETS, ()));
    let rules = RwLock::new(&lock::AUTH_POLICY, Some(Locks(other)));
    rules.replace(None);
    assert!(rules.read().is_none());
}

#[test]
fn a_thread_that_waits_for_a_change_is_notified() {
    let shared = Arc::new((Mutex::new(&lock::READ_QUEUE, 0), Condvar::default()));
    let (waits, is_waiting) = sync_channel(0);
    let waiter = thread::spawn({
        let shared = shared.clone();
        move || {
            let mut number = shared.0.lock();
            waits.send(()).expect("the test waits");
            while *number == 0 {
                number = shared.1.wait(number);
            }
            *number
        }
    });
    is_waiting.recv().expect("the waiter starts");
    // Taken once the waiter waits: it holds the lock until then.
    *shared.0.lock() = 7;
    shared.1.notify_one();
    assert_eq!(waiter.join().unwrap(), 7);
}

type Pair = (Mutex<()>, RwLock<()>);

#[test]
fn a_model_finds_that_readers_wait_behind_a_writer() {
    let outcome = catch_unwind(|| {
        model::check(2, || {
            let (keys, state) = (Mutex::new(&lock::IDEMPOTENCY_KEYS, ()), RwLock::new(&lock::LOG_STATE, ()));
            let locks = Arc::new((keys, state));
            let acts: [fn(&Pair); 3] = [
                |(keys, state)| {
                    let _state = state.read();
                    let _keys = keys.lock();
                },
                |(keys, state)| {
                    let _keys = keys.lock();
                    let _state = state.read();
                },
                |(_, state)| drop(state.write()),
            ];
            let threads = acts.map(|act| {
                let locks = locks.clone();
                model::spawn(move || act(&locks))
            });
            threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        });
    });
    assert!(outcome.is_err(), "a scrape, a publish and a trim stop each other");
}

#[test]
fn a_model_passes_what_keeps_the_order() {
    model::check(2, || {
        let shared = Arc::new(RwLock::new(&lock::LOG_STATE, 0));
        let threads = [1, 2].map(|number| {
            let shared = shared.clone();
            model::spawn(move || *shared.write() += number)
        });
        assert!((0..=3).contains(&*shared.read()));
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        assert_eq!(*shared.read(), 3);
    });
}
