mod model;

use std::{fs, time::Duration};

use tidings_protocol::body::GapReason;

use super::idempotency::KeyLookup;
use super::resume::Start;
use super::testing::{
    TestDir, TestWorld, append_each, disk_log, idempotent, keyed, memory_log, new_entry, read_request,
    settings, subscriptions, wanted,
};
use super::*;
use crate::settings::Durability;

/// Offsets and data of all kept entries.
fn kept(log: &Log) -> Vec<(u64, String)> {
    let history = log.history(&wanted(&Start::WholeHistory, usize::MAX), &subscriptions(&["**"]));
    history.entries.iter().map(|entry| (entry.offset, entry.data())).collect()
}

fn reason(log: &Log, id: &EventId, channel: &str) -> Option<GapReason> {
    log.resume(&Start::After(id.to_string()), &subscriptions(&[channel])).gap.map(|gap| gap.reason)
}

#[test]
fn batches_are_numbered_without_holes_and_tagged_apart() {
    let log = memory_log(&settings(100), &TestWorld::new(1));
    let first = log.append((0..50).map(|_| new_entry("a", "x")).collect()).unwrap();
    assert_eq!(first.iter().map(|entry| entry.offset).collect::<Vec<_>>(), (1..=50).collect::<Vec<_>>());
    let tags: std::collections::HashSet<_> = first.iter().map(|entry| entry.tag).collect();
    assert_eq!(tags.len(), 50);
    assert!(log.append(Vec::new()).unwrap().is_empty());
    assert_eq!(log.head().offset, 50);
    assert_eq!(log.head().tag, first[49].tag);
}

#[test]
fn reopening_gives_back_entries_losses_and_keys() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    let (log, recovered) = disk_log(&settings(3), &directory, &environment);
    assert_eq!((recovered.entries, recovered.head, recovered.lost), (0, 0, None));
    let ids = append_each(&log, (0..5).map(|n| new_entry("a", &format!("{n}\r\n"))));
    append_each(&log, [new_entry("b", ""), keyed("c", "k"), idempotent("d", "once")]);
    let before = (kept(&log), log.head().offset, log.head().tag, log.usage().bytes);
    log.close().unwrap();
    drop(log);
    for _ in 0..3 {
        let (log, recovered) = disk_log(&settings(3), &directory, &environment);
        assert_eq!(recovered.lost, None);
        assert_eq!((kept(&log), log.head().offset, log.head().tag, log.usage().bytes), before);
        assert_eq!(reason(&log, &ids[0], "a"), Some(GapReason::Trimmed));
        assert_eq!(reason(&log, &ids[1], "a"), None);
        assert_eq!(reason(&log, &ids[0], "b"), None);
        let once = idempotent("d", "once").idempotency.unwrap();
        assert!(matches!(log.keys().look_up(&once), KeyLookup::Repeat(answered) if answered.offset == 8));
    }
}

/// Serves another log from the directory once, so that clients of the log on disk may miss events.
fn serve_another(directory: &TestDir, environment: &Arc<TestWorld>, is_of_a_broker: bool) -> Option<EventId> {
    if is_of_a_broker {
        Log::replica(&settings(3), Some(directory.path()), environment.clone()).unwrap();
        return None;
    }
    let memory = LogSettings { durability: Durability::Memory, ..settings(3) };
    let (log, _) = disk_log(&memory, directory, environment);
    append_each(&log, [new_entry("a", "meanwhile")]).pop()
}

#[test]
fn log_on_disk_reports_that_another_one_took_events_meanwhile() {
    use GapReason::Epoch;
    for is_of_a_broker in [false, true] {
        let (directory, environment) = (TestDir::new(), TestWorld::new(1));
        let (log, _) = disk_log(&settings(3), &directory, &environment);
        let before = append_each(&log, [new_entry("a", "before")]).remove(0);
        log.close().unwrap();
        drop(log);
        let other = serve_another(&directory, &environment, is_of_a_broker);

        let (log, recovered) = disk_log(&settings(3), &directory, &environment);
        assert!(recovered.lost.is_some_and(|why| why.contains("another log")));
        assert_eq!(reason(&log, &before, "a"), Some(Epoch), "of a broker: {is_of_a_broker}");
        let foreign = other.map(|id| reason(&log, &id, "a"));
        assert_eq!(foreign, (!is_of_a_broker).then_some(Some(Epoch)), "an id of the other log is unknown");
        let after = append_each(&log, [new_entry("a", "after")]).remove(0);
        drop(log);
        let (log, recovered) = disk_log(&settings(3), &directory, &environment);
        assert_eq!(recovered.lost, None, "it is reported once");
        assert_eq!(reason(&log, &after, "a"), None);
        assert_eq!(reason(&log, &before, "a"), Some(Epoch), "whenever a client comes");
    }
}

#[test]
fn first_log_on_disk_after_one_in_memory_has_lost_nothing() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    serve_another(&directory, &environment, false);
    assert_eq!(disk_log(&settings(3), &directory, &environment).1.lost, None);
    assert_eq!(disk_log(&settings(3), &directory, &environment).1.lost, None);
}

