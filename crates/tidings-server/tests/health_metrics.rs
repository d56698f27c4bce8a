//! Health, metrics and the start page: routes for operators.

use crate::prelude::*;

#[test]
fn metrics_have_their_names_and_values() {
    let hub = TestHub::serve(&[]);
    let mut reader = hub.subscribe("/api/v1/events/a");
    hub.publish("a", "1");
    hub.post("/api/v1/events/a?store=false", "2").assert_status(200);
    reader.data_of_next(2);
    hub.resume("/api/v1/events/a", "garbage").control_event("tidings.gap");
    let answer = hub.get("/metrics");
    let content_type = answer.head.header("content-type").unwrap();
    let types = ["application/openmetrics-text", "text/plain"];
    assert!(types.iter().any(|known| content_type.starts_with(known)), "{content_type}");
    let text = answer.text();
    for line in [
        "tidings_events_stored_total 1",
        "tidings_transient_events_total 1",
        "tidings_streams_open ",
        "tidings_log_head 1",
        "tidings_streams_opened_total 2",
        "tidings_gaps_total{reason=\"malformed\"} 1",
        concat!("tidings_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(text.lines().any(|it| it.starts_with(line)), "{line:?} is not in {text}");
    }
    for name in [
        "tidings_transient_events_dropped_total",
        "tidings_appends_failed_total",
        "tidings_events_expired_total",
        "tidings_events_superseded_total",
        "tidings_events_skipped_total",
        "tidings_write_timeouts_total",
        "tidings_socket_backpressure_total",
        "tidings_log_bytes",
        "tidings_log_disk_bytes",
        "tidings_idempotency_keys",
    ] {
        assert!(text.lines().any(|it| it.split(' ').next() == Some(name)), "{name} is not in {text}");
    }
    assert!(text.ends_with("# EOF\n"), "the text is complete");
}

#[test]
fn durations_of_each_step_are_counted_once() {
    let hub = TestHub::serve(&[("TIDINGS_LOG_DURABILITY", "fsync")]);
    hub.publish("a", "1");
    hub.post("/api/v1/events/a", "x".repeat(300_000)).assert_status(413);
    hub.post("/api/v1/publish", r#"[{"channels":["a"],"data":"2"},{"channels":["a"],"data":"3"}]"#)
        .assert_status(200);
    for (name, count) in
        [("publish", 2.0), ("append", 2.0), ("fsync", 2.0), ("broker_roundtrip", 0.0), ("delivery_lag", 0.0)]
    {
        assert_eq!(hub.metric(&format!("tidings_{name}_seconds_count")), count, "{name}");
        assert_eq!(hub.metric(&format!("tidings_{name}_seconds_bucket{{le=\"+Inf\"}}")), count, "{name}");
        assert!(hub.metric(&format!("tidings_{name}_seconds_sum")) < 10.0, "{name}");
    }
}

#[test]
fn delivery_lag_is_that_of_live_events_and_not_of_history() {
    for transport in TRANSPORTS {
        let hub = TestHub::in_memory(&[]);
        hub.publish("a", "old");
        let mut reader = SseReader::open(transport.ask(&hub, "/api/v1/events/a?history=all", &[]));
        assert_eq!(reader.data(), "old");
        assert_eq!(hub.metric("tidings_delivery_lag_seconds_count"), 0.0, "{transport:?}");
        hub.publish("a", "new");
        assert_eq!(reader.data(), "new");
        // A shard counts after the last write of a broadcast; the client may see the event before.
        eventually("the delivery is counted", || hub.metric("tidings_delivery_lag_seconds_count") == 1.0);
    }
}

#[test]
fn exchanges_with_redis_are_counted_and_so_are_connections_to_it() {
    let redis = RedisServer::start();
    let hub = TestHub::with_redis(&redis, &[]);
    hub.wait_until_ready();
    let before = hub.metric("tidings_broker_roundtrip_seconds_count");
    hub.publish("a", "1");
    assert!(hub.metric("tidings_broker_roundtrip_seconds_count") > before);
    assert_eq!(hub.metric("tidings_append_seconds_count"), 1.0);
    eventually("connections are counted", || hub.metric("tidings_broker_connections_opened_total") > 0.0);
    let text = hub.get("/metrics").text();
    for name in ["tidings_broker_connections_opened", "tidings_mirror_denied"] {
        let line = format!("# TYPE {name} counter");
        assert!(text.lines().any(|it| it == line), "{line:?} is not in {text}");
    }
}

#[test]
fn start_page_loads_nothing_from_other_hosts() {
    let hub = TestHub::in_memory(&[]);
    for (path, content_type) in
        [("/", "text/html"), ("/page/style.css", "text/css"), ("/page/main.js", "text/javascript")]
    {
        let answer = hub.get(path);
        assert!(answer.assert_status(200).head.header("content-type").unwrap().starts_with(content_type));
        // A browser loads no link until the user follows it.
        let is_link = |line: &str| line.trim_start().starts_with("<a href=");
        let text = answer.text();
        let foreign: Vec<&str> =
            text.lines().filter(|line| line.contains("https://") && !is_link(line)).collect();
        assert!(foreign.is_empty(), "{path} loads from another host: {foreign:?}");
    }
}

#[test]
fn load_balancer_may_probe_in_any_of_its_ways() {
    let open = TestHub::in_memory(&[]);
    let protected = TestHub::in_memory(&[("TIDINGS_AUTH_SECRET", SECRET)]);
    for hub in [&open, &protected] {
        for path in ["/healthz", "/readyz"] {
            for method in ["GET", "HEAD", "OPTIONS"] {
                let host = format!("Host: {}\r\n", hub.authority());
                for head in
                    [" HTTP/1.0\r\n", &format!(" HTTP/1.0\r\n{host}"), &format!(" HTTP/1.1\r\n{host}")]
                {
                    let mut connection = hub.connect();
                    connection.send(format!("{method} {path}{head}Connection: close\r\n\r\n"));
                    let answered = String::from_utf8(connection.read_to_end()).unwrap();
                    let status = answered.split(' ').nth(1);
                    assert_eq!(status, Some("200"), "{method} {path}{head}: {answered}");
                    assert_eq!(answered.ends_with("\r\n\r\n"), method == "HEAD", "{answered}");
                }
            }
            hub.send_raw(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n\r\n"))
                .assert_problem(400, "bad_header");
        }
        // Other routes refuse a request without a Host.
        hub.send_raw("GET /api/v1/channels HTTP/1.0\r\n\r\n").assert_problem(400, "bad_header");
    }
    // The hub checks a Host that is present.
    let foreign = "GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n";
    open.send_raw(foreign).assert_problem(403, "forbidden_host");
    protected.send_raw(foreign).assert_status(200);
    open.terminate();
    protected.terminate();
}
