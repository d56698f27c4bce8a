use proptest::prelude::*;
use tidings_protocol::Priority;

use super::*;
use crate::entry::NewEntry;
use crate::settings::LogSettings;
use crate::testing::{
    TestDir, TestWorld, append_each, append_on, disk_log, memory_log, new_entry, read_request, seeded,
    settings, subscriptions, urgent,
};

fn log_of(retention_events: u64) -> Log {
    memory_log(&settings(retention_events), &TestWorld::new(9))
}

/// Request of a connection that has reported all trims and transitions.
fn current_request<'a>(log: &Log, subscriptions: &'a [Subscription], cursor: u64) -> ReadRequest<'a> {
    ReadRequest { gaps_reported_to: log.state().index.trim_serial(), ..read_request(subscriptions, cursor) }
}

fn page(log: &Log, request: &ReadRequest<'_>) -> Page {
    let mut page = log.page(request);
    let read = log.read(&page.missing_offsets(), page.newest);
    page.fill(read);
    page
}

fn offsets(page: &Page) -> Vec<u64> {
    assert!(page.entries.iter().all(|step| step.entry.as_ref().unwrap().offset == step.offset));
    page.entries.iter().map(|step| step.offset).collect()
}

/// Reads page by page, as a connection does.
fn read_all(log: &Log, subscribed: &[Subscription], from: u64, through: u64) -> Vec<u64> {
    let (mut cursor, mut all) = (from, Vec::new());
    for _ in 0..10_000 {
        let page = page(log, &ReadRequest { through, ..current_request(log, subscribed, cursor) });
        assert!(page.lost.is_empty());
        assert!(page.entries.len() <= PAGE_ENTRIES);
        all.extend(offsets(&page));
        let (end, tag) = page.end.expect("nothing was trimmed");
        assert!(end >= cursor && end <= through.max(cursor) && all.last().is_none_or(|last| *last <= end));
        assert!(tag == Tag(0) || tag == log.state().tag_at(end));
        assert_eq!(page.is_last, end == log.head().offset);
        if page.is_last || end >= through.min(log.head().offset) {
            return all;
        }
        assert!(end > cursor, "stuck at {cursor}");
        cursor = end;
    }
    panic!("no end in sight");
}

fn naive(log: &Log, subscribed: &[Subscription], from: u64, through: u64) -> Vec<u64> {
    let state = log.state();
    let is_subscribed =
        |offset: &u64| state.index.channels_of(*offset).any(|channel| wants(subscribed, channel));
    (from + 1..=through.min(state.head)).filter(is_subscribed).collect()
}

#[derive(Debug, Clone)]
struct Case {
    labels: Vec<Vec<usize>>,
    large: Vec<bool>,
    subscribed: Vec<&'static str>,
    from: u64,
    through: u64,
    cache_bytes: u64,
    retention_events: u64,
}

const NAMES: [&str; 7] = ["a", "a.b", "a.c", "b", "b.c.d", "b.c.e", "z"];

fn case() -> impl Strategy<Value = Case> {
    let subscribed = ["a", "a.b", "b", "z", "never", "*", "a.*", "a.**", "b.**", "b.*.d", "never.*"];
    (
        prop::collection::vec(prop::collection::vec(0..NAMES.len(), 1..3), 1..500),
        prop::collection::vec(prop::bool::weighted(0.05), 500),
        prop::collection::vec(prop::sample::select(subscribed.to_vec()), 1..4),
        (0..500_u64, prop_oneof![Just(u64::MAX), 0..500_u64]),
        prop_oneof![Just(1_u64), 1000..100_000_u64],
        prop_oneof![Just(100_000_u64), 1..100_u64],
    )
        .prop_map(|(labels, large, subscribed, (from, through), cache_bytes, retention_events)| Case {
            labels,
            large,
            subscribed,
            from,
            through,
            cache_bytes,
            retention_events,
        })
}

proptest! {
    #![proptest_config(seeded(64))]

    #[test]
    fn pages_give_what_a_plain_filter_gives(case in case()) {
        let settings = LogSettings { cache_bytes: case.cache_bytes, ..settings(case.retention_events) };
        let log = memory_log(&settings, &TestWorld::new(1));
        let large = "x".repeat(20_000);
        let new_entries = case.labels.iter().zip(&case.large).map(|(labels, is_large)| {
            let names: Vec<&str> = labels.iter().map(|label| NAMES[*label]).collect();
            new_entry(&names.join(" "), if *is_large { &large } else { "x" })
        });
        for batch in new_entries.collect::<Vec<_>>().chunks(7) {
            log.append(batch.to_vec()).unwrap();
        }
        let subscribed = subscriptions(&case.subscribed);
        let from = case.from.min(log.head().offset);
        prop_assert_eq!(read_all(&log, &subscribed, from, case.through), naive(&log, &subscribed, from, case.through));
    }
}

