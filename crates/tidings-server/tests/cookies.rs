//! Cookies and pages: requests that a foreign page may make a browser send, and responses that such a page may read.

use serde_json::json;
use tidings_testkit::{HttpResponse, TempDirectory};

use crate::{
    clients::token_with,
    hub::{RunTidings, TestHub},
    tokens::{KEY, SECRET, bearer, protected, protected_with, protected_with_in, token},
};

const PAGE: &str = "https://app.example.com";
const STREAM: &str = "/api/v1/events/user.u";
const HISTORY: &str = "/api/v1/channels/user.u/events";
const ALLOWED: &str = "access-control-allow-origin";
const CREDENTIALS: &str = "access-control-allow-credentials";

/// A hub that accepts cookies, and lists one page.
fn with_cookie() -> TestHub {
    let rules = format!("secret = {SECRET:?}\ncookie = \"session\"\nquery_token = true");
    protected_with(&rules, &[("TIDINGS_CORS_ORIGINS", PAGE)])
}

/// The cookie of a user who may read, publish, and make tickets.
fn cookie() -> String {
    let token = token_with("u", &json!({"tidings": {"publish": ["user.u"]}}));
    format!("theme=dark; session={token}; lang=de")
}

/// Every request that has an effect or opens a stream, with only a cookie and these headers.
fn requests_with_effect(hub: &TestHub, more: &[(&str, &str)]) -> Vec<HttpResponse> {
    let cookie = cookie();
    let headers = [&[("Cookie", cookie.as_str()), ("Content-Type", "application/json")], more].concat();
    [
        ("GET", STREAM, ""),
        ("GET", "/api/v1/events?channel=user.u&history=all", ""),
        ("POST", STREAM, "x"),
        ("POST", "/api/v1/publish", "{\"channels\":[\"user.u\"],\"data\":\"x\"}"),
        ("POST", "/api/v1/tickets", "{\"channels\":[\"user.u\"]}"),
    ]
    .into_iter()
    .map(|(method, path, body)| head_and_body(hub, method, path, &headers, body))
    .collect()
}

