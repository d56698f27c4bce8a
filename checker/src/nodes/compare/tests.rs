use tidings_protocol::body::GapReason;

use super::*;

const A: &str = "nodes.a";

fn label(number: u64) -> Label {
    Label { publisher: 0, number }
}

fn place(number: u64) -> Place {
    Place { offset: number + 1, tag: 7 }
}

fn at(seconds: u64) -> Moment {
    Moment::from_secs(seconds)
}

fn event(number: u64, second: u64) -> Seen {
    Seen::Event { label: label(number), place: place(number), at: at(second), node: 0 }
}

fn gap(reason: GapReason, second: u64) -> Seen {
    Seen::Gap { reason, channels: vec!["nodes.*".into()], requested: None, at: at(second), node: 1 }
}

fn loss(what: &'static str, second: u64, kept: BTreeSet<Place>) -> Loss {
    let reasons = &[GapReason::Epoch, GapReason::Diverged];
    Loss { what, reasons, trimmed: None, begun: at(second), ended: at(second), kept }
}

/// Events 0 to 3, one a second, acknowledged by node 0 and kept, and a reader that saw this.
fn truth(seen: Vec<Seen>) -> Truth {
    let sent = |number: u64| {
        let fate = Fate::Acknowledged { place: place(number), at: at(number), node: 0 };
        (
            label(number),
            Sent { channels: vec![0], data: String::new(), begun: at(number), fate, is_doubtful: false },
        )
    };
    let entry = |number| Entry { place: place(number), channels: vec![A.into()], label: label(number) };
    let subscriptions = vec![Subscription::parse(A).unwrap()];
    Truth {
        channels: vec![A.into()],
        sent: (0..4).map(sent).collect(),
        losses: Vec::new(),
        absences: Vec::new(),
        log: (0..4).map(entry).collect(),
        records: vec![Record { reader: 0, subscriptions, begun: Some(at(0)), is_whole: true, seen }],
        is_alone: false,
    }
}

/// The same, where all before second 2 was lost then.
fn truth_with_loss(seen: Vec<Seen>) -> Truth {
    let mut truth = truth(seen);
    truth.log.drain(..2);
    truth.losses.push(loss("FLUSHALL", 2, BTreeSet::new()));
    // What was begun before the loss may be lost by it.
    truth.sent.get_mut(&label(2)).unwrap().begun = at(3);
    truth
}

#[track_caller]
fn check(truth: &Truth, expect: &[FaultKind]) {
    let faults = truth.compare().faults;
    let kinds: Vec<_> = faults.iter().map(|fault| fault.kind).collect();
    assert_eq!(kinds, expect, "{faults:?}");
}

fn all() -> Vec<Seen> {
    (0..4).map(|number| event(number, number)).collect()
}

#[test]
fn everything_once_in_order_is_as_promised() {
    check(&truth(all()), &[]);
}

#[test]
fn what_is_missing_doubled_or_out_of_order_is_found() {
    let [first, second, third, fourth] = <[Seen; 4]>::try_from(all()).unwrap();
    let with = |seen: &[&Seen]| truth(seen.iter().map(|it| (*it).clone()).collect());
    check(&with(&[&first, &third, &fourth]), &[FaultKind::Lost]);
    check(&with(&[&first, &second, &second, &third, &fourth]), &[FaultKind::Duplicated]);
    check(&with(&[&first, &third, &second, &fourth]), &[FaultKind::Reordered]);
}

#[test]
fn log_that_is_not_what_was_answered_is_found() {
    let mut without = truth(vec![]);
    without.records.clear();
    without.log.remove(1);
    check(&without, &[FaultKind::Lost]);
    let mut refused = truth(vec![]);
    refused.records.clear();
    refused.sent.get_mut(&label(1)).unwrap().fate = Fate::NotStored;
    check(&refused, &[FaultKind::WrongContent]);
    let mut twice = truth(all());
    twice.log.push(Entry { place: place(4), ..twice.log[3].clone() });
    assert!(twice.compare().faults.iter().any(|fault| fault.kind == FaultKind::Duplicated));
}

