use std::collections::BTreeSet;

use proptest::prelude::*;
use tidings_protocol::body::GapReason::{self, Ahead, Diverged, Trimmed};
use tidings_protocol::{EventId, Priority, Skip};

use super::*;
use crate::checkpoint::LostChannels;
use crate::read::ReadRequest;
use crate::testing::{
    TestWorld, append_each, channel, keyed, memory_log, new_entry, read_request, seeded, settings,
    subscriptions, urgent, wanted,
};

const FIRST: Epoch = Epoch(11);
const SECOND: Epoch = Epoch(22);
const THIRD: Epoch = Epoch(33);

fn row(epoch: Epoch, begins_after: u64, lost: LostChannels) -> EpochRow {
    EpochRow { epoch: epoch.0, begins_after, lost }
}

fn tag(offset: u64) -> Tag {
    Tag(offset as u32 + 0x7000)
}

fn replicated(offset: u64, epoch: Epoch, new_entry: NewEntry) -> ReplicatedEntry {
    ReplicatedEntry { offset, epoch, tag: tag(offset), before: Tag(0), entry: new_entry }
}

/// A synced replica of one epoch.
fn replica(retention_events: u64) -> Log {
    let log = Log::replica(&settings(retention_events), None, TestWorld::new(3)).unwrap();
    assert!(log.install_epochs(vec![row(FIRST, 0, LostChannels::None)]).is_empty());
    log.barriers().complete(log.barriers().begin());
    log
}

/// Entries on one channel.
fn fill(log: &Log, offsets: std::ops::RangeInclusive<u64>, epoch: Epoch, name: &str) {
    let batch = offsets.map(|offset| replicated(offset, epoch, new_entry(name, &offset.to_string())));
    log.apply(batch.collect()).unwrap();
}

fn id(epoch: Epoch, offset: u64) -> EventId {
    EventId::new(epoch, offset, tag(offset))
}

/// Gap reason, channels and cursor of a resumed stream.
fn resume(log: &Log, id: &EventId, subscribed: &[&str]) -> (Option<GapReason>, Vec<String>, u64) {
    let resume_point = log.resume(&Start::After(id.to_string()), &subscriptions(subscribed));
    let (reason, channels) =
        resume_point.gap.map_or((None, Vec::new()), |gap| (Some(gap.reason), gap.channels));
    (reason, channels, resume_point.cursor)
}

fn gap(reason: GapReason, channels: &[&str], cursor: u64) -> (Option<GapReason>, Vec<String>, u64) {
    (Some(reason), channels.iter().map(ToString::to_string).collect(), cursor)
}

fn good(cursor: u64) -> (Option<GapReason>, Vec<String>, u64) {
    (None, Vec::new(), cursor)
}

fn kept(log: &Log, subscribed: &[&str]) -> Vec<u64> {
    let history = log.history(&wanted(&Start::WholeHistory, usize::MAX), &subscriptions(subscribed));
    history.entries.iter().map(|entry| entry.offset).collect()
}

#[test]
fn entries_are_applied_in_order_without_holes_and_held_ones_are_ignored() {
    let log = replica(100);
    fill(&log, 1..=5, FIRST, "a");
    let overlap = (3..=7).map(|offset| replicated(offset, FIRST, new_entry("a", "x"))).collect();
    let new: Vec<u64> = log.apply(overlap).unwrap().iter().map(|entry| entry.offset).collect();
    assert_eq!(new, [6, 7]);
    let hole = vec![replicated(8, FIRST, new_entry("a", "x")), replicated(10, FIRST, new_entry("a", "x"))];
    assert!(matches!(log.apply(hole), Err(ApplyError::MissingBefore { expected: 9, got: 10 })));
    let foreign = vec![replicated(8, FIRST, new_entry("a", "x")), replicated(9, SECOND, new_entry("a", "x"))];
    let refused = log.apply(foreign);
    assert!(matches!(refused, Err(ApplyError::UnknownEpoch { offset: 9, epoch: SECOND })));
    let other = ReplicatedEntry { tag: Tag(1), ..replicated(6, FIRST, new_entry("a", "x")) };
    let diverged = log.apply(vec![other, replicated(8, FIRST, new_entry("a", "x"))]);
    assert!(matches!(diverged, Err(ApplyError::Diverged { offset: 6 })));
    assert_eq!((log.head(), kept(&log, &["a"])), (id(FIRST, 7), (1..=7).collect()));
}