/// As [`TestHub::request`], without the body of a stream.
fn head_and_body(
    hub: &TestHub,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> HttpResponse {
    let mut connection = hub.connect();
    connection.send(hub.encode_request(method, path, headers, body.as_bytes()));
    let head = connection.read_head();
    let body = connection.read_exact(head.content_length().unwrap_or_default()).unwrap();
    HttpResponse { head, body }
}

#[track_caller]
fn assert_no_effect(hub: &TestHub) {
    assert_eq!(hub.counter("tidings_streams_opened_total"), 0.0);
    let page = hub.get_as(KEY, HISTORY).json();
    assert_eq!(page["events"], json!([]));
}

#[test]
fn cookie_from_a_foreign_page_has_no_effect() {
    let hub = with_cookie();
    let own_port = hub.authority().rsplit(':').next().unwrap().to_owned();
    let of_another_port = "http://127.0.0.1:1".to_owned();
    let of_another_name = format!("http://127.0.0.2:{own_port}");
    let of_own_suffix = format!("http://evil-{}", hub.authority());
    for origin in [
        "null",
        "",
        "*",
        "https://evil.example",
        "https://evil-app.example.com",
        "https://xapp.example.com",
        "https://app.example.com.evil.example",
        "https://app.example.co",
        "https://app.example.com:8443",
        "https://app.example.com:443",
        "http://app.example.com",
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
        &of_another_port,
        &of_another_name,
        &of_own_suffix,
        hub.authority(),
    ] {
        for site in ["cross-site", "same-site", "same-origin"] {
            for answer in requests_with_effect(&hub, &[("Origin", origin), ("Sec-Fetch-Site", site)]) {
                answer.assert_problem(403, "forbidden_origin");
                assert_eq!(answer.head.header(ALLOWED), None, "{origin}");
            }
        }
    }
    for answer in requests_with_effect(&hub, &[("Origin", PAGE), ("Origin", "https://evil.example")]) {
        answer.assert_problem(403, "forbidden_origin");
    }
    // A page without an origin that the browser marks as cross-site.
    for answer in requests_with_effect(&hub, &[("Sec-Fetch-Site", "cross-site")]) {
        answer.assert_problem(403, "forbidden_origin");
    }
    assert_no_effect(&hub);
}

#[test]
fn cookie_from_the_same_or_a_listed_page_is_accepted() {
    let hub = with_cookie();
    let own = format!("http://{}", hub.authority());
    // A proxy in front of the hub speaks TLS and forwards the host name.
    let behind = [("Host", "hub.example.com"), ("Origin", "https://hub.example.com")];
    let all: [&[(&str, &str)]; 9] = [
        &[("Origin", PAGE)],
        &[("Origin", PAGE), ("Sec-Fetch-Site", "cross-site")],
        &[("Origin", PAGE), ("Sec-Fetch-Site", "same-site")],
        &[("Origin", &own), ("Sec-Fetch-Site", "same-origin")],
        &behind,
        &[],
        &[("Sec-Fetch-Site", "same-origin")],
        &[("Sec-Fetch-Site", "none")],
        &[("Sec-Fetch-Site", "same-site")],
    ];
    for headers in all {
        let statuses: Vec<u16> =
            requests_with_effect(&hub, headers).iter().map(|answer| answer.head.status).collect();
        assert_eq!(statuses, [200, 200, 200, 200, 201], "{headers:?}");
    }
}

#[test]
fn unlisted_page_cannot_read_responses_to_a_cookie() {
    let hub = with_cookie();
    let cookie = cookie();
    for (origin, allowed) in [(PAGE, Some(PAGE)), ("https://evil-app.example.com", None), ("null", None)] {
        for path in [HISTORY, "/api/v1/channels"] {
            let answer = hub.request("GET", path, &[("Cookie", &cookie), ("Origin", origin)], b"");
            assert_eq!(answer.assert_status(200).head.header(ALLOWED), allowed, "{origin}");
            assert_eq!(answer.head.header(CREDENTIALS), allowed.map(|_| "true"), "{origin}");
        }
    }
}

#[test]
fn bearer_is_accepted_from_any_page_and_only_listed_pages_read_the_response() {
    let hub = with_cookie();
    let token = token_with("u", &json!({"tidings": {"publish": ["user.u"]}}));
    let (name, value) = bearer(&token);
    let cookie = cookie();
    for origin in ["https://evil.example", "null"] {
        let headers = [(name, value.as_str()), ("Origin", origin), ("Sec-Fetch-Site", "cross-site")];
        // The hub ignores a cookie beside a bearer token.
        for headers in [&headers[..], &[&headers[..], &[("Cookie", &cookie)]].concat()] {
            let stream = head_and_body(&hub, "GET", STREAM, headers, "");
            let publish = hub.request("POST", STREAM, headers, b"x");
            for answer in [stream, publish] {
                assert_eq!(answer.head.status, 200);
                let cors = answer.head.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
                assert_eq!(cors, None);
            }
        }
    }
    let listed = hub.request("POST", STREAM, &[(name, &value), ("Origin", PAGE)], b"x");
    assert_eq!(listed.assert_status(200).head.header(ALLOWED), Some(PAGE));
    assert_eq!(
        listed.head.header("access-control-expose-headers"),
        Some("Tidings-Connection, Retry-After, Date")
    );
}

#[test]
fn bad_cookie_gets_401_and_two_of_one_name_are_refused() {
    let hub = with_cookie();
    let (u, v) = (token("u"), token("v"));
    let status = |headers: &[(&str, &str)], path: &str| hub.request("GET", path, headers, b"").head.status;
    let pair = |one: &str, other: &str| format!("session={one}; session={other}");
    assert_eq!(status(&[("Cookie", &format!("session={u}"))], HISTORY), 200);
    assert_eq!(status(&[("Cookie", &format!("session=\"{u}\""))], HISTORY), 200);
    for bad in ["session=", "session=x", &pair(&u, &v), &pair(&v, &u), &pair(&u, "")] {
        for path in [HISTORY, "/api/v1/channels", &format!("{HISTORY}?access_token={u}")] {
            let answer = hub.request("GET", path, &[("Cookie", bad)], b"");
            answer.assert_problem(401, "bad_credentials");
        }
    }
    assert_eq!(
        status(&[("Cookie", &format!("session={u}")), ("Cookie", &format!("session={v}"))], HISTORY),
        401
    );
    // The hub compares whole cookie names.
    for other in ["xsession", "session2", "Session", "session.x"] {
        let answer = hub.request("GET", HISTORY, &[("Cookie", &format!("{other}={u}"))], b"");
        answer.assert_problem(401, "credentials_missing");
    }
    // Without a cookie the query decides; a page of any origin may have its own token in it.
    let answer = hub.request("GET", &format!("{HISTORY}?access_token={u}"), &[("Origin", "null")], b"");
    answer.assert_status(200);
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
        let answer = preflight(&hub, path, PAGE);
        let header = |name: &str| answer.head.header(name).unwrap_or_default().to_ascii_lowercase();
        assert_eq!(answer.head.status, 204);
        assert_eq!(
            (header(ALLOWED), header(CREDENTIALS), header("vary")),
            (PAGE.into(), "true".into(), "origin".into())
        );
        let allowed = header("access-control-allow-headers");
        let allowed: Vec<&str> = allowed.split(", ").collect();
        for wanted in [
            "authorization",
            "content-type",
            "last-event-id",
            "x-session-id",
            "idempotency-key",
            "cache-control",
        ] {
            assert!(allowed.contains(&wanted), "{wanted} is not among {allowed:?}");
        }
        let methods = header("access-control-allow-methods");
        assert!(["get", "post", "delete"].iter().all(|method| methods.contains(method)), "{methods}");
        for origin in
            ["https://evil-app.example.com", "null", "http://app.example.com", "https://app.example.com:8443"]
        {
            let answer = preflight(&hub, path, origin);
            assert!(answer.head.status >= 400, "{answer:?}");
            let cors = answer.head.headers.iter().find(|(name, _)| name.starts_with("access-control-"));
            assert_eq!(cors, None, "{origin}");
            assert_eq!(answer.head.header("vary"), Some("Origin"));
        }
    }
}

