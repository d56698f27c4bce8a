//! Publishes to a shard, compared with the same publishes through hyper.

use rustix::process::Signal;

use crate::prelude::*;

type RawRequest<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);

/// A response without the values that differ between publishes.
fn answer(connection: &mut HttpConnection) -> (String, Value) {
    let head = connection.read_raw_head();
    let mut lines: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with("date: ")).collect();
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let body = connection.read_exact(length.parse().unwrap()).unwrap();
    let mut body: Value = serde_json::from_slice(&body).unwrap();
    if body.get("id").is_some_and(Value::is_string) {
        body["id"] = json!("an id");
        body["offset"] = json!(0);
        // Offsets of two digits make the body longer.
        lines.retain(|line| !line.starts_with("content-length: "));
    }
    (lines.join("\n"), body)
}

#[test]
fn publishes_get_the_same_response_from_a_shard_and_through_hyper() {
    let hub = TestHub::in_memory(&[("TIDINGS_CORS_ORIGINS", "http://page.example")]);
    let json_type = [("Content-Type", "application/json")];
    let requests: [RawRequest<'_>; 14] = [
        ("POST", "/api/v1/events/a", &[], b"text"),
        ("POST", "/api/v1/events/a", &[], b""),
        ("POST", "/api/v1/events/a?event=named&priority=high&ttl=5s", &[], b"text"),
        ("POST", "/api/v1/events/a?store=false", &[], b"text"),
        ("POST", "/api/v1/events/a", &[("Origin", "http://page.example")], b"text"),
        ("POST", "/api/v1/events/a", &[("Origin", "http://other.example")], b"text"),
        ("POST", "/api/v1/events/a..b", &[], b"text"),
        ("POST", "/api/v1/events/a?priority=none", &[], b"text"),
        ("POST", "/api/v1/events/a", &[], b"\xff"),
        ("POST", "/api/v1/publish", &json_type, br#"{"channels":["a","b"],"data":{"n":1}}"#),
        ("POST", "/api/v1/publish", &json_type, br#"{"channels":["a"],"dat":1}"#),
        ("POST", "/api/v1/publish", &json_type, b"{"),
        ("POST", "/api/v1/publish", &[("Content-Type", "text/plain")], b"{}"),
        ("GET", "/api/v1/publish", &[], b""),
    ];
    let mut connections = TRANSPORTS.map(|transport| transport.connect(&hub));
    for (method, path, headers, body) in requests {
        let answers = connections.each_mut().map(|connection| {
            connection.send(hub.encode_request(method, path, headers, body));
            answer(connection)
        });
        assert_eq!(answers[0], answers[1], "{method} {path}");
    }
}

#[test]
fn connection_publishes_repeatedly_and_then_opens_a_stream() {
    let hub = TestHub::in_memory(&[]);
    let mut connection = Transport::Shard.connect(&hub);
    for number in 1..=100 {
        connection.send(hub.encode_request("POST", "/api/v1/events/a", &[], b"text"));
        let (_, body) = answer(&mut connection);
        assert_eq!(body["id"], "an id", "{number}");
    }
    connection.send(hub.encode_request("GET", "/api/v1/events/a?history=all", &[], b""));
    let mut reader = SseReader::open(connection);
    assert_eq!(reader.data_of_next(100), ["text"; 100]);
    assert_eq!(hub.connections("a"), 1);
}

#[test]
fn publish_that_arrives_byte_by_byte_or_pipelined_is_answered() {
    let hub = TestHub::in_memory(&[]);
    let publish = hub.encode_request("POST", "/api/v1/events/a", &[], b"slowly");
    let mut slow = Transport::Shard.connect(&hub);
    for byte in &publish {
        slow.send([*byte]);
    }
    assert_eq!(slow.read_response().head.status, 200);
    let mut many = Transport::Shard.connect(&hub);
    let publish = |data: &String| hub.encode_request("POST", "/api/v1/events/a", &[], data.as_bytes());
    many.send(numbers(0..50).iter().map(publish).collect::<Vec<_>>().concat());
    for _ in 0..50 {
        assert_eq!(many.read_response().head.status, 200);
    }
    many.send(hub.encode_request("GET", "/api/v1/events/a?history=50", &[], b""));
    assert_eq!(SseReader::open(many).data_of_next(50), numbers(0..50));
    assert_eq!(hub.stored("a").len(), 51);
}

#[test]
fn publishes_of_every_size_are_stored_unchanged() {
    let hub = TestHub::in_memory(&[]);
    let mut reader = hub.open_stream("/api/v1/events/a");
    let mut connection = Transport::Shard.connect(&hub);
    for bytes in [1, 1_000, 2_000, 4_096, 60_000, 65_000, 70_000, 200_000, 10] {
        let text = "x".repeat(bytes);
        let publish = hub.encode_request("POST", "/api/v1/events/a", &[], text.as_bytes());
        assert_eq!(connection.exchange(publish).head.status, 200, "{bytes}");
        assert_eq!(reader.data().len(), bytes);
    }
}

#[test]
fn body_with_the_largest_length_in_a_head_is_refused_and_ends_nothing() {
    let hub = TestHub::in_memory(&[]);
    for transport in TRANSPORTS {
        for length in [1 << 53, u64::MAX >> 1, u64::MAX - 2] {
            let answer = transport.connect(&hub).exchange(format!(
                "POST /api/v1/events/a HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\ntext"
            ));
            assert_eq!(answer.head.status, 413, "{transport:?} {length}");
        }
    }
    hub.assert_healthy();
}

#[test]
fn idle_connection_is_closed_at_shutdown() {
    let hub = TestHub::in_memory(&[("TIDINGS_SHUTDOWN_WINDOW", "2s")]);
    let mut idle = Transport::Shard.connect(&hub);
    idle.exchange(hub.encode_request("POST", "/api/v1/events/a", &[], b"text")).assert_status(200);
    let stream = hub.open_stream("/api/v1/events/a");
    hub.signal(Signal::TERM);
    assert!(idle.read_to_end().is_empty(), "the hub closes it without bytes");
    drop(stream);
    hub.assert_exit(0);
}
