//! Attacks with credentials and names.

use std::collections::HashSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::process::Signal;

use crate::prelude::*;

const STREAM: &str = "/api/v1/events/user.u";
const HISTORY: &str = "/api/v1/channels/user.u/events";

#[test]
fn user_name_never_matches_beyond_its_segment() {
    let hub = hub_with_secret("");
    hub.publish_as_backend("user.admin.mail", "private");
    let longer = ["admin.mail", "admin:mail", "admin/../admin", "admin\u{200b}", "\u{430}dmin"];
    for name in [
        "*", "**", "admin.*", "admin.**", "ADMIN", ">", "#", "$", "{sub}", "..", "%61dmin", "admin ",
        " admin", "admin\n", "~61dmin", "",
    ]
    .into_iter()
    .chain(longer)
    {
        let token = token_with("u", &json!({"sub": name}));
        for channel in ["user.admin.mail", "user.admin", "user.*.mail", "user.**", "user.admin.**", "**"] {
            let response = hub.get_as(&token, &format!("/api/v1/events/{channel}?history=all"));
            assert!(matches!(response.head.status, 401 | 403), "{name:?} {channel}: {}", response.text());
            assert!(!response.text().contains("private"));
        }
        let history = hub.get_as(&token, "/api/v1/channels/user.admin.mail/events");
        assert!(matches!(history.head.status, 401 | 403), "{name:?}: {}", history.text());
    }
    let admin = token_with("u", &json!({"sub": "admin"}));
    assert_eq!(hub.get_as(&admin, "/api/v1/channels/user.admin.mail/events").event_data(), ["private"]);
}

#[test]
fn channel_name_is_decoded_once_and_matched_by_segments() {
    let hub = hub_with_secret("");
    let token = token_with("u", &json!({"tidings": {"subscribe": ["team.a.*"], "publish": ["team.a.*"]}}));
    for (channel, statuses) in [
        ("team.a.x", [200, 200]),
        ("team%2Ea%2ex", [200, 200]),
        ("%74eam.a.x", [200, 200]),
        ("team.a", [403, 403]),
        ("team.a.x.y", [403, 403]),
        ("team.a:x", [403, 403]),
        ("team:a:x", [403, 403]),
        ("team.ab.x", [403, 403]),
        ("Team.a.x", [403, 403]),
        ("team.a.**", [403, 400]),
        ("team.*.x", [403, 400]),
        ("team.**", [403, 400]),
        ("**", [403, 400]),
        ("*", [403, 400]),
        ("team%252Ea%252ex", [400, 400]),
        ("team.a.x%00", [400, 400]),
        ("team.a.x%0A", [400, 400]),
        ("team.a..x", [400, 400]),
        ("team.a.", [400, 400]),
        (".team.a.x", [400, 400]),
        ("team.a.x/../../b", [400, 400]),
        ("team.a.x%2F..%2Fb", [400, 400]),
        ("..%2Fteam.a.x", [400, 400]),
        ("%2e%2e", [400, 400]),
        ("team.a.>", [400, 400]),
        ("team.a.%C3%A9", [400, 400]),
        ("team.a.e%CC%81", [400, 400]),
        ("team.a.x%FF", [400, 400]),
        ("$team.a.x", [403, 403]),
        ("%24sys", [403, 403]),
    ] {
        let path = format!("/api/v1/events/{channel}");
        let subscribe = hub.send_as("GET", &path, &token, &[], b"").read_head().status;
        let publish = hub.post_as(&token, &path, "x").head.status;
        assert_eq!([subscribe, publish], statuses, "{channel}");
    }
}

