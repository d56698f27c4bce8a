//! A shard never sleeps while something is left for it.

use super::*;
use crate::sync::model::{self, Sleeper};

fn door() -> (Arc<Mailbox>, Arc<Sleeper>) {
    let sleeper = Sleeper::new();
    let bell = sleeper.clone();
    (Mailbox::new(move || bell.clone().wake()), sleeper)
}

/// Serves as a shard's thread does, until `is_done` says so of what was taken; its last argument tells whether the log has
/// grown.
fn serve(door: &Mailbox, sleeper: &Sleeper, mut is_done: impl FnMut(&mut Inbox, bool) -> bool) {
    let mut taken = Inbox::default();
    loop {
        if door.may_sleep() {
            sleeper.sleep();
        }
        door.is_awake();
        door.take(&mut taken);
        let has_news = door.has_new_entries.swap(false, Ordering::SeqCst);
        if is_done(&mut taken, has_news) {
            break;
        }
    }
}

#[test]
fn a_shard_takes_all_that_others_leave() {
    model::check(3, || {
        let (door, sleeper) = door();
        let putters = [1, 2].map(|place| {
            let door = door.clone();
            model::spawn(move || door.deliver(|waiting| waiting.woken.push(place)))
        });
        let mut woken = Vec::new();
        serve(&door, &sleeper, |taken, _| {
            woken.append(&mut taken.woken);
            woken.len() == 2
        });
        woken.sort_unstable();
        assert_eq!(woken, [1, 2]);
        putters.into_iter().for_each(|putter| putter.join().expect("it ends"));
    });
}

#[test]
fn a_shard_hears_of_all_that_is_stored() {
    model::check(3, || {
        let (door, sleeper) = door();
        door.has_streams.store(true, Ordering::SeqCst);
        let head = Arc::new(Mutex::new(Lock::LogState, 0));
        let appenders = [(); 2].map(|()| {
            let (door, head) = (door.clone(), head.clone());
            model::spawn(move || {
                *head.lock() += 1;
                door.on_append();
            })
        });
        let mut seen = 0;
        serve(&door, &sleeper, |_, has_news| {
            if has_news {
                seen = *head.lock();
            }
            seen == 2
        });
        appenders.into_iter().for_each(|appender| appender.join().expect("it ends"));
    });
}

#[test]
fn the_first_stream_of_a_shard_misses_nothing_that_is_stored_as_it_begins() {
    model::check(3, || {
        let (door, sleeper) = door();
        let head = Arc::new(Mutex::new(Lock::LogState, 0));
        let appender = model::spawn({
            let (door, head) = (door.clone(), head.clone());
            move || {
                *head.lock() = 1;
                door.on_append();
            }
        });
        door.has_streams.store(true, Ordering::SeqCst);
        let mut seen = *head.lock();
        if seen == 0 {
            serve(&door, &sleeper, |_, has_news| {
                if has_news {
                    seen = *head.lock();
                }
                seen == 1
            });
        }
        appender.join().expect("it ends");
    });
}

#[test]
fn a_shard_is_rung_once_for_all_that_one_thread_leaves_together() {
    model::check(3, || {
        let (door, sleeper) = door();
        let putter = model::spawn({
            let door = door.clone();
            move || {
                deferred_wake::batch_wakes(|| {
                    door.deliver(|waiting| waiting.woken.push(1));
                    door.clone().on_append();
                    door.deliver(|waiting| waiting.is_closed = true);
                });
            }
        });
        let mut woken = 0;
        serve(&door, &sleeper, |taken, _| {
            woken += taken.woken.drain(..).count();
            taken.is_closed
        });
        assert_eq!(woken, 1);
        putter.join().expect("it ends");
    });
}