#[test]
fn repeat_may_land_late_where_an_attempt_was_not_answered_and_its_first_was_lost() {
    // Event 0 was lost, and a repeat of it lands behind all others.
    let late = |is_doubtful| {
        let mut truth = truth_with_loss(vec![]);
        truth.records.clear();
        truth.log.push(Entry { place: place(9), channels: vec![A.into()], label: label(0) });
        truth.sent.get_mut(&label(0)).unwrap().is_doubtful = is_doubtful;
        truth
    };
    assert_eq!(late(true).compare_log().len(), 0);
    assert_eq!(late(false).compare_log()[0].kind, FaultKind::Reordered);
    let mut without_loss = late(true);
    without_loss.losses.clear();
    assert!(without_loss.compare_log().iter().any(|fault| fault.kind == FaultKind::Reordered));
}

#[test]
fn gap_without_a_loss_is_found() {
    let mut seen = all();
    seen.insert(2, gap(GapReason::Epoch, 1));
    check(&truth(seen.clone()), &[FaultKind::SpuriousGap]);
    // A loss comes later.
    let mut later = truth(seen);
    later.losses.push(loss("", 9, (0..4).map(place).collect()));
    check(&later, &[FaultKind::SpuriousGap]);
}

#[test]
fn loss_is_told_once_and_by_nothing_but_a_gap_that_speaks_of_losses() {
    let [first, second, third, fourth] = <[Seen; 4]>::try_from(all()).unwrap();
    let with = |gaps: &[Seen]| {
        let mut seen = vec![first.clone(), second.clone()];
        seen.extend_from_slice(gaps);
        seen.extend([third.clone(), fourth.clone()]);
        truth_with_loss(seen)
    };
    check(&with(&[gap(GapReason::Epoch, 2)]), &[]);
    check(&with(&[gap(GapReason::Trimmed, 2)]), &[FaultKind::SpuriousGap]);
    check(&with(&[]), &[FaultKind::UnsignalledGap, FaultKind::UnsignalledGap]);
    let again = with(&[gap(GapReason::Epoch, 2), gap(GapReason::Epoch, 3), gap(GapReason::Epoch, 4)]);
    assert_eq!(again.compare().again, 1);
    check(&with(&[gap(GapReason::Epoch, 3), gap(GapReason::Epoch, 20)]), &[FaultKind::SpuriousGap]);
}

#[test]
fn who_was_to_get_what_was_lost_is_told_unless_nobody_knows() {
    let mut truth = truth_with_loss(vec![event(2, 3), event(3, 3)]);
    check(&truth, &[FaultKind::UnsignalledGap, FaultKind::UnsignalledGap]);
    truth.absences.push(Absence { node: 0, begun: at(2), is_remembered: true });
    assert_eq!(truth.compare().due, 2);
    truth.absences.push(Absence { node: 0, begun: at(2), is_remembered: false });
    check(&truth, &[]);
}

#[test]
fn what_was_lost_and_sent_again_comes_again_only_after_a_gap() {
    let mut truth = truth_with_loss(vec![event(0, 0), event(1, 1), event(2, 3), event(3, 3)]);
    truth.log.push(Entry { place: place(4), channels: vec![A.into()], label: label(1) });
    let again = Seen::Event { label: label(1), place: place(4), at: at(4), node: 0 };
    let seen = &mut truth.records[0].seen;
    seen.push(again);
    seen.insert(4, gap(GapReason::Diverged, 3));
    truth.sent.get_mut(&label(1)).unwrap().fate = Fate::Acknowledged { place: place(4), at: at(4), node: 0 };
    // Its first answer was lost with it, so it is no fault that it stands after those that were sent later.
    let kinds = |truth: &Truth| truth.compare().faults.iter().map(|fault| fault.kind).collect::<Vec<_>>();
    assert!(!kinds(&truth).contains(&FaultKind::Duplicated));
    truth.records[0].seen.remove(4);
    assert!(kinds(&truth).contains(&FaultKind::Duplicated));
}

