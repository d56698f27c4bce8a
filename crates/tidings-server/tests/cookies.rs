//! Cookies and pages: requests that a foreign page may make a browser send, and responses that such a page may read.

use crate::prelude::*;

const PAGE: &str = "https://app.example.com";
/// Origins that are not listed.
const FOREIGN: [&str; 9] = [
    "null",
    "",
    "https://evil.example",
    "https://app.example.com.evil.example",
    "https://evil-app.example.com",
    "https://evilapp.example.com",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://APP.example.com.",
];
const STREAM: &str = "/api/v1/events/user.u";
const HISTORY: &str = "/api/v1/channels/user.u/events";
const ALLOWED: &str = "access-control-allow-origin";
const CREDENTIALS: &str = "access-control-allow-credentials";

/// A hub that accepts cookies, and lists one page.
fn with_cookie() -> TestHub {
    protected_with(
        &with_secret("cookie = \"session\"\nquery_token = true"),
        &[("TIDINGS_CORS_ORIGINS", PAGE)],
    )
}

/// A token of a user who may read, publish, and make tickets.
fn writer() -> String {
    token_with("u", &json!({"tidings": {"publish": ["user.u"]}}))
}

fn cookie() -> String {
    format!("theme=dark; session={}; lang=de", writer())
}

/// Sends every request that has an effect or opens a stream, with these headers.
fn requests_with_effect(hub: &TestHub, headers: &[(&str, &str)]) -> Vec<HttpResponse> {
    let headers = [&[("Content-Type", "application/json")], headers].concat();
    let responses = [
        ("GET", STREAM, ""),
        ("GET", "/api/v1/events?channel=user.u&history=all", ""),
        ("POST", STREAM, "x"),
        ("POST", "/api/v1/publish", "{\"channels\":[\"user.u\"],\"data\":\"x\"}"),
        ("POST", "/api/v1/tickets", "{\"channels\":[\"user.u\"]}"),
    ]
    .map(|(method, path, body)| {
        // Without the body of a stream.
        let mut connection = hub.send_request(method, path, &headers, body.as_bytes());
        let head = connection.read_head();
        let body = connection.read_exact(head.content_length().unwrap_or_default()).unwrap();
        HttpResponse { head, body }
    });
    responses.into()
}

/// Asserts that every request with an effect is accepted; returns the responses.
#[track_caller]
fn assert_accepted(hub: &TestHub, headers: &[(&str, &str)]) -> Vec<HttpResponse> {
    let responses = requests_with_effect(hub, headers);
    let statuses: Vec<u16> = responses.iter().map(|response| response.head.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 201], "{headers:?}");
    responses
}

#[track_caller]
fn assert_no_cors_header(response: &HttpResponse, origin: &str) {
    let header = response.head.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
    assert_eq!(header, None, "{origin}");
}

#[test]
fn cookie_from_a_foreign_page_has_no_effect() {
    let hub = with_cookie();
    let cookie = cookie();
    let own_port = hub.authority().rsplit(':').next().unwrap();
    let of_another_name = format!("http://127.0.0.2:{own_port}");
    let of_own_suffix = format!("http://evil-{}", hub.authority());
    let further = [
        "*",
        "https://xapp.example.com",
        "https://app.example.co",
        "https://app.example.com:8443",
        "https://app.example.com:443",
        "https://app.example.com/",
        "https://app.example.com.",
        "HTTPS://APP.EXAMPLE.COM",
        "https://example.com",
        "https://user@app.example.com",
        "app.example.com",
        "file://",
        "chrome-extension://abc",
        "https://app.example.com https://evil.example",
        "http://",
        "://",
        "http://127.0.0.1:1",
        &of_another_name,
        &of_own_suffix,
        hub.authority(),
    ];
    let assert_refused = |headers: &[(&str, &str)]| {
        for response in requests_with_effect(&hub, &[&[("Cookie", cookie.as_str())], headers].concat()) {
            response.assert_problem(403, "forbidden_origin");
            assert_eq!(response.head.header(ALLOWED), None, "{headers:?}");
        }
    };
    for origin in FOREIGN.into_iter().chain(further) {
        assert_refused(&[("Origin", origin)]);
        for site in ["cross-site", "same-site", "same-origin"] {
            assert_refused(&[("Origin", origin), ("Sec-Fetch-Site", site)]);
        }
    }
    for other in ["https://evil.example", "null"] {
        for response in
            requests_with_effect(&hub, &[("Cookie", &cookie), ("Origin", PAGE), ("Origin", other)])
        {
            response.assert_problem(403, "forbidden_origin");
        }
    }
    // A page without an origin that the browser marks as cross-site.
    assert_refused(&[("Sec-Fetch-Site", "cross-site")]);
    assert_eq!(hub.counter("tidings_streams_opened_total"), 0.0);
    assert_eq!(hub.stored_as_backend("user.u"), [""; 0]);
}