#[test]
fn change_between_interval_and_fsync_is_the_same_log() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    let mut before = None;
    for durability in [Durability::Interval, Durability::Fsync, Durability::Interval] {
        let settings = LogSettings { durability, ..settings(30) };
        let (log, recovered) = disk_log(&settings, &directory, &environment);
        assert_eq!(recovered.lost, None, "{durability:?}");
        assert_eq!(before.and_then(|id| reason(&log, &id, "a")), None);
        before = append_each(&log, [new_entry("a", "x")]).pop();
    }
}

#[test]
fn losses_and_keys_outlive_the_files_of_their_entries() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    // Files of a mebibyte each.
    let settings = LogSettings { retention_bytes: 4 << 20, ..settings(10_000) };
    let (log, _) = disk_log(&settings, &directory, &environment);
    let ids =
        append_each(&log, [new_entry("quiet", "x"), idempotent("busy", "once"), new_entry("gone", "x")]);
    let large = "x".repeat(100 << 10);
    for _ in 0..25 {
        append_each(&log, (0..4).map(|_| new_entry("busy", &large)));
        log.maintain().unwrap();
    }
    assert!(directory.bytes() < 10 << 20, "{}", directory.bytes());
    drop(log);
    let (log, recovered) = disk_log(&settings, &directory, &environment);
    assert_eq!(recovered.lost, None);
    assert_eq!(log.head().offset, 103);
    assert_eq!(reason(&log, &ids[0], "busy"), Some(GapReason::Trimmed));
    assert_eq!(reason(&log, &ids[0], "gone"), Some(GapReason::Trimmed));
    assert_eq!(reason(&log, &ids[2], "gone"), None);
    assert_eq!(reason(&log, &ids[0], "never"), None);
    let once = idempotent("busy", "once").idempotency.unwrap();
    assert!(matches!(log.keys().look_up(&once), KeyLookup::Repeat(answered) if answered.offset == 2));
}

#[test]
fn directory_stays_within_its_bound_where_a_quiet_channel_has_entries_in_every_file() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    let settings = LogSettings { retention_bytes: 4 << 20, ..settings(100) };
    let (log, _) = disk_log(&settings, &directory, &environment);
    let data = "x".repeat(2000);
    for round in 0..30_u32 {
        let busy = (0..500).map(|n| new_entry(&format!("busy.{}", n % 5), &data));
        log.append(busy.chain([new_entry(&format!("quiet.{round}"), "x")]).collect()).unwrap();
        log.maintain().unwrap();
        // A quarter of the live bytes, as much as they and one file, and the active file.
        let bound = log.usage().bytes * 9 / 4 + (3 << 20);
        assert!(directory.bytes() <= bound, "round {round}: {} of {bound}", directory.bytes());
    }
    assert_eq!(kept(&log).iter().filter(|(_, data)| data == "x").count(), 30);
    let before = kept(&log);
    drop(log);
    let (log, recovered) = disk_log(&settings, &directory, &environment);
    assert_eq!(recovered.lost, None);
    assert_eq!(kept(&log), before);
}

#[test]
fn record_that_cannot_be_read_does_not_stop_compaction() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    let settings = LogSettings { retention_bytes: 4 << 20, cache_bytes: 1, ..settings(10) };
    let (log, _) = disk_log(&settings, &directory, &environment);
    let ids = append_each(&log, [new_entry("quiet", "precious"), new_entry("quiet", "second")]);
    directory.damage("precious");
    let data = "x".repeat(100 << 10);
    // Every file has kept entries, so each must be compacted.
    for round in 0..30 {
        append_each(
            &log,
            (0..8).map(|_| new_entry("busy", &data)).chain([new_entry(&format!("quiet.{round}"), "x")]),
        );
        log.maintain().unwrap();
    }
    assert!(directory.bytes() < 8 << 20, "{}", directory.bytes());
    let start = EventId::new(log.newest(), 0, Tag(0));
    assert_eq!(reason(&log, &start, "quiet"), Some(GapReason::Trimmed));
    assert_eq!(reason(&log, &ids[0], "quiet"), None);
    let history = log.history(&wanted(&Start::After(ids[0].to_string()), 9), &subscriptions(&["quiet"]));
    assert_eq!(history.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [2]);
}

#[test]
fn missing_tail_that_an_earlier_start_had_read_is_reported() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    let (log, _) = disk_log(&settings(100), &directory, &environment);
    let ids = append_each(&log, [new_entry("a", "x")]);
    let whole = fs::metadata(directory.segments().remove(0)).unwrap().len();
    append_each(&log, [new_entry("a", "x")]);
    drop(log);
    drop(disk_log(&settings(100), &directory, &environment));
    fs::File::options().write(true).open(directory.segments().remove(0)).unwrap().set_len(whole).unwrap();
    let (log, recovered) = disk_log(&settings(100), &directory, &environment);
    assert!(recovered.lost.is_some());
    assert_eq!(reason(&log, &ids[0], "a"), Some(GapReason::Epoch));
}

