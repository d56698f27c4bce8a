//! No wake-up for a connection is lost, and no transient event.

use loom::sync::atomic::AtomicU64;
use tidings_log::lock;
use tidings_sync::model::{self, Sleeper};

use super::*;
use crate::connection::tests::{WakeCounter, handle as new_handle, transient};

fn handle(is_pushed: bool) -> Arc<ConnectionHandle> {
    let handle = new_handle(1, &["a"], is_pushed);
    handle.set_behind(false);
    handle
}

fn ending(reason: EndReason) -> Termination {
    Termination { reason, reconnect: true, retry: None }
}

#[test]
fn a_connection_that_looks_after_it_listened_is_woken_for_all_that_follows() {
    model::check(3, || {
        let (handle, head) = (handle(false), Arc::new(AtomicU64::new(0)));
        let writers = [(); 2].map(|()| {
            let (handle, head) = (handle.clone(), head.clone());
            model::spawn(move || {
                head.fetch_add(1, Ordering::AcqRel);
                handle.wake();
            })
        });
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        loop {
            handle.register_waker(&waker);
            if head.load(Ordering::Acquire) == 2 {
                break;
            }
            sleeper.sleep();
        }
        writers.into_iter().for_each(|writer| writer.join().expect("it ends"));
    });
}

#[test]
fn a_connection_finds_what_is_left_for_it_and_how_it_is_to_end() {
    model::check(2, || {
        let handle = handle(true);
        let (offering, ends) = (handle.clone(), handle.clone());
        let threads = [
            model::spawn(move || assert!(offering.push_transient(&transient(0)))),
            model::spawn(move || ends.end(ending(EndReason::Revoked))),
        ];
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let mut taken = 0;
        loop {
            handle.register_waker(&waker);
            taken += handle.take_transient(0, 1000, true).len();
            if taken == 1 && handle.termination().is_some() {
                break;
            }
            sleeper.sleep();
        }
        assert!(handle.has_pending_control(), "it is to end");
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    });
}

#[test]
fn a_connection_that_is_pushed_sees_a_transient_event_before_what_was_stored_after_it() {
    model::check(3, || {
        let handle = handle(true);
        let head = Arc::new(Mutex::new(&lock::LOG_STATE, 0));
        let (offering, grows) = (handle.clone(), head.clone());
        let publisher = model::spawn(move || {
            offering.push_transient(&transient(0));
            *grows.lock() = 1;
        });
        let sees_entry = *head.lock() == 1;
        // A shard pushes the entry if the connection has no pending control.
        assert!(!sees_entry || handle.has_pending_control(), "the entry overtakes");
        publisher.join().expect("it ends");
        assert_eq!(handle.take_transient(0, 1000, true).len(), 1);
        assert!(!handle.has_pending_control());
    });
}

#[test]
fn a_transient_event_is_delivered_or_counted_as_missed() {
    model::check(3, || {
        let handle = handle(false);
        let offers = [(); 2].map(|()| {
            let handle = handle.clone();
            model::spawn(move || usize::from(!handle.push_transient(&transient(0))))
        });
        let mut missed = handle.set_behind(true);
        handle.set_behind(false);
        let mut taken = handle.take_transient(0, 1000, true).len();
        missed += offers.into_iter().map(|offer| offer.join().expect("it ends")).sum::<usize>();
        taken += handle.take_transient(0, 1000, true).len();
        assert_eq!(missed + taken, 2, "{missed} missed");
        assert!(!handle.has_pending_control());
    });
}

#[test]
fn the_waker_of_another_task_takes_the_place_of_the_one_before() {
    let handle = handle(false);
    let [before, after] = [(); 2].map(|()| Arc::new(WakeCounter::default()));
    handle.register_waker(&Waker::from(before.clone()));
    handle.register_waker(&Waker::from(after.clone()));
    handle.wake();
    assert_eq!([before.take(), after.take()], [0, 1]);
    assert_eq!(Arc::strong_count(&before), 1, "the waker before is gone");
}
