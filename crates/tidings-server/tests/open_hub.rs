//! A hub without `[auth]`: open to programs of its machine, closed to foreign pages.

use crate::prelude::*;

const CHANNEL: &str = "/api/v1/events/a";

/// Sends a request without a body, with this head.
fn send_head(hub: &TestHub, head: &str) -> HttpResponse {
    hub.send_raw(format!("{head}\r\n\r\n"))
}

#[track_caller]
fn assert_allowed(response: &HttpResponse, origin: &str) {
    assert_eq!(response.head.header("access-control-allow-origin"), Some(origin));
    assert_eq!(response.head.header("access-control-allow-credentials"), Some("true"));
    let exposed = response.head.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("Tidings-Connection") && exposed.contains("Retry-After"), "{exposed}");
    assert!(varies(response));
}

fn varies(response: &HttpResponse) -> bool {
    let mut vary = response.head.headers.iter().filter(|(name, _)| name == "vary");
    vary.any(|(_, value)| value.split(',').any(|it| it.trim().eq_ignore_ascii_case("origin")))
}

#[test]
fn host_must_be_a_loopback_name() {
    let hub = TestHub::in_memory(&[]);
    for good in [
        "localhost",
        "LOCALHOST:1",
        "localhost.:8000",
        "app.localhost",
        "127.0.0.1",
        "127.9.8.7:80",
        "[::1]",
        "[::1]:8000",
        "[::ffff:127.0.0.1]",
    ] {
        send_head(&hub, &format!("GET /healthz HTTP/1.1\r\nHost: {good}")).assert_status(200);
    }
    for bad in [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "notlocalhost",
        "0.0.0.0",
        "10.0.0.1",
        "[::]",
        "[2001:db8::1]:80",
        "169.254.169.254",
    ] {
        for path in ["/healthz", CHANNEL, "/metrics", "/", "/api/v1/nothing"] {
            send_head(&hub, &format!("GET {path} HTTP/1.1\r\nHost: {bad}"))
                .assert_problem(403, "forbidden_host");
        }
        let post = format!("POST {CHANNEL} HTTP/1.1\r\nHost: {bad}\r\nContent-Length: 1\r\n\r\nx");
        hub.send_raw(post).assert_problem(403, "forbidden_host");
    }
    assert_eq!(hub.stored("a"), [""; 0]);
}

#[test]
fn host_must_occur_once_and_match_the_target() {
    let hub = TestHub::in_memory(&[]);
    for head in [
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: localhost",
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example",
        "GET /healthz HTTP/1.1\r\nAccept: */*",
        "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost",
    ] {
        send_head(&hub, head).assert_status(400);
    }
    send_head(&hub, "GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example")
        .assert_problem(403, "forbidden_host");
    send_head(&hub, "GET http://localhost/healthz HTTP/1.1\r\nHost: localhost").assert_status(200);
}

#[test]
fn pages_of_loopback_origins_are_allowed_with_credentials() {
    let hub = TestHub::in_memory(&[]);
    for origin in ["http://localhost:3000", "http://127.0.0.1:5173", "https://localhost", "http://[::1]:3000"]
    {
        let headers = [("Origin", origin)];
        for path in ["/healthz", "/api/v1/channels", "/metrics"] {
            assert_allowed(hub.request("GET", path, &headers, b"").assert_status(200), origin);
        }
        assert_allowed(hub.request("POST", CHANNEL, &headers, b"x").assert_status(200), origin);
        let stream = hub.subscribe_with(CHANNEL, &headers);
        assert_allowed(&HttpResponse { head: stream.head.clone(), body: Vec::new() }, origin);
        // The page can read the refusal, too.
        for (method, path, status, code) in [
            ("GET", "/api/v1/events/a..b", 400, "bad_channel"),
            ("GET", "/nothing", 404, "not_found"),
            ("PUT", CHANNEL, 405, "method_not_allowed"),
        ] {
            assert_allowed(hub.request(method, path, &headers, b"").assert_problem(status, code), origin);
        }
    }
}

#[test]
fn pages_of_other_origins_are_refused() {
    let hub = TestHub::in_memory(&[]);
    for origin in [
        "https://evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://localhost:3000@evil.example",
        "http://evil.example/localhost",
        "null",
        "file://",
        "chrome-extension://abcdef",
        "",
        "http://10.0.0.1:3000",
    ] {
        let headers = [("Origin", origin)];
        let preflight = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        for response in [
            hub.request("GET", CHANNEL, &headers, b""),
            hub.request("POST", CHANNEL, &headers, b"x"),
            hub.request("POST", "/api/v1/publish", &headers, b"{}"),
            hub.request("OPTIONS", CHANNEL, &preflight, b""),
        ] {
            response.assert_problem(403, "forbidden_origin");
            assert_eq!(response.head.header("access-control-allow-origin"), None, "{origin}");
            assert!(varies(&response));
        }
    }
    let two = [("Origin", "http://localhost:3000"), ("Origin", "https://evil.example")];
    hub.request("GET", "/healthz", &two, b"").assert_problem(403, "forbidden_origin");
    assert_eq!(hub.stored("a"), [""; 0]);
}

