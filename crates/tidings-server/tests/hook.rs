//! The hook: its requests, the meaning of its answers, and its isolation from other clients.

use crate::hook_backend::{ALLOW, DENY, HookBackend, HookReply};
use crate::prelude::*;

const OWN: &str = "/api/v1/events/user.u";
const HISTORY: &str = "/api/v1/channels/user.u/events";

/// A hub that asks this backend; `lines` come before the other sections of `[auth]`.
fn hub_with_hook(backend: &HookBackend, lines: &str) -> TestHub {
    let anyone = "[auth.anonymous]\nsubscribe = [\"open.**\"]";
    hub_with_secret(&format!("{}{lines}\n{anyone}", backend.setting_line()))
}

/// No answer is cached, and the timeout is short.
const UNCACHED: &str = "hook_ttl = \"0s\"\nhook_timeout = \"500ms\"";

fn access_request(principal: &Value, action: &str, channel: &str) -> Value {
    json!({"principal": principal, "action": action, "channel": channel})
}

fn pattern(principal: &Value, channel: &str) -> Value {
    json!({"principal": principal, "action": "subscribe", "channel": channel, "pattern": true})
}

/// A token of `u` that may publish.
fn writer() -> String {
    token_with("u", &json!({"tidings": {"publish": ["chat.**"], "subscribe": ["chat.**"]}}))
}

#[test]
fn hook_gets_principal_action_and_channel() {
    let backend = HookBackend::start(ALLOW);
    let hub = hub_with_hook(&backend, UNCACHED);
    let user = json!({"user": "u"});
    hub.subscribe_as(&token("u"), OWN).position();
    let StubRequest { head, body } = backend.requests().remove(0);
    assert!(head.starts_with("POST /allow?by=tidings HTTP/1.1\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\ncontent-type: application/json\r\n"), "{head}");
    assert!(!head.contains("authorization") && !head.contains("cookie"), "{head}");
    assert_eq!(body, "{\"principal\":{\"user\":\"u\"},\"action\":\"subscribe\",\"channel\":\"user.u\"}");
    backend.take_requests();

    hub.open_stream("/api/v1/events/open.a");
    assert_eq!(backend.take_bodies(), [access_request(&Value::Null, "subscribe", "open.a")]);
    hub.open_stream("/api/v1/events/open.*");
    assert_eq!(backend.take_bodies(), [pattern(&Value::Null, "open.*")]);
    hub.subscribe_as(&token("u"), "/api/v1/events?channel=user.u&channel=user.u.**&channel=user.u")
        .position();
    assert_eq!(
        backend.take_bodies(),
        [access_request(&user, "subscribe", "user.u"), pattern(&user, "user.u.**")]
    );
    hub.subscribe_as(&token("u"), &format!("{OWN}?history=all")).position();
    hub.get_as(&token("u"), HISTORY).assert_status(200);
    assert_eq!(backend.take_bodies(), vec![access_request(&user, "subscribe", "user.u"); 2]);
    hub.post_as(&writer(), "/api/v1/events/chat.1", "x").assert_status(200);
    assert_eq!(backend.take_bodies(), [access_request(&user, "publish", "chat.1")]);
    let odd = "ü\"\\ .*";
    hub.get_as(&token_for(odd, &["a"]), "/api/v1/channels/a/events").assert_status(200);
    assert_eq!(backend.take_bodies(), [access_request(&json!({"user": odd}), "subscribe", "a")]);
    hub.open_stream(&format!("{OWN}?ticket={}", hub.ticket(&token("u"), &["user.u"])));
    // Once when the ticket is made, once when it is used.
    assert_eq!(backend.take_bodies(), vec![access_request(&user, "subscribe", "user.u"); 2]);
}

#[test]
fn hook_is_asked_about_every_channel_of_a_batch_once() {
    let backend = HookBackend::start(ALLOW);
    let hub = hub_with_hook(&backend, UNCACHED);
    let batch = json!([
        {"channels": ["chat.1", "chat.2"], "data": "a"},
        {"channels": ["chat.1"], "data": "b"},
        {"channels": ["chat.3", "chat.1"], "data": "c"},
    ]);
    hub.post_as(&writer(), "/api/v1/publish", batch.to_string()).assert_status(200);
    let expected = ["chat.1", "chat.2", "chat.3"]
        .map(|channel| access_request(&json!({"user": "u"}), "publish", channel));
    assert_eq!(backend.take_bodies(), expected);
}