#[test]
fn idempotency_keys_are_left_to_the_broker() {
    let log = replica(100);
    log.apply(vec![replicated(1, FIRST, crate::testing::idempotent("a", "once"))]).unwrap();
    assert_eq!(log.usage().idempotency_keys, 0);
}

#[test]
fn resume_below_the_oldest_entry_of_the_broker_is_a_gap() {
    let log = replica(100);
    log.reset_to(41, Tag(0));
    assert_eq!(log.head().offset, 40);
    fill(&log, 41..=45, FIRST, "a");
    for (offset, subscribed) in [(10, ["a"]), (39, ["b"]), (39, ["c.*"])] {
        let expected = if subscribed == ["a"] { 40 } else { 45 };
        assert_eq!(resume(&log, &id(FIRST, offset), &subscribed), gap(Trimmed, &subscribed, expected));
    }
    assert_eq!(resume(&log, &id(FIRST, 40), &["a", "b"]), good(40));
    assert_eq!(resume(&log, &id(FIRST, 43), &["a"]), good(43));
}

#[test]
fn entries_that_the_broker_removed_too_early_are_lost_in_every_channel() {
    let log = replica(100);
    fill(&log, 1..=5, FIRST, "a");
    let (transitions_applied, subscribed) =
        (log.state().transitions.serial(), subscriptions(&["a", "quiet"]));
    let gaps_reported_to = log.state().index.trim_serial();
    log.reset_to(21, Tag(0));
    assert!(log.entries_after(5, transitions_applied, 10).entries.is_none_or(|entries| entries.is_empty()));
    fill(&log, 21..=22, FIRST, "a");
    assert!(log.entries_after(5, transitions_applied, 10).entries.is_none(), "the hole is not passed over");
    let ask = ReadRequest { gaps_reported_to, transitions_applied, ..read_request(&subscribed, 5) };
    let page = log.page(&ask);
    assert_eq!(page.lost.into_iter().collect::<Vec<_>>(), ["a", "quiet"]);
    assert_eq!((page.end, kept(&log, &["a"])), (Some((20, Tag(0))), vec![1, 2, 3, 4, 5, 21, 22]));
    assert_eq!(resume(&log, &id(FIRST, 3), &["quiet"]), gap(Trimmed, &["quiet"], 22));
}

#[test]
fn ids_of_an_ended_epoch_are_good_up_to_its_end_and_lossless_epochs_are_no_gap() {
    let log = replica(100);
    fill(&log, 1..=5, FIRST, "a");
    log.install_epochs(vec![row(FIRST, 0, LostChannels::None), row(SECOND, 5, LostChannels::None)]);
    fill(&log, 6..=9, SECOND, "a");
    assert_eq!(resume(&log, &id(FIRST, 3), &["a"]), good(3));
    assert_eq!(resume(&log, &id(FIRST, 5), &["a"]), good(5));
    assert_eq!(resume(&log, &id(FIRST, 7), &["a"]), gap(Ahead, &["a"], 5));
    assert_eq!(resume(&log, &id(SECOND, 7), &["a"]), good(7));
    assert_eq!(log.head(), id(SECOND, 9));
}

#[test]
fn a_loss_is_reported_to_readers_of_its_channels() {
    let log = replica(100);
    fill(&log, 1..=4, FIRST, "a");
    let lost = LostChannels::Channels(vec!["a".into(), "b.x".into()]);
    log.install_epochs(vec![
        row(FIRST, 0, LostChannels::None),
        row(SECOND, 4, lost),
        row(THIRD, 4, LostChannels::None),
    ]);
    fill(&log, 5..=6, THIRD, "a");
    assert_eq!(resume(&log, &id(FIRST, 2), &["a", "c"]), gap(GapReason::Epoch, &["a"], 2));
    assert_eq!(resume(&log, &id(FIRST, 2), &["b.*"]), gap(GapReason::Epoch, &["b.x"], 6));
    assert_eq!(resume(&log, &id(FIRST, 2), &["c", "b.y"]), good(2));
    assert_eq!(resume(&log, &id(SECOND, 4), &["a"]), good(4), "it was reported already");
    log.install_epochs(vec![row(FIRST, 0, LostChannels::None), row(SECOND, 6, LostChannels::All)]);
    assert_eq!(resume(&log, &id(FIRST, 2), &["c"]), gap(GapReason::Epoch, &["c"], 6));
}

