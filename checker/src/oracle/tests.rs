//! Each violation, planted in a constructed history, is found.

use tidings_protocol::Subscription;
use tidings_protocol::body::GapReason;

use super::*;
use crate::violation::ViolationKind;

const STRICT: usize = 0;
const OTHER: usize = 1;

fn label(number: u64) -> EventLabel {
    EventLabel { publisher: 0, number }
}

fn at(offset: u64) -> LogPosition {
    LogPosition { generation: 0, offset }
}

fn in_generation(generation: u64, offset: u64) -> LogPosition {
    LogPosition { generation, offset }
}

fn event(number: u64, position: LogPosition) -> Observation {
    Observation::Event { label: label(number), position, skips: Vec::new() }
}

fn gap(reason: GapReason, resumed_at: LogPosition, tick: u64) -> Observation {
    let channels = vec!["check.strict.0".to_owned()];
    Observation::Gap(Box::new(ObservedGap { reason, channels, requested: None, resumed_at, tick }))
}

/// An oracle of acknowledged events, each with its channels, class and position.
fn oracle(events: &[(&[usize], DeliveryClass, LogPosition)]) -> Oracle {
    let oracle = Oracle::new(vec!["check.strict.0".into(), "check.strict.1".into()], 1, false);
    for (number, (channels, kind, position)) in (0..).zip(events) {
        oracle.register(label(number), channels.to_vec(), *kind, None, "text");
        oracle.acknowledge(label(number), *position).unwrap();
    }
    oracle
}

/// Strict events 0, 1, … of the first channel at offsets 1, 2, ….
fn numbered(count: u64) -> Oracle {
    let events: Vec<_> =
        (1..=count).map(|offset| (&[STRICT][..], DeliveryClass::Strict, at(offset))).collect();
    oracle(&events)
}

fn record(observations: Vec<Observation>) -> SubscriberHistory {
    let subscriptions = vec![Subscription::parse("check.strict.0").unwrap()];
    SubscriberHistory { subscriber: 7, subscriptions, is_from_beginning: false, observations }
}

fn kinds(
    oracle: &Oracle,
    observations: Vec<Observation>,
    gaps: GapRule,
    target: LogPosition,
) -> Vec<ViolationKind> {
    let record = record(observations);
    let (log, mut violations) = ReconstructedLog::build(oracle, std::slice::from_ref(&record), &[]);
    let rules = PhaseRules { gaps, targets: vec![target, target] };
    violations.extend(compare_record(&log, &record, &rules));
    violations.iter().map(|violation| violation.kind).collect()
}

fn check(oracle: &Oracle, observations: Vec<Observation>, expect: &[ViolationKind]) {
    assert_eq!(kinds(oracle, observations, GapRule::Never, at(4)), expect);
}

fn trimmed(retention_events: usize) -> GapRule {
    GapRule::Trimmed { retention_events }
}

#[test]
fn whole_history_with_cuts_has_no_violation() {
    let observations = vec![
        Observation::Opened,
        Observation::Position(at(0)),
        event(0, at(1)),
        event(1, at(2)),
        Observation::Opened,
        Observation::Position(at(2)),
        event(2, at(3)),
        event(3, at(4)),
    ];
    check(&numbered(4), observations, &[]);
}

#[test]
fn lost_event_is_found() {
    let observations = vec![Observation::Position(at(0)), event(0, at(1)), event(2, at(3)), event(3, at(4))];
    check(&numbered(4), observations, &[ViolationKind::Lost]);
}

#[test]
fn events_before_the_first_position_are_not_owed() {
    check(&numbered(4), vec![Observation::Position(at(2)), event(2, at(3)), event(3, at(4))], &[]);
}

#[test]
fn events_after_the_last_one_received_are_owed() {
    check(&numbered(4), vec![Observation::Position(at(2)), event(2, at(3))], &[ViolationKind::Lost]);
}

