//! Concurrent publishes, scrapes and trims. A watchdog fails the test if they block each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use tidings::{Hub, Publication, config::Settings, protocol::ChannelName};

/// Variable with the duration of the test in seconds; `cargo xtask test` sets a minute.
const SECONDS_VARIABLE: &str = "TIDINGS_CONTENTION_SECONDS";
const PUBLISHERS: usize = 4;
const SCRAPERS: usize = 2;
/// Longest time between two steps of a worker.
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn publishes_scrapes_and_trims_never_block_each_other() {
    let seconds = std::env::var(SECONDS_VARIABLE).map_or(3, |text| text.parse().expect("whole seconds"));
    let steps: Arc<[AtomicU64]> = (0..PUBLISHERS + SCRAPERS).map(|_| AtomicU64::new(0)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let (ended, has_ended) = sync_channel(1);
    // The workers have threads of their own: if they block, this thread fails the test without them.
    let (worker_steps, is_over) = (steps.clone(), stop.clone());
    thread::spawn(move || {
        contend(&worker_steps, &is_over);
        ended.send(()).expect("the test waits");
    });
    watch(&steps, Duration::from_secs(seconds));
    stop.store(true, Ordering::Relaxed);
    has_ended.recv_timeout(DEADLINE).expect("the workers end, and the hub shuts down");
    println!("steps of {PUBLISHERS} publishers and {SCRAPERS} scrapers in {seconds} s: {steps:?}");
}

/// Panics if a worker makes no step for [`DEADLINE`].
fn watch(steps: &[AtomicU64], duration: Duration) {
    let begun = Instant::now();
    let mut seen: Vec<(u64, Instant)> = vec![(0, begun); steps.len()];
    while begun.elapsed() < duration {
        thread::sleep(Duration::from_millis(50));
        for (worker, (steps, (known, since))) in steps.iter().zip(&mut seen).enumerate() {
            let now = steps.load(Ordering::Relaxed);
            if now != *known {
                (*known, *since) = (now, Instant::now());
            }
            assert!(
                since.elapsed() < DEADLINE,
                "worker {worker} is blocked after {now} steps; all: {seen:?}"
            );
        }
    }
}

/// Publishes in tasks and scrapes in threads until `stop` is set.
fn contend(steps: &Arc<[AtomicU64]>, stop: &Arc<AtomicBool>) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let mut settings = Settings::default();
    // The trimmer then runs every 25 ms.
    settings.log.retention_age = Duration::from_millis(100);
    let hub = runtime.block_on(Hub::builder().settings(settings).memory().build()).expect("a hub opens");
    let scrapers: Vec<_> = (PUBLISHERS..PUBLISHERS + SCRAPERS)
        .map(|worker| {
            let (hub, steps, stop) = (hub.clone(), steps.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    assert!(hub.metrics_text().contains("tidings_streams_open 0"));
                    steps[worker].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|worker| {
            let (hub, steps, stop) = (hub.clone(), steps.clone(), stop.clone());
            let channel = ChannelName::parse(&format!("orders.{worker}")).expect("a channel name");
            runtime.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    hub.publish(Publication::new(channel.clone(), "{}")).await.expect("it is stored");
                    steps[worker].fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    scrapers.into_iter().for_each(|scraper| scraper.join().expect("scrapes succeed"));
    runtime.block_on(async {
        for publisher in publishers {
            publisher.await.expect("publishes succeed");
        }
        hub.shutdown().await;
    });
}