#[test]
fn rows_stay_readable() {
    let rows = [
        row(FIRST, 0, LostChannels::None),
        row(SECOND, 4, LostChannels::Channels(vec!["a".into()])),
        row(THIRD, 5, LostChannels::All),
    ];
    let json = serde_json::to_string(&rows).unwrap();
    assert_eq!(
        json,
        r#"[{"epoch":11,"begins_after":0,"lost":"none"},{"epoch":22,"begins_after":4,"lost":{"channels":["a"]}},{"epoch":33,"begins_after":5,"lost":"all"}]"#
    );
    assert_eq!(serde_json::from_str::<Vec<EpochRow>>(&json).unwrap(), rows);
}

#[test]
fn a_truncated_tail_leaves_no_trace() {
    let log = replica(3);
    let twin = replica(3);
    let batch = |offsets: std::ops::RangeInclusive<u64>| -> Vec<ReplicatedEntry> {
        let new_entry_of = |offset: u64| match offset % 4 {
            0 => keyed("a b", "k"),
            1 => urgent("a", Priority::Critical),
            2 => new_entry("b c", "x"),
            _ => new_entry("c", "x"),
        };
        offsets.map(|offset| replicated(offset, FIRST, new_entry_of(offset))).collect()
    };
    log.apply(batch(1..=7)).unwrap();
    twin.apply(batch(1..=7)).unwrap();
    let later =
        vec![replicated(8, FIRST, keyed("d", "k")), replicated(9, FIRST, urgent("d", Priority::High))];
    log.apply(later).unwrap();
    let dropped: Vec<u64> = log.truncate_after(7).iter().map(|entry| entry.offset).collect();
    assert_eq!(dropped, [8, 9]);
    for log in [&log, &twin] {
        log.install_epochs(vec![row(FIRST, 0, LostChannels::None), row(SECOND, 7, LostChannels::All)]);
        let again = |offset| ReplicatedEntry {
            epoch: SECOND,
            tag: Tag(offset as u32),
            ..batch(offset..=offset).remove(0)
        };
        log.apply((8..=13).map(again).collect()).unwrap();
    }
    assert_eq!(log.head(), twin.head());
    assert_eq!((log.usage().bytes, log.usage().cache_bytes), (twin.usage().bytes, twin.usage().cache_bytes));
    for name in ["a", "b", "c", "d", "*"] {
        assert_eq!(kept(&log, &[name]), kept(&twin, &[name]), "{name}");
        for offset in 0..=13 {
            let id = EventId::new(SECOND, offset, Tag(0));
            assert_eq!(resume(&log, &id, &[name]), resume(&twin, &id, &[name]), "{id} {name}");
        }
    }
    assert_eq!(resume(&log, &id(FIRST, 9), &["a"]).0, Some(Ahead));
}

#[test]
fn an_older_event_of_a_key_is_its_newest_again_after_truncation() {
    let log = replica(100);
    log.apply((1..=3).map(|offset| replicated(offset, FIRST, keyed("a", "k"))).collect()).unwrap();
    log.truncate_after(2);
    let state = log.state();
    let row = state.index.channel("a").unwrap();
    assert!(row.has_newer("k", 1) && !row.has_newer("k", 2));
}

#[test]
fn trims_of_a_truncated_tail_do_not_apply_to_later_entries() {
    let log = replica(2);
    fill(&log, 1..=10, FIRST, "a");
    assert_eq!(log.truncate_after(4).len(), 2, "the others had been trimmed");
    log.install_epochs(vec![row(FIRST, 0, LostChannels::None), row(SECOND, 4, LostChannels::All)]);
    let again = (5..=6)
        .map(|offset| ReplicatedEntry { tag: Tag(9), ..replicated(offset, SECOND, new_entry("a", "x")) });
    log.apply(again.collect()).unwrap();
    assert_eq!(kept(&log, &["a"]), [5, 6]);
    assert_eq!(resume(&log, &EventId::new(SECOND, 4, Tag(0)), &["a"]), good(4));
    assert_eq!(resume(&log, &EventId::new(SECOND, 3, Tag(0)), &["a"]), gap(Trimmed, &["a"], 4));
}

