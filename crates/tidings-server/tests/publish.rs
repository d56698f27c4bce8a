//! Publishing: accepted requests, their responses, and the events that subscribers get.

use tidings_protocol::EventId;
use tidings_protocol::sse::MessageEvent;

use crate::prelude::*;

const CHANNEL: &str = "/api/v1/events/a";

fn with(hub: &TestHub, path: &str, headers: &[(&str, &str)], body: &str) -> HttpResponse {
    hub.request("POST", path, headers, body.as_bytes())
}

fn messages(hub: &TestHub, body: &Value) -> HttpResponse {
    hub.post("/api/v1/publish", body.to_string())
}

fn ndjson(hub: &TestHub, lines: &str) -> HttpResponse {
    with(hub, "/api/v1/publish", &[("Content-Type", "application/x-ndjson")], lines)
}

/// Asserts that a batch is refused as a whole because of the message with this index.
#[track_caller]
fn assert_batch_error(answer: &HttpResponse, status: u16, code: &str, index: impl Into<Option<usize>>) {
    assert_eq!(
        answer.assert_problem(status, code).json().get("index"),
        index.into().map(Value::from).as_ref()
    );
}

#[test]
fn body_is_the_data_verbatim_and_cannot_inject_lines_into_the_stream() {
    let hub = TestHub::in_memory(&[]);
    let mut reader = hub.subscribe("/api/v1/events/*");
    let texts = [
        "",
        " leading space",
        "{\"not\": \"changed\"}  ",
        "line\nfeed",
        "carriage\rreturn",
        "both\r\nof them\r\n",
        "\n\n\n",
        "\r\r\n\n",
        "x\n\nevent: smuggled\ndata: evil\nid: 7\nretry: 1\n\n",
        "x\r\revent: smuggled\r\rdata: evil",
        "data: data: x\n: comment\nid: 9",
        "\u{feff}bom, \u{2028} \u{85} and \u{0} stay",
        "é漢😀",
    ];
    for text in texts {
        let id = hub.publish("a", text);
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        let expected = MessageEvent { name: "message".to_owned(), data: lines, last_event_id: id.clone() };
        assert_eq!(reader.event(), expected);
        let answer = messages(&hub, &json!({"channels": ["b"], "data": text})).assert_status(200).json();
        assert_eq!(reader.event().data, expected.data);
        assert_eq!(reader.last_event_id(), answer["id"]);
    }
    assert_eq!(hub.stored("a"), texts, "history keeps the line breaks");
}

#[test]
fn response_is_an_id_that_resumes_after_the_event() {
    let hub = TestHub::in_memory(&[]);
    let answer = hub.post(CHANNEL, "one");
    assert_eq!(answer.head.header("content-type"), Some("application/json"));
    let json = answer.assert_status(200).json();
    let id: EventId = json["id"].as_str().unwrap().parse().unwrap();
    assert_eq!(json, json!({"id": id.to_string(), "offset": id.offset}));
    hub.publish("a", "two");
    assert_eq!(hub.resume(CHANNEL, &id.to_string()).data(), "two");
}

#[test]
fn name_is_given_by_query_header_or_member() {
    let hub = TestHub::in_memory(&[]);
    let mut reader = hub.subscribe(CHANNEL);
    with(&hub, &format!("{CHANNEL}?event=by%20query"), &[], "1").assert_status(200);
    with(&hub, CHANNEL, &[("Tidings-Event", "by header")], "2").assert_status(200);
    with(&hub, &format!("{CHANNEL}?event=same"), &[("Tidings-Event", "same")], "3").assert_status(200);
    messages(&hub, &json!({"channels": ["a"], "event": "by member", "data": "4"})).assert_status(200);
    with(&hub, CHANNEL, &[("Tidings-Event", "имя")], "5").assert_status(200);
    let names: Vec<String> = (0..5).map(|_| reader.event().name).collect();
    assert_eq!(names, ["by query", "by header", "same", "by member", "имя"]);
    let two = with(&hub, &format!("{CHANNEL}?event=x"), &[("Tidings-Event", "y")], "6");
    two.assert_problem(400, "bad_query");
}

