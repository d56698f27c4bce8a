//! Losses, repeats and reordered events are told apart.

use super::{DeliveryCounts, ProducerCursor, SequenceTracker};
use crate::stamp::Stamp;

/// A tracker of one channel and one producer that has published `published` events.
fn sequences(published: u32) -> SequenceTracker {
    let mut sequences = SequenceTracker::new(1, 1);
    (0..published).for_each(|number| assert_eq!(sequences.take(0, 0), number));
    sequences
}

/// Counts of one stream that receives these numbers; -1 is a gap, -2 a new connection without an id.
fn receive(sequences: &mut SequenceTracker, numbers: &[i64]) -> DeliveryCounts {
    let (mut cursors, mut counts) = ([ProducerCursor::default()], DeliveryCounts::default());
    for number in numbers {
        match *number {
            -1 => SequenceTracker::note_gap(&mut cursors, &mut counts),
            -2 => SequenceTracker::note_away(&mut cursors),
            number => {
                let number = u32::try_from(number).unwrap();
                sequences.note(
                    0,
                    &mut cursors,
                    Stamp { channel: 0, producer: 0, number, micros: 0 },
                    &mut counts,
                );
            }
        }
    }
    sequences.settle(0, &cursors, &mut counts);
    counts
}

#[test]
fn losses_repeats_and_reordered_events_are_told_apart() {
    let none = DeliveryCounts::default();
    for (name, published, numbers, expected) in [
        ("in order", 3, &[0, 1, 2][..], DeliveryCounts { received: 3, ..none }),
        ("a hole and a missing end", 6, &[0, 3, 4], DeliveryCounts { received: 3, lost: 3, ..none }),
        (
            "late events, and a second time",
            6,
            &[0, 4, 5, 2, 2, 5, 1, 3],
            DeliveryCounts { received: 6, reordered: 3, repeated: 2, ..none },
        ),
        (
            "a gap, and a later hole",
            8,
            &[0, -1, 3, 5, 6, 7],
            DeliveryCounts { received: 5, reported: 2, lost: 1, gaps: 1, ..none },
        ),
        ("a gap at the end", 4, &[0, -1], DeliveryCounts { received: 1, reported: 3, gaps: 1, ..none }),
        (
            "events that pass a stream without an id",
            6,
            &[0, -2, 4],
            DeliveryCounts { received: 2, away: 3, lost: 1, ..none },
        ),
    ] {
        assert_eq!(receive(&mut sequences(published), numbers), expected, "{name}");
    }
}

#[test]
fn events_with_an_unknown_outcome_are_not_missed() {
    let mut sequences = SequenceTracker::new(1, 1);
    for _ in 0..6 {
        let number = sequences.take(0, 0);
        if matches!(number, 1 | 2 | 5) {
            sequences.doubt(0, 0, number);
        }
    }
    assert_eq!(sequences.published(0), 3);
    for (numbers, received, lost) in [(&[0, 3, 4][..], 3, 0), (&[0, 1, 3], 3, 1), (&[0, 4], 2, 1)] {
        let expected = DeliveryCounts { received, lost, ..DeliveryCounts::default() };
        assert_eq!(receive(&mut sequences, numbers), expected, "{numbers:?}");
    }
}

#[test]
fn new_stream_misses_no_earlier_event() {
    let mut sequences = sequences(3);
    let (mut cursors, mut counts) = (sequences.cursors(0), DeliveryCounts::default());
    let number = sequences.take(0, 0);
    sequences.note(0, &mut cursors, Stamp { channel: 0, producer: 0, number, micros: 0 }, &mut counts);
    sequences.settle(0, &cursors, &mut counts);
    assert_eq!(counts, DeliveryCounts { received: 1, ..DeliveryCounts::default() });
}
