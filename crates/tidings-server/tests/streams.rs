//! Streams: their head, first bytes, frames, keep-alives and ends.

use std::collections::BTreeSet;
use std::net::Shutdown;

use tidings_protocol::sse::StreamItem;

use crate::prelude::*;

const FIREFOX: &[(&str, &str)] = &[
    ("Accept", "text/event-stream"),
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
];

/// The first chunk of a stream as text, without the values that differ between streams.
fn beginning(hub: &TestHub, path: &str, headers: &[(&str, &str)]) -> String {
    let mut connection = hub.send_request("GET", path, headers, b"");
    assert_eq!(connection.read_head().status, 200);
    let block = String::from_utf8(connection.read_chunk().unwrap()).unwrap();
    let lines = block.split_inclusive('\n').map(|line| {
        if let Some(retry) = line.strip_prefix("retry: ") {
            assert!((1000..=2000).contains(&retry.trim().parse::<u32>().unwrap()), "{line:?}");
            "retry: N\n".to_owned()
        } else if let Some(id) = line.strip_prefix("id: ") {
            id.trim().parse::<tidings_protocol::EventId>().unwrap();
            "id: ID\n".to_owned()
        } else {
            line.to_owned()
        }
    });
    lines.collect()
}

#[test]
fn head_of_a_stream_has_the_documented_headers() {
    let hub = TestHub::in_memory(&[]);
    for path in ["/api/v1/events/a", "/api/v1/events?channel=a", "/api/v1/events/a.*", "/api/v1/events/**"] {
        let head = hub.subscribe(path).head;
        assert_eq!(head.header("content-type"), Some("text/event-stream; charset=utf-8"));
        assert_eq!(head.header("cache-control"), Some("no-cache, no-transform"));
        assert_eq!(head.header("x-accel-buffering"), Some("no"));
        assert_eq!(head.header("transfer-encoding"), Some("chunked"));
        assert_eq!(head.header("content-encoding"), None);
        let connection = head.header("tidings-connection").unwrap();
        assert!(
            connection.len() == 32 && connection.bytes().all(|it| it.is_ascii_hexdigit()),
            "{connection}"
        );
    }
}

#[test]
fn beginning_is_one_chunk_in_the_form_of_the_position_parameter() {
    let hub = TestHub::in_memory(&[]);
    let (without, as_id, as_event) = (
        "retry: N\n: tidings\n",
        "retry: N\n: tidings\nid: ID\n\n",
        "retry: N\n: tidings\nevent: tidings.position\ndata:\nid: ID\n\n",
    );
    let stream = ("Accept", "text/event-stream");
    let pragma = ("Pragma", "no-cache");
    let mode = ("Sec-Fetch-Mode", "cors");
    let browser = FIREFOX[3];
    let path = "/api/v1/events/a";
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], without),
        (&[stream], without),
        (FIREFOX, as_event),
        (&[stream, pragma, browser], as_event),
        (&[stream, pragma, mode], without),
        (&[stream, pragma], without),
        (&[stream, mode, browser], without),
        (&[("Accept", "*/*"), pragma, browser], without),
        (&[("Accept", "text/event-stream, */*"), pragma, browser], without),
        (&[stream, ("Pragma", "no-store"), browser], without),
        (&[stream, pragma, mode, ("User-Agent", "node")], without),
    ];
    for (headers, wanted) in cases {
        assert_eq!(beginning(&hub, path, headers), *wanted, "{headers:?}");
    }
    assert_eq!(beginning(&hub, "/api/v1/events/a?position=event", &[]), as_event);
    assert_eq!(beginning(&hub, "/api/v1/events/a?position=id", FIREFOX), as_id);
    assert_eq!(beginning(&hub, "/api/v1/events/a?position=none", FIREFOX), without);
    hub.get("/api/v1/events/a?position=both").assert_problem(400, "bad_query");
}

#[test]
fn open_event_names_the_connection_its_channels_and_its_position_first() {
    let hub = TestHub::in_memory(&[]);
    hub.publish("a", "before");
    let mut nodes = Vec::new();
    for suffix in ["", "&position=event"] {
        let mut reader = hub.subscribe(&format!("/api/v1/events?channel=a&channel=b.*&hello=true{suffix}"));
        let (event, open) = reader.control_event("tidings.open");
        let connection = reader.head.header("tidings-connection").unwrap();
        let now = open["now"].as_str().unwrap();
        assert!(now.len() == 24 && now.ends_with('Z'), "{now}");
        let node = open["node"].as_str().unwrap();
        assert!(node.len() == 16 && nodes.iter().all(|other: &String| other == node), "{node} of {nodes:?}");
        nodes.push(node.to_owned());
        let expected = json!({
            "connectionId": connection, "channels": ["a", "b.*"], "position": event.last_event_id, "now": now,
            "keepAlive": 15, "node": node,
        });
        assert_eq!(open, expected);
        assert!(event.last_event_id.parse::<tidings_protocol::EventId>().is_ok(), "{event:?}");
    }
    hub.get("/api/v1/events/a?hello=yes").assert_problem(400, "bad_query");
}