/// The same, where the first two events were trimmed at second 2.
fn truth_with_trim(seen: Vec<Seen>) -> Truth {
    let mut truth = truth_with_loss(seen);
    let loss = &mut truth.losses[0];
    (loss.trimmed, loss.reasons) = (Some(2), &[GapReason::Trimmed]);
    truth
}

fn gap_after(reason: GapReason, offset: u64, second: u64) -> Seen {
    let requested = Some(format!("00000000000000aa-{offset}-00000007"));
    Seen::Gap { reason, channels: vec!["nodes.*".into()], requested, at: at(second), node: 1 }
}

#[test]
fn trim_is_told_to_readers_that_lack_what_it_took_and_to_ids_from_before() {
    let [first, second, third, fourth] = <[Seen; 4]>::try_from(all()).unwrap();
    let with = |seen: &[&Seen]| truth_with_trim(seen.iter().map(|it| (*it).clone()).collect());
    let trimmed = gap_after(GapReason::Trimmed, 1, 2);
    check(&with(&[&first, &second, &third, &fourth]), &[]);
    check(&with(&[&first, &trimmed, &third, &fourth]), &[]);
    check(&with(&[&first, &third, &fourth]), &[FaultKind::UnsignalledGap]);
    // An id from behind the trim lacks nothing, and a trim is no new epoch.
    let late = gap_after(GapReason::Trimmed, 2, 2);
    check(&with(&[&first, &second, &late, &third, &fourth]), &[FaultKind::SpuriousGap]);
    let epoch = gap_after(GapReason::Epoch, 1, 2);
    check(&with(&[&first, &epoch, &third, &fourth]), &[FaultKind::SpuriousGap]);
}

#[test]
fn loss_after_a_trim_is_told_to_readers_that_had_what_it_took() {
    let mut truth = truth_with_trim(all());
    // Event 2 came after the trim, and then all was lost.
    truth.log.remove(0);
    truth.losses.push(loss("FLUSHALL", 3, BTreeSet::new()));
    truth.sent.get_mut(&label(3)).unwrap().begun = at(4);
    check(&truth, &[FaultKind::UnsignalledGap]);
    truth.records[0].seen.insert(3, gap(GapReason::Epoch, 3));
    check(&truth, &[]);
}

#[test]
fn node_that_is_alone_tells_each_loss_first_and_once() {
    let [first, second, third, fourth] = <[Seen; 4]>::try_from(all()).unwrap();
    let (third, fourth) = match (third, fourth) {
        (Seen::Event { label: l3, place: p3, .. }, Seen::Event { label: l4, place: p4, .. }) => (
            Seen::Event { label: l3, place: p3, at: at(4), node: 0 },
            Seen::Event { label: l4, place: p4, at: at(4), node: 0 },
        ),
        _ => unreachable!("all are events"),
    };
    let with = |seen: &[&Seen]| {
        let seen = seen.iter().map(|it| (*it).clone()).collect();
        Truth { is_alone: true, ..truth_with_loss(seen) }
    };
    let told = gap(GapReason::Epoch, 3);
    check(&with(&[&first, &second, &told, &third, &fourth]), &[]);
    check(&with(&[&first, &second, &told, &told, &third, &fourth]), &[]);
    check(&with(&[&first, &second, &third, &told, &fourth]), &[FaultKind::UnsignalledGap]);
    let again = gap(GapReason::Epoch, 5);
    check(&with(&[&first, &second, &told, &third, &again, &fourth]), &[FaultKind::SpuriousGap]);
    // A durability that changed is never told as a trim.
    let trimmed = gap(GapReason::Trimmed, 3);
    check(&with(&[&first, &second, &trimmed, &third, &fourth]), &[FaultKind::SpuriousGap]);
}
