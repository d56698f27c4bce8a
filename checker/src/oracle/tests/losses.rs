use super::*;

/// Events 0 to 3, one a second, of which the log keeps all.
fn without_loss(observations: Vec<Observation>) -> Oracle {
    let mut oracle = numbered(4, LossRule::Injected { is_alone: false }, observations);
    oracle.readers[0].begun = Some(second(0));
    oracle
}

fn loss(fault: &'static str, seconds: u64, kept: BTreeSet<LogPosition>) -> InjectedLoss {
    let reasons = &[GapReason::Epoch, GapReason::Diverged];
    let (begun, ended) = (second(seconds), second(seconds));
    InjectedLoss { fault, reasons, trimmed: None, begun, ended, kept }
}

/// Second 2 lost all earlier events.
pub(super) fn with_loss(observations: Vec<Observation>) -> Oracle {
    let mut oracle = without_loss(observations);
    oracle.log.drain(..2);
    oracle.losses.push(loss("FLUSHALL", 2, BTreeSet::new()));
    // An event that was begun before the loss may be lost by it.
    oracle.sent.get_mut(&label(2)).unwrap().begun = second(3);
    oracle
}

/// Second 2 trimmed the first two events.
fn with_trim(observations: Vec<Observation>) -> Oracle {
    let mut oracle = with_loss(observations);
    let loss = &mut oracle.losses[0];
    (loss.trimmed, loss.reasons) = (Some(2), &[GapReason::Trimmed]);
    oracle
}

/// Event of this number, received in this second.
fn received(number: u64, seconds: u64) -> Observation {
    Observation { at: second(seconds), ..event(number, offset(number + 1)) }
}

/// All events, each in the second of its publish; item `at` is replaced by others.
fn all_with(at: std::ops::Range<usize>, others: &[Observation]) -> Vec<Observation> {
    let mut all: Vec<_> = (0..4).map(|number| received(number, number)).collect();
    all.splice(at, others.iter().cloned());
    all
}

fn reported(reason: GapReason, seconds: u64) -> Observation {
    gap(reason, offset(0), seconds)
}

/// A gap for an id with this offset, in second 2.
fn gap_after(reason: GapReason, offset: u64) -> Observation {
    let mut observation = reported(reason, 2);
    let ObservedItem::Gap(gap) = &mut observation.item else { unreachable!("it is a gap") };
    gap.requested = Some(format!("00000000000000aa-{offset}-00000007"));
    observation
}

#[test]
fn events_are_received_once_and_in_order() {
    use ViolationKind::{Duplicated, Lost, Reordered};
    let (second, third) = (received(1, 1), received(2, 2));
    check("all", &without_loss(all_with(0..0, &[])), &[]);
    check("missing", &without_loss(all_with(1..2, &[])), &[Lost]);
    check("twice", &without_loss(all_with(1..2, &[second.clone(), second.clone()])), &[Duplicated]);
    check("reordered", &without_loss(all_with(1..3, &[third, second])), &[Reordered]);
}

#[test]
fn gap_without_a_loss_is_found() {
    let observations = all_with(2..2, &[reported(GapReason::Epoch, 1)]);
    check("no loss", &without_loss(observations.clone()), &[ViolationKind::SpuriousGap]);
    let mut later = without_loss(observations);
    later.losses.push(loss("", 9, (1..5).map(offset).collect()));
    check("a later loss", &later, &[ViolationKind::SpuriousGap]);
}

#[test]
fn loss_is_reported_once_and_by_a_gap_with_a_reason_of_losses() {
    use ViolationKind::{SpuriousGap, UnsignalledGap};
    let with = |gaps: &[Observation]| with_loss(all_with(2..2, gaps));
    let epoch = |seconds| reported(GapReason::Epoch, seconds);
    check("once", &with(&[epoch(2)]), &[]);
    check("reason", &with(&[reported(GapReason::Trimmed, 2)]), &[SpuriousGap]);
    check("silent", &with(&[]), &[UnsignalledGap, UnsignalledGap]);
    assert_eq!(with(&[epoch(2), epoch(3), epoch(4)]).compare().again, 1);
    check("long after", &with(&[epoch(3), epoch(20)]), &[SpuriousGap]);
}