#[test]
fn values_beside_the_body_are_checked_in_query_and_headers() {
    let hub = TestHub::in_memory(&[]);
    let long = "k".repeat(201);
    let bad = [
        ("priority", "urgent", "bad_priority"),
        ("priority", "HIGH", "bad_priority"),
        ("ttl", "0", "bad_ttl"),
        ("ttl", "-1", "bad_ttl"),
        ("ttl", "1.5", "bad_ttl"),
        ("ttl", "1s", "bad_ttl"),
        ("store", "no", "bad_query"),
        ("key", &long, "bad_key"),
    ];
    for (name, value, code) in bad {
        hub.post(&format!("{CHANNEL}?{name}={value}"), "x").assert_problem(400, code);
        with(&hub, CHANNEL, &[(&format!("Tidings-{name}"), value)], "x").assert_problem(400, code);
    }
    hub.post(&format!("{CHANNEL}?prioritty=high"), "x").assert_problem(400, "bad_query");
    let good =
        [("priority", "critical"), ("priority", "low"), ("ttl", "60000"), ("store", "true"), ("key", "k")];
    for (name, value) in good {
        hub.post(&format!("{CHANNEL}?{name}={value}"), "x").assert_status(200);
        with(&hub, CHANNEL, &[(&format!("Tidings-{name}"), value)], "x").assert_status(200);
    }
    assert_eq!(hub.stored("a").len(), 2 * good.len());
}

#[test]
fn object_array_and_ndjson_are_published_in_order() {
    let hub = TestHub::in_memory(&[]);
    let mut reader = hub.subscribe(CHANNEL);
    let one = messages(&hub, &json!({"channels": ["a"], "data": "1"})).assert_status(200).json();
    assert!(one["id"].is_string() && one["offset"].is_u64(), "{one}");
    let of = |n: u32| json!({"channels": ["a"], "data": n.to_string()});
    let array = messages(&hub, &json!([of(2), of(3)])).assert_status(200).json();
    assert_eq!(array.as_array().unwrap().len(), 2);
    let alone = messages(&hub, &json!([of(4)])).assert_status(200).json();
    assert_eq!(alone.as_array().unwrap().len(), 1, "an array gets an array");
    let lines = format!("\n{}\r\n\n{}\n\n", of(5), of(6));
    let results = ndjson(&hub, &lines).assert_status(200).json();
    let offsets = [0, 1].map(|index| results[index]["offset"].as_u64().unwrap());
    assert_eq!(offsets[1], offsets[0] + 1);
    assert_eq!(reader.data_of_next(6), numbers(1..7));
}