#[test]
fn pattern_of_very_many_channels_is_read_by_a_scan() {
    let log = log_of(1000);
    for round in 0..2 {
        let new_entries =
            (0..MERGED_ROWS_MAX + 10).map(|n| new_entry(&format!("c.{n} r{round}"), "x")).collect();
        log.append(new_entries).unwrap();
        log.append((0..5000).map(|_| new_entry("other", "x")).collect()).unwrap();
    }
    let subscribed = subscriptions(&["c.*"]);
    assert_eq!(read_all(&log, &subscribed, 0, u64::MAX).len(), 2 * (MERGED_ROWS_MAX + 10));
    assert_eq!(read_all(&log, &subscribed, 500, 7000), naive(&log, &subscribed, 500, 7000));
}

#[test]
fn page_is_bounded_by_bytes_and_holds_one_event_at_least() {
    let log = log_of(1000);
    append_each(&log, (0..4).map(|_| new_entry("a", &"x".repeat(100 << 10))));
    append_each(&log, [new_entry("a", &"x".repeat(256 << 10)), new_entry("a", "x")]);
    let subscribed = subscriptions(&["a"]);
    let steps: Vec<usize> =
        (0..6).map(|cursor| page(&log, &current_request(&log, &subscribed, cursor)).entries.len()).collect();
    assert_eq!(steps, [1, 1, 1, 1, 1, 1]);
    assert_eq!(read_all(&log, &subscribed, 0, u64::MAX), [1, 2, 3, 4, 5, 6]);
}

#[test]
fn loss_is_reported_once_to_readers_below_it() {
    let log = log_of(2);
    append_on(&log, &["a", "b", "a"]);
    let subscribed = subscriptions(&["a", "b"]);
    let before = current_request(&log, &subscribed, 0);
    append_each(&log, [new_entry("a", "x")]);
    let report = log.page(&before);
    assert_eq!(report.lost, BTreeSet::from(["a".to_owned()]));
    assert!(report.entries.is_empty() && !report.is_last);
    let after =
        ReadRequest { gaps_reported_to: report.gaps_reported_to, ..current_request(&log, &subscribed, 0) };
    assert_eq!(offsets(&page(&log, &after)), [2, 3, 4]);
    // A reader that has read it, or reads another channel, gets no report.
    assert!(log.page(&ReadRequest { cursor: 1, ..before }).lost.is_empty());
    let others = subscriptions(&["b", "c.*"]);
    assert!(log.page(&read_request(&others, 0)).lost.is_empty());
    // A reader that has it as a skip has not lost it.
    let skips = [Skip { offset: 1, tag: Tag(0) }];
    let had = ReadRequest { skips: &skips, ..read_request(&subscribed, 0) };
    assert!(log.page(&had).lost.is_empty());
}

#[test]
fn loss_above_a_transient_event_is_reported() {
    let log = log_of(2);
    append_each(&log, (0..5).map(|_| new_entry("a", "x")));
    let subscribed = subscriptions(&["a"]);
    let waiting = ReadRequest { through: 5, ..current_request(&log, &subscribed, 5) };
    append_each(&log, (0..5).map(|_| new_entry("a", "x")));
    let first = log.page(&waiting);
    assert!(!first.is_last, "there is more above");
    let gaps_reported_to = if first.lost.is_empty() { first.gaps_reported_to } else { return };
    let second = log.page(&ReadRequest { gaps_reported_to, ..current_request(&log, &subscribed, 5) });
    assert_eq!(second.lost, BTreeSet::from(["a".to_owned()]), "lost silently");
}

#[test]
fn losses_beyond_the_recent_trims_are_found_by_channel() {
    let log = log_of(1);
    log.state_mut().index.set_recent_trims_max(2);
    append_on(&log, &["a", "b", "c"]);
    let subscribed = subscriptions(&["a", "c"]);
    let before = current_request(&log, &subscribed, 0);
    append_each(&log, (0..10).map(|_| new_entry("b", "x")));
    assert!(log.page(&before).lost.is_empty());
    append_on(&log, &["a", "b", "b", "b"]);
    assert_eq!(log.page(&before).lost, BTreeSet::from(["a".to_owned()]));
    let all = subscriptions(&["*"]);
    let lost = log.page(&ReadRequest { subscriptions: &all, ..before }).lost;
    assert_eq!(lost, BTreeSet::from(["a".to_owned(), "b".to_owned()]));
}

fn steps(
    log: &Log,
    subscribed: &[&str],
    cursor: u64,
    skips: &[u64],
    overtaking_max: usize,
) -> Vec<(u64, bool)> {
    let subscribed = subscriptions(subscribed);
    let skips: Vec<Skip> = skips.iter().map(|offset| Skip { offset: *offset, tag: Tag(0) }).collect();
    let page = page(
        log,
        &ReadRequest { skips: &skips, overtaking_max, ..current_request(log, &subscribed, cursor) },
    );
    page.entries.iter().map(|step| (step.offset, step.overtakes)).collect()
}

