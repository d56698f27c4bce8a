//! Losses, repeats and order are told apart.

use super::{Lane, Ledger, Tally};
use crate::stamp::Stamp;

/// A ledger of one channel on whose one lane so many events were published.
fn ledger(published: u32) -> Ledger {
    let mut ledger = Ledger::new(1, 1);
    (0..published).for_each(|number| assert_eq!(ledger.take(0, 0), number));
    ledger
}

/// What one stream makes of these numbers; -1 is a gap, -2 a new connection without an id.
fn seen(ledger: &mut Ledger, numbers: &[i64]) -> Tally {
    let (mut lanes, mut tally) = ([Lane::default()], Tally::default());
    for number in numbers {
        match *number {
            -1 => Ledger::note_gap(&mut lanes, &mut tally),
            -2 => Ledger::note_away(&mut lanes),
            number => {
                let number = u32::try_from(number).unwrap();
                ledger.note(0, &mut lanes, Stamp { channel: 0, lane: 0, number, micros: 0 }, &mut tally);
            }
        }
    }
    ledger.settle(0, &lanes, &mut tally);
    tally
}

#[test]
fn events_in_order_are_clean() {
    let tally = seen(&mut ledger(3), &[0, 1, 2]);
    assert_eq!(tally, Tally { received: 3, ..Tally::default() });
    assert!(tally.is_clean());
}

#[test]
fn hole_and_missing_end_are_losses() {
    let tally = seen(&mut ledger(6), &[0, 3, 4]);
    assert_eq!(tally, Tally { received: 3, lost: 3, ..Tally::default() });
    assert!(!tally.is_clean());
}

#[test]
fn late_event_is_out_of_order_and_a_second_one_repeated() {
    let tally = seen(&mut ledger(6), &[0, 4, 5, 2, 2, 5, 1, 3]);
    assert_eq!(tally, Tally { received: 6, reordered: 3, repeated: 2, ..Tally::default() });
}

#[test]
fn what_a_gap_told_of_is_no_silent_loss_and_the_next_hole_is() {
    let tally = seen(&mut ledger(8), &[0, -1, 3, 5, 6, 7]);
    assert_eq!(tally, Tally { received: 5, told: 2, lost: 1, gaps: 1, ..Tally::default() });
    let tally = seen(&mut ledger(4), &[0, -1]);
    assert_eq!(tally, Tally { received: 1, told: 3, gaps: 1, ..Tally::default() });
}

#[test]
fn what_passed_a_stream_that_cannot_resume_counts_apart() {
    let tally = seen(&mut ledger(6), &[0, -2, 4]);
    assert_eq!(tally, Tally { received: 2, away: 3, lost: 1, ..Tally::default() });
}

#[test]
fn events_of_which_nobody_knows_are_not_missed() {
    let mut ledger = Ledger::new(1, 1);
    for _ in 0..6 {
        let number = ledger.take(0, 0);
        if matches!(number, 1 | 2 | 5) {
            ledger.doubt(0, 0, number);
        }
    }
    assert_eq!(ledger.published(0), 3);
    assert_eq!(seen(&mut ledger, &[0, 3, 4]), Tally { received: 3, ..Tally::default() });
    assert_eq!(seen(&mut ledger, &[0, 1, 3]), Tally { received: 3, lost: 1, ..Tally::default() });
    assert_eq!(seen(&mut ledger, &[0, 4]), Tally { received: 2, lost: 1, ..Tally::default() });
}

#[test]
fn stream_that_begins_later_misses_nothing_of_before() {
    let mut ledger = ledger(3);
    let (mut lanes, mut tally) = (ledger.lanes(0), Tally::default());
    let number = ledger.take(0, 0);
    ledger.note(0, &mut lanes, Stamp { channel: 0, lane: 0, number, micros: 0 }, &mut tally);
    ledger.settle(0, &lanes, &mut tally);
    assert_eq!(tally, Tally { received: 1, ..Tally::default() });
}
