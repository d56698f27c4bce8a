//! Plants each fault in a made-up record and expects the comparison to find exactly it.

use super::*;

const STRICT: usize = 0;
const OTHER: usize = 1;

fn label(number: u64) -> Label {
    Label { publisher: 0, number }
}

fn at(offset: u64) -> Place {
    Place { life: 0, offset }
}

fn in_life(life: u64, offset: u64) -> Place {
    Place { life, offset }
}

fn event(number: u64, place: Place) -> Seen {
    Seen::Event { label: label(number), place, skips: Vec::new() }
}

fn gap(reason: GapReason, resumed_at: Place, tick: u64) -> Seen {
    let channels = vec!["check.strict.0".to_owned()];
    Seen::Gap(Box::new(GapSeen { reason, channels, requested: None, resumed_at, tick }))
}

/// A truth of acknowledged events, each with its channels, kind and place.
fn truth(events: &[(&[usize], Kind, Place)]) -> Truth {
    let truth = Truth::new(vec!["check.strict.0".into(), "check.strict.1".into()], 1, false);
    for (number, (channels, kind, place)) in (0..).zip(events) {
        truth.register(label(number), channels.to_vec(), *kind, None, "text");
        truth.acknowledge(label(number), *place).unwrap();
    }
    truth
}

/// Strict events 0, 1, … of the first channel at offsets 1, 2, ….
fn numbered(count: u64) -> Truth {
    let events: Vec<_> = (1..=count).map(|offset| (&[STRICT][..], Kind::Strict, at(offset))).collect();
    truth(&events)
}

fn record(seen: Vec<Seen>) -> Record {
    let subscriptions = vec![Subscription::parse("check.strict.0").unwrap()];
    Record { subscriber: 7, subscriptions, is_from_beginning: false, seen }
}

fn kinds(truth: &Truth, seen: Vec<Seen>, gaps: Gaps, target: Place) -> Vec<FaultKind> {
    let record = record(seen);
    let (log, mut faults) = Log::build(truth, std::slice::from_ref(&record), &[]);
    let rules = Rules { gaps, targets: vec![target, target] };
    faults.extend(compare_record(&log, &record, &rules));
    faults.iter().map(|fault| fault.kind).collect()
}

fn check(truth: &Truth, seen: Vec<Seen>, expect: &[FaultKind]) {
    assert_eq!(kinds(truth, seen, Gaps::Never, at(4)), expect);
}

fn trimmed(retention_events: usize) -> Gaps {
    Gaps::Trimmed { retention_events }
}

#[test]
fn whole_record_with_cuts_has_no_fault() {
    let seen = vec![
        Seen::Opened,
        Seen::Position(at(0)),
        event(0, at(1)),
        event(1, at(2)),
        Seen::Opened,
        Seen::Position(at(2)),
        event(2, at(3)),
        event(3, at(4)),
    ];
    check(&numbered(4), seen, &[]);
}

#[test]
fn lost_event_is_found() {
    let seen = vec![Seen::Position(at(0)), event(0, at(1)), event(2, at(3)), event(3, at(4))];
    check(&numbered(4), seen, &[FaultKind::Lost]);
}

#[test]
fn events_before_the_first_position_are_not_owed() {
    check(&numbered(4), vec![Seen::Position(at(2)), event(2, at(3)), event(3, at(4))], &[]);
}

#[test]
fn events_after_the_last_one_received_are_owed() {
    check(&numbered(4), vec![Seen::Position(at(2)), event(2, at(3))], &[FaultKind::Lost]);
}

#[test]
fn all_history_is_owed_from_the_beginning() {
    let truth = numbered(3);
    let mut record = record(vec![Seen::Position(at(1)), event(1, at(2)), event(2, at(3))]);
    record.is_from_beginning = true;
    let (log, _) = Log::build(&truth, &[], &[]);
    let rules = Rules { gaps: Gaps::Never, targets: vec![at(3); 2] };
    let faults = compare_record(&log, &record, &rules);
    assert_eq!(faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(), [FaultKind::Lost]);
    assert!(faults[0].explanation.contains("p0n0 at offset 1"), "{}", faults[0].explanation);
}

#[test]
fn duplicate_is_found() {
    let seen = vec![
        Seen::Position(at(0)),
        event(0, at(1)),
        event(1, at(2)),
        Seen::Opened,
        event(1, at(2)),
        event(2, at(3)),
        event(3, at(4)),
    ];
    check(&numbered(4), seen, &[FaultKind::Duplicated]);
}

#[test]
fn reordered_event_is_found() {
    let seen =
        vec![Seen::Position(at(0)), event(0, at(1)), event(2, at(3)), event(1, at(2)), event(3, at(4))];
    check(&numbered(4), seen, &[FaultKind::Reordered]);
}

#[test]
fn position_beyond_an_event_still_to_come_is_found() {
    let seen =
        vec![Seen::Position(at(0)), Seen::Position(at(1)), event(0, at(1)), event(1, at(2)), event(2, at(3))];
    check(&numbered(3), seen, &[FaultKind::Reordered]);
}