#[test]
fn hook_is_asked_after_the_patterns_allowed_and_never_about_api_keys() {
    let backend = HookBackend::start(DENY);
    let hub = hub_with_hook(&backend, UNCACHED);
    hub.get_as(&token("u"), "/api/v1/events/user.v").assert_access_denied();
    hub.get_as(&token("u"), "/api/v1/events?channel=user.u&channel=user.v").assert_access_denied();
    hub.get("/api/v1/events/user.u").assert_problem(401, "credentials_missing");
    hub.post_as(&writer(), "/api/v1/events/other", "x").assert_access_denied();
    let batch = json!([{"channels": ["chat.1"], "data": "a"}, {"channels": ["other"], "data": "b"}]);
    hub.post_as(&writer(), "/api/v1/publish", batch.to_string()).assert_access_denied();
    hub.get_as(&token("u"), "/api/v1/events/$sys").assert_problem(403, "reserved_channel");
    hub.get_as("nonsense", OWN).assert_problem(401, "bad_credentials");
    let mut reader = hub.subscribe_as(KEY, OWN);
    hub.assert_delivers("user.u", "by a key", &mut reader);
    hub.get_as(KEY, HISTORY).assert_status(200);
    hub.get("/healthz").assert_status(200);
    assert_eq!(backend.request_count(), 0);
    // The hook would have denied the request.
    hub.get_as(&token("u"), OWN).assert_access_denied();
    assert_eq!(backend.request_count(), 1);
}

#[test]
fn malformed_answer_of_the_hook_is_logged_for_the_operator() {
    let backend = HookBackend::start(HookReply::Status(200, "{\"allow\":\"sesame\"}"));
    let mut hub = hub_with_hook(&backend, UNCACHED);
    let read = |hub: &TestHub| hub.get_as(&token("u"), HISTORY);
    for (reply, reason) in [
        (HookReply::Status(200, "{\"allow\":\"sesame\"}"), "status 200 with another body; send 200 with"),
        (HookReply::Status(404, ""), "status 404; send 200 with"),
        (HookReply::Redirect(backend.url("/yes")), "send 200 with"),
    ] {
        backend.set_reply(reply);
        read(&hub).assert_access_denied();
        let log = hub.read_log_through("invalid hook answer; access denied");
        let line = log.lines().last().unwrap();
        assert!(line.contains(reason) && line.contains("user.u") && !line.contains("sesame"), "{line}");
    }
    // A regular denial is not logged.
    for reply in [DENY, HookReply::Status(403, "")] {
        backend.set_reply(reply);
        read(&hub).assert_access_denied();
    }
    backend.set_reply(HookReply::Close);
    read(&hub).assert_problem(503, "hook_unavailable");
    let log = hub.read_log_through("hook_unavailable");
    assert!(!log.contains("no verdict"), "{log}");
}

