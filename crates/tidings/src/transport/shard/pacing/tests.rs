use super::{EMPTY_POLLS_MAX, PollPacing, WRITES};

#[test]
fn poll_that_finds_an_event_makes_the_next_one_come_soon() {
    let mut pacing = PollPacing::new();
    assert_eq!(pacing.writes(), WRITES.1);
    pacing.note_poll(true);
    assert_eq!(pacing.writes(), WRITES.0);
}

#[test]
fn few_empty_polls_change_nothing() {
    let mut pacing = PollPacing::new();
    for _ in 0..10 {
        pacing.note_poll(true);
        (0..EMPTY_POLLS_MAX).for_each(|_| pacing.note_poll(false));
        assert_eq!(pacing.writes(), WRITES.0);
    }
}

#[test]
fn broadcast_of_one_event_to_ten_thousand_streams_polls_little_more_than_at_the_highest_pace() {
    let mut pacing = PollPacing::new();
    pacing.note_poll(true);
    let (mut sent, mut polls) = (0, 0);
    while sent < 10_000 {
        sent += pacing.writes();
        pacing.note_poll(false);
        polls += 1;
    }
    // One poll for each 128 writes would be 79.
    assert!(polls <= 79 + 20, "{polls} polls");
}