#[test]
fn all_history_is_owed_from_the_beginning() {
    let oracle = numbered(3);
    let mut record = record(vec![Observation::Position(at(1)), event(1, at(2)), event(2, at(3))]);
    record.is_from_beginning = true;
    let (log, _) = ReconstructedLog::build(&oracle, &[], &[]);
    let rules = PhaseRules { gaps: GapRule::Never, targets: vec![at(3); 2] };
    let violations = compare_record(&log, &record, &rules);
    assert_eq!(violations.iter().map(|violation| violation.kind).collect::<Vec<_>>(), [ViolationKind::Lost]);
    assert!(violations[0].explanation.contains("p0n0 at offset 1"), "{}", violations[0].explanation);
}

#[test]
fn duplicate_is_found() {
    let observations = vec![
        Observation::Position(at(0)),
        event(0, at(1)),
        event(1, at(2)),
        Observation::Opened,
        event(1, at(2)),
        event(2, at(3)),
        event(3, at(4)),
    ];
    check(&numbered(4), observations, &[ViolationKind::Duplicated]);
}

#[test]
fn reordered_event_is_found() {
    let observations = vec![
        Observation::Position(at(0)),
        event(0, at(1)),
        event(2, at(3)),
        event(1, at(2)),
        event(3, at(4)),
    ];
    check(&numbered(4), observations, &[ViolationKind::Reordered]);
}

#[test]
fn position_beyond_an_event_still_to_come_is_found() {
    let observations = vec![
        Observation::Position(at(0)),
        Observation::Position(at(1)),
        event(0, at(1)),
        event(1, at(2)),
        event(2, at(3)),
    ];
    check(&numbered(3), observations, &[ViolationKind::Reordered]);
}

#[test]
fn event_with_the_id_of_another_place_is_found() {
    let observations = vec![Observation::Position(at(0)), event(0, at(2))];
    assert!(kinds(&numbered(1), observations, GapRule::Never, at(1)).contains(&ViolationKind::WrongContent));
}

#[test]
fn event_of_a_foreign_channel_is_found() {
    let oracle = oracle(&[(&[OTHER], DeliveryClass::Strict, at(1))]);
    check(&oracle, vec![Observation::Position(at(0)), event(0, at(1))], &[ViolationKind::WrongContent]);
}

#[test]
fn urgent_event_may_overtake_once_and_must_come() {
    let events: &[(&[usize], DeliveryClass, LogPosition)] = &[
        (&[STRICT], DeliveryClass::Strict, at(1)),
        (&[STRICT], DeliveryClass::Strict, at(2)),
        (&[STRICT], DeliveryClass::Urgent, at(3)),
        (&[STRICT], DeliveryClass::Strict, at(4)),
    ];
    let ahead = || Observation::Event { label: label(2), position: at(1), skips: vec![3] };
    let rest = || vec![event(1, at(2)), event(3, at(4))];
    let begun = vec![Observation::Position(at(0)), event(0, at(1))];
    check(&oracle(events), [begun.clone(), vec![ahead()], rest()].concat(), &[]);
    check(&oracle(events), [begun.clone(), rest()].concat(), &[ViolationKind::Lost]);
    check(&oracle(events), [begun, vec![ahead(), ahead()], rest()].concat(), &[ViolationKind::Duplicated]);
}

#[test]
fn low_may_be_missing_and_a_key_only_where_a_newer_one_is_there() {
    let events: &[(&[usize], DeliveryClass, LogPosition)] = &[
        (&[STRICT], DeliveryClass::Low, at(1)),
        (&[STRICT], DeliveryClass::Keyed(1), at(2)),
        (&[STRICT], DeliveryClass::Keyed(1), at(3)),
        (&[STRICT], DeliveryClass::Keyed(2), at(4)),
    ];
    check(&oracle(events), vec![Observation::Position(at(0)), event(2, at(3)), event(3, at(4))], &[]);
    check(&oracle(events), vec![Observation::Position(at(0)), event(3, at(4))], &[ViolationKind::Lost]);
}