#[test]
fn only_allow_true_allows_and_a_missing_answer_gives_503() {
    let backend = HookBackend::start(ALLOW);
    let other = HookBackend::start(ALLOW);
    let hub = hub_with_hook(&backend, UNCACHED);
    let status = |code: u16, body: &'static str| HookReply::Status(code, body);
    let no = Some((403, "access_denied"));
    let absent = Some((503, "hook_unavailable"));
    let cases = [
        (ALLOW, None),
        (status(200, " {\"allow\" : true, \"why\": [1]}\n"), None),
        (DENY, no),
        (status(200, ""), no),
        (status(200, "true"), no),
        (status(200, "{}"), no),
        (status(200, "{\"allow\":\"true\"}"), no),
        (status(200, "{\"allow\":1}"), no),
        (status(200, "{\"allow\":null}"), no),
        (status(200, "{\"Allow\":true}"), no),
        (status(200, "[true]"), no),
        (status(200, "{\"allow\":true"), no),
        (status(201, "{\"allow\":true}"), no),
        (status(204, ""), no),
        (status(400, "{\"allow\":true}"), no),
        (status(401, "{\"allow\":true}"), no),
        (status(404, "{\"allow\":true}"), no),
        (status(429, "{\"allow\":true}"), no),
        (HookReply::Redirect(backend.url("/yes")), no),
        (HookReply::Redirect(other.url("/yes")), no),
        (status(500, "{\"allow\":true}"), absent),
        (status(503, "{\"allow\":false}"), absent),
        (HookReply::Close, absent),
        (HookReply::Silence, absent),
    ];
    for (reply, expected) in cases {
        backend.set_reply(reply.clone());
        let before = backend.request_count();
        for response in
            [hub.get_as(&token("u"), HISTORY), hub.post_as(&writer(), "/api/v1/events/chat.1", "x")]
        {
            let Some((status, code)) = expected else {
                response.assert_status(200);
                continue;
            };
            response.assert_problem(status, code);
            if status == 503 {
                assert!(response.head.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
                // The response reveals neither the address nor the answer of the backend.
                let text = response.text();
                assert!(!text.contains("127.0.0.1") && !text.contains("allow?"), "{text}");
            } else {
                response.assert_access_denied();
            }
        }
        let requests = backend.request_count() - before;
        // The hub may retry once when the backend closed the connection.
        assert!(requests == 2 || reply == HookReply::Close, "{reply:?}: {requests}");
        if let Some((status, code)) = expected {
            hub.get_as(&token("u"), OWN).assert_problem(status, code);
            hub.request_ticket(&token("u"), &["user.u"]).assert_problem(status, code);
        }
    }
    assert_eq!(other.request_count(), 0);
    assert_eq!(hub.counter("tidings_streams_opened_total"), 0.0);
    assert_eq!(hub.stored_as_backend("chat.1"), ["x", "x"]);
    assert!(hub.counter("tidings_hook_failures_total") > 0.0);
}

#[test]
fn unreachable_hook_gives_503_and_api_keys_are_served() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let hub = hub_with_secret(&format!("hook = \"http://{free}/\""));
    hub.get_as(&token("u"), OWN).assert_problem(503, "hook_unavailable");
    hub.get("/readyz").assert_status(200);
    let mut reader = hub.subscribe_as(KEY, OWN);
    hub.assert_delivers("user.u", "still", &mut reader);
}

#[test]
fn hundred_concurrent_requests_are_one_hook_request() {
    const CLIENTS: usize = 100;
    let backend = HookBackend::start(HookReply::Silence);
    let hub = hub_with_hook(&backend, "hook_timeout = \"20s\"");
    let send = |_| hub.send_as("GET", OWN, &token("u"), &[], b"");
    let mut connections: Vec<HttpConnection> = (0..CLIENTS).map(send).collect();
    backend.wait_for_requests(1);
    for _ in 0..CLIENTS {
        hub.get("/healthz").assert_status(200);
    }
    backend.set_reply(ALLOW);
    for connection in &mut connections {
        assert_eq!(connection.read_head().status, 200);
    }
    assert_eq!(backend.request_count(), 1);
    assert_eq!(hub.counter("tidings_hook_requests_total"), 1.0);
}

#[test]
fn answers_are_cached_for_their_ttl_and_failures_are_not() {
    let backend = HookBackend::start(HookReply::Status(500, ""));
    let hub = hub_with_hook(&backend, "hook_ttl = \"3s\"\nhook_timeout = \"500ms\"");
    let status = |credential: &str| hub.get_as(credential, HISTORY).head.status;
    let u = token("u");
    assert_eq!((status(&u), status(&u)), (503, 503));
    assert_eq!(backend.take_bodies().len(), 2);
    backend.set_reply(ALLOW);
    assert_eq!(status(&u), 200);
    backend.set_reply(DENY);
    // Another token of the same user has the same cache entry; another action or channel has its own.
    assert_eq!(status(&token_for("u", &["x"])), 200);
    assert_eq!(backend.take_bodies().len(), 1);
    hub.get_as(&u, "/api/v1/channels/user.u.a/events").assert_access_denied();
    assert_eq!(backend.take_bodies().len(), 1);
    eventually("the cached permission has expired", || status(&u) == 403);
    backend.set_reply(ALLOW);
    assert_eq!(status(&u), 403);
    eventually("the cached denial has expired", || status(&u) == 200);
    assert_eq!(backend.take_bodies().len(), 2);
}

