//! Each task that waits learns how the opening ends.

use std::pin::pin;
use std::sync::atomic::AtomicUsize;
use std::task::{Wake, Waker};

use super::*;

/// Counts wake-ups.
#[derive(Default)]
struct WakeCount(AtomicUsize);

impl Wake for WakeCount {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn tasks_that_wait_are_woken_by_the_end_and_dropped_ones_are_forgotten() {
    for name in ["finished", "failed", "dropped"] {
        let opening = Opening::new(false);
        let wakes = Arc::new(WakeCount::default());
        let waker = Waker::from(wakes.clone());
        let context = &mut Context::from_waker(&waker);
        let (mut waiting, mut dropped) = (pin!(opening.wait()), Box::pin(opening.wait()));
        for _ in 0..2 {
            opening.note_read(1, 2);
            assert!(
                waiting.as_mut().poll(context).is_pending() && dropped.as_mut().poll(context).is_pending()
            );
        }
        drop(dropped);
        assert_eq!(opening.state.lock().waiting.len(), 1, "{name}");
        assert_eq!(wakes.0.load(Ordering::Relaxed), 0, "{name}");
        match name {
            "finished" => opening.finish(),
            "failed" => opening.fail(OpenError::Ended),
            _ => drop(opening),
        }
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1, "{name}");
        let Poll::Ready(outcome) = waiting.poll(context) else { panic!("{name}: it waits on") };
        assert_eq!(outcome.is_ok(), name == "finished", "{name}");
    }
}
