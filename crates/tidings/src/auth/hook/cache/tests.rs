//! How long answers are kept, and how many.

use super::*;
use crate::auth::hook::Action;

const TTL: Duration = Duration::from_secs(10);

fn request(channel: usize) -> Arc<AccessRequest> {
    let channel = channel.to_string();
    Arc::new(AccessRequest { principal: None, action: Action::Subscribe, channel, is_pattern: false })
}

#[test]
fn answer_is_fresh_until_its_time_is_over() {
    let (mut answers, now) = (AnswerCache::new(TTL), Instant::now());
    answers.insert(&request(1), true, now);
    answers.insert(&request(2), false, now);
    for (after, yes, no) in [
        (Duration::ZERO, Some(true), Some(false)),
        (TTL - Duration::from_millis(1), Some(true), Some(false)),
        (TTL, None, None),
    ] {
        assert_eq!(answers.fresh(&request(1), now + after), yes);
        assert_eq!(answers.fresh(&request(2), now + after), no);
    }
    assert_eq!(answers.fresh(&request(3), now), None);
}

#[test]
fn newer_answer_replaces_an_older_one_and_outlives_it() {
    let (mut answers, now) = (AnswerCache::new(TTL), Instant::now());
    answers.insert(&request(1), true, now);
    answers.insert(&request(1), false, now + TTL / 2);
    assert_eq!(answers.fresh(&request(1), now + TTL / 2), Some(false));
    // Sweeps out the first.
    answers.insert(&request(2), true, now + TTL);
    assert_eq!(answers.fresh(&request(1), now + TTL), Some(false));
}

#[test]
fn full_memory_forgets_the_oldest_answer() {
    let (mut answers, now) = (AnswerCache::new(TTL), Instant::now());
    for channel in 0..=ANSWERS_MAX {
        answers.insert(&request(channel), true, now);
    }
    assert_eq!(answers.fresh(&request(0), now), None);
    assert_eq!(answers.fresh(&request(1), now), Some(true));
    assert_eq!(answers.fresh(&request(ANSWERS_MAX), now), Some(true));
    assert_eq!((answers.by_request.len(), answers.by_age.len()), (ANSWERS_MAX, ANSWERS_MAX));
}

#[test]
fn one_question_over_and_over_takes_no_more_room() {
    let (mut answers, now) = (AnswerCache::new(TTL), Instant::now());
    for _ in 0..3 * ANSWERS_MAX {
        answers.insert(&request(1), true, now);
    }
    assert!(answers.by_age.len() <= ANSWERS_MAX);
    let mut answers = AnswerCache::new(Duration::ZERO);
    answers.insert(&request(1), true, now);
    assert_eq!((answers.by_request.len(), answers.by_age.len()), (0, 0));
}
