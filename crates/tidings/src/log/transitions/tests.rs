use super::*;

fn breaks(places: impl IntoIterator<Item = u64>) -> EpochTransitions {
    let mut breaks = EpochTransitions::default();
    places
        .into_iter()
        .for_each(|place| breaks.push(place, LostChannels::Channels(vec![format!("at.{place}")])));
    breaks
}

#[test]
fn a_cursor_goes_down_to_the_lowest_break_that_was_not_seen() {
    let breaks = breaks([30, 10, 20]);
    assert_eq!([0, 1, 2, 3].map(|seen| breaks.ceiling(seen)), [10, 10, 20, u64::MAX]);
    let all = [Subscription::parse("at.*").unwrap()];
    assert_eq!(breaks.lost_since(1, &all).into_iter().collect::<Vec<_>>(), ["at.10", "at.20"]);
    assert!(breaks.lost_since(3, &all).is_empty());
}

#[test]
fn who_has_not_looked_for_longer_than_is_known_has_lost_what_it_asked_for() {
    let breaks = breaks([5].into_iter().chain(100..100 + BREAKS_MAX as u64));
    let mine = [Subscription::parse("quiet").unwrap()];
    assert_eq!(breaks.recent.len(), BREAKS_MAX);
    assert_eq!((breaks.ceiling(0), breaks.ceiling(1)), (5, 100));
    assert_eq!(breaks.lost_since(0, &mine).into_iter().collect::<Vec<_>>(), ["quiet"]);
    assert!(breaks.lost_since(1, &mine).is_empty());
}