#[test]
fn critical_overtakes_first_then_high_each_in_order() {
    use Priority::{Critical, High, Low, Normal};
    let log = log_of(100);
    let priorities = [Normal, High, Normal, Critical, Low, High, Critical];
    append_each(&log, priorities.map(|priority| urgent("a", priority)));
    let ahead = |offsets: &[u64]| offsets.iter().map(|offset| (*offset, true)).collect::<Vec<_>>();
    let in_turn = |offsets: &[u64]| offsets.iter().map(|offset| (*offset, false)).collect::<Vec<_>>();
    assert_eq!(steps(&log, &["a"], 0, &[], 8), [ahead(&[4, 7, 2, 6]), in_turn(&[1, 3, 5])].concat());
    assert_eq!(steps(&log, &["a"], 0, &[], 2), [ahead(&[4, 7]), in_turn(&[1, 2, 3, 5, 6])].concat());
    assert_eq!(steps(&log, &["a"], 0, &[4, 6], 6), [ahead(&[7, 2]), in_turn(&[1, 3, 5])].concat());
    assert_eq!(steps(&log, &["a"], 0, &[], 0), in_turn(&[1, 2, 3, 4, 5, 6, 7]));
    // With no lower priority pending before it, an urgent event is in order.
    assert_eq!(steps(&log, &["a"], 5, &[], 8), [ahead(&[7]), in_turn(&[6])].concat());
    assert_eq!(steps(&log, &["a"], 6, &[], 8), in_turn(&[7]));
    assert_eq!(steps(&log, &["b"], 0, &[], 8), []);
}

#[test]
fn urgent_event_overtakes_all_that_is_pending_however_far_ahead() {
    let log = log_of(100_000);
    log.append((0..10_000).map(|_| new_entry("a", "x")).collect()).unwrap();
    append_each(&log, [urgent("a", Priority::Critical), urgent("other", Priority::Critical)]);
    assert_eq!(steps(&log, &["a"], 0, &[], 8)[0], (10_001, true));
    assert_eq!(steps(&log, &["a"], 0, &[10_001], 7)[0], (1, false));
    let subscribed = subscriptions(&["a"]);
    let through = ReadRequest { through: 10_000, overtaking_max: 8, ..current_request(&log, &subscribed, 0) };
    assert_eq!(offsets(&page(&log, &through))[0], 1);
}

#[test]
fn urgent_event_that_is_gone_does_not_hold_up_a_reader_of_very_many_channels() {
    let settings = LogSettings { cache_bytes: 1, ..settings(1) };
    let log = memory_log(&settings, &TestWorld::new(3));
    append_each(&log, [new_entry("z", "x")]);
    log.append((0..=MERGED_ROWS_MAX).map(|n| new_entry(&format!("c.{n}"), "x")).collect()).unwrap();
    append_each(
        &log,
        [urgent("c.7", Priority::Critical), new_entry("c.7", "x"), urgent("c.8", Priority::High)],
    );
    let subscribed = subscriptions(&["**"]);
    let behind = ReadRequest { overtaking_max: 8, ..current_request(&log, &subscribed, 0) };
    let first = page(&log, &behind);
    assert!(first.end.is_some(), "it would ask for the same again and again");
    let head = log.head().offset;
    assert_eq!((first.entries[0].offset, first.entries[0].overtakes), (head, true));
    assert!(first.entries.iter().all(|step| step.offset != head - 2));
}

#[test]
fn page_ends_before_an_entry_that_cannot_be_read_and_its_channels_have_lost_it() {
    let (directory, environment) = (TestDir::new(), TestWorld::new(4));
    let settings = LogSettings { cache_bytes: 1, ..settings(100) };
    let (log, _) = disk_log(&settings, &directory, &environment);
    let texts = [("a", "first"), ("a b", "second"), ("b", "third"), ("a", "fourth")];
    append_each(&log, texts.map(|(names, text)| new_entry(names, text)));
    let subscribed = subscriptions(&["a"]);
    let before = current_request(&log, &subscribed, 0);
    directory.damage("second");
    let cut = page(&log, &before);
    assert!(cut.end.is_none() && !cut.is_last);
    assert_eq!(log.page(&before).lost, BTreeSet::from(["a".to_owned()]));
    assert_eq!(read_all(&log, &subscribed, 0, u64::MAX), [1, 4]);
    assert_eq!(read_all(&log, &subscriptions(&["b"]), 0, u64::MAX), [3]);
}

#[test]
fn superseded_is_what_is_newer_in_every_channel_of_the_reader() {
    let log = log_of(100);
    let keyed = |names: &str, key: &str| NewEntry { key: Some(key.into()), ..new_entry(names, "x") };
    let both = log.append(vec![keyed("a b", "k")]).unwrap().remove(0);
    let is_superseded = |subscribed: &[&str]| log.is_superseded(&both, &subscriptions(subscribed));
    assert!(!is_superseded(&["a", "b"]));
    log.append(vec![keyed("a", "other"), keyed("a", "k")]).unwrap();
    assert!(is_superseded(&["a"]));
    assert!(!is_superseded(&["b"]));
    assert!(!is_superseded(&["*"]));
    assert!(!is_superseded(&["c"]));
    let newer = log.append(vec![keyed("b c", "k")]).unwrap().remove(0);
    assert!(is_superseded(&["*"]));
    assert!(!log.is_superseded(&newer, &subscriptions(&["b"])));
}
