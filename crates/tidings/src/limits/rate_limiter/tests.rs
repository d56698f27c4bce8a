//! A second's worth at once, and no more than the rate after that.

use super::*;
use crate::lock;

fn rates(rate: Option<u64>) -> RateLimiter<usize> {
    RateLimiter::new(rate, &lock::PUBLISH_RATES)
}

#[tokio::test(start_paused = true)]
async fn second_of_events_is_taken_at_once_and_refills_evenly() {
    let rates = rates(Some(10));
    rates.take(&1, 4).unwrap();
    rates.take(&1, 6).unwrap();
    let wait = Duration::from_millis(100);
    assert_eq!(rates.take(&1, 1), Err(Excess::Rate { rate: 10, wait }));
    rates.take(&2, 10).unwrap();
    tokio::time::advance(wait).await;
    rates.take(&1, 1).unwrap();
    rates.take(&1, 1).unwrap_err();
    tokio::time::advance(Duration::from_secs(5)).await;
    rates.take(&1, 10).unwrap();
    rates.take(&1, 1).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn batch_larger_than_the_rate_is_refused_for_good_and_costs_nothing() {
    let rates = rates(Some(10));
    assert_eq!(rates.take(&1, 11), Err(Excess::Batch(10)));
    rates.take(&1, 10).unwrap();
}

#[tokio::test(start_paused = true)]
async fn keys_that_have_rested_are_forgotten() {
    let rates = rates(Some(10));
    for key in 0..KEYS_MIN {
        rates.take(&key, 10).unwrap();
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    rates.take(&KEYS_MIN, 1).unwrap();
    assert_eq!(rates.window.lock().idle_at.len(), 1);
}

#[tokio::test]
async fn without_a_rate_nothing_is_counted() {
    rates(None).take(&1, u64::MAX).unwrap();
}
