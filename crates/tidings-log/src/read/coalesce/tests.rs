use proptest::prelude::*;
use tidings_protocol::Priority;

use super::*;
use crate::entry::NewEntry;
use crate::settings::LogSettings;
use crate::store::StoreError;
use crate::testing::{
    START, TestDir, TestWorld, append_each, disk_log, keyed, new_entry, read_request, seeded, subscriptions,
};

/// A log on disk with an entry cache of `cache_bytes`.
fn log_of(directory: &TestDir, cache_bytes: u64) -> Log {
    let settings = LogSettings { cache_bytes, ..LogSettings::default() };
    disk_log(&settings, directory, &TestWorld::new(5)).0
}

fn current_request<'a>(
    log: &Log,
    subscriptions: &'a [Subscription],
    cursor: u64,
    may_join: bool,
) -> ReadRequest<'a> {
    ReadRequest {
        gaps_reported_to: log.state().index.trim_serial(),
        overtaking_max: 8,
        may_join,
        ..read_request(subscriptions, cursor)
    }
}

/// All bytes that a reader gets, and the number of events.
fn sent(log: &Log, subscribed: &[Subscription], from: u64, through: u64, may_join: bool) -> (Vec<u8>, usize) {
    let (mut cursor, mut bytes, mut events) = (from, Vec::new(), 0);
    loop {
        let mut page =
            log.page(&ReadRequest { through, ..current_request(log, subscribed, cursor, may_join) });
        assert!(page.lost.is_empty());
        log.load(std::slice::from_mut(&mut page));
        assert!(!page.needs_store());
        for slice in &page.chunks {
            bytes.extend_from_slice(&slice.frames);
            events += slice.events;
        }
        for step in &page.entries {
            assert!(!step.overtakes);
            bytes.extend_from_slice(&step.entry.as_ref().unwrap().frame(page.newest, &[]));
            events += 1;
        }
        let (end, tag) = page.end.expect("nothing goes");
        assert!(tag == log.state().tag_at(end) && end <= through.max(cursor));
        assert_eq!(page.is_last, end == log.head().offset);
        if end >= through.min(log.head().offset) {
            return (bytes, events);
        }
        assert!(end > cursor, "stuck at {cursor}");
        cursor = end;
    }
}

fn kind() -> impl Strategy<Value = NewEntry> {
    let text =
        prop_oneof![Just(String::new()), "[a-z\n\r]{0,40}", Just("x".repeat(1000)), Just("\n".repeat(2000))];
    let labels = prop::sample::select(vec!["a", "b", "a b", "a.c", "a.d a"]);
    (labels, text, prop::num::u8::ANY).prop_map(|(labels, text, kind)| match kind {
        0..10 => NewEntry { data: text.into(), ..keyed(labels, "k") },
        10..20 => NewEntry { expires_at: Some(START + 1_000_000), ..new_entry(labels, &text) },
        20..30 => NewEntry { priority: Priority::Low, ..new_entry(labels, &text) },
        30..60 => {
            NewEntry { event: tidings_protocol::EventName::parse("named").ok(), ..new_entry(labels, &text) }
        }
        _ => new_entry(labels, &text),
    })
}

proptest! {
    #![proptest_config(seeded(32))]

    #[test]
    fn a_reader_gets_the_same_bytes_joined_or_not(
        new_entries in prop::collection::vec(kind(), 66..400),
        cache_bytes in prop_oneof![Just(1_u64), 1000..200_000_u64, Just(64 << 20)],
        readers in prop::collection::vec(
            (
                prop::sample::select(vec![&["a"][..], &["b"], &["a.d"], &["a", "b"], &["a", "a.*"], &["never"]]),
                0..500_u64,
                prop_oneof![Just(u64::MAX), 0..600_u64],
            ),
            1..8,
        ),
    ) {
        let directory = TestDir::new();
        let log = log_of(&directory, cache_bytes);
        for batch in new_entries.chunks(7) {
            log.append(batch.to_vec()).unwrap();
        }
        for (names, from, through) in readers {
            let (subscribed, from) = (subscriptions(names), from.min(log.head().offset));
            let one_by_one = sent(&log, &subscribed, from, through, false);
            prop_assert_eq!(&sent(&log, &subscribed, from, through, true), &one_by_one);
            // A second read with a filled chunk cache gives the same.
            prop_assert_eq!(&sent(&log, &subscribed, from, through, true), &one_by_one);
        }
    }
}

