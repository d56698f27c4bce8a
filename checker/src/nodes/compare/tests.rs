use tidings_protocol::body::GapReason;

use super::*;

const A: &str = "nodes.a";

fn label(number: u64) -> EventLabel {
    EventLabel { publisher: 0, number }
}

fn place(number: u64) -> TaggedOffset {
    TaggedOffset { offset: number + 1, tag: 7 }
}

fn at(seconds: u64) -> PhaseTime {
    PhaseTime::from_secs(seconds)
}

fn event(number: u64, second: u64) -> NodeObservation {
    NodeObservation::Event { label: label(number), place: place(number), at: at(second), node: 0 }
}

fn gap(reason: GapReason, second: u64) -> NodeObservation {
    NodeObservation::Gap {
        reason,
        channels: vec!["nodes.*".into()],
        requested: None,
        at: at(second),
        node: 1,
    }
}

fn loss(fault: &'static str, second: u64, kept: BTreeSet<TaggedOffset>) -> InjectedLoss {
    let reasons = &[GapReason::Epoch, GapReason::Diverged];
    InjectedLoss { fault, reasons, trimmed: None, begun: at(second), ended: at(second), kept }
}

/// Events 0 to 3, one a second, acknowledged by node 0 and kept, and a reader with these observations.
fn oracle(observations: Vec<NodeObservation>) -> NodesOracle {
    let sent = |number: u64| {
        let result = FinalResult::Acknowledged { place: place(number), at: at(number), node: 0 };
        (
            label(number),
            PublishedEvent {
                channels: vec![0],
                data: String::new(),
                begun: at(number),
                result,
                is_doubtful: false,
            },
        )
    };
    let entry = |number| LogRecord { place: place(number), channels: vec![A.into()], label: label(number) };
    let subscriptions = vec![Subscription::parse(A).unwrap()];
    NodesOracle {
        channels: vec![A.into()],
        published: (0..4).map(sent).collect(),
        losses: Vec::new(),
        outages: Vec::new(),
        log: (0..4).map(entry).collect(),
        readers: vec![ReaderHistory {
            reader: 0,
            subscriptions,
            begun: Some(at(0)),
            is_whole: true,
            observations,
        }],
        is_alone: false,
    }
}

/// An oracle in which second 2 lost all earlier events.
fn oracle_with_loss(observations: Vec<NodeObservation>) -> NodesOracle {
    let mut oracle = oracle(observations);
    oracle.log.drain(..2);
    oracle.losses.push(loss("FLUSHALL", 2, BTreeSet::new()));
    // An event that was begun before the loss may be lost by it.
    oracle.published.get_mut(&label(2)).unwrap().begun = at(3);
    oracle
}

#[track_caller]
fn check(oracle: &NodesOracle, expect: &[ViolationKind]) {
    let violations = oracle.compare().violations;
    let kinds: Vec<_> = violations.iter().map(|violation| violation.kind).collect();
    assert_eq!(kinds, expect, "{violations:?}");
}

fn all() -> Vec<NodeObservation> {
    (0..4).map(|number| event(number, number)).collect()
}

#[test]
fn everything_once_in_order_is_as_promised() {
    check(&oracle(all()), &[]);
}

#[test]
fn missing_duplicated_and_reordered_events_are_found() {
    let [first, second, third, fourth] = <[NodeObservation; 4]>::try_from(all()).unwrap();
    let with =
        |observations: &[&NodeObservation]| oracle(observations.iter().map(|it| (*it).clone()).collect());
    check(&with(&[&first, &third, &fourth]), &[ViolationKind::Lost]);
    check(&with(&[&first, &second, &second, &third, &fourth]), &[ViolationKind::Duplicated]);
    check(&with(&[&first, &third, &second, &fourth]), &[ViolationKind::Reordered]);
}

#[test]
fn log_that_differs_from_the_responses_is_found() {
    let mut without = oracle(vec![]);
    without.readers.clear();
    without.log.remove(1);
    check(&without, &[ViolationKind::Lost]);
    let mut refused = oracle(vec![]);
    refused.readers.clear();
    refused.published.get_mut(&label(1)).unwrap().result = FinalResult::NotStored;
    check(&refused, &[ViolationKind::WrongContent]);
    let mut twice = oracle(all());
    twice.log.push(LogRecord { place: place(4), ..twice.log[3].clone() });
    assert!(twice.compare().violations.iter().any(|violation| violation.kind == ViolationKind::Duplicated));
}