#[test]
fn each_event_is_one_chunk_of_exact_bytes() {
    let hub = TestHub::in_memory(&[]);
    let mut connection = hub.send_request("GET", "/api/v1/events/a", &[], b"");
    connection.read_head();
    connection.read_chunk().unwrap();
    let mut chunk = |query: &str, data: &str| {
        let answer = hub.post(&format!("/api/v1/events/a{query}"), data).assert_status(200).json();
        let frame = String::from_utf8(connection.read_chunk().unwrap()).unwrap();
        answer["id"].as_str().map_or(frame.clone(), |id| frame.replace(id, "ID"))
    };
    assert_eq!(chunk("", "text"), "data: text\nid: ID\n\n");
    assert_eq!(chunk("?event=note", "{\"a\": 1}"), "event: note\ndata: {\"a\": 1}\nid: ID\n\n");
    assert_eq!(chunk("", ""), "data:\nid: ID\n\n");
    assert_eq!(chunk("", "a\nb\r\nc\rd\n"), "data: a\ndata: b\ndata: c\ndata: d\ndata:\nid: ID\n\n");
    assert_eq!(chunk("", " : x"), "data:  : x\nid: ID\n\n");
    assert_eq!(chunk("?store=false", "gone"), "data: gone\n\n");
    let large = "é".repeat(100_000);
    assert_eq!(chunk("", &large), format!("data: {large}\nid: ID\n\n"));
}

#[test]
fn quiet_stream_gets_keep_alives_and_positions() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_KEEP_ALIVE", "200ms")]);
    let mut reader = hub.subscribe("/api/v1/events/quiet");
    let mut browser = hub.subscribe_with("/api/v1/events/quiet?position=event", FIREFOX);
    reader.position();
    let newest = hub.publish("busy", "1");
    for reader in [&mut reader, &mut browser] {
        let mut has_comment = false;
        while reader.last_event_id() != newest {
            has_comment |=
                matches!(reader.next_item().unwrap(), StreamItem::Comment(text) if text == "keep-alive");
        }
        assert!(has_comment);
    }
}

#[test]
fn stream_with_transient_events_only_gets_its_position() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_KEEP_ALIVE", "300ms")]);
    let mut reader = hub.open_stream("/api/v1/events/a");
    let newest = hub.publish("other", "1");
    let mut received = 0;
    // Each event follows the last one at once: the stream is never silent for long.
    while reader.last_event_id() != newest {
        hub.post("/api/v1/events/a?store=false", "tick").assert_status(200);
        assert_eq!(reader.data(), "tick");
        received += 1;
    }
    assert!(received > 3, "{received}");
}

#[test]
fn quiet_stream_without_positions_gets_comments_and_no_blank_line() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_KEEP_ALIVE", "100ms")]);
    for transport in TRANSPORTS {
        let mut transcripts = StreamTranscript::read(transport.ask(&hub, "/api/v1/events/quiet", &[]));
        hub.publish("busy", "1");
        let silence = "retry: N\n: tidings\n: keep-alive\n: keep-alive\n: keep-alive\n";
        transcripts.read_through(": keep-alive\n: keep-alive\n: keep-alive\n");
        let id = hub.publish("quiet", "now");
        transcripts.read_through(&format!("id: {id}\n\n: keep-alive\n"));
        let body = transcripts.body();
        assert!(body.starts_with(silence), "{body}");
        assert_eq!(body.matches("\n\n").count(), 1, "{body}");
    }
}

#[test]
fn disabled_streams_give_204() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_ENABLED", "false")]);
    hub.get("/api/v1/events/a").assert_status(204);
    hub.get("/api/v1/events?channel=a").assert_status(204);
    hub.publish("a", "still taken");
}

#[test]
fn stream_ends_at_its_maximum_age() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_MAX_AGE", "1s")]);
    let mut reader = hub.subscribe("/api/v1/events/a");
    reader.assert_end("max_age", true);
    eventually("the connection is closed", || hub.connections("a") == 0);
}

#[test]
fn http_1_0_client_gets_the_stream_unchunked_until_the_connection_closes() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_MAX_AGE", "1s")]);
    let mut connection = hub.connect();
    connection
        .send(format!("GET /api/v1/events/a?position=id HTTP/1.0\r\nHost: {}\r\n\r\n", hub.authority()));
    let mut reader = SseReader::open(connection);
    assert_eq!(reader.head.header("transfer-encoding"), None);
    assert_eq!(reader.head.header("content-length"), None);
    reader.position();
    hub.publish("a", "one");
    assert_eq!(reader.data(), "one");
    reader.assert_end("max_age", true);
}