#[test]
fn later_denial_of_the_hook_ends_the_stream_as_revoked() {
    let backend = HookBackend::start(ALLOW);
    let hub = hub_with_hook(&backend, "hook_recheck = \"300ms\"\nhook_ttl = \"0s\"");
    let mut connection = Http2::connect(&hub);
    let mut over_1 = hub.subscribe_as(&token("u"), OWN);
    let mut over_2 = connection.open("/api/v1/events/user.v.**", &token("v"), None).unwrap();
    let mut anonymous = hub.subscribe("/api/v1/events/open.a");
    let mut of_key = hub.subscribe_as(KEY, OWN);
    hub.assert_delivers("user.u", "before", &mut over_1);
    let id = over_1.last_event_id().to_owned();
    backend.take_bodies();
    // Repeated permissions change nothing.
    backend.wait_for_requests(9);
    backend.set_reply(DENY);
    over_1.assert_end("revoked", false);
    over_2.assert_end("revoked", false);
    anonymous.assert_end("revoked", false);
    hub.publish_as_backend("user.u", "secret event");
    assert_eq!(of_key.data_of_next(2), ["before", "secret event"]);
    hub.request_as("GET", OWN, &token("u"), &[("Last-Event-ID", &id)], b"").assert_access_denied();
    let requests = backend.take_bodies();
    assert!(requests.contains(&pattern(&json!({"user": "v"}), "user.v.**")), "{requests:?}");
    assert!(requests.contains(&access_request(&Value::Null, "subscribe", "open.a")), "{requests:?}");
}

#[test]
fn later_failure_of_the_hook_ends_no_stream() {
    let backend = HookBackend::start(ALLOW);
    let hub =
        hub_with_hook(&backend, "hook_recheck = \"100ms\"\nhook_ttl = \"0s\"\nhook_timeout = \"100ms\"");
    let mut reader = hub.subscribe_as(&token("u"), OWN);
    reader.position();
    for reply in [HookReply::Status(500, ""), HookReply::Close, HookReply::Silence] {
        backend.set_reply(reply);
        backend.take_bodies();
        backend.wait_for_requests(3);
        hub.assert_delivers("user.u", "still", &mut reader);
    }
    // The hub asks again when the backend has returned.
    backend.set_reply(DENY);
    reader.assert_end("revoked", false);
}

#[test]
fn stalled_hook_delays_only_the_clients_it_is_asked_about() {
    let backend = HookBackend::start(ALLOW);
    let hub = hub_with_hook(&backend, "hook_recheck = \"100ms\"\nhook_ttl = \"0s\"\nhook_timeout = \"20s\"");
    let mut open = hub.subscribe_as(&token("u"), OWN);
    let mut of_key = hub.subscribe_as(KEY, "/api/v1/events/user.**");
    backend.set_reply(HookReply::Silence);
    let send = |number| hub.send_as("GET", &format!("/api/v1/events/user.v.{number}"), &token("v"), &[], b"");
    let mut waiting: Vec<HttpConnection> = (0..150).map(send).collect();
    // The hook has as many requests as may be sent at once.
    backend.wait_for_requests(64);
    for number in 0..50 {
        hub.publish_as_backend("user.u", number.to_string());
        assert_eq!((open.data(), of_key.data()), (number.to_string(), number.to_string()));
    }
    hub.get("/readyz").assert_status(200);
    hub.subscribe_as(KEY, OWN).position();
    backend.set_reply(ALLOW);
    for connection in &mut waiting {
        assert!(matches!(connection.read_head().status, 200 | 429));
    }
}

