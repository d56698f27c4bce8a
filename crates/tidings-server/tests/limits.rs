//! Bounds that a hub keeps, and what it says at them.

use super::process::{Directory, Hub, eventually};
use super::wire::Wire;

#[test]
fn stream_past_the_limit_gets_503_and_nobody_is_evicted() {
    let directory = Directory::new();
    let hub = Hub::in_memory(&directory, &[("TIDINGS_LIMITS_CONNECTIONS", "2")]);
    let mut one = hub.subscribe("/api/v1/events/a");
    let two = hub.subscribe("/api/v1/events/b");
    for path in ["/api/v1/events/a", "/api/v1/events?channel=c"] {
        let answer = hub.get(path);
        assert_eq!(answer.refuses(503, "connections_full").json()["limit"], "connections");
        let wait: u32 = answer.head.header("retry-after").unwrap().parse().unwrap();
        assert!(wait > 0);
    }
    assert_eq!(hub.metric("tidings_limit_refused_total{limit=\"connections\"}"), 2.0);
    hub.publish("a", "still published");
    assert_eq!(one.data(), "still published");
    drop(two);
    eventually("its place is free", || hub.connections("b") == 0);
    hub.subscribe("/api/v1/events/c").position();
}

#[test]
fn stream_of_too_many_channels_is_refused() {
    let directory = Directory::new();
    let hub = Hub::in_memory(&directory, &[("TIDINGS_LIMITS_CHANNELS_PER_CONNECTION", "3")]);
    let answer = hub.get("/api/v1/events?channel=a&channel=b&channel=c&channel=d");
    assert_eq!(answer.refuses(400, "too_many_channels").json()["limit"], "channels_per_connection");
    assert_eq!(hub.metric("tidings_limit_refused_total{limit=\"channels_per_connection\"}"), 1.0);
    // The same channel twice is one.
    let mut reader = hub.subscribe("/api/v1/events?channel=a&channel=b&channel=c&channel=a");
    hub.publish("a", "once");
    hub.publish("b", "then");
    assert_eq!(reader.several(2), ["once", "then"]);
}

#[test]
fn connection_that_was_refused_or_closed_gives_its_place_back() {
    let directory = Directory::new();
    let hub = Hub::in_memory(&directory, &[("TIDINGS_LIMITS_CONNECTIONS", "1")]);
    for _ in 0..20 {
        hub.get("/api/v1/events/a?history=x").refuses(400, "bad_query");
        hub.subscribe("/api/v1/events/a").position();
        eventually("its place is free", || hub.connections("a") == 0);
    }
}

#[test]
fn one_http_1_connection_serves_many_requests() {
    let directory = Directory::new();
    let hub = Hub::in_memory(&directory, &[]);
    let mut wire = Wire::connect(&hub);
    // Sent without waiting for any answer.
    for n in 0..50 {
        wire.send(hub.head_of("POST", "/api/v1/events/a", &[], n.to_string().as_bytes()));
    }
    for _ in 0..50 {
        wire.answer().is(200);
    }
    wire.send(hub.head_of("GET", "/api/v1/events/a?history=all", &[], b""));
    let mut reader = super::reader::Reader::over(wire);
    let expected: Vec<String> = (0..50).map(|n| n.to_string()).collect();
    assert_eq!(reader.several(50), expected);
}
