//! How threads and tasks end, and what is noted of it.

use super::*;
use crate::metrics::tests::metrics;

fn supervisor() -> (Supervisor, Arc<ThreadRegistry>) {
    let threads = ThreadRegistry::new(metrics());
    (Supervisor::new(threads.clone()), threads)
}

#[test]
fn thread_that_panics_is_noted_with_its_message() {
    let (supervisor, threads) = supervisor();
    for (name, panic) in [("first", "by a text"), ("second", "by another")] {
        supervisor.start(name, move || panic!("{panic}")).unwrap().join().unwrap();
    }
    let ended = threads.first().unwrap();
    assert_eq!((ended.name(), ended.panic()), ("first", Some("by a text")));
    assert_eq!(ended.to_string(), "thread first panicked: by a text");
}

#[test]
fn thread_that_returns_is_noted_unless_its_work_or_its_hub_has_ended() {
    let (supervisor, threads) = supervisor();
    supervisor.start_brief("brief", || {}).unwrap().join().unwrap();
    assert_eq!(threads.first(), None);
    supervisor.start("lasting", || {}).unwrap().join().unwrap();
    let ended = threads.first().unwrap();
    assert_eq!((ended.name(), ended.panic()), ("lasting", None));

    let (supervisor, threads) = self::supervisor();
    threads.may_end();
    supervisor.start("lasting", || {}).unwrap().join().unwrap();
    assert_eq!(threads.first(), None);
    supervisor.start_brief("brief", || panic!("late")).unwrap().join().unwrap();
    assert_eq!(threads.first().unwrap().name(), "brief");
}

#[tokio::test]
async fn task_that_panics_or_returns_is_noted() {
    let (supervisor, threads) = supervisor();
    tokio::spawn(supervisor.watch("task", async { panic!("at once") })).await.unwrap();
    threads.failed().await;
    assert_eq!(threads.first().unwrap().panic(), Some("at once"));

    let (supervisor, threads) = self::supervisor();
    tokio::spawn(supervisor.watch("task", async {})).await.unwrap();
    assert_eq!(threads.first().unwrap().panic(), None);
}

#[tokio::test]
async fn hub_ends_with_its_thread_and_says_which() {
    let hub = Hub::builder().memory().build().await.unwrap();
    hub.readiness().unwrap();
    Supervisor::of(&hub).start("tidings-test", || panic!("a secret")).unwrap();
    let ended = hub.closed().await.unwrap_err();
    assert_eq!((ended.name(), ended.panic()), ("tidings-test", Some("a secret")));
    let error = hub.readiness().unwrap_err().to_string();
    assert!(error.contains("tidings-test") && !error.contains("secret"), "{error}");
    assert!(hub.metrics_text().contains("tidings_thread_panics_total{thread=\"tidings-test\"} 1\n"));
}

#[tokio::test]
async fn hub_that_is_shut_down_has_lost_no_thread() {
    let hub = Hub::builder().memory().build().await.unwrap();
    hub.shutdown().await;
    hub.closed().await.unwrap();
}

#[tokio::test]
async fn hub_that_is_dropped_has_lost_no_thread() {
    let hub = Hub::builder().memory().build().await.unwrap();
    let threads = hub.inner().threads.clone();
    let mut stage = hub.lifecycle();
    drop(hub);
    // The threads hold the record until they have ended.
    assert!(stage.wait_for(|_| false).await.is_err());
    while Arc::strong_count(&threads) > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(threads.first(), None);
}
