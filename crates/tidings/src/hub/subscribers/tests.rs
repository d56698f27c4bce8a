//! Wake-ups, transient events and counts of the open connections.

use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Wake, Waker};

use tidings_protocol::body::EndReason;

use super::*;
use crate::connection::Termination;
use crate::connection::tests::{WakeCounter, channel, handle, memory_log, new_entry, transient};

fn register(
    subscribers: &Arc<Subscribers>,
    id: u128,
    channels: &[&str],
) -> (Arc<ConnectionHandle>, Arc<WakeCounter>) {
    let handle = handle(id, channels, false);
    subscribers.register(&handle);
    let wakes = Arc::new(WakeCounter::default());
    handle.register_waker(&Waker::from(wakes.clone()));
    (handle, wakes)
}

/// An entry on channels that are separated by spaces.
fn entry(channels: &str) -> Arc<Entry> {
    memory_log().append(vec![new_entry(channels, "1")]).unwrap().remove(0)
}

#[test]
fn an_entry_wakes_each_subscriber_once() {
    let subscribers = Arc::new(Subscribers::default());
    let both = register(&subscribers, 1, &["a.b", "a.*", "*.b", "**"]).1;
    let pattern = register(&subscribers, 2, &["a.*"]).1;
    let open = register(&subscribers, 3, &["*.b"]).1;
    let other = register(&subscribers, 4, &["a", "b.*", "a.b.c"]).1;
    let wake_counts = || [&both, &pattern, &open, &other].map(|wakes| wakes.take());
    subscribers.on_appended(&[entry("a.b a.c"), entry("a.b")]);
    assert_eq!(wake_counts(), [1, 1, 1, 0]);
    subscribers.on_appended(&[entry("a.b")]);
    assert_eq!(wake_counts(), [0; 4], "no connection was polled since");
}

#[test]
fn a_connection_that_was_polled_is_woken_again() {
    let subscribers = Arc::new(Subscribers::default());
    let (handle, wakes) = register(&subscribers, 1, &["a"]);
    for _ in 0..3 {
        subscribers.on_appended(&[entry("a")]);
        assert_eq!(wakes.take(), 1);
        handle.register_waker(&Waker::from(wakes.clone()));
    }
    subscribers.wake(&[channel("a")]);
    assert_eq!(wakes.take(), 1);
}

#[test]
fn a_transient_event_goes_once_to_each_connection_that_is_not_behind() {
    let subscribers = Arc::new(Subscribers::default());
    let (live, wakes) = register(&subscribers, 1, &["a", "b", "**"]);
    let (behind, _) = register(&subscribers, 2, &["a"]);
    live.set_behind(false);
    assert_eq!(
        subscribers.deliver_transient(&[channel("a"), channel("b")], &transient(5)),
        1,
        "one was behind"
    );
    assert_eq!(wakes.take(), 1);
    assert_eq!(live.take_transient(4, 1000, true).len(), 0);
    assert_eq!(live.take_transient(5, 1000, true), ["data: u\n\n"]);
    assert_eq!(behind.next_transient(), None);
    assert_eq!(subscribers.deliver_transient(&[channel("c")], &transient(5)), 0);
    assert_eq!(live.next_transient(), Some(5));
}

#[test]
fn transient_events_for_one_connection_are_bounded_and_dropped_when_it_falls_behind() {
    let subscribers = Arc::new(Subscribers::default());
    let (handle, _) = register(&subscribers, 1, &["a"]);
    handle.set_behind(false);
    let missed: usize = (0..70).map(|_| subscribers.deliver_transient(&[channel("a")], &transient(0))).sum();
    assert_eq!(missed, 6);
    assert_eq!(handle.set_behind(true), 64);
    assert_eq!(handle.next_transient(), None);
}

#[test]
fn connections_are_listed_once_and_counted_by_subscription() {
    let subscribers = Arc::new(Subscribers::default());
    let (first, _) = register(&subscribers, 1, &["a", "a.*", "**"]);
    let (second, _) = register(&subscribers, 2, &["a", "b"]);
    let counts = || subscribers.subscriptions(&|_| true);
    let expected =
        |counts: &[(&str, usize)]| counts.iter().map(|(name, count)| (name.to_string(), *count)).collect();
    assert_eq!(counts(), expected(&[("**", 1), ("a", 2), ("a.*", 1), ("b", 1)]));
    assert_eq!((subscribers.count(), subscribers.all().len()), (2, 2));
    subscribers.unregister(&first);
    assert_eq!(counts(), expected(&[("a", 1), ("b", 1)]));
    subscribers.unregister(&second);
    assert_eq!((counts(), subscribers.count(), subscribers.all().len()), (BTreeMap::new(), 0, 0));
    assert!(subscribers.registry().all().next().is_none());
}

#[test]
fn the_first_reason_to_end_stays() {
    let subscribers = Arc::new(Subscribers::default());
    let (handle, wakes) = register(&subscribers, 1, &["a"]);
    let ending = |reason| Termination { reason, reconnect: true, retry: None };
    handle.end(ending(EndReason::Revoked));
    handle.end(ending(EndReason::Shutdown));
    assert_eq!(handle.termination(), Some(ending(EndReason::Revoked)));
    assert_eq!(wakes.take(), 1);
}

/// Waker of a thread.
struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn no_wake_is_lost_between_registering_and_reading() {
    const ROUNDS: u64 = 20_000;
    let handle = handle(1, &["a"], false);
    let head = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
            let mut seen = 0;
            while seen < ROUNDS {
                handle.register_waker(&waker);
                let now = head.load(Ordering::Acquire);
                if now == seen {
                    let begun = std::time::Instant::now();
                    std::thread::park_timeout(std::time::Duration::from_secs(10));
                    // Nothing else wakes the thread: a lost wake-up shows as a timeout.
                    assert!(begun.elapsed().as_secs() < 10, "no wake came for what followed {seen}");
                }
                seen = now;
            }
        });
        for number in 1..=ROUNDS {
            head.store(number, Ordering::Release);
            handle.wake();
            if number % 64 == 0 {
                std::thread::yield_now();
            }
        }
        reader.join().unwrap();
    });
}