#[test]
fn unknown_event_is_owed_to_all_once_somebody_saw_it() {
    let oracle = numbered(1);
    oracle.register(label(1), vec![STRICT], DeliveryClass::Strict, None, "text");
    let witness = record(vec![Observation::Position(at(0)), event(0, at(1)), event(1, at(2))]);
    let other = record(vec![Observation::Position(at(0)), event(0, at(1)), Observation::Position(at(2))]);
    let (log, _) = ReconstructedLog::build(&oracle, &[witness], &[]);
    let rules = PhaseRules { gaps: GapRule::Never, targets: vec![at(1); 2] };
    assert_eq!(compare_record(&log, &other, &rules).len(), 0, "nothing beyond the target is owed");
    let rules = PhaseRules { gaps: GapRule::Never, targets: vec![at(2); 2] };
    assert_eq!(compare_record(&log, &other, &rules)[0].kind, ViolationKind::Lost);
}

#[test]
fn event_stored_twice_is_found() {
    let oracle = numbered(1);
    let (_, violations) = ReconstructedLog::build(&oracle, &[], &[(label(0), at(1)), (label(0), at(2))]);
    assert_eq!(violations[0].kind, ViolationKind::Duplicated);
}

#[test]
fn refused_event_that_appears_is_found() {
    let oracle = numbered(1);
    oracle.register(label(1), vec![STRICT], DeliveryClass::Strict, None, "text");
    oracle.refuse(label(1));
    let (_, violations) = ReconstructedLog::build(&oracle, &[], &[(label(1), at(2))]);
    assert_eq!(violations[0].kind, ViolationKind::WrongContent);
}

#[test]
fn gap_without_a_missing_event_is_spurious() {
    let observations = vec![Observation::Position(at(0)), gap(GapReason::Epoch, at(0), 99), event(0, at(1))];
    assert_eq!(kinds(&numbered(1), observations, GapRule::Never, at(1)), [ViolationKind::SpuriousGap]);
}

#[test]
fn loss_after_a_trim_needs_a_gap() {
    let silent = vec![Observation::Position(at(0)), event(2, at(3)), event(3, at(4))];
    let found = kinds(&numbered(4), silent, trimmed(2), at(4));
    assert_eq!(found, [ViolationKind::UnsignalledGap; 2]);
    let told = vec![
        Observation::Position(at(0)),
        gap(GapReason::Trimmed, at(2), 99),
        event(2, at(3)),
        event(3, at(4)),
    ];
    assert_eq!(kinds(&numbered(4), told, trimmed(2), at(4)), []);
}

#[test]
fn entry_that_retention_keeps_is_lost_even_after_a_gap() {
    let observations =
        vec![Observation::Position(at(0)), gap(GapReason::Trimmed, at(2), 99), event(3, at(4))];
    assert_eq!(kinds(&numbered(4), observations, trimmed(2), at(4)), [ViolationKind::Lost]);
}

#[test]
fn hole_above_an_older_entry_that_was_kept_is_no_trim() {
    let observations = vec![
        Observation::Position(at(0)),
        gap(GapReason::Trimmed, at(1), 99),
        event(1, at(2)),
        event(3, at(4)),
        event(4, at(5)),
    ];
    assert_eq!(kinds(&numbered(5), observations, trimmed(1), at(5)), [ViolationKind::UnsignalledGap]);
}

#[test]
fn gap_above_everything_that_can_have_been_trimmed_is_spurious() {
    let observations = vec![
        Observation::Position(at(2)),
        gap(GapReason::Trimmed, at(2), 99),
        event(2, at(3)),
        event(3, at(4)),
    ];
    assert_eq!(kinds(&numbered(4), observations, trimmed(2), at(4)), [ViolationKind::SpuriousGap]);
}

#[test]
fn entries_sent_after_a_gap_was_read_cannot_have_caused_it() {
    // Tick 3 is that of the fourth event. Before it the log had three entries, and one of them can have been trimmed.
    let with_gap = |cursor, tick| {
        let observations = vec![Observation::Position(at(cursor)), gap(GapReason::Trimmed, at(cursor), tick)];
        let rest = (cursor..4).map(|number| event(number, at(number + 1)));
        kinds(&numbered(4), observations.into_iter().chain(rest).collect(), trimmed(2), at(4))
    };
    assert_eq!(with_gap(0, 3), []);
    assert_eq!(with_gap(1, 3), [ViolationKind::SpuriousGap]);
    assert_eq!(with_gap(1, 99), []);
}