#[test]
fn a_second_reader_of_the_same_entries_reads_no_disk() {
    let directory = TestDir::new();
    let log = log_of(&directory, 1);
    append_each(&log, (0..400).map(|number| new_entry("a", &number.to_string())));
    let subscribed = subscriptions(&["a"]);
    let first = sent(&log, &subscribed, 0, u64::MAX, true);
    assert_eq!(first.1, 400);
    for cursor in [0, 7, 200] {
        let page = log.page(&current_request(&log, &subscribed, cursor, true));
        assert!(!page.chunks.is_empty() && !page.needs_store());
        assert!(page.chunks[0].frames.starts_with(format!("data: {cursor}\n").as_bytes()));
    }
}

#[test]
fn concurrent_readers_of_the_same_entries_share_one_read() {
    let directory = TestDir::new();
    let log = log_of(&directory, 1);
    append_each(&log, (0..400).map(|number| new_entry("a b", &number.to_string())));
    let (a, both) = (subscriptions(&["a"]), subscriptions(&["a", "b"]));
    let mut pages: Vec<Page> = [&a, &a, &both, &a]
        .iter()
        .map(|subscribed| log.page(&current_request(&log, subscribed, 0, true)))
        .collect();
    assert!(pages.iter().all(Page::needs_store));
    log.load(&mut pages);
    let frames: Vec<_> = pages.iter().map(|page| &page.chunks[0].frames).collect();
    assert!(frames.iter().all(|other| *other == frames[0]));
    assert_eq!(frames[0].as_ptr(), frames[1].as_ptr());
    assert_eq!(frames[0].as_ptr(), frames[3].as_ptr());
}

#[test]
fn an_urgent_event_is_not_hidden_in_a_chunk() {
    let directory = TestDir::new();
    let log = log_of(&directory, 64 << 20);
    append_each(&log, (0..200).map(|number| new_entry("a", &number.to_string())));
    let subscribed = subscriptions(&["a"]);
    assert!(!log.page(&current_request(&log, &subscribed, 0, true)).chunks.is_empty());
    append_each(&log, [NewEntry { priority: Priority::Critical, ..new_entry("a", "now") }]);
    let page = log.page(&current_request(&log, &subscribed, 0, true));
    assert!(page.chunks.is_empty() && page.entries[0].overtakes);
}

#[test]
fn a_trim_is_reported_though_its_chunk_is_cached() {
    let directory = TestDir::new();
    let settings = LogSettings { retention_events: 300, cache_bytes: 1, ..LogSettings::default() };
    let log = disk_log(&settings, &directory, &TestWorld::new(5)).0;
    append_each(&log, (0..300).map(|number| new_entry("a", &number.to_string())));
    let subscribed = subscriptions(&["a"]);
    let early = current_request(&log, &subscribed, 0, true);
    assert_eq!(sent(&log, &subscribed, 0, u64::MAX, true).1, 300);
    append_each(&log, [new_entry("a", "one more")]);
    let page = log.page(&early);
    assert!(page.lost.contains("a") && page.chunks.is_empty());
}

#[test]
fn a_dropped_entry_is_in_no_cached_chunk() {
    let directory = TestDir::new();
    let log = log_of(&directory, 1);
    append_each(&log, (0..200).map(|number| new_entry("a", &number.to_string())));
    let subscribed = subscriptions(&["a"]);
    assert_eq!(sent(&log, &subscribed, 0, u64::MAX, true).1, 200);
    assert!(log.usage().chunk_cache_bytes > 0);
    log.drop_damaged(&StoreError::Damaged { offset: 100, fault: "a test says so".into() });
    assert_eq!(log.usage().chunk_cache_bytes, 0);
    assert_eq!(sent(&log, &subscribed, 0, u64::MAX, true).1, 199);
}
