use super::*;

const STRICT: DeliveryClass = DeliveryClass::Strict;

/// Name, rule, number of events, observations and violations.
type TrimCase = (&'static str, LossRule, u64, Vec<Observation>, &'static [ViolationKind]);

fn trimmed(retention_events: usize) -> LossRule {
    LossRule::Trimmed { retention_events }
}

/// A reader's events by number, each with the position of the log.
fn events(numbers: &[u64]) -> Vec<Observation> {
    numbers.iter().map(|&number| event(number, offset(number + 1))).collect()
}

fn after(cursor: u64, numbers: &[u64]) -> Vec<Observation> {
    [vec![position(offset(cursor))], events(numbers)].concat()
}

#[test]
fn events_are_received_once_and_in_order() {
    use ViolationKind::{Duplicated, Lost, Reordered};
    let cases: [(&str, Vec<Observation>, &[ViolationKind]); 8] = [
        ("whole", [after(0, &[0, 1]), after(2, &[2, 3])].concat(), &[]),
        ("a hole", after(0, &[0, 2, 3]), &[Lost]),
        ("events before the first position are not due", after(2, &[2, 3]), &[]),
        ("events after the last one received are due", after(2, &[2]), &[Lost]),
        ("a repeat after a cut", after(0, &[0, 1, 1, 2, 3]), &[Duplicated]),
        ("another order", after(0, &[0, 2, 1, 3]), &[Reordered]),
        (
            "a position above an event to come",
            [after(0, &[]), after(1, &[0, 1, 2, 3])].concat(),
            &[Reordered],
        ),
        ("a position below the cursor", [after(0, &[0, 1]), after(1, &[2, 3])].concat(), &[Reordered]),
    ];
    for (case, observations, expect) in cases {
        check(case, &numbered(4, LossRule::Never, observations), expect);
    }
}

#[test]
fn all_history_is_due_from_the_beginning() {
    let mut oracle = numbered(3, LossRule::Never, after(1, &[1, 2]));
    oracle.readers[0].begun = Some(PhaseTime::ZERO);
    check("from the beginning", &oracle, &[ViolationKind::Lost]);
    let text = &oracle.compare().violations[0].explanation;
    assert!(text.contains("p0n0 at 1-00000007"), "{text}");
}

#[test]
fn wrong_positions_channels_and_refused_events_are_found() {
    let moved = numbered(1, LossRule::Never, vec![position(offset(0)), event(0, offset(2))]);
    assert!(kinds(&moved).contains(&ViolationKind::WrongContent), "the id of another position");
    let foreign = oracle(&[(B, STRICT, offset(1))], LossRule::Never, after(0, &[0]));
    check("another channel", &foreign, &[ViolationKind::WrongContent]);
    let mut refused = numbered(1, LossRule::Never, after(0, &[0]));
    refused.log.clear();
    refused.sent.get_mut(&label(0)).unwrap().result = PublishResult::NotStored;
    assert!(kinds(&refused).contains(&ViolationKind::WrongContent), "a refused event");
}

#[test]
fn urgent_event_may_overtake_once_and_must_come() {
    let urgent = DeliveryClass::Urgent;
    let sent =
        [(A, STRICT, offset(1)), (A, STRICT, offset(2)), (A, urgent, offset(3)), (A, STRICT, offset(4))];
    let ahead = observation(0, ObservedItem::Event { label: label(2), position: offset(1), skips: vec![3] });
    let cases: [(usize, &[ViolationKind]); 3] =
        [(1, &[]), (0, &[ViolationKind::Lost]), (2, &[ViolationKind::Duplicated])];
    for (count, expect) in cases {
        let observations = [after(0, &[0]), vec![ahead.clone(); count], events(&[1, 3])].concat();
        check(&format!("{count} times"), &oracle(&sent, LossRule::Never, observations), expect);
    }
}

#[test]
fn low_may_be_missing_and_a_key_only_if_a_newer_one_came() {
    let keyed = DeliveryClass::Keyed;
    let sent = [
        (A, DeliveryClass::Low, offset(1)),
        (A, keyed(1), offset(2)),
        (A, keyed(1), offset(3)),
        (A, keyed(2), offset(4)),
    ];
    check("both keys", &oracle(&sent, LossRule::Never, after(0, &[2, 3])), &[]);
    check("one key", &oracle(&sent, LossRule::Never, after(0, &[3])), &[ViolationKind::Lost]);
}

