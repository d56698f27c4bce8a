//! A shard never sleeps while something is left for it.

use super::*;
use crate::sync::model::{self, Sleeper};

fn mailbox() -> (Arc<Mailbox>, Arc<Sleeper>) {
    let sleeper = Sleeper::new();
    let waker = sleeper.clone();
    (Mailbox::new(move || waker.clone().wake()), sleeper)
}

/// Serves as a shard's thread does, until `is_done` says so of what was taken; its last argument tells whether the log has
/// grown.
fn serve(mailbox: &Mailbox, sleeper: &Sleeper, mut is_done: impl FnMut(&mut Inbox, bool) -> bool) {
    let mut taken = Inbox::default();
    loop {
        if mailbox.may_sleep() {
            sleeper.sleep();
        }
        mailbox.is_awake();
        mailbox.take(&mut taken);
        let has_news = mailbox.has_new_entries.swap(false, Ordering::SeqCst);
        if is_done(&mut taken, has_news) {
            break;
        }
    }
}

#[test]
fn a_shard_takes_all_that_others_leave() {
    model::check(3, || {
        let (mailbox, sleeper) = mailbox();
        let putters = [1, 2].map(|place| {
            let mailbox = mailbox.clone();
            model::spawn(move || mailbox.deliver(|waiting| waiting.woken.push(place)))
        });
        let mut woken = Vec::new();
        serve(&mailbox, &sleeper, |taken, _| {
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
        let (mailbox, sleeper) = mailbox();
        mailbox.has_streams.store(true, Ordering::SeqCst);
        let head = Arc::new(Mutex::new(Lock::LogState, 0));
        let appenders = [(); 2].map(|()| {
            let (mailbox, head) = (mailbox.clone(), head.clone());
            model::spawn(move || {
                *head.lock() += 1;
                mailbox.on_append();
            })
        });
        let mut seen = 0;
        serve(&mailbox, &sleeper, |_, has_news| {
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
        let (mailbox, sleeper) = mailbox();
        let head = Arc::new(Mutex::new(Lock::LogState, 0));
        let appender = model::spawn({
            let (mailbox, head) = (mailbox.clone(), head.clone());
            move || {
                *head.lock() = 1;
                mailbox.on_append();
            }
        });
        mailbox.has_streams.store(true, Ordering::SeqCst);
        let mut seen = *head.lock();
        if seen == 0 {
            serve(&mailbox, &sleeper, |_, has_news| {
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
        let (mailbox, sleeper) = mailbox();
        let putter = model::spawn({
            let mailbox = mailbox.clone();
            move || {
                deferred_wake::batch_wakes(|| {
                    mailbox.deliver(|waiting| waiting.woken.push(1));
                    mailbox.clone().on_append();
                    mailbox.deliver(|waiting| waiting.is_closed = true);
                });
            }
        });
        let mut woken = 0;
        serve(&mailbox, &sleeper, |taken, _| {
            woken += taken.woken.drain(..).count();
            taken.is_closed
        });
        assert_eq!(woken, 1);
        putter.join().expect("it ends");
    });
}