#[test]
fn an_epoch_that_began_below_the_head_truncates_the_tail() {
    let log = replica(100);
    fill(&log, 1..=5, FIRST, "a");
    let rows = vec![row(FIRST, 0, LostChannels::None), row(SECOND, 3, LostChannels::None)];
    let dropped: Vec<u64> = log.install_epochs(rows.clone()).iter().map(|entry| entry.offset).collect();
    assert_eq!((dropped, log.head()), (vec![4, 5], id(SECOND, 3)));
    assert!(log.install_epochs(rows).is_empty());
}

fn barrier(log: &Log, start: &Start, waited_for: Option<u64>) -> Option<u64> {
    match log.find(start, &subscriptions(&["a"]), waited_for) {
        OffsetLookup::At(_) => None,
        OffsetLookup::Unsure(barrier) => Some(barrier),
    }
}

#[test]
fn no_stream_has_a_position_before_the_first_barrier() {
    let log = Log::replica(&settings(100), None, TestWorld::new(3)).unwrap();
    assert!(!log.barriers().is_synced());
    assert_eq!(barrier(&log, &Start::Now, None), Some(1));
    assert_eq!(log.barriers().begin(), 1);
    log.install_epochs(vec![row(FIRST, 0, LostChannels::None)]);
    assert_eq!(barrier(&log, &Start::WholeHistory, None), Some(1));
    log.barriers().complete(1);
    assert!(log.barriers().is_synced() && barrier(&log, &Start::Now, None).is_none());
    let begun = log.barriers().begin();
    log.barriers().mark_disconnected();
    log.barriers().complete(begun);
    assert_eq!(barrier(&log, &Start::Now, None), Some(3), "that barrier began before");
    log.barriers().complete(log.barriers().begin());
    assert_eq!(barrier(&log, &Start::Now, None), None);
}

#[test]
fn ids_that_the_broker_may_know_wait_for_a_later_barrier() {
    let log = replica(100);
    fill(&log, 1..=5, FIRST, "a");
    let with_skip = EventId { skips: vec![Skip { offset: 6, tag: tag(6) }], ..id(FIRST, 4) };
    let differs = EventId::new(FIRST, 4, Tag(1));
    let under_way = log.barriers().begin();
    for doubtful in [id(FIRST, 6), id(SECOND, 2), differs.clone(), with_skip] {
        let start = Start::After(doubtful.to_string());
        assert_eq!(barrier(&log, &start, None), Some(under_way + 1), "{doubtful}");
        assert_eq!(barrier(&log, &start, Some(under_way + 1)), Some(under_way + 1));
    }
    for sure in [id(FIRST, 5).to_string(), "garbage".into(), EventId::new(FIRST, 2, Tag(0)).to_string()] {
        assert_eq!(barrier(&log, &Start::After(sure), None), None);
    }
    let ahead = Start::After(id(FIRST, 7).to_string());
    log.barriers().complete(under_way);
    assert_eq!(barrier(&log, &ahead, Some(under_way + 1)), Some(under_way + 1));
    // A lagging node is not a gap.
    fill(&log, 6..=7, FIRST, "a");
    assert_eq!(barrier(&log, &ahead, Some(under_way + 1)), None);
    assert_eq!(resume(&log, &id(FIRST, 7), &["a"]), good(7));
    log.barriers().complete(log.barriers().begin());
    assert_eq!(barrier(&log, &Start::After(differs.to_string()), Some(under_way + 1)), None);
    assert_eq!(resume(&log, &differs, &["a"]), gap(Diverged, &["a"], 0));
    log.install_epochs(vec![row(FIRST, 0, LostChannels::None), row(SECOND, 7, LostChannels::None)]);
    let beyond_its_end = Start::After(id(FIRST, 8).to_string());
    assert_eq!(barrier(&log, &beyond_its_end, None), None, "an epoch that ended does not grow");
}

const NAMES: [&str; 5] = ["a", "b", "c.x", "c.y", "d:z"];
const ASKED: [&[&str]; 5] = [&["a"], &["a", "b"], &["c.*"], &["**"], &["never", "d:*"]];

