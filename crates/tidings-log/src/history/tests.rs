use proptest::prelude::*;
use tidings_protocol::{Epoch, Priority, Tag};

use super::*;
use crate::entry::NewEntry;
use crate::testing::{
    TestWorld, append_each, memory_log, new_entry, seeded, settings, subscriptions, wanted,
};

fn log_of(retention_events: u64) -> Log {
    memory_log(&settings(retention_events), &TestWorld::new(9))
}

fn history(log: &Log, start: &Start, subscribed: &[&str], limit: usize) -> (Vec<u64>, Option<u64>, bool) {
    outline(&log.history(&wanted(start, limit), &subscriptions(subscribed)))
}

/// The offsets, that of `next`, and whether there is a gap.
fn outline(history: &HistoryRead) -> (Vec<u64>, Option<u64>, bool) {
    let offsets = history.entries.iter().map(|entry| entry.offset).collect();
    (offsets, history.next.as_ref().map(|id| id.offset), history.gap.is_some())
}

#[test]
fn history_is_read_oldest_first_within_its_limit() {
    let log = log_of(1000);
    let ids = append_each(&log, (1..=10).map(|n| new_entry(if n % 2 == 1 { "a" } else { "b" }, "x")));
    assert_eq!(history(&log, &Start::WholeHistory, &["a"], 3), (vec![1, 3, 5], Some(5), false));
    assert_eq!(history(&log, &Start::After(ids[4].to_string()), &["a"], 3), (vec![7, 9], None, false));
    assert_eq!(history(&log, &Start::WholeHistory, &["a"], 5), (vec![1, 3, 5, 7, 9], None, false));
    assert_eq!(history(&log, &Start::WholeHistory, &["*"], 2), (vec![1, 2], Some(2), false));
    assert_eq!(history(&log, &Start::WholeHistory, &["none"], 2), (vec![], None, false));
    let skips = vec![Skip { offset: 5, tag: ids[4].tag }];
    let with_skips = EventId { skips, ..ids[0].clone() };
    assert_eq!(history(&log, &Start::After(with_skips.to_string()), &["a"], 2), (vec![3, 7], Some(7), false));
    assert_eq!(history(&log, &Start::After("x".into()), &["a"], 2), (vec![], None, true));
}

#[test]
fn history_leaves_out_expired_events() {
    let environment = TestWorld::new(2);
    let log = memory_log(&settings(100), &environment);
    let brief = NewEntry { expires_at: Some(log.now() + 5), ..new_entry("a", "x") };
    append_each(&log, [new_entry("a", "x"), brief.clone(), new_entry("a", "x"), brief]);
    assert_eq!(history(&log, &Start::WholeHistory, &["a"], 9).0, [1, 2, 3, 4]);
    environment.advance(5);
    assert_eq!(history(&log, &Start::WholeHistory, &["a"], 9).0, [1, 3]);
    assert_eq!(history(&log, &Start::WholeHistory, &["a"], 2), (vec![1, 3], None, false));
}

/// The newest events of a channel up to an id.
fn newest_of(log: &Log, start: &Start, until: Option<&EventId>, count: usize) -> Vec<u64> {
    let wanted = HistoryRange { until: until.cloned(), is_newest: true, ..wanted(start, count) };
    let (offsets, next, _) = outline(&log.history(&wanted, &subscriptions(&["a"])));
    assert_eq!(next, None, "nothing is newer");
    offsets
}

#[test]
fn newest_events_are_those_up_to_the_end_that_is_asked_for() {
    let log = log_of(1000);
    let ids = append_each(&log, (1..=10).map(|n| new_entry(if n % 2 == 1 { "a" } else { "b" }, "x")));
    let all = &Start::WholeHistory;
    assert_eq!(newest_of(&log, all, None, 2), [7, 9]);
    assert_eq!(newest_of(&log, all, None, 9), [1, 3, 5, 7, 9]);
    assert_eq!(newest_of(&log, all, Some(&ids[5]), 2), [3, 5]);
    assert_eq!(newest_of(&log, all, Some(&ids[4]), 2), [3, 5]);
    assert_eq!(newest_of(&log, all, Some(&ids[3]), 9), [1, 3]);
    assert_eq!(newest_of(&log, &Start::After(ids[2].to_string()), Some(&ids[6]), 9), [5, 7]);
    assert_eq!(newest_of(&log, &Start::After(ids[2].to_string()), None, 1), [9]);
    assert_eq!(newest_of(&log, &Start::After(ids[6].to_string()), Some(&ids[2]), 5), Vec::<u64>::new());
}

