//! The log in every order of threads that append, read, count and trim.

use tidings_sync::model;

use super::*;
use crate::read::Page;
use crate::testing::{START, read_request};

fn small_log(environment: &Arc<TestWorld>) -> Arc<Log> {
    let settings = LogSettings { retention_age: Duration::from_secs(1), ..LogSettings::default() };
    Arc::new(memory_log(&settings, environment))
}

/// Reads a page like a shard and its disk readers.
fn page(log: &Log, cursor: u64) -> Page {
    let subscribed = subscriptions(&["a"]);
    let mut pages = [log.page(&read_request(&subscribed, cursor))];
    log.load(&mut pages);
    let [page] = pages;
    page
}

#[test]
fn a_reader_sees_what_is_stored_whole_and_in_order() {
    model::check(2, || {
        let log = small_log(&TestWorld::new(1));
        let appender = model::spawn({
            let log = log.clone();
            move || {
                log.append(vec![new_entry("a", "1"), new_entry("a", "2")]).unwrap();
                log.append(vec![new_entry("a", "3")]).unwrap();
            }
        });
        let scraper = model::spawn({
            let log = log.clone();
            move || log.usage().head
        });
        let first = log.entries_after(0, 0, 10);
        let entries: Vec<u64> = first.entries.expect("all is at hand").iter().map(|it| it.offset).collect();
        assert_eq!(entries, (1..=first.head).collect::<Vec<_>>());
        assert_ne!(first.head, 1, "half a batch is seen");
        let next = log.entries_after(first.head, 0, 10);
        assert!(next.head >= first.head);
        assert_ne!(scraper.join().expect("it ends"), 1);
        appender.join().expect("it ends");
        assert_eq!(kept(&log), [(1, "1".to_owned()), (2, "2".to_owned()), (3, "3".to_owned())]);
    });
}

#[test]
fn appending_trimming_and_counting_do_not_stop_each_other() {
    model::check(2, || {
        let environment = TestWorld::new(1);
        let log = small_log(&environment);
        log.append(vec![idempotent("a", "k")]).unwrap();
        environment.advance(10_000);
        let appender = model::spawn({
            let log = log.clone();
            move || {
                let keys = log.keys();
                assert!(matches!(
                    keys.look_up(idempotent("a", "k").idempotency.as_ref().unwrap()),
                    KeyLookup::Repeat(_)
                ));
                drop(keys);
                log.append(vec![NewEntry { published_at: START + 10_000, ..idempotent("a", "l") }]).unwrap();
            }
        });
        let trimmer = model::spawn({
            let log = log.clone();
            move || log.trim()
        });
        let usage = log.usage();
        assert!((1..=2).contains(&usage.head) && (1..=2).contains(&usage.idempotency_keys));
        appender.join().expect("it ends");
        trimmer.join().expect("it ends");
        assert_eq!(kept(&log), [(2, "once".to_owned())], "what is too old is gone");
        assert_eq!((log.usage().head, log.usage().idempotency_keys), (2, 2));
    });
}

#[test]
fn a_page_that_is_read_while_the_log_is_trimmed_has_no_silent_hole() {
    model::check(2, || {
        let environment = TestWorld::new(1);
        let log = small_log(&environment);
        log.append(vec![new_entry("a", "old")]).unwrap();
        environment.advance(10_000);
        let young = NewEntry { published_at: START + 10_000, ..new_entry("a", "young") };
        let trimmer = model::spawn({
            let log = log.clone();
            move || log.append(vec![young]).map(drop).unwrap()
        });
        let page = page(&log, 0);
        trimmer.join().expect("it ends");
        let has_old = page.entries.iter().any(|step| step.offset == 1);
        let passes_old = page.end.is_some_and(|(end, _)| end > 0);
        assert!(has_old || page.lost.contains("a") || !passes_old, "{page:?}");
    });
}
