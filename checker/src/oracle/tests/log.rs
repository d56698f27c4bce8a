use super::*;

#[test]
fn log_is_compared_with_the_acknowledged_events() {
    use ViolationKind::Lost;
    let trimmed = LossRule::Trimmed { retention_events: 2 };
    let cases: [(LossRule, &[u64], &[ViolationKind]); 6] = [
        (LossRule::Never, &[0, 1, 2, 3], &[]),
        (LossRule::Never, &[0, 2, 3], &[Lost]),
        (LossRule::Never, &[1, 2, 3], &[Lost]),
        (trimmed, &[1, 2, 3], &[]),
        (trimmed, &[3], &[Lost]),
        (trimmed, &[1, 3], &[Lost]),
    ];
    for (rule, kept, expect) in cases {
        let mut oracle = numbered(4, rule, vec![]);
        oracle.readers.clear();
        oracle.log.retain(|record| kept.contains(&record.label.number));
        check(&format!("{rule:?} {kept:?}"), &oracle, expect);
    }
}

#[test]
fn log_that_differs_from_the_responses_is_found() {
    let without_readers = || {
        let mut oracle = numbered(2, LossRule::Injected { is_alone: false }, vec![]);
        oracle.readers.clear();
        oracle
    };
    let mut refused = without_readers();
    refused.sent.get_mut(&label(1)).unwrap().result = PublishResult::NotStored;
    check("refused and stored", &refused, &[ViolationKind::WrongContent]);
    let mut twice = without_readers();
    twice.log.push(record(1, offset(3)));
    check("stored twice", &twice, &[ViolationKind::Duplicated]);
    let mut elsewhere = without_readers();
    elsewhere.log[1].position = offset(3);
    assert!(kinds(&elsewhere).contains(&ViolationKind::Duplicated), "acknowledged at another position");
    let mut missing = without_readers();
    missing.log.remove(1);
    check("missing", &missing, &[ViolationKind::Lost]);
    let mut foreign = without_readers();
    foreign.log[1].channels.push(NAMES[B].into());
    check("in the history of another channel", &foreign, &[ViolationKind::WrongContent]);
    let mut unsent = without_readers();
    unsent.unsent.push(record(9, offset(3)));
    check("never sent", &unsent, &[ViolationKind::WrongContent]);
    let mut reordered = without_readers();
    reordered.log.swap(0, 1);
    check("a publisher's events in another order", &reordered, &[ViolationKind::Reordered]);
}

#[test]
fn events_that_share_a_position_or_an_offset_are_found() {
    for tag in [7, 8] {
        let mut oracle = numbered(2, LossRule::Never, vec![]);
        oracle.readers.clear();
        let position = LogPosition { tag, ..offset(1) };
        oracle.sent.get_mut(&label(1)).unwrap().result = acknowledged(position, 1);
        oracle.log[1].position = position;
        check(&format!("tag {tag}"), &oracle, &[ViolationKind::WrongContent]);
    }
}

#[test]
fn repeat_may_land_late_if_an_attempt_was_not_answered_and_its_first_was_lost() {
    // Event 0 was lost, and its retry is stored behind all others.
    let late = |is_doubtful| {
        let mut oracle = losses::with_loss(vec![]);
        oracle.readers.clear();
        oracle.log.push(record(0, offset(10)));
        oracle.sent.get_mut(&label(0)).unwrap().is_doubtful = is_doubtful;
        oracle
    };
    check("unanswered", &late(true), &[]);
    check("answered", &late(false), &[ViolationKind::Reordered]);
    let mut without_loss = late(true);
    without_loss.losses.clear();
    assert!(kinds(&without_loss).contains(&ViolationKind::Reordered));
}
