//! Calls at the same time.

use std::thread;

/// Calls `run` with each item in a thread of its own, and returns the results in the order of the items.
pub fn in_parallel<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    run: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let run = &run;
    thread::scope(|scope| {
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || run(item))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}