#[test]
fn unknown_event_is_due_to_all_readers_once_one_received_it() {
    let mut oracle = numbered(1, LossRule::Never, after(0, &[0, 1]));
    oracle.sent.insert(label(1), sent(A, STRICT, 1, PublishResult::Unknown));
    oracle.log.push(record(1, offset(2)));
    oracle.readers.push(reader([after(0, &[0]), after(2, &[])].concat()));
    // The other reader's cursor passed it.
    check("passed", &oracle, &[ViolationKind::Lost]);
    oracle.readers[1] = reader(after(0, &[0]));
    check("beyond the closing events", &oracle, &[]);
    oracle.closing = vec![label(1)];
    check("closing event", &oracle, &[ViolationKind::Lost]);
}

#[test]
fn missing_events_need_a_gap_after_a_trim() {
    use ViolationKind::{Lost, SpuriousGap, UnsignalledGap};
    let with_gap = |cursor: u64, resumed_at: u64, numbers: &[u64]| {
        let gap = gap(GapReason::Trimmed, offset(resumed_at), 99);
        [vec![position(offset(cursor)), gap], events(numbers)].concat()
    };
    let cases: [TrimCase; 6] = [
        ("never", LossRule::Never, 1, with_gap(0, 0, &[0]), &[SpuriousGap]),
        ("silent", trimmed(2), 4, after(0, &[2, 3]), &[UnsignalledGap; 2]),
        ("reported", trimmed(2), 4, with_gap(0, 2, &[2, 3]), &[]),
        ("an entry that retention keeps", trimmed(2), 4, with_gap(0, 2, &[3]), &[Lost]),
        ("a hole above an older entry", trimmed(1), 5, with_gap(0, 1, &[1, 3, 4]), &[UnsignalledGap]),
        ("above each entry that can be trimmed", trimmed(2), 4, with_gap(2, 2, &[2, 3]), &[SpuriousGap]),
    ];
    for (case, rule, count, observations, expect) in cases {
        check(case, &numbered(count, rule, observations), expect);
    }
}

#[test]
fn entries_sent_after_a_gap_was_read_cannot_have_caused_it() {
    // The fourth event is sent in second 3. Before it the log had three entries, and one of them can have been trimmed.
    let cases: [(u64, u64, &[ViolationKind]); 3] =
        [(0, 3, &[]), (1, 3, &[ViolationKind::SpuriousGap]), (1, 99, &[])];
    for (cursor, read_at, expect) in cases {
        let gap = gap(GapReason::Trimmed, offset(cursor), read_at);
        let rest: Vec<u64> = (cursor..4).collect();
        let observations = [vec![position(offset(cursor)), gap], events(&rest)].concat();
        check(&format!("{cursor} {read_at}"), &numbered(4, trimmed(2), observations), expect);
    }
}

#[test]
fn restart_in_memory_needs_one_gap() {
    use ViolationKind::{Lost, SpuriousGap, UnsignalledGap};
    let sent = [(5, 1), (5, 2), (9, 1), (9, 2)];
    let sent = sent.map(|(generation, offset)| (A, STRICT, in_generation(generation, offset)));
    let before = || vec![position(in_generation(5, 0)), event(0, in_generation(5, 1))];
    let after = || vec![event(2, in_generation(9, 1)), event(3, in_generation(9, 2))];
    let gap = |reason| vec![gap(reason, in_generation(9, 0), 99)];
    let epoch = || gap(GapReason::Epoch);
    let passed = vec![position(in_generation(5, 0)), event(1, in_generation(5, 2))];
    let cases: [(&str, Vec<Observation>, &[ViolationKind]); 8] = [
        ("reported", [before(), epoch(), after()].concat(), &[]),
        ("cut after the gap", [before(), epoch(), epoch(), after()].concat(), &[]),
        ("silent", [before(), after()].concat(), &[UnsignalledGap]),
        ("a hole", [before(), epoch(), vec![event(3, in_generation(9, 2))]].concat(), &[Lost]),
        ("again", [before(), epoch(), after(), epoch()].concat(), &[SpuriousGap]),
        ("reason", [before(), gap(GapReason::Trimmed), after()].concat(), &[SpuriousGap]),
        ("without an id", [epoch(), after()].concat(), &[SpuriousGap]),
        ("a hole below the last id of the ended epoch", [passed, epoch(), after()].concat(), &[Lost]),
    ];
    for (case, observations, expect) in cases {
        check(case, &oracle(&sent, LossRule::EachEpoch, observations), expect);
    }
}