#[test]
fn entries_go_by_age_and_by_bytes() {
    let environment = TestWorld::new(1);
    let aged = LogSettings { retention_age: Duration::from_millis(100), ..settings(100) };
    let log = memory_log(&aged, &environment);
    append_each(&log, [new_entry("a", "1"), new_entry("b", "2")]);
    environment.advance(60);
    append_each(&log, [new_entry("a", "3")]);
    environment.advance(41);
    log.trim();
    assert_eq!(kept(&log), [(3, "3".to_owned())]);
    environment.advance(60);
    log.trim();
    assert_eq!((kept(&log), log.usage().bytes), (Vec::new(), 0));
    let small = LogSettings { retention_bytes: 2000, ..settings(100) };
    let log = memory_log(&small, &environment);
    append_each(&log, (0..100).map(|_| new_entry("a", "x")));
    assert!((1500..=2000).contains(&log.usage().bytes), "{}", log.usage().bytes);
}

#[test]
fn entry_cache_ends_at_the_head_and_keeps_to_its_bound() {
    let log = memory_log(&LogSettings { cache_bytes: 10_000, ..settings(1000) }, &TestWorld::new(1));
    append_each(&log, (0..100).map(|_| new_entry("a", &"x".repeat(500))));
    let state = log.state();
    assert!(state.entry_cache.bytes() <= 10_000);
    assert!(state.entry_cache.get(100).is_some() && state.entry_cache.get(101).is_none());
    assert!(state.entry_cache.get(1).is_none() && state.entry_cache.get(0).is_none());
}

#[test]
fn duplicate_channels_of_an_event_count_once() {
    let log = memory_log(&settings(2), &TestWorld::new(1));
    append_each(&log, (0..4).map(|_| new_entry("a a b a", "x")));
    let history = log.history(&wanted(&Start::WholeHistory, 9), &subscriptions(&["a"]));
    assert_eq!(history.entries.iter().map(|entry| entry.offset).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn a_start_warms_the_cache_with_the_newest_entries() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    let (log, _) = disk_log(&settings(10), &directory, &environment);
    // The channel `busy` is trimmed, so the log has holes.
    append_each(&log, (0..40).map(|n| new_entry(if n % 8 == 0 { "quiet" } else { "busy" }, &n.to_string())));
    let before = kept(&log);
    drop(log);
    let (log, _) = disk_log(&settings(10), &directory, &environment);
    let all = subscriptions(&["**"]);
    let gaps_reported_to = || log.resume(&Start::WholeHistory, &all).gaps_reported_to;
    let ask =
        |cursor| read::ReadRequest { gaps_reported_to: gaps_reported_to(), ..read_request(&all, cursor) };
    assert_eq!(log.page(&ask(0)).missing_offsets().len(), before.len());
    // New entries stay; older ones are added below them.
    append_each(&log, [new_entry("busy", "new")]);
    while log.warm_cache() {}
    let page = log.page(&ask(0));
    assert_eq!(page.missing_offsets(), Vec::<u64>::new());
    assert_eq!(page.entries.len(), kept(&log).len());
    assert!(!log.warm_cache(), "there is nothing more to bring");
}

#[test]
fn a_full_cache_is_warm() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(1));
    let (log, _) = disk_log(&settings(1000), &directory, &environment);
    append_each(&log, (0..500).map(|n| new_entry("a", &n.to_string())));
    drop(log);
    let small = LogSettings { cache_bytes: 32 << 10, ..settings(1000) };
    let (log, _) = disk_log(&small, &directory, &environment);
    while log.warm_cache() {}
    let bytes = log.usage().cache_bytes;
    assert!(bytes <= 32 << 10 && bytes > 30 << 10, "{bytes}");
}

#[test]
fn log_that_a_panic_left_half_changed_takes_and_gives_nothing() {
    let log = memory_log(&settings(100), &TestWorld::new(1));
    let all = subscriptions(&["**"]);
    let resume_point = log.resume(&Start::Now, &all);
    append_each(&log, [new_entry("a", "before")]);
    let ask = read::ReadRequest {
        gaps_reported_to: resume_point.gaps_reported_to,
        transitions_applied: resume_point.transitions_applied,
        may_join: true,
        ..read_request(&all, resume_point.cursor)
    };
    assert_eq!(log.page(&ask).entries.len(), 1);
    assert_eq!(log.entries_after(0, resume_point.transitions_applied, 10).entries.unwrap().len(), 1);

    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _state = log.state_mut();
        panic!("in the middle of a change");
    }));
    assert!(panicked.is_err());
    assert!(matches!(log.append(vec![new_entry("a", "after")]), Err(StoreError::ReadOnly(_))));
    assert!(log.writable().is_err());
    let page = log.page(&ask);
    assert!(page.entries.is_empty() && page.is_last && page.end.unwrap().0 == ask.cursor);
    let newer = log.entries_after(0, resume_point.transitions_applied, 10);
    assert_eq!((newer.entries.unwrap().len(), newer.head), (0, 0));
}