#[test]
fn history_of_others_is_refused_without_revealing_whether_it_exists() {
    let hub = hub_with_secret("");
    let id = &hub.publish_as_backend("user.v", "private");
    hub.publish_as_backend("user.v", "private too");
    let mut bodies = HashSet::new();
    for channel in ["user.v", "user.nobody"] {
        for path in [
            format!("/api/v1/channels/{channel}/events"),
            format!("/api/v1/channels/{channel}/events?limit=1000"),
            format!("/api/v1/channels/{channel}/events?after={id}"),
            format!("/api/v1/events/{channel}?history=all"),
            format!("/api/v1/events/{channel}?lastEventId={id}"),
            format!("/api/v1/events?channel=user.u&channel={channel}&history=all"),
            format!("/api/v1/events?channel={channel}&channel={channel}&lastEventId={id}"),
            "/api/v1/events/user.*?history=all".to_owned(),
        ] {
            let mut body = hub.get_as(&token("u"), &path).assert_problem(403, "access_denied").json();
            // The response names the forbidden one of several channels as the client wrote it.
            if let Some(named) = body.as_object_mut().unwrap().remove("channel") {
                assert_eq!(named, channel);
            }
            bodies.insert(body.to_string());
        }
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    // The id of another principal's event opens only the client's own channels, and a page is bounded.
    let mut stream = hub.resume_as(&token("u"), STREAM, id);
    hub.assert_delivers("user.u", "mine", &mut stream);
    assert_eq!(hub.get_as(&token("u"), &format!("{HISTORY}?after={id}")).event_data(), ["mine"]);
    for limit in ["0", "1001", "-1", "99999999999999999999", "all"] {
        hub.get_as(&token("u"), &format!("{HISTORY}?limit={limit}")).assert_problem(400, "bad_query");
    }
}

#[test]
fn idempotency_keys_of_a_publisher_reveal_nothing_to_another() {
    let hub = hub_with_secret("");
    // Names that differ only in the kind of principal.
    let user = |name: &str| token_with("u", &json!({"sub": name, "tidings": {"publish": ["a"]}}));
    let publishers = [KEY.to_owned(), user("backend"), user("key:backend"), user("user:backend")];
    let mut ids = HashSet::new();
    for (number, publisher) in publishers.iter().enumerate() {
        let data = number.to_string();
        let key = [("Idempotency-Key", "the same")];
        let publish = || hub.request_as("POST", "/api/v1/events/a", publisher, &key, data.as_bytes());
        let first = publish().assert_status(200).text();
        assert_eq!(publish().assert_status(200).text(), first);
        ids.insert(first);
    }
    assert_eq!(ids.len(), publishers.len());
}

#[test]
fn no_request_can_write_a_line_of_the_log() {
    // An unreachable hook makes the hub log every request of a user.
    let lines = "cookie = \"session\"\nquery_token = true\nhook = \"http://127.0.0.1:1/hook\"";
    let hub = protected_with(&with_secret(lines), &[("RUST_LOG", "trace")]);
    let plain =
        "x\r\n2026-01-01T00:00:00.000000Z ERROR forged\n\u{1b}[2J\u{1b}]0;forged\u{7}\u{9b}31m\u{202e}";
    let encoded: String = plain.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let user = token_with(
        "u",
        &json!({"sub": plain, "jti": plain, "tidings": {"subscribe": ["**", plain], "publish": ["**"]}}),
    );
    let kid = by_secret(SECRET.as_bytes(), &header("HS256", json!({"kid": plain})), &claims("u"));
    let alg = sealed(&header(plain, json!({})), &claims("u"), |_| vec![1]);
    for credential in [&user, &kid, &alg, &URL_SAFE_NO_PAD.encode(plain)] {
        let message = json!({"channels": [plain], "data": plain}).to_string();
        hub.get_as(credential, "/api/v1/events/a");
        hub.get_as(credential, &format!("/api/v1/channels/{encoded}/events?after={encoded}"));
        hub.post_as(credential, &format!("/api/v1/events/{encoded}"), "x");
        hub.post_as(credential, &format!("/api/v1/events/a?event={encoded}&key={encoded}"), plain);
        hub.post_as(credential, "/api/v1/publish", message);
        hub.request_ticket(credential, &["a", plain]);
    }
    for path in ["ticket", "sessionId", "access_token", "lastEventId", "history", "position", "x"] {
        hub.get(&format!("{STREAM}?{path}={encoded}"));
        hub.get(&format!("{STREAM}?{encoded}={path}"));
    }
    for subject in ["user", "jti", "session"] {
        hub.revoke(&json!({ subject: plain })).assert_status(204);
    }
    hub.revoke(&json!({"user": "x", "until": plain})).assert_problem(400, "malformed_body");
    // Headers accept neither line breaks nor escapes; they accept bytes above ASCII.
    for bytes in ["\u{1b}[31mforged", "\u{9b}31mforged", "x\nforged: 1", "x\rforged", "\u{202e}forged"] {
        for name in
            ["Authorization: Bearer", "Cookie: session=", "X-Session-Id:", "Last-Event-ID:", "Origin:", "X:"]
        {
            let mut connection = hub.connect();
            connection.send(format!("GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n{name} {bytes}\r\n\r\n"));
            connection.read_head();
        }
    }
    hub.signal(Signal::TERM);
    let (status, log) = hub.wait_for_exit();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("request failed") && log.contains("credentials refused"), "{log}");
    for line in log.lines() {
        assert!(
            line.starts_with("20") && line.as_bytes()[10] == b'T',
            "a line that the hub did not write: {line:?}"
        );
        assert!(!line.contains("ERROR"), "{line:?}");
        assert!(!line.contains(|letter: char| letter.is_control() || letter == '\u{202e}'), "{line:?}");
    }
}

