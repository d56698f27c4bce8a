use super::*;
use crate::entry::NewEntry;
use crate::testing::{START, entry, idempotent};

fn remembered(keys_max: u64) -> IdempotencyKeys {
    let mut keys = IdempotencyKeys::new(1000, keys_max);
    keys.remember(&entry(idempotent("a", "k"), 5).meta());
    keys
}

fn of(key: &str) -> Idempotency {
    idempotent("a", key).idempotency.unwrap()
}

#[test]
fn repeat_gets_the_first_answer_and_other_content_is_a_conflict() {
    let keys = remembered(10);
    let answered = RememberedAnswer { offset: 5, tag: entry(idempotent("a", "k"), 5).tag };
    assert_eq!(keys.look_up(&of("k")), KeyLookup::Repeat(answered));
    assert_eq!(keys.look_up(&of("other")), KeyLookup::New);
    assert_eq!(keys.look_up(&Idempotency { fingerprint: [0; 16], ..of("k") }), KeyLookup::Conflict);
    assert_eq!(keys.look_up(&Idempotency { publisher: "q".into(), ..of("k") }), KeyLookup::New);
}

#[test]
fn key_is_forgotten_after_the_window_and_may_be_used_again() {
    let mut keys = remembered(10);
    keys.forget_old(START + 999);
    assert_eq!(keys.len(), 1);
    keys.forget_old(START + 1000);
    assert_eq!((keys.len(), keys.look_up(&of("k"))), (0, KeyLookup::New));
    keys.remember(&entry(NewEntry { published_at: START + 1500, ..idempotent("a", "k") }, 9).meta());
    keys.forget_old(START + 2000);
    assert!(matches!(keys.look_up(&of("k")), KeyLookup::Repeat(answered) if answered.offset == 9));
}

#[test]
fn room_is_bounded() {
    let keys = remembered(3);
    assert!(keys.has_room(2));
    assert!(!keys.has_room(3));
}

#[test]
fn keys_of_entries_that_are_gone_are_restored() {
    let keys = remembered(3);
    assert_eq!(keys.rows(&|offset| offset == 5), []);
    let rows = keys.rows(&|_| false);
    let mut again = IdempotencyKeys::new(1000, 3);
    rows.iter().for_each(|row| again.restore(row));
    assert_eq!(again.look_up(&of("k")), keys.look_up(&of("k")));
    again.forget_old(START + 1000);
    assert_eq!(again.len(), 0);
}