#[test]
fn credentials_are_allowed_with_a_cookie_only() {
    let rules = format!("secret = {SECRET:?}");
    let hub = protected_with(&rules, &[("TIDINGS_CORS_ORIGINS", PAGE)]);
    let (name, value) = bearer(&token("u"));
    let headers = [(name, value.as_str()), ("Origin", PAGE)];
    for answer in [hub.request("GET", HISTORY, &headers, b""), preflight(&hub, STREAM, PAGE)] {
        assert_eq!((answer.head.header(ALLOWED), answer.head.header(CREDENTIALS)), (Some(PAGE), None));
    }
    // Only the cookie that the setting names counts.
    let answer = hub.request("GET", HISTORY, &[("Cookie", &cookie())], b"");
    answer.assert_problem(401, "credentials_missing");
}

#[test]
fn any_origin_is_allowed_only_without_a_cookie_setting() {
    let directory = TempDirectory::create();
    let any = [("TIDINGS_CORS_ORIGINS", "*")];
    let hub = protected_with_in(&directory, &format!("secret = {SECRET:?}"), &any);
    let (name, value) = bearer(&token("u"));
    for origin in ["https://evil.example", "null", PAGE] {
        let answer = hub.request("GET", HISTORY, &[(name, &value), ("Origin", origin)], b"");
        assert_eq!(answer.assert_status(200).head.header(ALLOWED), Some("*"));
        assert_eq!(answer.head.header(CREDENTIALS), None);
        assert_eq!(preflight(&hub, STREAM, origin).assert_status(204).head.header(ALLOWED), Some("*"));
    }
    drop(hub);
    directory.write("tidings.toml", &format!("[auth]\nsecret = {SECRET:?}\ncookie = \"session\"\n"));
    let outcome = directory.run(&["serve", "--listen", "127.0.0.1:0", "--memory"], &any);
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("cors.origins") && outcome.stderr.contains('*'), "{}", outcome.stderr);
}

#[test]
fn listed_page_reads_refusals_and_every_response_varies_by_origin() {
    let variables = [
        ("TIDINGS_CORS_ORIGINS", PAGE),
        ("TIDINGS_LIMITS_CONNECTIONS_PER_USER", "1"),
        ("TIDINGS_LIMITS_EVENT_BYTES", "10"),
    ];
    let hub = protected_with(&format!("secret = {SECRET:?}"), &variables);
    let of_user = bearer(&token_with("u", &json!({"tidings": {"publish": ["user.u"]}})));
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
            let answer = hub.request(method, path, &headers, b"more than ten bytes");
            assert_eq!(answer.head.status, status, "{path}");
            assert_eq!(answer.head.header(ALLOWED), allowed, "{path}");
            let exposed = answer.head.header("access-control-expose-headers");
            assert_eq!(exposed, allowed.map(|_| "Tidings-Connection, Retry-After, Date"), "{path}");
            assert_eq!(answer.head.header("vary"), Some("Origin"), "{path}");
        }
    }
}

#[test]
fn hub_with_credentials_accepts_any_host() {
    let hub = protected(&format!("secret = {SECRET:?}"));
    let (name, value) = bearer(&token("u"));
    for host in ["hub.example.com", "203.0.113.7:8000", "evil.example", "[2001:db8::1]"] {
        hub.request("GET", HISTORY, &[("Host", host), (name, &value)], b"").assert_status(200);
        hub.request("GET", HISTORY, &[("Host", host)], b"").assert_problem(401, "credentials_missing");
        hub.request("GET", "/healthz", &[("Host", host), ("Origin", "https://evil.example")], b"")
            .assert_status(200);
    }
}
