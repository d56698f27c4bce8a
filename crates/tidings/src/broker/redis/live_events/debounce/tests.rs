use futures_util::FutureExt;

use super::*;

#[tokio::test(start_paused = true)]
async fn storm_of_changes_takes_few_turns_and_the_last_change_has_its_own() {
    let (changes, interest) = watch::channel(0_u64);
    let (mut turns, mut seen, mut taken) = (Debounce::new(interest.clone()), 0, 0);
    let began = Instant::now();
    for number in 1..=10_000 {
        changes.send_replace(number);
        tokio::time::advance(Duration::from_micros(50)).await;
        // Another cuts the wait short each time.
        if turns.next().now_or_never().is_some() {
            (seen, taken) = (*interest.borrow(), taken + 1);
            turns.finish(Instant::now());
        }
    }
    assert!((30..=51).contains(&taken), "{taken} turns in {:?}", began.elapsed());
    if seen < 10_000 {
        assert!(turns.next().await);
    }
    turns.finish(Instant::now());
    assert!(turns.next().now_or_never().is_none());
    drop(changes);
    assert!(!turns.next().await);
}

#[tokio::test(start_paused = true)]
async fn change_after_a_quiet_time_has_its_turn_at_once_and_a_long_turn_its_rest() {
    let (changes, interest) = watch::channel(0_u64);
    let mut turns = Debounce::new(interest);
    assert_eq!(turns.next().now_or_never(), Some(true));
    turns.finish(Instant::now());
    tokio::time::advance(PAUSE).await;
    changes.send_replace(1);
    assert_eq!(turns.next().now_or_never(), Some(true));
    let began = Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    turns.finish(began);
    changes.send_replace(2);
    let waits = Instant::now();
    assert!(turns.next().await);
    assert!((2000..2010).contains(&waits.elapsed().as_millis()));
}
