//! No wake-up for a connection is lost, and nothing that is left for it.

use std::task::Wake;

use loom::sync::atomic::AtomicU64;

use super::*;
use crate::{
    connection::tests::subscriptions,
    sync::model::{self, Sleeper},
};

fn seat(is_fed: bool) -> Arc<ConnectionHandle> {
    let seat =
        ConnectionHandle::new(ConnectionId(1), &SubscribePermit::for_test(subscriptions(&["a"])), is_fed);
    seat.set_behind(false);
    seat
}

fn unstored(after: u64) -> TransientEvent {
    TransientEvent { after, frame: "data: u\n\n".into() }
}

fn ending(reason: EndReason) -> Termination {
    Termination { reason, reconnect: true, retry: None }
}

#[test]
fn a_connection_that_looks_after_it_listened_is_woken_for_all_that_follows() {
    model::check(3, || {
        let (seat, head) = (seat(false), Arc::new(AtomicU64::new(0)));
        let writers = [(); 2].map(|()| {
            let (seat, head) = (seat.clone(), head.clone());
            model::spawn(move || {
                head.fetch_add(1, Ordering::AcqRel);
                seat.wake();
            })
        });
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        loop {
            seat.register_waker(&waker);
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
        let seat = seat(true);
        let (offering, ends) = (seat.clone(), seat.clone());
        let threads = [
            model::spawn(move || assert!(offering.push_transient(&unstored(0)))),
            model::spawn(move || ends.end(ending(EndReason::Revoked))),
        ];
        let sleeper = Sleeper::new();
        let waker = Waker::from(sleeper.clone());
        let mut taken = 0;
        loop {
            seat.register_waker(&waker);
            taken += seat.take_transient(0, 1000, true).len();
            if taken == 1 && seat.termination().is_some() {
                break;
            }
            sleeper.sleep();
        }
        assert!(seat.has_pending_control(), "it is to end");
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
    });
}

#[test]
fn a_connection_that_is_fed_sees_an_unstored_event_before_what_was_stored_after_it() {
    model::check(3, || {
        let seat = seat(true);
        let head = Arc::new(Mutex::new(Lock::LogState, 0));
        let (offering, grows) = (seat.clone(), head.clone());
        let publisher = model::spawn(move || {
            offering.push_transient(&unstored(0));
            *grows.lock() = 1;
        });
        let sees_entry = *head.lock() == 1;
        // A shard feeds the entry where the connection need not look.
        assert!(!sees_entry || seat.has_pending_control(), "the entry overtakes");
        publisher.join().expect("it ends");
        assert_eq!(seat.take_transient(0, 1000, true).len(), 1);
        assert!(!seat.has_pending_control());
    });
}

#[test]
fn an_unstored_event_is_delivered_or_counted_as_missed() {
    model::check(3, || {
        let seat = seat(false);
        let offers = [(); 2].map(|()| {
            let seat = seat.clone();
            model::spawn(move || usize::from(!seat.push_transient(&unstored(0))))
        });
        let mut missed = seat.set_behind(true);
        seat.set_behind(false);
        let mut taken = seat.take_transient(0, 1000, true).len();
        missed += offers.into_iter().map(|offer| offer.join().expect("it ends")).sum::<usize>();
        taken += seat.take_transient(0, 1000, true).len();
        assert_eq!(missed + taken, 2, "{missed} missed");
        assert!(!seat.has_pending_control());
    });
}

#[test]
fn the_waker_of_another_task_takes_the_place_of_the_one_before() {
    let seat = seat(false);
    let [before, after] = [(); 2].map(|()| Arc::new(Count::default()));
    seat.register_waker(&Waker::from(before.clone()));
    seat.register_waker(&Waker::from(after.clone()));
    seat.wake();
    assert_eq!([before.woken(), after.woken()], [0, 1]);
    assert_eq!(Arc::strong_count(&before), 1, "the waker before is gone");
}

#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl Count {
    fn woken(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
