use super::*;
use crate::history::DeliveryClass;

#[test]
fn order_repeats_content_and_gaps_of_a_history_are_checked() {
    let history = History::new(vec!["a".into()], false);
    let data = |number: u64| format!("{{\"p\":0,\"n\":{number}}}");
    for number in 0..4 {
        let label = EventLabel { publisher: 0, number };
        history.begin_publish(label, &[0], DeliveryClass::Strict, None, &data(number));
    }
    let event = |number: u64| HistoryEvent {
        id: format!("00000000000000aa-{}-00000007", number + 1),
        offset: number + 1,
        channels: vec!["a".into()],
        event: None,
        data: data(number),
        published_at: String::new(),
    };
    let check = |events: Vec<HistoryEvent>, expect: &[ViolationKind]| {
        let mut found = Vec::new();
        let count = events.len();
        let channel = ChannelHistory { events, gaps: Vec::new() };
        let located = locate(&history, channel, &mut |kind, _| found.push(kind));
        assert_eq!(found, expect);
        located.len() == count
    };
    assert!(check((0..4).map(event).collect(), &[]));
    assert!(check([0, 2, 1, 3].map(event).into(), &[ViolationKind::Reordered]));
    assert!(check([0, 1, 1, 2].map(event).into(), &[ViolationKind::Reordered, ViolationKind::Duplicated]));
    assert!(
        check(vec![HistoryEvent { data: data(2), ..event(1) }], &[]),
        "another position is found in the log"
    );
    let note = HistoryEvent { event: Some("note".into()), ..event(1) };
    assert!(check(vec![note], &[ViolationKind::WrongContent]));
    assert!(check(vec![event(9)], &[ViolationKind::WrongContent]), "it was never sent");
    assert!(!check(vec![HistoryEvent { offset: 5, ..event(1) }], &[ViolationKind::WrongContent]));
}