#[test]
fn cookie_from_the_same_or_a_listed_page_is_accepted() {
    let hub = with_cookie();
    let own = format!("http://{}", hub.authority());
    // A proxy in front of the hub speaks TLS and forwards the host name.
    let behind = [("Host", "hub.example.com"), ("Origin", "https://hub.example.com")];
    let all: [&[(&str, &str)]; 10] = [
        &[("Origin", PAGE)],
        &[("Origin", PAGE), ("Sec-Fetch-Site", "cross-site")],
        &[("Origin", PAGE), ("Sec-Fetch-Site", "same-site")],
        &[("Origin", &own)],
        &[("Origin", &own), ("Sec-Fetch-Site", "same-origin")],
        &behind,
        &[],
        &[("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none")],
        &[("Sec-Fetch-Site", "same-site")],
    ];
    for headers in all {
        assert_accepted(&hub, &[&[("Cookie", cookie().as_str())], headers].concat());
    }
}

#[test]
fn unlisted_page_cannot_read_responses_to_a_cookie_or_a_token() {
    let hub = with_cookie();
    for credential in [("Cookie", cookie()), bearer(&token("u"))] {
        for (method, path, status) in [
            ("GET", HISTORY, 200),
            ("GET", "/api/v1/channels", 200),
            ("GET", "/healthz", 200),
            ("OPTIONS", STREAM, 204),
        ] {
            let request = |origin: &str| {
                let preflight = ("Access-Control-Request-Method", "GET");
                let headers = [(credential.0, credential.1.as_str()), ("Origin", origin), preflight];
                hub.request(method, path, &headers, b"")
            };
            for origin in FOREIGN {
                let response = request(origin);
                assert!(method == "OPTIONS" || response.head.status == status, "{path} {origin}");
                let allowed = |(name, _): &&(String, String)| name.starts_with("access-control-allow");
                assert_eq!(response.head.headers.iter().find(allowed), None, "{method} {path} {origin}");
                assert!(response.head.headers.contains(&("vary".to_owned(), "Origin".to_owned())));
            }
            let listed = request(PAGE);
            let headers = [ALLOWED, CREDENTIALS].map(|name| listed.assert_status(status).head.header(name));
            assert_eq!(headers, [Some(PAGE), Some("true")], "{method} {path}");
        }
    }
}

#[test]
fn bearer_is_accepted_from_any_page_and_only_listed_pages_read_the_response() {
    let hub = with_cookie();
    let (name, value) = bearer(&writer());
    let cookie = cookie();
    for origin in FOREIGN {
        let headers = [(name, value.as_str()), ("Origin", origin), ("Sec-Fetch-Site", "cross-site")];
        // The hub ignores a cookie beside a bearer token.
        for headers in [&headers[..2], &headers, &[&headers[..], &[("Cookie", &cookie)]].concat()] {
            assert_accepted(&hub, headers)
                .iter()
                .for_each(|response| assert_no_cors_header(response, origin));
        }
    }
    let listed = hub.request("POST", STREAM, &[(name, &value), ("Origin", PAGE)], b"x");
    assert_eq!(listed.assert_status(200).head.header(ALLOWED), Some(PAGE));
    assert_eq!(
        listed.head.header("access-control-expose-headers"),
        Some("Tidings-Connection, Retry-After, Date")
    );
}

fn preflight(hub: &TestHub, path: &str, origin: &str) -> HttpResponse {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization, content-type"),
    ];
    hub.request("OPTIONS", path, &headers, b"")
}

#[test]
fn preflight_allows_listed_pages_only() {
    let hub = with_cookie();
    for path in [STREAM, "/api/v1/publish", "/api/v1/tickets", "/api/v1/revocations", HISTORY] {
        let response = preflight(&hub, path, PAGE);
        let header = |name: &str| response.head.header(name).unwrap_or_default().to_ascii_lowercase();
        assert_eq!(response.head.status, 204);
        assert_eq!(
            (header(ALLOWED), header(CREDENTIALS), header("vary")),
            (PAGE.into(), "true".into(), "origin".into())
        );
        let allowed = header("access-control-allow-headers");
        let expected =
            "authorization, content-type, last-event-id, x-session-id, idempotency-key, cache-control, ";
        assert!(allowed.starts_with(expected), "{allowed}");
        let methods = header("access-control-allow-methods");
        assert!(["get", "post", "delete"].iter().all(|method| methods.contains(method)), "{methods}");
        for origin in
            ["https://evil-app.example.com", "null", "http://app.example.com", "https://app.example.com:8443"]
        {
            let response = preflight(&hub, path, origin);
            assert!(response.head.status >= 400, "{response:?}");
            assert_no_cors_header(&response, origin);
            assert_eq!(response.head.header("vary"), Some("Origin"));
        }
    }
}

