use tokio::time::{Instant, timeout};

use super::*;

const IDLE_TIME: Duration = Duration::from_secs(10);

#[test]
fn clients_are_told_less_than_the_hub_waits_and_nothing_behind_a_stream() {
    let idle = IdleTimeout::new(Duration::from_millis(75_900));
    let announced = |name: header::HeaderName, value: &'static str| {
        let mut headers = HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        idle.announce(&mut headers);
        headers.remove(KEEP_ALIVE)
    };
    assert_eq!(announced(header::CONTENT_TYPE, "application/json").unwrap(), "timeout=75");
    assert_eq!(announced(header::CONTENT_TYPE, "text/event-stream; charset=utf-8"), None);
    assert_eq!(announced(header::CONNECTION, "close"), None);
    assert!(idle.closes_after >= Duration::from_secs(76));
}

#[tokio::test(start_paused = true)]
async fn idleness_begins_behind_the_last_answer_and_ends_with_the_next_head() {
    let activity = Activity::default();
    let mut observer = activity.observer();
    let is_idle = async |observer: &mut ActivityObserver| {
        timeout(2 * IDLE_TIME, observer.idle_for(IDLE_TIME)).await.is_ok()
    };
    assert!(!is_idle(&mut observer).await, "it has not asked yet");
    let (one, two) = (activity.request(Version::HTTP_2), activity.request(Version::HTTP_2));
    assert_eq!(observer.first_version().await, Some(Version::HTTP_2));
    drop(one);
    assert!(!is_idle(&mut observer).await, "one is still answered");
    drop(two);
    let begun = Instant::now();
    assert!(is_idle(&mut observer).await);
    assert_eq!(begun.elapsed().as_secs(), IDLE_TIME.as_secs());
    activity.head_begins();
    assert!(!is_idle(&mut observer).await, "a head has begun");
    drop(activity.request(Version::HTTP_11));
    assert!(is_idle(&mut observer).await);
}