#[test]
fn event_with_the_id_of_another_place_is_found() {
    let seen = vec![Seen::Position(at(0)), event(0, at(2))];
    assert!(kinds(&numbered(1), seen, Gaps::Never, at(1)).contains(&FaultKind::WrongContent));
}

#[test]
fn event_of_a_foreign_channel_is_found() {
    let truth = truth(&[(&[OTHER], Kind::Strict, at(1))]);
    check(&truth, vec![Seen::Position(at(0)), event(0, at(1))], &[FaultKind::WrongContent]);
}

#[test]
fn urgent_event_may_overtake_once_and_must_come() {
    let events: &[(&[usize], Kind, Place)] = &[
        (&[STRICT], Kind::Strict, at(1)),
        (&[STRICT], Kind::Strict, at(2)),
        (&[STRICT], Kind::Urgent, at(3)),
        (&[STRICT], Kind::Strict, at(4)),
    ];
    let ahead = || Seen::Event { label: label(2), place: at(1), skips: vec![3] };
    let rest = || vec![event(1, at(2)), event(3, at(4))];
    let begun = vec![Seen::Position(at(0)), event(0, at(1))];
    check(&truth(events), [begun.clone(), vec![ahead()], rest()].concat(), &[]);
    check(&truth(events), [begun.clone(), rest()].concat(), &[FaultKind::Lost]);
    check(&truth(events), [begun, vec![ahead(), ahead()], rest()].concat(), &[FaultKind::Duplicated]);
}

#[test]
fn low_may_be_missing_and_a_key_only_where_a_newer_one_is_there() {
    let events: &[(&[usize], Kind, Place)] = &[
        (&[STRICT], Kind::Low, at(1)),
        (&[STRICT], Kind::Keyed(1), at(2)),
        (&[STRICT], Kind::Keyed(1), at(3)),
        (&[STRICT], Kind::Keyed(2), at(4)),
    ];
    check(&truth(events), vec![Seen::Position(at(0)), event(2, at(3)), event(3, at(4))], &[]);
    check(&truth(events), vec![Seen::Position(at(0)), event(3, at(4))], &[FaultKind::Lost]);
}

#[test]
fn unknown_event_is_owed_to_all_once_somebody_saw_it() {
    let truth = numbered(1);
    truth.register(label(1), vec![STRICT], Kind::Strict, None, "text");
    let witness = record(vec![Seen::Position(at(0)), event(0, at(1)), event(1, at(2))]);
    let other = record(vec![Seen::Position(at(0)), event(0, at(1)), Seen::Position(at(2))]);
    let (log, _) = Log::build(&truth, &[witness], &[]);
    let rules = Rules { gaps: Gaps::Never, targets: vec![at(1); 2] };
    assert_eq!(compare_record(&log, &other, &rules).len(), 0, "nothing beyond the target is owed");
    let rules = Rules { gaps: Gaps::Never, targets: vec![at(2); 2] };
    assert_eq!(compare_record(&log, &other, &rules)[0].kind, FaultKind::Lost);
}

#[test]
fn event_stored_twice_is_found() {
    let truth = numbered(1);
    let (_, faults) = Log::build(&truth, &[], &[(label(0), at(1)), (label(0), at(2))]);
    assert_eq!(faults[0].kind, FaultKind::Duplicated);
}

#[test]
fn refused_event_that_appears_is_found() {
    let truth = numbered(1);
    truth.register(label(1), vec![STRICT], Kind::Strict, None, "text");
    truth.refuse(label(1));
    let (_, faults) = Log::build(&truth, &[], &[(label(1), at(2))]);
    assert_eq!(faults[0].kind, FaultKind::WrongContent);
}

#[test]
fn gap_where_nothing_may_be_missing_is_spurious() {
    let seen = vec![Seen::Position(at(0)), gap(GapReason::Epoch, at(0), 99), event(0, at(1))];
    assert_eq!(kinds(&numbered(1), seen, Gaps::Never, at(1)), [FaultKind::SpuriousGap]);
}

#[test]
fn loss_after_a_trim_needs_a_gap() {
    let silent = vec![Seen::Position(at(0)), event(2, at(3)), event(3, at(4))];
    let found = kinds(&numbered(4), silent, trimmed(2), at(4));
    assert_eq!(found, [FaultKind::UnsignalledGap; 2]);
    let told =
        vec![Seen::Position(at(0)), gap(GapReason::Trimmed, at(2), 99), event(2, at(3)), event(3, at(4))];
    assert_eq!(kinds(&numbered(4), told, trimmed(2), at(4)), []);
}

#[test]
fn entry_that_retention_keeps_is_lost_even_after_a_gap() {
    let seen = vec![Seen::Position(at(0)), gap(GapReason::Trimmed, at(2), 99), event(3, at(4))];
    assert_eq!(kinds(&numbered(4), seen, trimmed(2), at(4)), [FaultKind::Lost]);
}