#[test]
fn credentials_are_allowed_with_a_cookie_only() {
    let hub = protected_with(&with_secret(""), &[("TIDINGS_CORS_ORIGINS", PAGE)]);
    let history = hub.request_as("GET", HISTORY, &token("u"), &[("Origin", PAGE)], b"");
    for response in [history, preflight(&hub, STREAM, PAGE)] {
        assert_eq!((response.head.header(ALLOWED), response.head.header(CREDENTIALS)), (Some(PAGE), None));
    }
    // Only the cookie that the setting names counts.
    let response = hub.request("GET", HISTORY, &[("Cookie", &cookie())], b"");
    response.assert_problem(401, "credentials_missing");
}

#[test]
fn any_origin_is_allowed_only_without_a_cookie_setting() {
    let directory = TempDirectory::create();
    let any = [("TIDINGS_CORS_ORIGINS", "*")];
    let hub = protected_with_in(&directory, &with_secret(""), &any);
    for origin in ["https://evil.example", "null", PAGE] {
        let response = hub.request_as("GET", HISTORY, &token("u"), &[("Origin", origin)], b"");
        assert_eq!(response.assert_status(200).head.header(ALLOWED), Some("*"));
        assert_eq!(response.head.header(CREDENTIALS), None);
        assert_eq!(preflight(&hub, STREAM, origin).assert_status(204).head.header(ALLOWED), Some("*"));
    }
    drop(hub);
    let settings = format!("[auth]\nsecret = {SECRET:?}\ncookie = \"session\"\n");
    for (cors, variables) in [("", &any[..]), ("[cors]\norigins = [\"*\"]\n", &[])] {
        directory.write("tidings.toml", &format!("{settings}{cors}"));
        let outcome = directory.run(&["serve", "--listen", "127.0.0.1:0", "--memory"], variables);
        outcome.assert_refused(&["cors.origins", "auth.cookie", "*"]);
    }
}

#[test]
fn listed_page_reads_refusals_and_every_response_varies_by_origin() {
    let variables = [
        ("TIDINGS_CORS_ORIGINS", PAGE),
        ("TIDINGS_LIMITS_CONNECTIONS_PER_USER", "1"),
        ("TIDINGS_LIMITS_EVENT_BYTES", "10"),
    ];
    let hub = protected_with(&with_secret(""), &variables);
    let of_user = bearer(&writer());
    let of_user = (of_user.0, of_user.1.as_str());
    let _open = hub.subscribe_with(STREAM, &[of_user]);
    for (status, method, path, credential) in [
        (401, "GET", STREAM, None),
        (401, "GET", STREAM, Some(("Authorization", "Bearer x"))),
        (403, "GET", "/api/v1/events/user.v", Some(of_user)),
        (400, "GET", "/api/v1/events", Some(of_user)),
        (404, "GET", "/nothing", None),
        (405, "POST", "/api/v1/channels", Some(of_user)),
        (413, "POST", STREAM, Some(of_user)),
        (429, "GET", STREAM, Some(of_user)),
        (200, "GET", HISTORY, Some(of_user)),
        (200, "GET", "/healthz", None),
    ] {
        for (origin, allowed) in
            [(Some(PAGE), Some(PAGE)), (Some("https://evil.example"), None), (None, None)]
        {
            let mut headers: Vec<(&str, &str)> = credential.into_iter().collect();
            headers.extend(origin.map(|origin| ("Origin", origin)));
            let response = hub.request(method, path, &headers, b"more than ten bytes");
            assert_eq!(response.head.status, status, "{path}");
            assert_eq!(response.head.header(ALLOWED), allowed, "{path}");
            let exposed = response.head.header("access-control-expose-headers");
            assert_eq!(exposed, allowed.map(|_| "Tidings-Connection, Retry-After, Date"), "{path}");
            assert_eq!(response.head.header("vary"), Some("Origin"), "{path}");
        }
    }
}

#[test]
fn hub_with_credentials_accepts_any_host() {
    let hub = hub_with_secret("");
    for host in ["hub.example.com", "203.0.113.7:8000", "evil.example", "[2001:db8::1]"] {
        hub.request_as("GET", HISTORY, &token("u"), &[("Host", host)], b"").assert_status(200);
        hub.request("GET", HISTORY, &[("Host", host)], b"").assert_problem(401, "credentials_missing");
        hub.request("GET", "/healthz", &[("Host", host), ("Origin", "https://evil.example")], b"")
            .assert_status(200);
    }
}