#[test]
fn repeat_may_land_late_where_an_attempt_was_not_answered_and_its_first_was_lost() {
    // Event 0 was lost, and its retry is stored behind all others.
    let late = |is_doubtful| {
        let mut oracle = oracle_with_loss(vec![]);
        oracle.readers.clear();
        oracle.log.push(LogRecord { place: place(9), channels: vec![A.into()], label: label(0) });
        oracle.published.get_mut(&label(0)).unwrap().is_doubtful = is_doubtful;
        oracle
    };
    assert_eq!(late(true).compare_log().len(), 0);
    assert_eq!(late(false).compare_log()[0].kind, ViolationKind::Reordered);
    let mut without_loss = late(true);
    without_loss.losses.clear();
    assert!(without_loss.compare_log().iter().any(|violation| violation.kind == ViolationKind::Reordered));
}

#[test]
fn gap_without_a_loss_is_found() {
    let mut observations = all();
    observations.insert(2, gap(GapReason::Epoch, 1));
    check(&oracle(observations.clone()), &[ViolationKind::SpuriousGap]);
    // The loss comes later.
    let mut later = oracle(observations);
    later.losses.push(loss("", 9, (0..4).map(place).collect()));
    check(&later, &[ViolationKind::SpuriousGap]);
}

#[test]
fn loss_is_reported_once_and_by_a_gap_with_a_reason_of_losses() {
    let [first, second, third, fourth] = <[NodeObservation; 4]>::try_from(all()).unwrap();
    let with = |gaps: &[NodeObservation]| {
        let mut observations = vec![first.clone(), second.clone()];
        observations.extend_from_slice(gaps);
        observations.extend([third.clone(), fourth.clone()]);
        oracle_with_loss(observations)
    };
    check(&with(&[gap(GapReason::Epoch, 2)]), &[]);
    check(&with(&[gap(GapReason::Trimmed, 2)]), &[ViolationKind::SpuriousGap]);
    check(&with(&[]), &[ViolationKind::UnsignalledGap, ViolationKind::UnsignalledGap]);
    let again = with(&[gap(GapReason::Epoch, 2), gap(GapReason::Epoch, 3), gap(GapReason::Epoch, 4)]);
    assert_eq!(again.compare().again, 1);
    check(&with(&[gap(GapReason::Epoch, 3), gap(GapReason::Epoch, 20)]), &[ViolationKind::SpuriousGap]);
}

#[test]
fn reader_due_to_receive_a_lost_event_gets_a_gap_unless_no_node_knows() {
    let mut oracle = oracle_with_loss(vec![event(2, 3), event(3, 3)]);
    check(&oracle, &[ViolationKind::UnsignalledGap, ViolationKind::UnsignalledGap]);
    oracle.outages.push(NodeOutage { node: 0, begun: at(2), keeps_memory: true });
    assert_eq!(oracle.compare().due, 2);
    oracle.outages.push(NodeOutage { node: 0, begun: at(2), keeps_memory: false });
    check(&oracle, &[]);
}

#[test]
fn lost_event_that_is_sent_again_repeats_only_after_a_gap() {
    let mut oracle = oracle_with_loss(vec![event(0, 0), event(1, 1), event(2, 3), event(3, 3)]);
    oracle.log.push(LogRecord { place: place(4), channels: vec![A.into()], label: label(1) });
    let again = NodeObservation::Event { label: label(1), place: place(4), at: at(4), node: 0 };
    let observations = &mut oracle.readers[0].observations;
    observations.push(again);
    observations.insert(4, gap(GapReason::Diverged, 3));
    oracle.published.get_mut(&label(1)).unwrap().result =
        FinalResult::Acknowledged { place: place(4), at: at(4), node: 0 };
    // Its first copy was lost, so its second may stand after later events.
    let kinds = |oracle: &NodesOracle| {
        oracle.compare().violations.iter().map(|violation| violation.kind).collect::<Vec<_>>()
    };
    assert!(!kinds(&oracle).contains(&ViolationKind::Duplicated));
    oracle.readers[0].observations.remove(4);
    assert!(kinds(&oracle).contains(&ViolationKind::Duplicated));
}

