use super::*;

fn transitions(places: impl IntoIterator<Item = u64>) -> EpochTransitions {
    let mut transitions = EpochTransitions::default();
    places
        .into_iter()
        .for_each(|place| transitions.push(place, LostChannels::Channels(vec![format!("at.{place}")])));
    transitions
}

#[test]
fn a_cursor_moves_down_to_the_lowest_transition_that_it_has_not_applied() {
    let transitions = transitions([30, 10, 20]);
    assert_eq!(
        [0, 1, 2, 3].map(|transitions_applied| transitions.ceiling(transitions_applied)),
        [10, 10, 20, u64::MAX]
    );
    let all = [Subscription::parse("at.*").unwrap()];
    assert_eq!(transitions.lost_since(1, &all).into_iter().collect::<Vec<_>>(), ["at.10", "at.20"]);
    assert!(transitions.lost_since(3, &all).is_empty());
}

#[test]
fn a_reader_behind_all_recent_transitions_has_lost_its_subscriptions() {
    let transitions = transitions([5].into_iter().chain(100..100 + TRANSITIONS_MAX as u64));
    let mine = [Subscription::parse("quiet").unwrap()];
    assert_eq!(transitions.recent.len(), TRANSITIONS_MAX);
    assert_eq!((transitions.ceiling(0), transitions.ceiling(1)), (5, 100));
    assert_eq!(transitions.lost_since(0, &mine).into_iter().collect::<Vec<_>>(), ["quiet"]);
    assert!(transitions.lost_since(1, &mine).is_empty());
}
