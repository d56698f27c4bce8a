//! Error responses are problem documents, also those to malformed requests, on both transports.

use std::io::Write as _;

use crate::prelude::*;
use crate::proxy::Proxy;

/// Sends bytes over both transports, and asserts the status, code and text of the refusal, and the end of the connection.
#[track_caller]
fn refuses(hub: &TestHub, bytes: &[u8], status: u16, code: &str, expected: &str) {
    let name: String = String::from_utf8_lossy(bytes).escape_debug().take(80).collect();
    for transport in TRANSPORTS {
        let mut connection = transport.connect(hub);
        // The hub may close a refused connection before the client has sent everything.
        let _is_cut = connection.socket.write_all(bytes);
        let answer = connection.read_response();
        assert_eq!(answer.head.status, status, "{transport:?}: {name}: {answer:?}");
        let json = answer.assert_problem(status, code).json();
        assert!(json["detail"].as_str().unwrap().contains(expected), "{transport:?}: {name}: {json}");
        assert_eq!(answer.head.header("x-content-type-options"), Some("nosniff"), "{name}");
        assert_eq!(answer.head.header("cache-control"), Some("no-store"), "{name}");
        assert!(answer.head.header("date").is_some(), "{name}");
    }
}

fn head(hub: &TestHub, line: &str, headers: &str) -> Vec<u8> {
    format!("{line}\r\nHost: {}\r\n{headers}\r\n", hub.authority()).into_bytes()
}

#[test]
fn malformed_request_gets_a_problem_document() {
    let hub = TestHub::in_memory(&[]);
    for (line, expected) in [
        ("GET /healthz HTTP/1.2", "version"),
        ("GET /healthz HTTP/0.9", "version"),
        ("GET /healthz HTTP/2.0", "version"),
        ("GET /healthz HTTP/3", "version"),
        ("GET /healthz", "version"),
        ("PRI * HTTP/2.0", "version"),
        ("GET  /healthz HTTP/1.1", ""),
        ("G@T /healthz HTTP/1.1", ""),
        ("GET /a b HTTP/1.1", ""),
        ("GET <> HTTP/1.1", ""),
        ("GET nowhere/at/all HTTP/1.1", "target"),
        ("\u{16}\u{3}\u{1}", "control character"),
    ] {
        refuses(&hub, &head(&hub, line, ""), 400, "bad_request", expected);
    }
    for (headers, expected) in [
        ("X: a\nY: b\r\n", "line feed"),
        ("X: a\r\n folded\r\n", "goes on in the next line"),
        ("X : a\r\n", "blank"),
        (": a\r\n", "without a name"),
        ("X\r\n", "without a colon"),
        ("X: \0\r\n", "control character"),
        ("Host: b\r\n", "two Host"),
        ("Content-Length: x\r\n", "Content-Length"),
        ("Content-Length: 1\r\nContent-Length: 1\r\n", "two Content-Length"),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding"),
        ("Transfer-Encoding: gzip\r\n", "Transfer-Encoding"),
    ] {
        refuses(&hub, &head(&hub, "POST /api/v1/events/a HTTP/1.1", headers), 400, "bad_request", expected);
    }
    refuses(&hub, b"GET /healthz HTTP/1.1\r\n\r\n", 400, "bad_header", "Host");
    refuses(&hub, b"\r\n\r\n\nGET", 400, "bad_request", "line feed");
    hub.assert_healthy();
}

#[test]
fn oversized_request_is_refused_with_its_bound_and_a_remedy() {
    let hub = TestHub::in_memory(&[]);
    let long = format!("GET /api/v1/events?channel={} HTTP/1.1", "x".repeat(70 << 10));
    let advice = "65534 bytes; name channels in the body of POST /api/v1/stream";
    refuses(&hub, &head(&hub, &long, ""), 414, "uri_too_long", advice);
    let large = format!("Cookie: {}\r\n", "x".repeat(130 << 10));
    for line in ["GET /healthz HTTP/1.1", "GET /api/v1/events/a HTTP/1.1", "POST /api/v1/publish HTTP/1.1"] {
        let advice = "131072 bytes; name channels in the body";
        refuses(&hub, &head(&hub, line, &large), 431, "head_too_large", advice);
        refuses(&hub, &head(&hub, line, &"X: y\r\n".repeat(100)), 431, "head_too_large", "limit is 100");
    }
    hub.assert_healthy();
}

#[test]
fn unknown_methods_and_paths_get_a_problem_document() {
    let hub = TestHub::in_memory(&[]);
    for method in ["TRACE", "CONNECT", "PATCH", "DELETE", "PUT", "OPTIONS", "FOO", "get"] {
        let line = format!("{method} /api/v1/events/a HTTP/1.1");
        refuses(&hub, &head(&hub, &line, ""), 405, "method_not_allowed", "Allow");
        let line = format!("{method} /nowhere HTTP/1.1");
        refuses(&hub, &head(&hub, &line, ""), 404, "not_found", "/nowhere");
    }
    refuses(&hub, &head(&hub, "OPTIONS * HTTP/1.1", ""), 404, "not_found", "");
    let host = hub.authority();
    refuses(&hub, &head(&hub, &format!("CONNECT {host} HTTP/1.1"), ""), 404, "not_found", "");
}

#[test]
fn interrupted_bodies_get_a_problem_document() {
    let hub = TestHub::in_memory(&[]);
    for path in ["/api/v1/events/a", "/api/v1/publish", "/api/v1/stream", "/api/v1/tickets"] {
        let head = head(&hub, &format!("POST {path} HTTP/1.1"), "Transfer-Encoding: chunked\r\n");
        let bodies =
            ["x\r\n", "3\nabc", "3 \r\nabc\r\n", "3\r\nabcd", "3;a\n", "0\r\nX: a\nY", &"f".repeat(18)];
        for body in bodies {
            refuses(&hub, &[&head[..], body.as_bytes()].concat(), 400, "bad_request", "body");
        }
    }
}

#[test]
fn stream_of_256_names_passes_every_proxy_of_the_manual() {
    let hub = TestHub::in_memory(&[]);
    let names: Vec<String> = (0..256).map(|n| format!("{n:03}.{}", "x".repeat(196))).collect();
    let query: Vec<String> = names.iter().map(|name| format!("channel={name}")).collect();
    let path = format!("/api/v1/events?{}", query.join("&"));
    let body = serde_json::json!({ "channels": names }).to_string();
    let at = hub.authority();
    for (name, proxy) in [
        ("nginx", Proxy::nginx(at, &[])),
        ("deploy/nginx.conf", Proxy::deployed_nginx([at, at])),
        ("HAProxy", Proxy::haproxy(at, &[])),
        ("Caddy", Proxy::caddy(at, &[])),
    ] {
        for (method, path, body) in [("GET", path.as_str(), ""), ("POST", "/api/v1/stream", &body)] {
            let mut reader = SseReader::open(proxy.request(method, path, body));
            for channel in [&names[0], &names[255]] {
                hub.publish(channel, name);
                assert_eq!(reader.data(), name, "{method}");
            }
        }
    }
}
