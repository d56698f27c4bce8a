use tidings_protocol::Epoch;

use super::*;
use crate::Log;
use crate::entry::NewEntry;
use crate::testing::{
    TestDir, TestWorld, append_each, append_on, disk_log, keyed, memory_log, new_entry, settings,
    subscriptions,
};

/// Gap and position of a stream at its begin.
#[derive(Debug, PartialEq, Eq)]
struct StreamBegin {
    reason: Option<GapReason>,
    channels: Vec<String>,
    cursor: u64,
    skips: Vec<u64>,
}

fn resume(log: &Log, id: &(impl ToString + ?Sized), subscribed: &[&str]) -> StreamBegin {
    let id = id.to_string();
    let resume_point = log.resume(&Start::After(id.clone()), &subscriptions(subscribed));
    let (reason, channels) = match resume_point.gap {
        Some(gap) => {
            let requested = (gap.reason != GapReason::Malformed).then_some(id);
            assert_eq!(gap.requested, requested);
            (Some(gap.reason), gap.channels)
        }
        None => (None, Vec::new()),
    };
    let skips = resume_point.skips.iter().map(|skip| skip.offset).collect();
    // The position that is sent must be an id.
    let mut position = log.id_at(resume_point.cursor, resume_point.tag);
    position.skips = resume_point.skips;
    assert_eq!(position.to_string().parse::<EventId>().as_ref(), Ok(&position));
    StreamBegin { reason, channels, cursor: resume_point.cursor, skips }
}

fn good(cursor: u64) -> StreamBegin {
    StreamBegin { reason: None, channels: Vec::new(), cursor, skips: Vec::new() }
}

fn gap(reason: GapReason, channels: &[&str], cursor: u64) -> StreamBegin {
    let channels = channels.iter().map(ToString::to_string).collect();
    StreamBegin { reason: Some(reason), channels, cursor, skips: Vec::new() }
}

/// Ten events, alternately on `a` and `b`.
fn ten(retention_events: u64) -> (Log, Vec<EventId>) {
    let log = memory_log(&settings(retention_events), &TestWorld::new(5));
    let ids = append_each(&log, (1..=10).map(|n| new_entry(if n % 2 == 1 { "a" } else { "b" }, "x")));
    (log, ids)
}

#[test]
fn good_id_goes_on_after_its_event() {
    let (log, ids) = ten(100);
    for id in &ids {
        assert_eq!(resume(&log, id, &["a"]), good(id.offset));
    }
    let start = EventId::new(log.newest(), 0, Tag(0));
    assert_eq!(resume(&log, &start, &["a"]), good(0));
}

#[test]
fn foreign_epoch_gets_all_that_is_kept() {
    let (log, ids) = ten(100);
    let foreign = EventId::new(Epoch(1), 7, ids[6].tag);
    assert_eq!(resume(&log, &foreign, &["b"]), gap(GapReason::Epoch, &["b"], 1));
    assert_eq!(resume(&log, &foreign, &["none.*"]), gap(GapReason::Epoch, &["none.*"], 10));
}

#[test]
fn id_ahead_goes_on_from_the_end() {
    let (log, ids) = ten(100);
    let ahead = EventId::new(log.newest(), 11, ids[0].tag);
    assert_eq!(resume(&log, &ahead, &["a"]), gap(GapReason::Ahead, &["a"], 10));
    let far = EventId::new(log.newest(), u64::MAX, ids[0].tag);
    assert_eq!(resume(&log, &far, &["a"]), gap(GapReason::Ahead, &["a"], 10));
}

#[test]
fn tag_of_another_event_gets_all_that_is_kept() {
    let (log, ids) = ten(100);
    for (offset, tag) in [(5, ids[5].tag), (10, ids[5].tag)] {
        let diverged = EventId::new(log.newest(), offset, tag);
        assert_eq!(resume(&log, &diverged, &["a"]), gap(GapReason::Diverged, &["a"], 0));
    }
    // The tag of an unknown event is not compared.
    assert_eq!(resume(&log, &EventId::new(log.newest(), 5, Tag(0)), &["a"]), good(5));
}

#[test]
fn malformed_id_goes_on_from_now() {
    let (log, ids) = ten(100);
    let long = "9".repeat(64 << 10);
    for id in ["", "1", "garbage", &format!("{}x", ids[0]), &format!("{}.0-00000000", ids[0]), &long] {
        assert_eq!(resume(&log, id, &["a", "b.*"]), gap(GapReason::Malformed, &["a", "b.*"], 10), "{id:.40}");
    }
}

