//! Who is woken, who is left what, and who is counted.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    task::{Wake, Waker},
};

use super::*;
use crate::auth::SubscribePermit;
use crate::connection::{
    ConnectionId,
    tests::{draft, memory_log, name, subscriptions},
};

/// Counts how often it is woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Bell {
    fn rings(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

fn sit(seats: &Arc<Seats>, id: u128, asked: &[&str]) -> (Arc<Seat>, Arc<Bell>) {
    let seat = Seat::new(ConnectionId(id), &SubscribePermit::for_test(subscriptions(asked)), false);
    seats.seat(&seat);
    let bell = Arc::new(Bell::default());
    seat.listen(&Waker::from(bell.clone()));
    (seat, bell)
}

fn entry(channels: &[&str]) -> Arc<Entry> {
    let channels = channels.iter().map(|channel| name(channel)).collect();
    let draft = crate::log::entry::Draft { channels, ..draft("x", "1") };
    memory_log().append(vec![draft]).unwrap().remove(0)
}

fn unstored(after: u64) -> Unstored {
    Unstored { after, frame: "data: u\n\n".into() }
}

#[test]
fn an_entry_wakes_those_who_want_it_and_each_once() {
    let seats = Arc::new(Seats::default());
    let both = sit(&seats, 1, &["a.b", "a.*", "*.b", "**"]).1;
    let pattern = sit(&seats, 2, &["a.*"]).1;
    let open = sit(&seats, 3, &["*.b"]).1;
    let other = sit(&seats, 4, &["a", "b.*", "a.b.c"]).1;
    let rings = || [&both, &pattern, &open, &other].map(|bell| bell.rings());
    seats.stored(&[entry(&["a.b", "a.c"]), entry(&["a.b"])]);
    assert_eq!(rings(), [1, 1, 1, 0]);
    seats.stored(&[entry(&["a.b"])]);
    assert_eq!(rings(), [0; 4], "none has looked since");
}

#[test]
fn a_seat_that_has_looked_is_woken_again() {
    let seats = Arc::new(Seats::default());
    let (seat, bell) = sit(&seats, 1, &["a"]);
    for _ in 0..3 {
        seats.stored(&[entry(&["a"])]);
        assert_eq!(bell.rings(), 1);
        seat.listen(&Waker::from(bell.clone()));
    }
    seats.wake(&[name("a")]);
    assert_eq!(bell.rings(), 1);
}

#[test]
fn an_unstored_event_goes_once_to_those_who_are_not_behind() {
    let seats = Arc::new(Seats::default());
    let (live, bell) = sit(&seats, 1, &["a", "b", "**"]);
    let (behind, _) = sit(&seats, 2, &["a"]);
    live.set_behind(false);
    assert_eq!(seats.unstored(&[name("a"), name("b")], &unstored(5)), 1, "one was behind");
    assert_eq!(bell.rings(), 1);
    assert_eq!(live.take_unstored(4, 1000, true).len(), 0);
    assert_eq!(live.take_unstored(5, 1000, true), ["data: u\n\n"]);
    assert_eq!(behind.next_unstored(), None);
    assert_eq!(seats.unstored(&[name("c")], &unstored(5)), 0);
    assert_eq!(live.next_unstored(), Some(5));
}

#[test]
fn unstored_events_for_one_connection_are_bounded_and_dropped_when_it_falls_behind() {
    let seats = Arc::new(Seats::default());
    let (seat, _) = sit(&seats, 1, &["a"]);
    seat.set_behind(false);
    let missed: usize = (0..70).map(|_| seats.unstored(&[name("a")], &unstored(0))).sum();
    assert_eq!(missed, 6);
    assert_eq!(seat.set_behind(true), 64);
    assert_eq!(seat.next_unstored(), None);
}

#[test]
fn seats_are_listed_once_and_counted_by_what_was_asked() {
    let seats = Arc::new(Seats::default());
    let (first, _) = sit(&seats, 1, &["a", "a.*", "**"]);
    let (second, _) = sit(&seats, 2, &["a", "b"]);
    let counts = |seats: &Seats| seats.subscriptions(&|_| true).into_iter().collect::<Vec<_>>();
    let expected = [("**", 1), ("a", 2), ("a.*", 1), ("b", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts(&seats), expected);
    assert_eq!((seats.count(), seats.all().len()), (2, 2));
    seats.leave(&first);
    let expected = [("a", 1), ("b", 1)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(counts(&seats), expected);
    seats.leave(&second);
    assert_eq!((counts(&seats), seats.count(), seats.all().len()), (Vec::new(), 0, 0));
    assert!(seats.lists().all().next().is_none());
}

#[test]
fn the_first_reason_to_end_stays() {
    use crate::connection::Ending;
    use tidings_protocol::body::EndReason;
    let seats = Arc::new(Seats::default());
    let (seat, bell) = sit(&seats, 1, &["a"]);
    let ending = |reason| Ending { reason, reconnect: true, retry: None };
    seat.end(ending(EndReason::Revoked));
    seat.end(ending(EndReason::Shutdown));
    assert_eq!(seat.ending(), Some(ending(EndReason::Revoked)));
    assert_eq!(bell.rings(), 1);
}

/// A thread's waker.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn no_wake_is_lost_between_listening_and_looking() {
    const ROUNDS: u64 = 20_000;
    let seat = Seat::new(ConnectionId(1), &SubscribePermit::for_test(subscriptions(&["a"])), false);
    let head = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            let mut seen = 0;
            while seen < ROUNDS {
                seat.listen(&waker);
                let now = head.load(Ordering::Acquire);
                if now == seen {
                    let begun = std::time::Instant::now();
                    std::thread::park_timeout(std::time::Duration::from_secs(10));
                    // Nothing else would wake it: a lost wake shows as the whole wait.
                    assert!(begun.elapsed().as_secs() < 10, "no wake came for what followed {seen}");
                }
                seen = now;
            }
        });
        for number in 1..=ROUNDS {
            head.store(number, Ordering::Release);
            seat.wake();
            if number % 64 == 0 {
                std::thread::yield_now();
            }
        }
        reader.join().unwrap();
    });
}
