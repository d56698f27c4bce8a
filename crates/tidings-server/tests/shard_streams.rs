//! Streams of a shard, compared with the same streams through hyper.

use std::io::Write;
use std::net::Shutdown;

use rustix::process::Signal;

use crate::prelude::*;

#[test]
fn head_and_body_are_the_same_from_a_shard_and_through_hyper() {
    let hub = TestHub::in_memory(&[("TIDINGS_CORS_ORIGINS", "http://page.example")]);
    let first = hub.publish("a", "one");
    hub.publish_batch([
        json!({"channels": ["a", "b"], "event": "named", "data": {"n": 1}, "priority": "high"}),
        json!({"channels": ["a"], "data": "two\r\nlines\n\nand more"}),
        json!({"channels": ["a"], "data": "x".repeat(100_000)}),
        json!({"channels": ["b"], "data": ""}),
    ]);
    hub.publish_numbers("c", 0..300);
    let browser = [("Accept", "text/event-stream"), ("Pragma", "no-cache"), ("User-Agent", "Mozilla/5.0 x")];
    let requests: [(&str, &[(&str, &str)]); 9] = [
        ("/api/v1/events/a", &[]),
        ("/api/v1/events/a?history=all", &[]),
        ("/api/v1/events/a", &[("Last-Event-ID", &first)]),
        ("/api/v1/events/*?history=all&hello=true", &[]),
        ("/api/v1/events?channel=a&channel=b&history=2", &[("Origin", "http://page.example")]),
        ("/api/v1/events/a?history=1", &browser),
        ("/api/v1/events/a?position=none", &[]),
        ("/api/v1/events/a?history=1", &[("Last-Event-ID", "no id")]),
        ("/api/v1/events/c?history=all", &[("Connection", "keep-alive")]),
    ];
    let mut pairs: Vec<_> =
        requests.iter().map(|(path, headers)| (path, request_both(&hub, path, headers))).collect();
    for text in ["live", "and\nmore"] {
        hub.publish_batch(["a", "b", "c"].map(|channel| json!({"channels": [channel], "data": text})));
    }
    for channel in ["a", "b", "c"] {
        hub.post(&format!("/api/v1/events/{channel}?store=false"), "unstored").assert_status(200);
    }
    hub.publish_batch([json!({"channels": ["a", "b", "c"], "data": "all is said"})]);
    let transcripts = pairs.iter_mut().flat_map(|(_, pair)| pair);
    transcripts.for_each(|transcript| transcript.read_through("data: all is said\n"));
    hub.signal(Signal::TERM);
    for (path, pair) in &mut pairs {
        assert!(assert_same_body(path, pair).contains("event: tidings.end\n"), "{path}");
    }
    hub.assert_exit(0);
}

#[test]
fn refusals_are_the_same_from_a_shard_and_through_hyper() {
    let hub = TestHub::in_memory(&[]);
    for path in ["/api/v1/events/a..b", "/api/v1/events", "/api/v1/events/$x", "/nowhere", "/healthz"] {
        let mut pair = request_both(&hub, path, &[]);
        assert_same_body(path, &mut pair);
        // The connection continues.
        assert!(!pair[0].is_closed_after_response(&hub), "{path}");
    }
}

/// Asserts that the connection is a stream of channel `a`.
#[track_caller]
fn assert_streams(hub: &TestHub, connection: HttpConnection) {
    let mut reader = SseReader::open(connection);
    reader.position();
    hub.publish("a", "hello");
    assert_eq!(reader.data(), "hello");
}

#[test]
fn head_that_arrives_byte_by_byte_opens_a_stream() {
    let hub = TestHub::in_memory(&[]);
    let mut connection = hub.connect();
    for byte in hub.encode_request("GET", "/api/v1/events/a?position=id", &[], b"") {
        connection.send([byte]);
    }
    assert_streams(&hub, connection);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let hub = TestHub::in_memory(&[]);
    let mut connection = hub.connect();
    let two =
        ["/healthz", "/api/v1/events/a?position=id"].map(|path| hub.encode_request("GET", path, &[], b""));
    connection.send(two.concat());
    assert_eq!(connection.read_response().head.status, 200);
    assert_streams(&hub, connection);
}

#[test]
fn stream_closes_when_its_client_half_closes_or_keeps_sending() {
    let hub = TestHub::in_memory(&[]);
    let half = hub.open_stream("/api/v1/events/half");
    half.connection.socket.shutdown(Shutdown::Write).unwrap();
    eventually("the half-closed stream is closed", || hub.connections("half") == 0);
    let mut chatty = hub.open_stream("/api/v1/events/chatty");
    chatty.connection.send("GET / HTTP/1.1\r\n");
    hub.publish("chatty", "a little is read away");
    assert_eq!(chatty.data(), "a little is read away");
    let _cut_meanwhile = chatty.connection.socket.write_all(&vec![b'x'; 1 << 20]);
    eventually("the stream of the sending client is closed", || hub.connections("chatty") == 0);
    hub.assert_healthy();
}

#[test]
fn thousand_streams_open_and_close_and_leave_nothing() {
    let hub = TestHub::in_memory(&[]);
    for round in 0..3 {
        let mut readers: Vec<SseReader> = (0..1000).map(|_| hub.subscribe("/api/v1/events/many")).collect();
        readers.iter_mut().for_each(|reader| drop(reader.position()));
        hub.publish("many", format!("round {round}"));
        for reader in &mut readers {
            assert_eq!(reader.data(), format!("round {round}"));
        }
        drop(readers);
        eventually("all streams are closed", || hub.connections("many") == 0);
    }
}