#[test]
fn trimmed_channels_are_named_and_no_others() {
    let log = memory_log(&settings(2), &TestWorld::new(5));
    let ids = append_each(
        &log,
        ["a", "a", "b", "a", "a", "c", "a b c", "b", "b"].map(|names| new_entry(names, "x")),
    );
    let trimmed = |channels: &[&str], cursor| gap(GapReason::Trimmed, channels, cursor);
    let at = |offset: usize| ids[offset - 1].to_string();
    // a keeps 5 and 7 and lost up to 4; b keeps 8 and 9 and lost up to 7; c keeps 6 and 7.
    assert_eq!(resume(&log, &at(1), &["a"]), trimmed(&["a"], 4));
    assert_eq!(resume(&log, &at(3), &["a"]), trimmed(&["a"], 4));
    assert_eq!(resume(&log, &at(4), &["a"]), good(4));
    assert_eq!(resume(&log, &at(6), &["b"]), trimmed(&["b"], 7));
    assert_eq!(resume(&log, &at(7), &["b"]), good(7));
    assert_eq!(resume(&log, &at(1), &["c"]), good(1));
    // A channel that lost nothing stays whole.
    assert_eq!(resume(&log, &at(5), &["b", "c"]), trimmed(&["b"], 5));
    assert_eq!(resume(&log, &at(1), &["*"]), trimmed(&["a", "b"], 4));
    assert_eq!(resume(&log, &at(4), &["*"]), trimmed(&["b"], 4));
    assert_eq!(resume(&log, &at(1), &["x.**", "c", "never"]), good(1));
    let start = EventId::new(log.newest(), 0, Tag(0)).to_string();
    assert_eq!(resume(&log, &start, &["a", "*", "a"]), trimmed(&["a", "b"], 4));
}

#[test]
fn replaced_and_expired_events_are_no_gap() {
    let environment = TestWorld::new(5);
    let log = memory_log(&settings(1), &environment);
    let start = log.head().to_string();
    append_each(&log, [keyed("a", "k"), keyed("a", "k")]);
    assert_eq!(resume(&log, &start, &["a"]), good(0));
    let brief = NewEntry { expires_at: Some(log.now() + 10), ..new_entry("b", "x") };
    append_each(&log, [brief]);
    environment.advance(11);
    append_each(&log, [new_entry("b", "x")]);
    assert_eq!(resume(&log, &start, &["b"]), good(0));
    append_each(&log, [new_entry("b", "x")]);
    assert_eq!(resume(&log, &start, &["b"]), gap(GapReason::Trimmed, &["b"], 4));
}

fn with_skips(id: &EventId, skips: &[(u64, Tag)]) -> String {
    let skips = skips.iter().map(|(offset, tag)| Skip { offset: *offset, tag: *tag }).collect();
    EventId { skips, ..id.clone() }.to_string()
}

#[test]
fn skip_is_checked_as_a_cursor_of_its_own() {
    let (log, ids) = ten(100);
    let tag = |offset: usize| ids[offset - 1].tag;
    let good_skips = with_skips(&ids[1], &[(5, tag(5)), (9, tag(9))]);
    assert_eq!(resume(&log, &good_skips, &["a"]), StreamBegin { skips: vec![5, 9], ..good(2) });
    let ahead = with_skips(&ids[1], &[(5, tag(5)), (11, tag(9))]);
    let expected = StreamBegin { skips: vec![5], ..gap(GapReason::Ahead, &["a"], 2) };
    assert_eq!(resume(&log, &ahead, &["a"]), expected);
    let differs = with_skips(&ids[1], &[(5, tag(4)), (9, tag(9))]);
    let expected = StreamBegin { skips: vec![9], ..gap(GapReason::Diverged, &["a"], 2) };
    assert_eq!(resume(&log, &differs, &["a"]), expected);
    let from_foreign = EventId { epoch: Epoch(3), ..good_skips.parse().unwrap() };
    assert_eq!(resume(&log, &from_foreign, &["a"]), gap(GapReason::Epoch, &["a"], 0));
}

#[test]
fn skips_that_the_cursor_passes_over_a_gap_are_left_out() {
    let (log, ids) = ten(2);
    // a keeps 7 and 9.
    let id = with_skips(&ids[0], &[(3, ids[2].tag), (9, ids[8].tag)]);
    assert_eq!(
        resume(&log, &id, &["a"]),
        StreamBegin { skips: vec![9], ..gap(GapReason::Trimmed, &["a"], 6) }
    );
}

#[test]
fn resumed_at_is_the_latest_cursor_that_misses_nothing() {
    let (log, ids) = ten(1);
    assert_eq!(resume(&log, &ids[0], &["a"]), gap(GapReason::Trimmed, &["a"], 8));
    let resumed = EventId::new(log.newest(), 8, ids[7].tag).to_string();
    assert_eq!(resume(&log, &resumed, &["a"]), good(8));
    assert_eq!(resume(&log, &EventId::new(log.newest(), 9, Tag(0)), &["a"]), good(9));
}

