use std::thread;

use prometheus_client::{encoding::text::encode, registry::Registry};

use super::*;

fn text(histogram: &Histogram) -> String {
    let mut registry = Registry::default();
    registry.register("seconds", "Test", histogram.clone());
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn check(histogram: &Histogram, lines: &[&str]) {
    let text = text(histogram);
    for line in lines {
        assert!(text.lines().any(|it| it == *line), "{line:?} is not in {text}");
    }
}

#[test]
fn bucket_includes_its_bound_and_the_last_has_none() {
    let histogram = Histogram::default();
    for nanos in [0, 1_000, 1_001, 10_000_000_000, 10_000_000_001] {
        histogram.observe(Duration::from_nanos(nanos));
    }
    check(
        &histogram,
        &[
            "# TYPE seconds histogram",
            "seconds_bucket{le=\"0.000001\"} 2",
            "seconds_bucket{le=\"0.0000025\"} 3",
            "seconds_bucket{le=\"5.0\"} 3",
            "seconds_bucket{le=\"10.0\"} 4",
            "seconds_bucket{le=\"+Inf\"} 5",
            "seconds_count 5",
            "seconds_sum 20.000002002",
        ],
    );
}

#[test]
fn threads_of_one_stripe_and_of_several_lose_no_observation() {
    let histogram = Histogram::default();
    thread::scope(|scope| {
        for _ in 0..2 * STRIPES + 1 {
            scope.spawn(|| (0..1000).for_each(|_| histogram.observe(Duration::from_millis(1))));
        }
    });
    check(&histogram, &["seconds_bucket{le=\"0.001\"} 17000", "seconds_count 17000"]);
}

#[test]
fn duration_longer_than_the_sum_can_hold_is_counted() {
    let histogram = Histogram::default();
    histogram.observe(Duration::MAX);
    check(&histogram, &["seconds_bucket{le=\"10.0\"} 0", "seconds_count 1"]);
}

#[tokio::test]
async fn future_that_waits_is_timed_exactly_and_every_future_counts() {
    let histogram = Histogram::default();
    for _ in 0..3 * SAMPLED {
        histogram.time(std::future::ready(())).await;
    }
    let long = Duration::from_millis(20);
    histogram.time(async { tokio::task::spawn_blocking(move || thread::sleep(long)).await.unwrap() }).await;
    let text = text(&histogram);
    let value = |name: &str| -> f64 {
        text.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().parse().unwrap()
    };
    assert_eq!(value("seconds_count"), 49.0);
    assert!(value("seconds_sum") >= long.as_secs_f64(), "{text}");
    assert_eq!(value("seconds_count") - value("seconds_bucket{le=\"0.01\"}"), 1.0, "{text}");
}

#[test]
fn calls_between_two_timed_ones_count_with_the_duration_of_the_first() {
    let histogram = Histogram::default();
    let timed = histogram.begin_sampled();
    assert!(matches!(timed, Timing::Sampled(Some(_))));
    thread::sleep(Duration::from_millis(3));
    histogram.end(timed);
    for _ in 1..SAMPLED {
        let timing = histogram.begin_sampled();
        assert!(matches!(timing, Timing::Sampled(None)));
        histogram.end(timing);
    }
    check(&histogram, &["seconds_bucket{le=\"0.0025\"} 0", "seconds_count 16"]);
    assert!(matches!(histogram.begin_sampled(), Timing::Sampled(Some(_))));
}