#[test]
fn token_beyond_its_limits_is_refused_like_any_other() {
    let hub = hub_with_secret("");
    let patterns = |count: usize| -> Vec<String> { (0..count).map(|at| format!("a{at}.*")).collect() };
    let granting = |count: usize| token_with("u", &json!({"tidings": {"subscribe": patterns(count)}}));
    hub.get_as(&granting(1000), "/api/v1/channels/a999.x/events").assert_status(200);
    hub.get_as(&granting(1001), "/api/v1/channels/a999.x/events").assert_problem(401, "bad_credentials");
    // Deeply nested JSON, and very large numbers.
    let nested = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    for claims in [
        format!("{{\"sub\":\"u\",\"exp\":{},\"x\":{nested}}}", now() + 60),
        "{\"sub\":\"u\",\"exp\":1e999}".to_owned(),
        "{\"sub\":\"u\",\"exp\":-1e308,\"nbf\":1e308}".to_owned(),
        format!("{{\"sub\":\"u\",\"exp\":{}}}", "9".repeat(5000)),
        format!("{{\"sub\":\"u\",\"exp\":{},\"iat\":-1e308}}", now() + 60),
    ] {
        let parts = ["{\"alg\":\"HS256\"}", &claims].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let signature = hmac_of(SECRET.as_bytes(), "HS256", parts.as_bytes());
        let token = format!("{parts}.{}", URL_SAFE_NO_PAD.encode(signature));
        let beginning = &claims[..40.min(claims.len())];
        assert_eq!(hub.get_as(&token, HISTORY).head.status, 401, "{beginning}");
    }
    hub.get_as(&token("u"), HISTORY).assert_status(200);
}

#[test]
fn response_that_depends_on_the_principal_is_not_cacheable() {
    let hub = hub_with_secret("cookie = \"session\"");
    hub.publish_as_backend("user.u", "private");
    let cookie = format!("session={}", token("u"));
    for (method, path, status) in [
        ("GET", HISTORY, 200),
        ("GET", "/api/v1/channels", 200),
        ("GET", "/api/v1/channels/user.v/events", 403),
        ("GET", "/metrics", 403),
        ("GET", "/api/v1/nothing", 404),
        ("DELETE", STREAM, 405),
        ("POST", STREAM, 403),
    ] {
        let response = hub.request(method, path, &[("Cookie", &cookie)], b"x");
        assert_eq!(response.head.status, status, "{path}: {}", response.text());
        assert_eq!(response.head.header("cache-control"), Some("no-store"), "{method} {path}");
    }
    hub.get(HISTORY).assert_problem(401, "credentials_missing");
    let metrics = hub.get_as(KEY, "/metrics");
    assert_eq!(metrics.assert_status(200).head.header("cache-control"), Some("no-store"));
    // A public response names its own cache lifetime.
    assert_eq!(hub.get("/page/main.js").assert_status(200).head.header("cache-control"), Some("no-cache"));
}