#[test]
fn history_begins_before_the_newest_events_of_all_channels() {
    let (log, _) = ten(100);
    let begin = |start: Start, subscribed: &[&str]| {
        let resume_point = log.resume(&start, &subscriptions(subscribed));
        assert_eq!((resume_point.gap, resume_point.skips), (None, Vec::new()));
        resume_point.cursor
    };
    for (events, cursor) in [(0, 10), (1, 8), (2, 6), (5, 0), (6, 0), (u64::MAX, 0)] {
        assert_eq!(begin(Start::History(events), &["a"]), cursor, "{events}");
    }
    for (events, cursor) in [(0, 10), (1, 9), (2, 8), (3, 7), (10, 0), (11, 0)] {
        assert_eq!(begin(Start::History(events), &["a", "*", "b"]), cursor, "{events}");
    }
    assert_eq!(begin(Start::WholeHistory, &["a"]), 0);
    assert_eq!(begin(Start::WholeHistory, &["b"]), 1);
    assert_eq!(begin(Start::WholeHistory, &["none"]), 10);
    assert_eq!(begin(Start::Now, &["a"]), 10);
    // An event on several channels counts once.
    append_on(&log, &["a b", "a b"]);
    assert_eq!(begin(Start::History(2), &["a", "b"]), 10);
}

#[test]
fn ids_of_earlier_epochs_are_as_good_as_new() {
    let directory = TestDir::new();
    let environment = TestWorld::new(5);
    let mut ids = Vec::new();
    for _ in 0..3 {
        let (log, recovered) = disk_log(&settings(100), &directory, &environment);
        assert_eq!(recovered.lost, None);
        ids.extend(append_on(&log, &["a", "b"]));
        ids.push(log.head());
    }
    let (log, _) = disk_log(&settings(100), &directory, &environment);
    for id in &ids {
        assert_eq!(resume(&log, id, &["a", "b"]), good(id.offset));
        // An id above the end of its epoch is ahead, however long the log is.
        let above = EventId { offset: id.offset + 2, ..id.clone() };
        let end = id.offset.div_ceil(2) * 2;
        let expected = gap(GapReason::Ahead, &["a", "b"], end);
        assert_eq!(resume(&log, &above, &["a", "b"]), expected);
    }
    assert_eq!(log.resume(&Start::After(ids[0].to_string()), &[]).tag, ids[0].tag);
}

#[test]
fn lossy_start_is_reported_once_to_each_client() {
    let directory = TestDir::new();
    let environment = TestWorld::new(5);
    let (log, _) = disk_log(&settings(100), &directory, &environment);
    let ids = append_each(&log, (0..4).map(|_| new_entry("a", "x")));
    drop(log);
    std::fs::write(
        directory.path().join("run.json"),
        r#"{"bootId":"x","syncEachBatch":false,"clean":false}"#,
    )
    .unwrap();
    let (log, recovered) = disk_log(&settings(100), &directory, &environment);
    assert!(recovered.lost.is_some());
    for (index, id) in ids.iter().enumerate() {
        let gaps_reported_to = resume(&log, &id, &["a"]);
        assert_eq!(
            gaps_reported_to,
            gap(GapReason::Epoch, &["a"], index as u64 + 1),
            "it goes on from where it was"
        );
        let resumed = EventId::new(log.newest(), gaps_reported_to.cursor, Tag(0)).to_string();
        assert_eq!(resume(&log, &resumed, &["a"]), good(gaps_reported_to.cursor));
    }
    let after = append_each(&log, [new_entry("a", "x")]);
    drop(log);
    let (log, recovered) = disk_log(&settings(100), &directory, &environment);
    assert_eq!(recovered.lost, None);
    assert_eq!(resume(&log, &after[0], &["a"]), good(5));
    assert_eq!(resume(&log, &ids[3], &["a"]).reason, Some(GapReason::Epoch));
}

#[test]
fn gap_of_very_many_channels_names_what_was_asked() {
    let log = memory_log(&settings(1), &TestWorld::new(5));
    let start = log.head().to_string();
    for _ in 0..2 {
        append_each(&log, (0..=GAP_CHANNELS_MAX).map(|n| new_entry(&format!("c.{n}"), "x")));
    }
    assert_eq!(resume(&log, &start, &["c.*"]).channels, ["c.*"]);
    assert_eq!(resume(&log, &start, &["c.7", "c.8"]).channels, ["c.7", "c.8"]);
}