fn any_new_entry() -> impl Strategy<Value = NewEntry> {
    let names = prop::sample::subsequence(NAMES.to_vec(), 1..=3);
    let priority = prop_oneof![5 => Just(Priority::Normal), 1 => Just(Priority::High)];
    (names, priority, prop::option::weighted(0.3, 0_u8..3), 0_usize..200).prop_map(
        |(names, priority, key, padding)| NewEntry {
            channels: names.into_iter().map(channel).collect(),
            key: key.map(|key| key.to_string().into()),
            priority,
            ..new_entry("a", &"x".repeat(padding))
        },
    )
}

/// Reads like a connection: entries with the reported losses of their page.
fn read(
    log: &Log,
    start: &Start,
    subscribed: &[&str],
    overtaking_max: usize,
) -> Vec<(u64, BTreeSet<String>)> {
    let subscribed = subscriptions(subscribed);
    let resume_point = log.resume(start, &subscribed);
    let first = resume_point.gap.map_or_else(BTreeSet::new, |gap| gap.channels.into_iter().collect());
    let (mut cursor, mut all) = (resume_point.cursor, vec![(resume_point.cursor, first)]);
    loop {
        let ask = ReadRequest {
            gaps_reported_to: resume_point.gaps_reported_to,
            transitions_applied: resume_point.transitions_applied,
            overtaking_max,
            ..read_request(&subscribed, cursor)
        };
        let mut page = log.page(&ask);
        log.load(std::slice::from_mut(&mut page));
        all.extend(page.entries.iter().map(|step| (step.offset, page.lost.clone())));
        cursor = page.end.unwrap().0;
        if page.is_last {
            return all;
        }
    }
}

proptest! {
    #![proptest_config(seeded(60))]

    #[test]
    fn a_replica_answers_as_the_log_that_it_follows(
        new_entries in prop::collection::vec(any_new_entry(), 1..90),
        batches in prop::collection::vec((1_u64..20, 0_u64..10), 1..60),
        retention_events in prop_oneof![Just(1000_u64), 1_u64..30],
        rewinds in prop::collection::vec((0_usize..60, 1_u64..12), 0..4),
    ) {
        let environment = TestWorld::new(8);
        let log = memory_log(&settings(1000), &environment);
        let ids = append_each(&log, new_entries.clone());
        let epoch = log.newest();
        let lone = memory_log(&settings(retention_events), &TestWorld::new(8));
        append_each(&lone, new_entries.clone());
        let twin = Log::replica(&settings(retention_events), None, environment).unwrap();
        twin.install_epochs(vec![row(epoch, 0, LostChannels::None)]);
        let of = |offset: u64| {
            let at = offset as usize - 1;
            ReplicatedEntry {
                offset,
                epoch,
                tag: ids[at].tag,
                before: Tag(0),
                entry: new_entries[at].clone(),
            }
        };
        let last = new_entries.len() as u64;
        // Batches overlap held entries. Sometimes the tail is truncated and applied again, but never below a trim.
        for (number, (count, overlap)) in batches.iter().cycle().enumerate() {
            let head = twin.head().offset;
            if head == last {
                break;
            }
            let from = head.saturating_sub(*overlap) + 1;
            let through = (head + count).min(last);
            let placed = twin.apply((from..=through).map(of).collect()).unwrap();
            prop_assert_eq!(placed.len() as u64, through - head);
            if let Some((_, back)) = rewinds.iter().find(|(at, _)| *at == number && retention_events == 1000) {
                let to = through.saturating_sub(*back);
                let dropped: Vec<u64> = twin.truncate_after(to).iter().map(|entry| entry.offset).collect();
                prop_assert_eq!(dropped, (to + 1..=through).collect::<Vec<_>>());
            }
        }
        prop_assert_eq!(twin.head(), lone.head());
        prop_assert_eq!(twin.usage().bytes, lone.usage().bytes);
        for subscribed in ASKED {
            for start in [Start::Now, Start::History(7), Start::WholeHistory] {
                prop_assert_eq!(read(&twin, &start, subscribed, 0), read(&lone, &start, subscribed, 0));
            }
            for id in &ids {
                let start = Start::After(id.to_string());
                for overtaking_max in [0, 8] {
                    prop_assert_eq!(
                        read(&twin, &start, subscribed, overtaking_max),
                        read(&lone, &start, subscribed, overtaking_max)
                    );
                }
            }
        }
    }
}
