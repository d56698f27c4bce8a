use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use super::*;

#[derive(Default)]
struct Calls(AtomicUsize);

impl Calls {
    fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Waiter for Calls {
    fn on_barrier(&self) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn weak(calls: &Arc<Calls>) -> Weak<dyn Waiter> {
    Arc::downgrade(&(calls.clone() as Arc<dyn Waiter>))
}

#[test]
fn waiters_are_called_once_their_barrier_is_complete() {
    let barriers = ReadBarriers::new(true);
    barriers.complete(barriers.begin());
    let requests = Arc::new(Calls::default());
    let hook = requests.clone();
    barriers.on_request(Box::new(move || hook.on_barrier()));
    let (first, second) = (Arc::new(Calls::default()), Arc::new(Calls::default()));
    assert_eq!(requests.count(), 0);
    barriers.wait(2, weak(&first));
    assert_eq!(requests.count(), 1);
    assert_eq!(barriers.begin(), 2);
    barriers.wait(3, weak(&second));
    assert_eq!(requests.count(), 2);
    barriers.complete(2);
    assert_eq!((first.count(), second.count()), (1, 0));
    barriers.wait(2, weak(&first));
    assert_eq!(first.count(), 2, "the barrier is complete already");
    assert_eq!(barriers.begin(), 3);
    barriers.complete(3);
    assert_eq!((first.count(), second.count()), (2, 1));
}

#[test]
fn dropped_waiters_are_removed() {
    let barriers = ReadBarriers::new(true);
    (0..10_000).for_each(|_| barriers.wait(1, weak(&Arc::new(Calls::default()))));
    let waiters = barriers.lock().waiters.len();
    assert!(waiters <= WAITERS_MIN, "{waiters}");
}
