//! A second's worth at once, and no more than the rate after that.

use super::*;

fn publisher(name: &str) -> Arc<str> {
    name.into()
}

#[tokio::test(start_paused = true)]
async fn second_of_events_is_taken_at_once_and_refills_evenly() {
    let rates = Rates::new(Some(10));
    let (a, b) = (publisher("a"), publisher("b"));
    rates.take(&a, 4).unwrap();
    rates.take(&a, 6).unwrap();
    let error = rates.take(&a, 1).unwrap_err();
    assert_eq!((error.code(), error.limit_name()), (Code::TooManyPublishes, Some("publishes_per_second")));
    assert_eq!(error.retry_after_hint(), Some(Duration::from_millis(100)));
    rates.take(&b, 10).unwrap();
    tokio::time::advance(Duration::from_millis(100)).await;
    rates.take(&a, 1).unwrap();
    rates.take(&a, 1).unwrap_err();
    tokio::time::advance(Duration::from_secs(5)).await;
    rates.take(&a, 10).unwrap();
    rates.take(&a, 1).unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn batch_larger_than_the_rate_is_refused_for_good_and_costs_nothing() {
    let rates = Rates::new(Some(10));
    let error = rates.take(&publisher("a"), 11).unwrap_err();
    assert_eq!((error.code(), error.limit_name()), (Code::BatchTooLarge, Some("publishes_per_second")));
    rates.take(&publisher("a"), 10).unwrap();
}

#[tokio::test(start_paused = true)]
async fn publishers_that_have_rested_are_forgotten() {
    let rates = Rates::new(Some(10));
    for index in 0..REMEMBERED_MIN {
        rates.take(&publisher(&index.to_string()), 10).unwrap();
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    rates.take(&publisher("new"), 1).unwrap();
    assert_eq!(rates.publishers.lock().rested_at.len(), 1);
}

#[tokio::test]
async fn without_a_rate_nothing_is_counted() {
    Rates::new(None).take(&publisher("a"), u64::MAX).unwrap();
}