#[test]
fn head_request_gets_the_head_alone_and_opens_no_stream() {
    let hub = TestHub::in_memory(&[]);
    let mut connection = hub.send_request("HEAD", "/api/v1/events/a", &[("Connection", "close")], b"");
    let head = connection.read_head();
    assert_eq!((head.status, head.header("content-type")), (200, Some("text/event-stream; charset=utf-8")));
    assert_eq!(connection.read_to_end(), b"");
    assert_eq!(hub.connections("a"), 0);
}

#[test]
fn connection_is_removed_when_its_client_closes_or_half_closes() {
    let hub = TestHub::in_memory(&[]);
    let half = hub.subscribe("/api/v1/events/a");
    let whole = hub.subscribe("/api/v1/events?channel=a&channel=b.**");
    assert_eq!((hub.connections("a"), hub.connections("b.**")), (2, 1));
    half.connection.socket.shutdown(Shutdown::Write).unwrap();
    eventually("the half-closed stream is closed", || hub.connections("a") == 1);
    drop(whole);
    eventually("the closed stream is removed", || hub.connections("a") == 0 && hub.connections("b.**") == 0);
    assert_eq!(hub.metric("tidings_streams_open"), 0.0);
}

#[test]
fn connection_of_many_channels_gets_each_event_once_and_in_order() {
    let hub = TestHub::in_memory(&[]);
    let channels = (0..64).map(|n| format!("room.{n}"));
    let patterns = (0..62).map(|n| format!("room.{n}.**")).chain(["room.*".into(), "*:news".into()]);
    let query: Vec<String> = channels.chain(patterns).map(|name| format!("channel={name}")).collect();
    assert_eq!(query.len(), 128);
    let mut reader = hub.subscribe(&format!("/api/v1/events?{}", query.join("&")));
    let publish = |n: usize| {
        let all = [
            format!("room.{}", n % 70),
            format!("room.{}.deep.er", n % 62),
            "a:news".to_owned(),
            format!("room.{}:x", n % 7),
        ];
        let channels: BTreeSet<&String> = all.iter().take(1 + n % 4).collect();
        json!({"channels": channels, "data": n.to_string()})
    };
    for n in 0..50 {
        hub.post("/api/v1/publish", publish(n).to_string()).assert_status(200);
        hub.publish("elsewhere.room", "not for it");
    }
    hub.publish_batch((50..300).map(publish));
    assert_eq!(reader.data_of_next(300), numbers(0..300));
    // The same events as a replay.
    let mut replay = hub.subscribe(&format!("/api/v1/events?history=all&{}", query.join("&")));
    assert_eq!(replay.data_of_next(300), numbers(0..300));
}

#[test]
fn pattern_matches_within_segments_and_separators() {
    let hub = TestHub::in_memory(&[]);
    let mut one = hub.subscribe("/api/v1/events/a.*");
    let mut more = hub.subscribe("/api/v1/events/a:**");
    for channel in ["a", "a.b", "a.b.c", "a:b", "a:b.c", "b.a", "a.c"] {
        hub.publish(channel, channel);
    }
    hub.publish_batch([json!({"channels": ["a.end", "a:end"], "data": "end"})]);
    assert_eq!(one.data_of_next(3), ["a.b", "a.c", "end"]);
    assert_eq!(more.data_of_next(3), ["a:b", "a:b.c", "end"]);
}

#[test]
fn stream_over_http_2_is_the_same_without_a_connection_header() {
    let hub = TestHub::in_memory(&[]);
    let mut client = Http2::connect(&hub);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let response = client.get("/api/v1/events/a", &[]);
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
        let headers = response.headers();
        assert_eq!(headers["content-type"], "text/event-stream; charset=utf-8");
        assert_eq!(headers["cache-control"], "no-cache, no-transform");
        assert_eq!(headers["x-accel-buffering"], "no");
        assert!(headers.contains_key("tidings-connection"));
        for absent in ["connection", "keep-alive", "transfer-encoding"] {
            assert!(!headers.contains_key(absent), "{headers:?}");
        }
        let mut reader = client.reader(response);
        let first = reader.frame().unwrap().unwrap();
        assert!(first.starts_with(b"retry: ") && first.ends_with(b"\n: tidings\n"), "{first:?}");
        streams.push(reader);
    }
    let id = hub.publish("a", "one");
    for reader in &mut streams {
        assert_eq!(reader.frame().unwrap().unwrap(), format!("data: one\nid: {id}\n\n"));
    }
    assert_eq!(hub.connections("a"), 3);
    streams.pop();
    eventually("only one stream was reset", || hub.connections("a") == 2);
}
