//! Delays with a fixed jitter.

use super::*;

#[test]
fn ceiling_doubles_from_half_a_second_to_twenty() {
    let mut backoff = Backoff::new();
    let waits: Vec<u128> = (0..8).map(|_| backoff.next_delay_with(None, 1.0).as_millis()).collect();
    assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]);
    assert_eq!(backoff.next_delay_with(None, 0.25), Duration::from_secs(5));
    backoff.reset();
    assert_eq!(backoff.next_delay_with(None, 1.0), CEILING_MIN);
}

#[test]
fn retry_of_the_hub_is_clamped() {
    let mut backoff = Backoff::new();
    for (retry_ms, first_ms) in [(0, 500), (3000, 3000), (u64::MAX, 20000)] {
        backoff.set_base(Duration::from_millis(retry_ms));
        backoff.reset();
        assert_eq!(backoff.next_delay_with(None, 1.0), Duration::from_millis(first_ms));
    }
}

#[test]
fn retry_after_is_a_floor_with_a_bound() {
    let mut backoff = Backoff::new();
    assert_eq!(backoff.next_delay_with(Some(Duration::from_secs(7)), 0.0), Duration::from_secs(7));
    assert_eq!(backoff.next_delay_with(Some(Duration::MAX), 0.0), RETRY_AFTER_MAX);
}

#[test]
fn many_failures_do_not_overflow() {
    let mut backoff = Backoff { base: CEILING_MAX, failures: u32::MAX };
    assert_eq!(backoff.next_delay_with(None, 1.0), CEILING_MAX);
}
