//! Bad input: each case is refused with its status and code, and the hub keeps serving.

use crate::hub::TestHub;

/// Names as they stand in a path, by the status and code of their refusal.
const NAMES: &[(u16, &str, &[&str])] = &[
    (400, "bad_channel", &["", ".", "..", "a.", ".a", "a..b", "a.:b", ":", "a%00", "%00", "a%0Ab"]),
    (400, "bad_channel", &["a/b", "a%2Fb", "a/", "a%20b", "a+b", "a,b", "a%252e", "%C3%A9", "a%0D%0Ab"]),
    (400, "bad_channel", &["../etc/passwd", "%2e%2e%2fetc"]),
    (400, "invalid_utf8", &["%FF", "a%ED%A0%80"]),
    (403, "reserved_channel", &["$all", "$", "%24all", "$user.1"]),
];

/// Patterns that only a subscription may have.
const PATTERNS: &[&str] = &["a.*", "a.**"];

/// Patterns outside the grammar.
const BAD_PATTERNS: &[&str] = &["*a", "a*", "a.b*", "**.a", "a.**.b", "***", "a.*."];

#[test]
fn bad_names_are_refused_by_publish_subscribe_and_history() {
    let hub = TestHub::in_memory(&[]);
    let long = "n".repeat(201);
    let longer = "n".repeat(10 << 10);
    let too_long: (u16, &str, &[&str]) = (400, "bad_channel", &[&long, &longer]);
    let rows = NAMES.iter().chain([&too_long]);
    for (status, code, name) in
        rows.flat_map(|(status, code, names)| names.iter().map(|name| (*status, *code, *name)))
    {
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
    let hub = TestHub::in_memory(&[]);
    for pattern in PATTERNS.iter().chain(BAD_PATTERNS) {
        hub.post(&format!("/api/v1/events/{pattern}"), "x").assert_problem(400, "bad_channel");
        let message = format!("{{\"channels\":[\"{pattern}\"],\"data\":1}}");
        hub.post("/api/v1/publish", message).assert_problem(400, "bad_channel");
        hub.get(&format!("/api/v1/channels/{pattern}/events")).assert_problem(400, "bad_channel");
    }
    for pattern in PATTERNS {
        hub.subscribe(&format!("/api/v1/events/{pattern}")).position();
    }
    for pattern in BAD_PATTERNS {
        hub.get(&format!("/api/v1/events/{pattern}")).assert_problem(400, "bad_channel");
    }
    hub.get("/api/v1/events/$**").assert_problem(403, "reserved_channel");
    hub.get("/api/v1/events").assert_problem(400, "bad_query");
    hub.get("/api/v1/events?chanel=a").assert_problem(400, "bad_query");
}

#[test]
fn bad_event_names_are_refused() {
    let hub = TestHub::in_memory(&[]);
    let long = "e".repeat(256);
    for name in ["a%0Ab", "a%0Db", "a%0D%0Adata:%20x", "a%00b", "tidings.gap", "tidings.", "tidings.x", &long]
    {
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
    let hub = TestHub::in_memory(&[]);
    for bytes in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"] {
        hub.post("/api/v1/events/a", bytes).assert_problem(400, "invalid_utf8");
        let message = [b"{\"channels\":[\"a\"],\"data\":\"", bytes, b"\"}"].concat();
        hub.post("/api/v1/publish", message).assert_problem(400, "invalid_utf8");
    }
    let head = format!("POST /api/v1/events/a HTTP/1.1\r\nHost: {}\r\n", hub.authority());
    let request = [head.as_bytes(), b"Tidings-Event: \xff\r\nContent-Length: 0\r\n\r\n"].concat();
    hub.send_raw(request).assert_problem(400, "bad_header");
    for query in ["event=%FF", "key=a%C3", "event=x&key=%ED%A0%80"] {
        hub.post(&format!("/api/v1/events/a?{query}"), "x").assert_problem(400, "invalid_utf8");
    }
    assert!(hub.stored("a").is_empty());
    hub.assert_healthy();
}

#[test]
fn broken_and_deep_json_is_refused() {
    let hub = TestHub::in_memory(&[]);
    let nested = |depth: usize, open: &str, close: &str| {
        format!("{{\"channels\":[\"a\"],\"data\":{}1{}}}", open.repeat(depth), close.repeat(depth))
    };
    for body in [
        "",
        " \n\n ",
        "null",
        "1",
        "\"text\"",
        "[1]",
        "[]",
        "{\"channels\":[\"a\"],\"data\":1",
        "{\"channels\":[\"a\"],\"data\":1}}",
        "{\"channels\":[\"a\"],\"data\":NaN}",
        "{\"channels\":\"a\",\"data\":1}",
        "{\"channels\":[1],\"data\":1}",
        "{\"channels\":[\"a\"],\"data\":1,\"data\":2}",
        "{\"channels\":[\"a\"],\"data\":\"\\ud800\"}",
        &"[".repeat(100_000),
        &"{\"a\":".repeat(100_000),
        &nested(100_000, "[", "]"),
        &nested(100_000, "{\"k\":", "}"),
        &nested(128, "[", "]"),
    ] {
        hub.post("/api/v1/publish", body).assert_problem(400, "malformed_body");
    }
    hub.post("/api/v1/publish", nested(127, "[", "]")).assert_status(200);
    hub.assert_healthy();
}

#[test]
fn unknown_routes_and_methods_get_problem_documents() {
    let hub = TestHub::in_memory(&[]);
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
        let allow = answer.assert_problem(405, "method_not_allowed").head.header("allow");
        assert!(allow.is_some(), "{method} {path}: {answer:?}");
    }
}
