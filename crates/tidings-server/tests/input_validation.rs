//! Bad input: each case is refused with its status and code, and the hub keeps serving.

use crate::hub::TestHub;

/// Names as they stand in a path, with the status and code of the refusal.
const NAMES: &[(&str, u16, &str)] = &[
    ("", 400, "bad_channel"),
    (".", 400, "bad_channel"),
    ("..", 400, "bad_channel"),
    ("a.", 400, "bad_channel"),
    (".a", 400, "bad_channel"),
    ("a..b", 400, "bad_channel"),
    ("a.:b", 400, "bad_channel"),
    (":", 400, "bad_channel"),
    ("a%00", 400, "bad_channel"),
    ("%00", 400, "bad_channel"),
    ("a%0Ab", 400, "bad_channel"),
    ("a%0D%0Ab", 400, "bad_channel"),
    ("../etc/passwd", 400, "bad_channel"),
    ("%2e%2e%2fetc", 400, "bad_channel"),
    ("a/b", 400, "bad_channel"),
    ("a%2Fb", 400, "bad_channel"),
    ("a/", 400, "bad_channel"),
    ("a%20b", 400, "bad_channel"),
    ("a+b", 400, "bad_channel"),
    ("a,b", 400, "bad_channel"),
    ("a%252e", 400, "bad_channel"),
    ("%C3%A9", 400, "bad_channel"),
    ("%FF", 400, "invalid_utf8"),
    ("a%ED%A0%80", 400, "invalid_utf8"),
    ("$all", 403, "reserved_channel"),
    ("$", 403, "reserved_channel"),
    ("%24all", 403, "reserved_channel"),
    ("$user.1", 403, "reserved_channel"),
];

/// Patterns outside the grammar; the first two are valid where a pattern is allowed.
const PATTERNS: &[(&str, bool)] = &[
    ("a.*", true),
    ("a.**", true),
    ("*a", false),
    ("a*", false),
    ("a.b*", false),
    ("**.a", false),
    ("a.**.b", false),
    ("***", false),
    ("a.*.", false),
];

fn hub() -> TestHub {
    TestHub::in_memory(&[])
}

#[test]
fn bad_names_are_refused_by_publish_subscribe_and_history() {
    let hub = hub();
    let long = "n".repeat(201);
    let longer = "n".repeat(10 << 10);
    let too_long = [(long.as_str(), 400, "bad_channel"), (longer.as_str(), 400, "bad_channel")];
    for (name, status, code) in NAMES.iter().copied().chain(too_long) {
        hub.post(&format!("/api/v1/events/{name}"), "x").assert_problem(status, code);
        let answer = hub.get(&format!("/api/v1/events/{name}"));
        let detail = answer.assert_problem(status, code).json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.len() < 600 && !detail.contains(char::is_control), "{detail:?}");
        // In a query, bytes that are not UTF-8 are outside the grammar; so is a plus, which means a space there.
        let code_in_query = if status == 403 { code } else { "bad_channel" };
        hub.get(&format!("/api/v1/events?channel=good&channel={name}")).assert_problem(status, code_in_query);
        hub.get(&format!("/api/v1/channels/{name}/events")).assert_problem(status, code);
    }
    for name in ["n".repeat(200), "A-Z_0~9@x.y:z".to_owned(), "a%2Eb".to_owned()] {
        hub.publish(&name, "x");
    }
    hub.assert_healthy();
}

#[test]
fn pattern_is_for_subscribing_only() {
    let hub = hub();
    for (pattern, is_good) in PATTERNS {
        hub.post(&format!("/api/v1/events/{pattern}"), "x").assert_problem(400, "bad_channel");
        let message = format!("{{\"channels\":[\"{pattern}\"],\"data\":1}}");
        hub.post("/api/v1/publish", message).assert_problem(400, "bad_channel");
        hub.get(&format!("/api/v1/channels/{pattern}/events")).assert_problem(400, "bad_channel");
        if *is_good {
            hub.subscribe(&format!("/api/v1/events/{pattern}")).position();
        } else {
            hub.get(&format!("/api/v1/events/{pattern}")).assert_problem(400, "bad_channel");
        }
    }
    hub.get("/api/v1/events/$**").assert_problem(403, "reserved_channel");
    hub.get("/api/v1/events").assert_problem(400, "bad_query");
    hub.get("/api/v1/events?chanel=a").assert_problem(400, "bad_query");
}

#[test]
fn bad_event_names_are_refused() {
    let hub = hub();
    let long = "e".repeat(256);
    let names =
        ["a%0Ab", "a%0Db", "a%0D%0Adata:%20x", "a%00b", "tidings.gap", "tidings.", "tidings.x", &long];
    for name in names {
        hub.post(&format!("/api/v1/events/a?event={name}"), "x").assert_problem(400, "bad_event_name");
    }
    for name in ["a\\nb", "a\\rb", "a\\u0000b", "tidings.end", "", &long] {
        let message = format!("{{\"channels\":[\"a\"],\"data\":1,\"event\":\"{name}\"}}");
        hub.post("/api/v1/publish", message).assert_problem(400, "bad_event_name");
    }
    for name in ["tidings", "Tidings.gap", "a.tidings.b", &long[1..]] {
        hub.post(&format!("/api/v1/events/a?event={name}"), "x").assert_status(200);
    }
    hub.assert_healthy();
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    let hub = hub();
    for bytes in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"] {
        hub.post("/api/v1/events/a", bytes).assert_problem(400, "invalid_utf8");
        let mut message = b"{\"channels\":[\"a\"],\"data\":\"".to_vec();
        message.extend_from_slice(bytes);
        message.extend_from_slice(b"\"}");
        hub.post("/api/v1/publish", message).assert_problem(400, "invalid_utf8");
    }
    let mut request = format!("POST /api/v1/events/a HTTP/1.1\r\nHost: {}\r\n", hub.authority()).into_bytes();
    request.extend_from_slice(b"Tidings-Event: \xff\r\nContent-Length: 0\r\n\r\n");
    hub.send_raw(request).assert_problem(400, "bad_header");
    for query in ["event=%FF", "key=a%C3", "event=x&key=%ED%A0%80"] {
        hub.post(&format!("/api/v1/events/a?{query}"), "x").assert_problem(400, "invalid_utf8");
    }
    assert_eq!(hub.get("/api/v1/channels/a/events").json()["events"], serde_json::json!([]));
    hub.assert_healthy();
}