#[test]
fn reader_due_to_receive_a_lost_event_gets_a_gap_unless_no_node_knows() {
    let mut oracle = with_loss(vec![received(2, 3), received(3, 3)]);
    check("silent", &oracle, &[ViolationKind::UnsignalledGap, ViolationKind::UnsignalledGap]);
    oracle.outages.push(NodeOutage { node: 0, begun: second(2), keeps_memory: true });
    assert_eq!(oracle.compare().due, 2);
    oracle.outages.push(NodeOutage { node: 0, begun: second(2), keeps_memory: false });
    check("the node was killed", &oracle, &[]);
}

#[test]
fn lost_event_that_is_sent_again_repeats_only_after_a_gap() {
    let mut oracle = with_loss(vec![received(0, 0), received(1, 1), received(2, 3), received(3, 3)]);
    oracle.log.push(record(1, offset(5)));
    let again = Observation { at: second(4), ..event(1, offset(5)) };
    oracle.readers[0].observations.extend([reported(GapReason::Diverged, 3), again]);
    oracle.sent.get_mut(&label(1)).unwrap().result = acknowledged(offset(5), 4);
    // Its first copy was lost, so its second may stand after later events.
    assert!(!kinds(&oracle).contains(&ViolationKind::Duplicated));
    oracle.readers[0].observations.remove(4);
    assert!(kinds(&oracle).contains(&ViolationKind::Duplicated));
}

#[test]
fn trim_is_reported_to_readers_that_lack_its_events_and_to_earlier_ids() {
    use ViolationKind::{SpuriousGap, UnsignalledGap};
    let earlier = gap_after(GapReason::Trimmed, 1);
    check("all", &with_trim(all_with(0..0, &[])), &[]);
    check("reported", &with_trim(all_with(1..2, &[earlier])), &[]);
    check("silent", &with_trim(all_with(1..2, &[])), &[UnsignalledGap]);
    // An id from after the trim lacks no event, and a trim is no new epoch.
    let late = gap_after(GapReason::Trimmed, 2);
    check("a later id", &with_trim(all_with(2..2, &[late])), &[SpuriousGap]);
    let epoch = gap_after(GapReason::Epoch, 1);
    check("reason", &with_trim(all_with(1..2, &[epoch])), &[SpuriousGap]);
}

#[test]
fn loss_after_a_trim_is_reported_to_readers_that_had_the_trimmed_events() {
    let mut oracle = with_trim(all_with(0..0, &[]));
    // Event 2 came after the trim, and then all events were lost.
    oracle.log.remove(0);
    oracle.losses.push(loss("FLUSHALL", 3, BTreeSet::new()));
    oracle.sent.get_mut(&label(3)).unwrap().begun = second(4);
    check("silent", &oracle, &[ViolationKind::UnsignalledGap]);
    oracle.readers[0].observations.insert(3, reported(GapReason::Epoch, 3));
    check("reported", &oracle, &[]);
}

#[test]
fn node_that_is_alone_reports_each_loss_first_and_once() {
    use ViolationKind::{SpuriousGap, UnsignalledGap};
    let (third, fourth) = (received(2, 4), received(3, 4));
    let epoch = |seconds| reported(GapReason::Epoch, seconds);
    let trimmed = reported(GapReason::Trimmed, 3);
    let cases: [(&str, Vec<Observation>, &[ViolationKind]); 5] = [
        ("once", vec![epoch(3), third.clone(), fourth.clone()], &[]),
        ("cut after the gap", vec![epoch(3), epoch(3), third.clone(), fourth.clone()], &[]),
        ("after an event", vec![third.clone(), epoch(3), fourth.clone()], &[UnsignalledGap]),
        ("again", vec![epoch(3), third.clone(), epoch(5), fourth.clone()], &[SpuriousGap]),
        // A change of durability is never reported as a trim.
        ("reason", vec![trimmed, third, fourth], &[SpuriousGap]),
    ];
    for (case, rest, expect) in cases {
        let mut oracle = with_loss(all_with(2..4, &rest));
        oracle.rule = LossRule::Injected { is_alone: true };
        check(case, &oracle, expect);
    }
}