/// An oracle in which second 2 trimmed the first two events.
fn oracle_with_trim(observations: Vec<NodeObservation>) -> NodesOracle {
    let mut oracle = oracle_with_loss(observations);
    let loss = &mut oracle.losses[0];
    (loss.trimmed, loss.reasons) = (Some(2), &[GapReason::Trimmed]);
    oracle
}

fn gap_after(reason: GapReason, offset: u64, second: u64) -> NodeObservation {
    let requested = Some(format!("00000000000000aa-{offset}-00000007"));
    NodeObservation::Gap { reason, channels: vec!["nodes.*".into()], requested, at: at(second), node: 1 }
}

#[test]
fn trim_is_reported_to_readers_that_lack_its_events_and_to_earlier_ids() {
    let [first, second, third, fourth] = <[NodeObservation; 4]>::try_from(all()).unwrap();
    let with = |observations: &[&NodeObservation]| {
        oracle_with_trim(observations.iter().map(|it| (*it).clone()).collect())
    };
    let trimmed = gap_after(GapReason::Trimmed, 1, 2);
    check(&with(&[&first, &second, &third, &fourth]), &[]);
    check(&with(&[&first, &trimmed, &third, &fourth]), &[]);
    check(&with(&[&first, &third, &fourth]), &[ViolationKind::UnsignalledGap]);
    // An id from after the trim lacks no event, and a trim is no new epoch.
    let late = gap_after(GapReason::Trimmed, 2, 2);
    check(&with(&[&first, &second, &late, &third, &fourth]), &[ViolationKind::SpuriousGap]);
    let epoch = gap_after(GapReason::Epoch, 1, 2);
    check(&with(&[&first, &epoch, &third, &fourth]), &[ViolationKind::SpuriousGap]);
}

#[test]
fn loss_after_a_trim_is_reported_to_readers_that_had_the_trimmed_events() {
    let mut oracle = oracle_with_trim(all());
    // Event 2 came after the trim, and then all events were lost.
    oracle.log.remove(0);
    oracle.losses.push(loss("FLUSHALL", 3, BTreeSet::new()));
    oracle.published.get_mut(&label(3)).unwrap().begun = at(4);
    check(&oracle, &[ViolationKind::UnsignalledGap]);
    oracle.readers[0].observations.insert(3, gap(GapReason::Epoch, 3));
    check(&oracle, &[]);
}

#[test]
fn node_that_is_alone_tells_each_loss_first_and_once() {
    let [first, second, third, fourth] = <[NodeObservation; 4]>::try_from(all()).unwrap();
    let (third, fourth) = match (third, fourth) {
        (
            NodeObservation::Event { label: l3, place: p3, .. },
            NodeObservation::Event { label: l4, place: p4, .. },
        ) => (
            NodeObservation::Event { label: l3, place: p3, at: at(4), node: 0 },
            NodeObservation::Event { label: l4, place: p4, at: at(4), node: 0 },
        ),
        _ => unreachable!("all are events"),
    };
    let with = |observations: &[&NodeObservation]| {
        let observations = observations.iter().map(|it| (*it).clone()).collect();
        NodesOracle { is_alone: true, ..oracle_with_loss(observations) }
    };
    let told = gap(GapReason::Epoch, 3);
    check(&with(&[&first, &second, &told, &third, &fourth]), &[]);
    check(&with(&[&first, &second, &told, &told, &third, &fourth]), &[]);
    check(&with(&[&first, &second, &third, &told, &fourth]), &[ViolationKind::UnsignalledGap]);
    let again = gap(GapReason::Epoch, 5);
    check(&with(&[&first, &second, &told, &third, &again, &fourth]), &[ViolationKind::SpuriousGap]);
    // A change of durability is never reported as a trim.
    let trimmed = gap(GapReason::Trimmed, 3);
    check(&with(&[&first, &second, &trimmed, &third, &fourth]), &[ViolationKind::SpuriousGap]);
}