#[test]
fn newest_events_count_without_those_that_have_expired() {
    let environment = TestWorld::new(2);
    let log = memory_log(&settings(100), &environment);
    let brief = NewEntry { expires_at: Some(log.now() + 5), ..new_entry("a", "x") };
    append_each(&log, [new_entry("a", "x"), new_entry("a", "x"), brief.clone(), new_entry("a", "x"), brief]);
    assert_eq!(newest_of(&log, &Start::WholeHistory, None, 2), [4, 5]);
    environment.advance(5);
    assert_eq!(newest_of(&log, &Start::WholeHistory, None, 2), [2, 4]);
}

#[test]
fn pages_end_at_the_id_and_the_last_of_them_says_so() {
    let log = log_of(1000);
    let ids = append_each(&log, (1..=10).map(|_| new_entry("a", "x")));
    let page = |start: &Start, limit| {
        let wanted = HistoryRange { until: Some(ids[5].clone()), ..wanted(start, limit) };
        outline(&log.history(&wanted, &subscriptions(&["a"])))
    };
    assert_eq!(page(&Start::WholeHistory, 4), (vec![1, 2, 3, 4], Some(4), false));
    assert_eq!(page(&Start::After(ids[3].to_string()), 4), (vec![5, 6], None, false));
    assert_eq!(page(&Start::WholeHistory, 6), (vec![1, 2, 3, 4, 5, 6], None, false));
    assert_eq!(page(&Start::After(ids[5].to_string()), 6), (vec![], None, false));
}

#[test]
fn unknown_end_is_the_same_gap_as_in_a_stream() {
    let log = log_of(1000);
    let ids = append_each(&log, (1..=3).map(|_| new_entry("a", "x")));
    let newest = log.newest();
    for (until, offsets, reason) in [
        (EventId::new(Epoch(1), 2, Tag(0)), vec![], "epoch"),
        (EventId::new(newest, 9, Tag(0)), vec![1, 2, 3], "ahead"),
        (EventId::new(newest, 2, Tag(ids[1].tag.0 ^ 1)), vec![], "diverged"),
    ] {
        let wanted = HistoryRange { until: Some(until.clone()), ..wanted(&Start::WholeHistory, 9) };
        let history = log.history(&wanted, &subscriptions(&["a"]));
        assert_eq!(outline(&history), (offsets, None, true));
        let (gap, _) = history.gap.unwrap();
        assert_eq!((gap.reason.as_str(), gap.requested), (reason, Some(until.to_string())));
    }
}

proptest! {
    #![proptest_config(seeded(64))]

    /// History up to an id and a stream that resumes from it have, together, each event once.
    #[test]
    fn history_up_to_an_id_and_a_stream_from_it_have_everything_once(
        channels in prop::collection::vec(prop::sample::select(vec!["a", "b"]), 1..40),
        at in any::<prop::sample::Index>(),
        overtaken in prop::collection::btree_set(0_usize..40, 0..4),
        limit in 1_usize..8,
    ) {
        let log = log_of(1000);
        let new_entries = channels.iter().map(|names| NewEntry { priority: Priority::High, ..new_entry(names, "x") });
        let ids = append_each(&log, new_entries);
        let at = at.index(ids.len());
        let skips: Vec<Skip> = overtaken.into_iter().filter(|index| (at + 1..ids.len()).contains(index))
            .map(|index| Skip { offset: ids[index].offset, tag: ids[index].tag }).collect();
        let id = EventId { skips, ..ids[at].clone() };
        let mut all = Vec::new();
        let mut start = Start::WholeHistory;
        loop {
            let wanted = HistoryRange { until: Some(id.clone()), ..wanted(&start, limit) };
            let history = log.history(&wanted, &subscriptions(&["a"]));
            all.extend(history.entries.iter().map(|entry| entry.offset));
            let Some(next) = history.next else { break };
            prop_assert_eq!(history.entries.len(), limit);
            start = Start::After(next.to_string());
        }
        prop_assert!(all.is_sorted());
        let newest = HistoryRange { until: Some(id.clone()), is_newest: true, ..wanted(&Start::WholeHistory, limit) };
        let (newest, _, _) = outline(&log.history(&newest, &subscriptions(&["a"])));
        prop_assert_eq!(&newest[..], &all[all.len().saturating_sub(limit)..]);
        let rest = log.history(&wanted(&Start::After(id.to_string()), usize::MAX), &subscriptions(&["a"]));
        all.extend(rest.entries.iter().map(|entry| entry.offset));
        all.sort_unstable();
        let expected = ids.iter().zip(&channels).filter(|(_, name)| **name == "a").map(|(id, _)| id.offset);
        prop_assert_eq!(all, expected.collect::<Vec<_>>());
    }
}