#[test]
fn broken_and_deep_json_is_refused() {
    let hub = hub();
    let nested = |depth: usize, open: &str, close: &str| {
        format!("{{\"channels\":[\"a\"],\"data\":{}1{}}}", open.repeat(depth), close.repeat(depth))
    };
    let bodies = [
        String::new(),
        " \n\n ".to_owned(),
        "null".to_owned(),
        "1".to_owned(),
        "\"text\"".to_owned(),
        "[1]".to_owned(),
        "[]".to_owned(),
        "{\"channels\":[\"a\"],\"data\":1".to_owned(),
        "{\"channels\":[\"a\"],\"data\":1}}".to_owned(),
        "{\"channels\":[\"a\"],\"data\":NaN}".to_owned(),
        "{\"channels\":\"a\",\"data\":1}".to_owned(),
        "{\"channels\":[1],\"data\":1}".to_owned(),
        "{\"channels\":[\"a\"],\"data\":1,\"data\":2}".to_owned(),
        "{\"channels\":[\"a\"],\"data\":\"\\ud800\"}".to_owned(),
        "[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        nested(100_000, "[", "]"),
        nested(100_000, "{\"k\":", "}"),
        nested(128, "[", "]"),
    ];
    for body in bodies {
        let answer = hub.post("/api/v1/publish", &body);
        answer.assert_problem(400, "malformed_body");
    }
    hub.post("/api/v1/publish", nested(127, "[", "]")).assert_status(200);
    hub.assert_healthy();
}

#[test]
fn malformed_requests_are_refused() {
    let hub = hub();
    let host = format!("Host: {}\r\n", hub.authority());
    let two_lengths =
        format!("POST /api/v1/events/a HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx");
    for request in [two_lengths, "nonsense\r\n\r\n".to_owned(), "\0\0\0\r\n\r\n".to_owned()] {
        let mut connection = hub.connect();
        connection.send(&request);
        let answer = connection.read_to_end();
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with("HTTP/1.1 400"), "{request:?}: {text}");
    }
    assert_eq!(hub.get("/api/v1/channels/a/events").json()["events"], serde_json::json!([]));
    hub.assert_healthy();
}

#[test]
fn request_with_two_kinds_of_length_smuggles_nothing() {
    let hub = hub();
    let smuggled =
        String::from_utf8(hub.encode_request("POST", "/api/v1/events/smuggled", &[], b"x")).unwrap();
    for lengths in
        ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"]
    {
        let mut connection = hub.connect();
        let head =
            format!("POST /api/v1/events/a HTTP/1.1\r\nHost: {}\r\n{lengths}\r\n\r\n", hub.authority());
        connection.send(format!("{head}0\r\n\r\n{smuggled}"));
        let answer = String::from_utf8(connection.read_to_end()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert_eq!(
            answer.matches("HTTP/1.1").count(),
            1,
            "the connection is closed after the response: {answer}"
        );
    }
    let events = hub.get("/api/v1/channels/smuggled/events").json();
    assert_eq!(events["events"], serde_json::json!([]));
}

#[test]
fn unknown_routes_and_methods_get_problem_documents() {
    let hub = hub();
    for path in ["/api/v1/nothing", "/api", "/api/v1/channels/a", "/api/v1/channels/a/b/c", "/%00", "//"] {
        hub.get(path).assert_problem(404, "not_found");
    }
    for path in ["/api/events/a", "/api/v1/nothing", "/api/v1/channels/a"] {
        let problem = hub.get(path).json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.starts_with(&format!("nothing is at {path}; the routes are ")), "{detail}");
        for route in ["GET and POST /api/v1/events/{channel}", "POST /api/v1/publish", "/openapi.json"] {
            assert!(detail.contains(route), "{route} is not in {detail}");
        }
        assert!(!detail.contains("/healthz"), "{detail}");
    }
    let problem = hub.get("/events/a").json();
    assert!(problem["detail"].as_str().unwrap().contains("/api/v1/events/{channel}"), "{problem}");
    let methods = [
        ("POST", "/api/v1/channels"),
        ("PUT", "/api/v1/events/a"),
        ("DELETE", "/api/v1/events/a"),
        ("GET", "/api/v1/publish"),
        ("POST", "/healthz"),
        ("TRACE", "/"),
    ];
    for (method, path) in methods {
        let answer = hub.request(method, path, &[], b"");
        answer.assert_problem(405, "method_not_allowed");
        assert!(answer.head.header("allow").is_some(), "{method} {path}: {answer:?}");
    }
}