#[test]
fn data_other_than_a_string_is_sent_as_compact_json() {
    let hub = TestHub::in_memory(&[]);
    let mut reader = hub.subscribe(CHANNEL);
    let cases = [
        ("null", "null"),
        ("true", "true"),
        ("1.0", "1.0"),
        ("12345678901234567890123", "12345678901234567890123"),
        (r#"{ "b" : 1, "a" : [ 1 , 2 ] }"#, r#"{"b":1,"a":[1,2]}"#),
        ("\"a\\nb\"", "a\nb"),
        ("\"\"", ""),
    ];
    for (json, text) in cases {
        hub.post("/api/v1/publish", format!("{{\"channels\":[\"a\"],\"data\":{json}}}")).assert_status(200);
        assert_eq!(reader.data(), text);
    }
}

#[test]
fn batch_is_refused_as_a_whole_with_the_index_of_its_first_error() {
    let hub = TestHub::in_memory(&[]);
    let good = json!({"channels": ["a"], "data": "good"}).to_string();
    let large = json!({"channels": ["a"], "data": "x".repeat(300_000)}).to_string();
    let faults = [
        ("{\"channels\":[\"a\"],\"data\":", 400, "malformed_body"),
        ("{\"channels\":[\"a\"]}", 400, "missing_data"),
        ("{\"channels\":[\"a..b\"],\"data\":1}", 400, "bad_channel"),
        ("{\"channels\":[\"$hub\"],\"data\":1}", 403, "reserved_channel"),
        ("{\"channels\":[\"a\"],\"data\":1,\"event\":\"tidings.gap\"}", 400, "bad_event_name"),
        ("{\"channels\":[],\"data\":1}", 400, "no_audience"),
        ("{\"users\":[\"u\"],\"data\":1}", 400, "not_available"),
        ("{\"sessions\":[\"s\"],\"data\":1}", 400, "not_available"),
        ("{\"all\":true,\"data\":1}", 400, "not_available"),
        ("{\"channels\":[\"a\"],\"where\":{},\"data\":1}", 400, "not_available"),
        ("{\"channels\":[\"a\"],\"dta\":1,\"data\":1}", 400, "unknown_member"),
        (&large, 413, "event_too_large"),
    ];
    for (bad, status, code) in faults {
        let lines = format!("{good}\n\n{good}\n{bad}\n{good}\n");
        assert_batch_error(&ndjson(&hub, &lines), status, code, 2);
        if code != "malformed_body" {
            let array = |text: String| hub.post("/api/v1/publish", text);
            assert_batch_error(&array(format!("[{good},{bad}]")), status, code, 1);
            assert_batch_error(&array(format!("[{bad}]")), status, code, 0);
            // One object has no index.
            assert_batch_error(&array(bad.to_owned()), status, code, None);
        }
    }
    assert_eq!(hub.stored("a"), Vec::<String>::new());
    hub.assert_healthy();
}

#[test]
fn event_of_several_channels_reaches_a_connection_once() {
    let hub = TestHub::in_memory(&[]);
    let mut all = hub.subscribe("/api/v1/events?channel=a&channel=b&channel=*&channel=**");
    let mut one = hub.subscribe("/api/v1/events/b");
    messages(&hub, &json!({"channels": ["a", "b", "c", "a"], "data": "once"})).assert_status(200);
    messages(&hub, &json!({"channels": ["a", "b"], "data": "past the log", "store": false}))
        .assert_status(200);
    messages(&hub, &json!({"channels": ["b"], "data": "end"})).assert_status(200);
    assert_eq!(all.data_of_next(3), ["once", "past the log", "end"]);
    assert_eq!(one.data_of_next(3), ["once", "past the log", "end"]);
}

#[test]
fn transient_event_reaches_live_streams_only_and_has_no_id() {
    let hub = TestHub::in_memory(&[]);
    let mut reader = hub.subscribe(CHANNEL);
    let position = reader.position();
    let answer = hub.post(&format!("{CHANNEL}?store=false"), "1");
    assert_eq!(answer.assert_status(200).json(), json!({"id": null}));
    let answer = messages(&hub, &json!([{"channels": ["a"], "data": "2", "store": false}]));
    assert_eq!(answer.assert_status(200).json(), json!([{"id": null}]));
    assert_eq!(reader.data_of_next(2), ["1", "2"]);
    assert_eq!(reader.last_event_id(), position);
    hub.publish("a", "3");
    assert_eq!(hub.subscribe(&format!("{CHANNEL}?history=all")).data(), "3");
    assert_eq!(hub.resume(CHANNEL, &position).data(), "3");
}

#[test]
fn expired_event_is_neither_replayed_nor_a_gap() {
    let hub = TestHub::in_memory(&[]);
    let start = hub.publish("a", "0");
    hub.post(&format!("{CHANNEL}?ttl=50"), "short").assert_status(200);
    hub.publish("a", "1");
    eventually("the event has expired", || hub.stored("a") == ["0", "1"]);
    let mut reader = hub.resume(CHANNEL, &start);
    assert_eq!(reader.position(), start);
    assert_eq!(reader.data(), "1");
}

#[test]
fn repeat_with_the_same_key_gets_the_first_result() {
    let directory = TempDirectory::create();
    let hub = TestHub::serve_in(&directory, &[]);
    let key = [("Idempotency-Key", "order 7")];
    let pay = |hub: &TestHub| with(hub, CHANNEL, &key, "paid").assert_status(200).json();
    let first = pay(&hub);
    hub.publish("a", "between");
    assert_eq!(pay(&hub), first);
    let member = json!({"channels": ["a"], "data": "paid", "idempotencyKey": "order 7"});
    assert_eq!(messages(&hub, &member).assert_status(200).json(), first);
    assert_eq!(with(&hub, "/api/v1/publish", &key, &member.to_string()).assert_status(200).json(), first);

    with(&hub, CHANNEL, &key, "refunded").assert_problem(409, "idempotency_conflict");
    with(&hub, "/api/v1/events/b", &key, "paid").assert_problem(409, "idempotency_conflict");
    with(&hub, &format!("{CHANNEL}?event=e"), &key, "paid").assert_problem(409, "idempotency_conflict");
    hub.kill();

    let hub = TestHub::serve_in(&directory, &[]);
    let again = pay(&hub);
    let id = |answer: &Value| answer["id"].as_str().unwrap().parse::<EventId>().unwrap();
    let newest = hub.publish("b", "x").parse::<EventId>().unwrap().epoch;
    assert_eq!(again["offset"], first["offset"]);
    let expected = (id(&first).tag, newest);
    assert_eq!((id(&again).tag, id(&again).epoch), expected, "the first's, in the newest epoch");
    with(&hub, CHANNEL, &key, "refunded").assert_problem(409, "idempotency_conflict");
    hub.terminate();
    let hub = TestHub::serve_in(&directory, &[]);
    assert_eq!(pay(&hub)["offset"], first["offset"]);
    assert_eq!(hub.stored("a"), ["paid", "between"]);
}

#[test]
fn concurrent_repeats_make_one_event() {
    let hub = TestHub::serve(&[("TIDINGS_LOG_DURABILITY", "fsync")]);
    let key = [("Idempotency-Key", "k")];
    let results = in_parallel(0..16, |_| with(&hub, CHANNEL, &key, "x").assert_status(200).json());
    assert!(results.iter().all(|result| result["offset"] == results[0]["offset"]), "{results:?}");
    assert_eq!(hub.stored("a"), ["x"]);
}

#[test]
fn idempotency_key_that_cannot_be_kept_is_refused() {
    let hub = TestHub::in_memory(&[]);
    let key = [("Idempotency-Key", "k")];
    with(&hub, &format!("{CHANNEL}?store=false"), &key, "x").assert_problem(400, "bad_idempotency_key");
    let transient = json!({"channels": ["a"], "data": 1, "store": false, "idempotencyKey": "k"});
    messages(&hub, &transient).assert_problem(400, "bad_idempotency_key");
    let twice = json!({"channels": ["a"], "data": 1, "idempotencyKey": "k"});
    messages(&hub, &json!([twice, twice])).assert_problem(400, "duplicate_idempotency_key");
    let headers = [("Idempotency-Key", "k"), ("Idempotency-Key", "l")];
    with(&hub, CHANNEL, &headers, "x").assert_problem(400, "bad_header");
}

#[test]
fn oversized_request_is_refused_with_the_bound() {
    let hub = TestHub::in_memory(&[("TIDINGS_LIMITS_BODY_BYTES", "1MiB")]);
    let large = "x".repeat(300 << 10);
    let answer = hub.post(CHANNEL, &large);
    answer.assert_problem(413, "event_too_large");
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("307200") && detail.contains("262144"), "{detail}");
    assert_eq!(answer.json()["limit"], "event_bytes");
    hub.publish("a", "x".repeat(256 << 10));

    let whole = "x".repeat((1 << 20) + 1);
    let answer = hub.post("/api/v1/publish", &whole);
    assert_eq!(answer.assert_problem(413, "body_too_large").json()["limit"], "body_bytes");
    let mut connection = hub.connect();
    let head = format!("POST {CHANNEL} HTTP/1.1\r\nHost: {}\r\n", hub.authority());
    connection.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    for _ in 0..17 {
        connection.send(format!("{:x}\r\n{}\r\n", 64 << 10, "x".repeat(64 << 10)));
    }
    connection.read_response().assert_problem(413, "body_too_large");
    // A body whose announced length is too large is refused before it is sent.
    hub.send_raw(format!("{head}Content-Length: 99999999999\r\n\r\n")).assert_problem(413, "body_too_large");
    hub.assert_healthy();
}