#[test]
fn listed_origins_are_allowed_exactly() {
    let variables = [("TIDINGS_CORS_ORIGINS", "https://app.example.com,http://other.example:81")];
    let hub = TestHub::in_memory(&variables);
    for origin in ["https://app.example.com", "http://other.example:81", "http://localhost:3000"] {
        assert_allowed(
            hub.request("GET", "/api/v1/channels", &[("Origin", origin)], b"").assert_status(200),
            origin,
        );
    }
    for origin in [
        "http://app.example.com",
        "https://app.example.com:444",
        "http://other.example",
        "https://example.com",
    ] {
        let response = hub.request("GET", "/api/v1/channels", &[("Origin", origin)], b"");
        response.assert_problem(403, "forbidden_origin");
    }
}

#[test]
fn preflight_names_what_pages_may_send() {
    let hub = TestHub::in_memory(&[("TIDINGS_CORS_HEADERS", "X-Request-Id,X-Tenant")]);
    for path in [CHANNEL, "/api/v1/publish", "/api/v1/events?channel=a"] {
        let headers = [
            ("Origin", "http://localhost:3000"),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", "authorization,last-event-id"),
        ];
        let response = hub.request("OPTIONS", path, &headers, b"");
        assert_allowed(&response, "http://localhost:3000");
        assert!(matches!(response.head.status, 200 | 204), "{response:?}");
        assert_eq!(
            response.head.header("access-control-allow-headers"),
            Some(
                "Authorization, Content-Type, Last-Event-ID, X-Session-Id, Idempotency-Key, Cache-Control, \
                 Tidings-Event, Tidings-Priority, Tidings-Key, Tidings-Ttl, Tidings-Store, traceparent, \
                 tracestate, baggage, sentry-trace, X-Request-Id, X-Tenant"
            )
        );
        assert_eq!(response.head.header("access-control-allow-methods"), Some("GET, POST, PUT, DELETE"));
        assert_eq!(response.head.header("access-control-max-age"), Some("7200"));
    }
}

#[test]
fn pages_may_read_headers_of_problems_and_empty_responses() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_ENABLED", "false")]);
    let origin = "http://localhost:3000";
    for (method, path, status) in [
        ("GET", CHANNEL, 204),
        ("GET", "/api/v1/events", 400),
        ("GET", "/nowhere", 404),
        ("PUT", CHANNEL, 405),
    ] {
        let response = hub.request(method, path, &[("Origin", origin)], b"");
        assert_eq!(response.head.status, status, "{method} {path}");
        assert_allowed(&response, origin);
        let exposed = response.head.header("access-control-expose-headers");
        assert_eq!(exposed, Some("Tidings-Connection, Retry-After, Date"), "{method} {path}");
    }
}

#[test]
fn malformed_header_name_is_refused_at_start() {
    let directory = TempDirectory::create();
    directory.write("tidings.toml", "[cors]\nheaders = [\"X-Request-Id\", \"X Tenant\"]\n");
    directory.run(&["check"], &[]).assert_refused(&["cors.headers has \"X Tenant\""]);
}

#[test]
fn response_without_an_origin_varies_by_it() {
    let hub = TestHub::in_memory(&[]);
    let response = hub.get("/api/v1/channels");
    assert!(varies(response.assert_status(200)));
    assert_eq!(response.head.header("access-control-allow-origin"), None);
}

#[test]
fn insecure_hub_accepts_every_host_and_no_foreign_page() {
    let directory = TempDirectory::create();
    let command = directory.command(&["serve", "--memory", "--insecure", "--listen", "0.0.0.0:0"]);
    let hub = TestHub::start(command);
    let list = |headers: &str| send_head(&hub, &format!("GET /api/v1/channels HTTP/1.1\r\n{headers}"));
    list("Host: hub.example:8000").assert_status(200);
    list("Host: 10.1.2.3").assert_status(200);
    assert_allowed(
        list("Host: hub.example\r\nOrigin: http://localhost:3000").assert_status(200),
        "http://localhost:3000",
    );
    for origin in ["https://evil.example", "null", "http://hub.example"] {
        list(&format!("Host: hub.example\r\nOrigin: {origin}")).assert_problem(403, "forbidden_origin");
    }
    list("Host: a\r\nHost: b").assert_status(400);
}