#[test]
fn hub_shuts_down_in_time_while_the_hook_is_stalled() {
    let backend = HookBackend::start(HookReply::Silence);
    let hub = hub_with_hook(&backend, "hook_timeout = \"30s\"");
    let _connection = hub.send_as("GET", OWN, &token("u"), &[], b"");
    backend.wait_for_requests(1);
    let begun = std::time::Instant::now();
    hub.terminate();
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn hook_is_reloaded_with_the_settings() {
    let (yes, no) = (HookBackend::start(ALLOW), HookBackend::start(DENY));
    let lines =
        |backend: &HookBackend| with_secret(&format!("hook_recheck = \"100ms\"\n{}", backend.setting_line()));
    let mut hub = protected_with(&lines(&yes), &[]);
    let mut reader = hub.subscribe_as(&token("u"), OWN);
    reader.position();
    hub.reload(&lines(&no));
    // Cached answers of the other hook are dropped with it.
    reader.assert_end("revoked", false);
    hub.get_as(&token("u"), OWN).assert_access_denied();
    hub.reload(&with_secret(""));
    hub.subscribe_as(&token("u"), OWN).position();
}

#[test]
fn history_names_only_channels_that_the_hook_allows_and_all_to_api_keys() {
    let backend = HookBackend::start(ALLOW);
    let hub = hub_with_hook(&backend, UNCACHED);
    let event = json!({"channels": ["user.u", "user.u.a"], "data": "x"});
    hub.post_as(KEY, "/api/v1/publish", event.to_string()).assert_status(200);
    let channels = |credential: &str| {
        hub.get_as(credential, HISTORY).assert_status(200).json()["events"][0]["channels"].clone()
    };
    assert_eq!(channels(&token("u")), json!(["user.u"]));
    assert_eq!(channels(KEY), json!(["user.u", "user.u.a"]));
}

#[test]
fn rights_that_end_during_a_hook_request_do_not_count() {
    let backend = HookBackend::start(HookReply::Silence);
    let hub = hub_with_hook(&backend, "hook_timeout = \"20s\"\nhook_ttl = \"0s\"");
    hub.publish_as_backend("user.u", "secret event");
    let token = token_with("u", &json!({"tidings": {"publish": ["user.u"]}}));
    let connections = [
        ("GET", HISTORY, 1),
        ("GET", "/api/v1/events/user.u?history=all", 1),
        // A read is one hook request, a publish another.
        ("POST", OWN, 2),
    ]
    .map(|(method, path, hook_requests)| {
        let connection = hub.send_as(method, path, &token, &[], b"x");
        backend.wait_for_requests(hook_requests);
        connection
    });
    hub.revoke(&json!({"user": "u"})).assert_status(204);
    backend.set_reply(ALLOW);
    for mut connection in connections {
        let response = connection.read_response();
        response.assert_problem(401, "revoked");
        assert!(!response.text().contains("secret event"));
    }
    assert_eq!(hub.stored_as_backend("user.u"), ["secret event"]);
}

#[test]
fn denial_is_logged_with_its_reason_channel_and_principal() {
    let backend = HookBackend::start(DENY);
    let lines = format!("{}{UNCACHED}\n", backend.setting_line());
    let mut hub = protected_with(&with_secret(&lines), &[("RUST_LOG", "tidings=debug")]);
    let token = writer();
    let denied = |by: &str| hub.counter(&format!("tidings_access_denied_total{{by=\"{by}\"}}"));

    hub.get_as(&token, "/api/v1/events?channel=chat.1&channel=user.v").assert_access_denied();
    hub.post_as(&token, "/api/v1/events/other", "x").assert_access_denied();
    assert_eq!((denied("pattern"), denied("hook")), (2.0, 0.0));
    hub.get_as(&token, "/api/v1/events?channel=chat.1&channel=chat.*").assert_access_denied();
    hub.post_as(&token, "/api/v1/events/chat.2", "x").assert_access_denied();
    assert_eq!((denied("pattern"), denied("hook")), (2.0, 2.0));
    // A client without credentials gets 401, and a denial without a channel is not counted.
    hub.get("/api/v1/events/user.v").assert_problem(401, "credentials_missing");
    hub.get_as(&token, "/metrics").assert_access_denied();
    assert_eq!((denied("pattern"), denied("hook")), (2.0, 2.0));

    let odd = token_for("line\nbreak", &["a"]);
    hub.get_as(&odd, "/api/v1/events/b").assert_access_denied();
    let log = hub.read_log_through("channel=\"b\"");
    let user = "access denied by=\"BY\" principal=User(\"u\") action=\"ACTION\" channel=\"CHANNEL\"";
    for (by, action, channel) in [
        ("pattern", "subscribe", "user.v"),
        ("pattern", "publish", "other"),
        ("hook", "subscribe", "chat.1"),
        ("hook", "publish", "chat.2"),
    ] {
        let line = user.replace("BY", by).replace("ACTION", action).replace("CHANNEL", channel);
        assert_eq!(log.matches(&line).count(), 1, "{line} in {log}");
    }
    assert!(log.contains("principal=User(\"line\\nbreak\")"), "{log}");
    for secret in [SECRET, KEY, token.as_str(), token.rsplit('.').next().unwrap()] {
        assert!(!log.contains(secret), "{log}");
    }
}
