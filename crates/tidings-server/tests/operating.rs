//! What those who run a hub can ask it.

use serde_json::json;

use super::process::{Directory, Hub};

#[test]
fn hub_is_alive_and_ready() {
    let directory = Directory::new();
    let hub = Hub::serve(&directory, &[]);
    assert_eq!(hub.get("/healthz").is(200).json(), json!({"status": "alive"}));
    assert_eq!(hub.get("/readyz").is(200).json(), json!({"status": "ready"}));
}

#[test]
fn metrics_are_named_and_count() {
    let directory = Directory::new();
    let hub = Hub::serve(&directory, &[]);
    let mut reader = hub.subscribe("/api/v1/events/a");
    hub.publish("a", "1");
    hub.post("/api/v1/events/a?store=false", "2").is(200);
    reader.several(2);
    hub.resume("/api/v1/events/a", "garbage").notice("tidings.gap");
    let answer = hub.get("/metrics");
    let content_type = answer.head.header("content-type").unwrap();
    assert!(
        content_type.starts_with("application/openmetrics-text") || content_type.starts_with("text/plain")
    );
    let text = answer.text();
    for line in [
        "tidings_events_stored_total 1",
        "tidings_events_unstored_total 1",
        "tidings_connections ",
        "tidings_log_head 1",
        "tidings_streams_opened_total 2",
        "tidings_gaps_total{reason=\"malformed\"} 1",
    ] {
        assert!(text.lines().any(|it| it.starts_with(line)), "{line:?} is not in {text}");
    }
    for name in [
        "tidings_unstored_missed_total",
        "tidings_appends_failed_total",
        "tidings_events_expired_total",
        "tidings_events_superseded_total",
        "tidings_events_skipped_total",
        "tidings_write_timeouts_total",
        "tidings_sockets_pressed_total",
        "tidings_log_bytes",
        "tidings_log_disk_bytes",
        "tidings_idempotency_keys",
    ] {
        assert!(text.lines().any(|it| it.split(' ').next() == Some(name)), "{name} is not in {text}");
    }
    assert!(text.ends_with("# EOF\n"), "the text is whole");
}

#[test]
fn page_shows_the_hub_without_anything_from_elsewhere() {
    let directory = Directory::new();
    let hub = Hub::in_memory(&directory, &[]);
    for (path, content_type) in
        [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")]
    {
        let answer = hub.get(path);
        assert!(answer.is(200).head.header("content-type").unwrap().starts_with(content_type));
        assert!(!answer.text().contains("https://"), "{path} names another host");
    }
}