#[test]
fn chunked_body_without_a_length_is_accepted() {
    let hub = TestHub::in_memory(&[]);
    let head = format!("POST {CHANNEL} HTTP/1.1\r\nHost: {}\r\n", hub.authority());
    hub.send_raw(format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\n\r\n\r\n0\r\n\r\n"))
        .assert_status(200);
    assert_eq!(hub.stored("a"), ["abc\r\n"]);
}

#[test]
fn compressed_body_is_refused() {
    let hub = TestHub::in_memory(&[]);
    for encoding in ["gzip", "br", "zstd"] {
        let headers = [("Content-Encoding", encoding)];
        with(&hub, CHANNEL, &headers, "x").assert_problem(415, "unsupported_media_type");
        with(&hub, "/api/v1/publish", &headers, "{}").assert_problem(415, "unsupported_media_type");
    }
    with(&hub, CHANNEL, &[("Content-Encoding", "identity")], "x").assert_status(200);
}

/// Each pair of errors of different kinds in both orders, as a list and as lines: the response names the first.
#[test]
fn first_error_of_a_batch_is_named_whatever_its_kind() {
    let hub = TestHub::in_memory(&[("TIDINGS_CHANNELS_ENVELOPE", "strict")]);
    let message = |channel: &str, object: &str| {
        let data = json!({"type": "t", "object": object});
        json!({"channels": [channel], "data": data}).to_string()
    };
    let good = message("a", "o");
    let large = message("a", &"x".repeat(300_000));
    let name = message("a..b", "o");
    let reserved = message("$hub", "o");
    let envelope = json!({"channels": ["a"], "data": {"type": "t"}}).to_string();
    let member = "{\"channels\":[\"a\"],\"data\":1,\"dta\":1}".to_owned();
    let syntax = "{\"channels\":[\"a\"],,\"data\":1}".to_owned();
    let faults = [
        (&large, 413, "event_too_large"),
        (&name, 400, "bad_channel"),
        (&reserved, 403, "reserved_channel"),
        (&envelope, 422, "envelope"),
        (&member, 400, "unknown_member"),
        (&syntax, 400, "malformed_body"),
    ];
    for (first, status, code) in &faults {
        for (second, ..) in &faults {
            let array = format!("[{good},{first},{second}");
            for array in [array.clone(), format!("{array}]")] {
                assert_batch_error(&hub.post("/api/v1/publish", array), *status, code, 1);
            }
            let lines = format!("{good}\n\n{first}\n{second}\n");
            assert_batch_error(&ndjson(&hub, &lines), *status, code, 1);
        }
    }
    assert_eq!(hub.stored("a"), Vec::<String>::new());
}