#[test]
fn hole_above_an_older_entry_that_was_kept_is_no_trim() {
    let seen = vec![
        Seen::Position(at(0)),
        gap(GapReason::Trimmed, at(1), 99),
        event(1, at(2)),
        event(3, at(4)),
        event(4, at(5)),
    ];
    assert_eq!(kinds(&numbered(5), seen, trimmed(1), at(5)), [FaultKind::UnsignalledGap]);
}

#[test]
fn gap_above_everything_that_can_have_been_trimmed_is_spurious() {
    let seen =
        vec![Seen::Position(at(2)), gap(GapReason::Trimmed, at(2), 99), event(2, at(3)), event(3, at(4))];
    assert_eq!(kinds(&numbered(4), seen, trimmed(2), at(4)), [FaultKind::SpuriousGap]);
}

#[test]
fn entries_sent_after_a_gap_was_read_cannot_have_caused_it() {
    // Tick 3 is that of the fourth event: before it, three entries were there and one of them can have been trimmed.
    let with_gap = |cursor, tick| {
        let seen = vec![Seen::Position(at(cursor)), gap(GapReason::Trimmed, at(cursor), tick)];
        let rest = (cursor..4).map(|number| event(number, at(number + 1)));
        kinds(&numbered(4), seen.into_iter().chain(rest).collect(), trimmed(2), at(4))
    };
    assert_eq!(with_gap(0, 3), []);
    assert_eq!(with_gap(1, 3), [FaultKind::SpuriousGap]);
    assert_eq!(with_gap(1, 99), []);
}

#[test]
fn restart_in_memory_needs_one_gap() {
    let events: &[(&[usize], Kind, Place)] = &[
        (&[STRICT], Kind::Strict, in_life(5, 1)),
        (&[STRICT], Kind::Strict, in_life(5, 2)),
        (&[STRICT], Kind::Strict, in_life(9, 1)),
        (&[STRICT], Kind::Strict, in_life(9, 2)),
    ];
    let check = |seen: Vec<Seen>, expect: &[FaultKind]| {
        assert_eq!(kinds(&truth(events), seen, Gaps::EachEpoch, in_life(9, 2)), expect);
    };
    let before = || vec![Seen::Position(in_life(5, 0)), event(0, in_life(5, 1)), Seen::Opened];
    let after = || vec![event(2, in_life(9, 1)), event(3, in_life(9, 2))];
    let told = || vec![gap(GapReason::Epoch, in_life(9, 0), 99)];
    check([before(), told(), after()].concat(), &[]);
    check([before(), told(), told(), after()].concat(), &[]);
    check([before(), after()].concat(), &[FaultKind::UnsignalledGap]);
    check([before(), told(), vec![event(3, in_life(9, 2))]].concat(), &[FaultKind::Lost]);
    check([before(), told(), after(), told()].concat(), &[FaultKind::SpuriousGap]);
    let wrong = vec![gap(GapReason::Trimmed, in_life(9, 0), 99)];
    check([before(), wrong, after()].concat(), &[FaultKind::SpuriousGap]);
    check([told(), after()].concat(), &[FaultKind::SpuriousGap]);
    // What the cursor passed in the life that ended was owed, too.
    let passed = vec![Seen::Position(in_life(5, 0)), event(1, in_life(5, 2))];
    check([passed, told(), after()].concat(), &[FaultKind::Lost]);
}

#[test]
fn history_is_held_against_the_same_log() {
    let truth = numbered(4);
    let (log, _) = Log::build(&truth, &[], &[]);
    let told = |numbers: &[u64]| numbers.iter().map(|&n| (label(n), at(n + 1))).collect::<Vec<_>>();
    let check = |numbers: &[u64], gaps, expect: &[FaultKind]| {
        let rules = Rules { gaps, targets: vec![at(4); 2] };
        let faults = compare_history(&log, STRICT, &told(numbers), &rules);
        assert_eq!(faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(), expect, "{numbers:?}");
    };
    check(&[0, 1, 2, 3], Gaps::Never, &[]);
    check(&[0, 2, 3], Gaps::Never, &[FaultKind::Lost]);
    check(&[1, 2, 3], Gaps::Never, &[FaultKind::Lost]);
    check(&[0, 2, 1, 3], Gaps::Never, &[FaultKind::Reordered]);
    check(&[0, 1, 1, 2, 3], Gaps::Never, &[FaultKind::Reordered, FaultKind::Duplicated]);
    check(&[1, 2, 3], trimmed(2), &[]);
    check(&[3], trimmed(2), &[FaultKind::Lost]);
    check(&[1, 3], trimmed(2), &[FaultKind::Lost]);
}

#[test]
fn content_is_compared_with_what_was_sent() {
    let truth = numbered(1);
    assert_eq!(truth.check_content(label(0), None, "text"), Ok(()));
    assert!(truth.check_content(label(0), Some("note"), "text").is_err());
    assert!(truth.check_content(label(0), None, "other").is_err());
    assert!(truth.check_content(label(1), None, "text").is_err());
}

#[test]
fn label_is_read_from_the_first_line() {
    assert_eq!(label_of("{\"p\":0,\"n\":3,\"pad\":\"x\"}\nid: 4"), Some(label(3)));
    assert_eq!(label_of("text"), None);
}
