//! A shard thread never sleeps while its mailbox has something.

use tidings_log::lock;
use tidings_sync::model::{self, Sleeper};

use super::*;

fn mailbox() -> (Arc<Mailbox>, Arc<Sleeper>) {
    let sleeper = Sleeper::new();
    let waker = sleeper.clone();
    (Mailbox::new(move || waker.clone().wake()), sleeper)
}

/// Takes from a mailbox as a shard thread does, until `is_done` returns true.
///
/// `is_done` gets the inbox, and whether the log has new entries.
fn serve(mailbox: &Mailbox, sleeper: &Sleeper, mut is_done: impl FnMut(&mut Inbox, bool) -> bool) {
    let mut taken = Inbox::default();
    loop {
        if mailbox.may_sleep() {
            sleeper.sleep();
        }
        mailbox.is_awake();
        mailbox.take(&mut taken);
        let has_new_entries = mailbox.has_new_entries.swap(false, Ordering::SeqCst);
        if is_done(&mut taken, has_new_entries) {
            break;
        }
    }
}

#[test]
fn a_shard_takes_all_that_is_delivered() {
    model::check(3, || {
        let (mailbox, sleeper) = mailbox();
        let senders = [1, 2].map(|key| {
            let mailbox = mailbox.clone();
            model::spawn(move || mailbox.deliver(|inbox| inbox.woken.push(key)))
        });
        let mut woken = Vec::new();
        serve(&mailbox, &sleeper, |taken, _| {
            woken.append(&mut taken.woken);
            woken.len() == 2
        });
        woken.sort_unstable();
        assert_eq!(woken, [1, 2]);
        senders.into_iter().for_each(|sender| sender.join().expect("the thread ends"));
    });
}

#[test]
fn a_shard_sees_all_new_entries() {
    model::check(3, || {
        let (mailbox, sleeper) = mailbox();
        mailbox.has_streams.store(true, Ordering::SeqCst);
        let head = Arc::new(Mutex::new(&lock::LOG_STATE, 0));
        let appenders = [(); 2].map(|()| {
            let (mailbox, head) = (mailbox.clone(), head.clone());
            model::spawn(move || {
                *head.lock() += 1;
                mailbox.on_append();
            })
        });
        let mut seen = 0;
        serve(&mailbox, &sleeper, |_, has_new_entries| {
            if has_new_entries {
                seen = *head.lock();
            }
            seen == 2
        });
        appenders.into_iter().for_each(|appender| appender.join().expect("the thread ends"));
    });
}

#[test]
fn the_first_stream_of_a_shard_misses_no_entry_that_is_appended_as_it_begins() {
    model::check(3, || {
        let (mailbox, sleeper) = mailbox();
        let head = Arc::new(Mutex::new(&lock::LOG_STATE, 0));
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
            serve(&mailbox, &sleeper, |_, has_new_entries| {
                if has_new_entries {
                    seen = *head.lock();
                }
                seen == 1
            });
        }
        appender.join().expect("the thread ends");
    });
}

#[test]
fn a_shard_is_woken_once_for_a_batch_of_one_thread() {
    model::check(3, || {
        let (mailbox, sleeper) = mailbox();
        let sender = model::spawn({
            let mailbox = mailbox.clone();
            move || {
                deferred_wake::batch_wakes(|| {
                    mailbox.deliver(|inbox| inbox.woken.push(1));
                    mailbox.clone().on_append();
                    mailbox.deliver(|inbox| inbox.is_closed = true);
                });
            }
        });
        let mut woken = 0;
        serve(&mailbox, &sleeper, |taken, _| {
            woken += taken.woken.drain(..).count();
            taken.is_closed
        });
        assert_eq!(woken, 1);
        sender.join().expect("the thread ends");
    });
}