#[test]
fn restart_in_memory_needs_one_gap() {
    let events: &[(&[usize], DeliveryClass, LogPosition)] = &[
        (&[STRICT], DeliveryClass::Strict, in_generation(5, 1)),
        (&[STRICT], DeliveryClass::Strict, in_generation(5, 2)),
        (&[STRICT], DeliveryClass::Strict, in_generation(9, 1)),
        (&[STRICT], DeliveryClass::Strict, in_generation(9, 2)),
    ];
    let check = |observations: Vec<Observation>, expect: &[ViolationKind]| {
        assert_eq!(kinds(&oracle(events), observations, GapRule::EachEpoch, in_generation(9, 2)), expect);
    };
    let before = || {
        vec![Observation::Position(in_generation(5, 0)), event(0, in_generation(5, 1)), Observation::Opened]
    };
    let after = || vec![event(2, in_generation(9, 1)), event(3, in_generation(9, 2))];
    let told = || vec![gap(GapReason::Epoch, in_generation(9, 0), 99)];
    check([before(), told(), after()].concat(), &[]);
    check([before(), told(), told(), after()].concat(), &[]);
    check([before(), after()].concat(), &[ViolationKind::UnsignalledGap]);
    check([before(), told(), vec![event(3, in_generation(9, 2))]].concat(), &[ViolationKind::Lost]);
    check([before(), told(), after(), told()].concat(), &[ViolationKind::SpuriousGap]);
    let wrong = vec![gap(GapReason::Trimmed, in_generation(9, 0), 99)];
    check([before(), wrong, after()].concat(), &[ViolationKind::SpuriousGap]);
    check([told(), after()].concat(), &[ViolationKind::SpuriousGap]);
    // Events below the cursor of the ended generation were due as well.
    let passed = vec![Observation::Position(in_generation(5, 0)), event(1, in_generation(5, 2))];
    check([passed, told(), after()].concat(), &[ViolationKind::Lost]);
}

#[test]
fn history_is_held_against_the_same_log() {
    let oracle = numbered(4);
    let (log, _) = ReconstructedLog::build(&oracle, &[], &[]);
    let told = |numbers: &[u64]| numbers.iter().map(|&n| (label(n), at(n + 1))).collect::<Vec<_>>();
    let check = |numbers: &[u64], gaps, expect: &[ViolationKind]| {
        let rules = PhaseRules { gaps, targets: vec![at(4); 2] };
        let violations = compare_history(&log, STRICT, &told(numbers), &rules);
        assert_eq!(
            violations.iter().map(|violation| violation.kind).collect::<Vec<_>>(),
            expect,
            "{numbers:?}"
        );
    };
    check(&[0, 1, 2, 3], GapRule::Never, &[]);
    check(&[0, 2, 3], GapRule::Never, &[ViolationKind::Lost]);
    check(&[1, 2, 3], GapRule::Never, &[ViolationKind::Lost]);
    check(&[0, 2, 1, 3], GapRule::Never, &[ViolationKind::Reordered]);
    check(&[0, 1, 1, 2, 3], GapRule::Never, &[ViolationKind::Reordered, ViolationKind::Duplicated]);
    check(&[1, 2, 3], trimmed(2), &[]);
    check(&[3], trimmed(2), &[ViolationKind::Lost]);
    check(&[1, 3], trimmed(2), &[ViolationKind::Lost]);
}

#[test]
fn content_is_compared_with_the_sent_content() {
    let oracle = numbered(1);
    assert_eq!(oracle.check_content(label(0), None, "text"), Ok(()));
    assert!(oracle.check_content(label(0), Some("note"), "text").is_err());
    assert!(oracle.check_content(label(0), None, "other").is_err());
    assert!(oracle.check_content(label(1), None, "text").is_err());
}

#[test]
fn label_is_read_from_the_first_line() {
    assert_eq!(label_of("{\"p\":0,\"n\":3,\"pad\":\"x\"}\nid: 4"), Some(label(3)));
    assert_eq!(label_of("text"), None);
}
