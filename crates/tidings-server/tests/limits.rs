//! Limits of a hub: the refusal that each gives, the setting that it names, and the clients that it leaves alone.

use crate::hook_backend::{ALLOW, HookBackend};
use crate::prelude::*;

const OWN: &str = "/api/v1/events/user.u";
const JSON: [(&str, &str); 1] = [("Content-Type", "application/json")];

fn limited(variables: &[(&str, &str)]) -> TestHub {
    let anyone = "[auth.anonymous]\nsubscribe = [\"open\"]";
    protected_with(&format!("secret = {SECRET:?}\n{anyone}"), variables)
}

impl TestHub {
    fn refused(&self, limit: &str) -> f64 {
        self.counter(&format!("tidings_limit_refused_total{{limit=\"{limit}\"}}"))
    }

    /// Waits until exactly this many streams are open.
    fn wait_for_streams(&self, streams: u32) {
        eventually("a stream is closed", || self.counter("tidings_streams_open") == f64::from(streams));
    }
}

/// Asserts a problem document that names the setting, with `Retry-After` for 429 and 503.
#[track_caller]
fn assert_limit(answer: &HttpResponse, status: u16, code: &str, limit: &str) {
    let json = answer.assert_problem(status, code).json();
    assert_eq!(json["limit"], limit, "{json}");
    let wait = answer.head.header("retry-after").map(|wait| wait.parse::<u32>().unwrap());
    assert_eq!(wait.is_some_and(|seconds| seconds > 0), matches!(status, 429 | 503), "{answer:?}");
}

#[test]
fn user_at_its_stream_limit_gets_429_and_others_do_not() {
    const LIMIT: &str = "connections_per_user";
    let hub = limited(&[("TIDINGS_LIMITS_CONNECTIONS_PER_USER", "3")]);
    let u = token("u");
    let mut first = hub.subscribe_as(&u, OWN);
    let second =
        hub.subscribe_as(&token_with("u", &json!({"jti": "another device"})), "/api/v1/events/user.u.a");
    let mut connection = Http2::connect(&hub);
    let mut third = connection.open(OWN, &u, None).unwrap();
    let full = |answer: &HttpResponse| assert_limit(answer, 429, "user_connections_full", LIMIT);
    full(&hub.get_as(&u, OWN));
    assert_eq!(connection.open(OWN, &u, None).err(), Some(429));
    let ticket = hub.post_as(&u, "/api/v1/tickets", "{\"channels\":[\"user.u\"]}").assert_status(201).json();
    full(&hub.get(&format!("{OWN}?ticket={}", ticket["ticket"].as_str().unwrap())));
    assert_eq!(hub.refused(LIMIT), 3.0);
    // Other users, API keys and anonymous clients are not counted with it, and its other requests are served.
    let others = [
        hub.subscribe_as(&token("v"), "/api/v1/events/user.v"),
        hub.subscribe_as(KEY, OWN),
        hub.subscribe("/api/v1/events/open"),
    ];
    hub.get_as(&u, "/api/v1/channels/user.u/events").assert_status(200);
    let writer = token_with("u", &json!({"tidings": {"publish": ["user.u"]}}));
    hub.post_as(&writer, OWN, "by itself").assert_status(200);
    assert_eq!((first.data(), third.data()), ("by itself".into(), "by itself".into()));
    drop(second);
    hub.wait_for_streams(5);
    let mut in_its_place = hub.subscribe_as(&u, OWN);
    hub.publish_as_backend("user.u", "room");
    assert_eq!(in_its_place.data(), "room");
    full(&hub.get_as(&u, OWN));
    drop(others);
}

/// Opens a stream with `X-Forwarded-For`; it stays open as long as the returned connection.
fn forwarded(hub: &TestHub, hops: &[&str]) -> (u16, HttpConnection) {
    let headers: Vec<(&str, &str)> = hops.iter().map(|hop| ("X-Forwarded-For", *hop)).collect();
    let mut connection = hub.send_request("GET", "/api/v1/events/open", &headers, b"");
    (connection.read_head().status, connection)
}

#[test]
fn address_at_its_stream_limit_gets_429_whatever_it_forwards() {
    const LIMIT: &str = "connections_per_address";
    let hub = limited(&[("TIDINGS_LIMITS_CONNECTIONS_PER_ADDRESS", "2")]);
    // The hub ignores headers of untrusted peers.
    let (first, connection) = forwarded(&hub, &["203.0.113.7"]);
    let (second, _other) = forwarded(&hub, &["203.0.113.8"]);
    assert_eq!((first, second), (200, 200));
    for hop in ["203.0.113.9", "127.0.0.1, 198.51.100.1", "2001:db8::1", "unknown"] {
        let headers =
            [("X-Forwarded-For", hop), ("Forwarded", "for=198.51.100.1"), ("X-Real-IP", "198.51.100.1")];
        let answer = hub.request("GET", "/api/v1/events/open", &headers, b"");
        assert_limit(&answer, 429, "address_connections_full", LIMIT);
    }
    assert_limit(&hub.get_as(&token("u"), OWN), 429, "address_connections_full", LIMIT);
    assert_limit(&hub.get_as(KEY, OWN), 429, "address_connections_full", LIMIT);
    assert_eq!(hub.refused(LIMIT), 6.0);
    hub.publish_as_backend("open", "publishing goes on");
    hub.get_as(&token("u"), "/api/v1/channels/user.u/events").assert_status(200);
    drop(connection);
    hub.wait_for_streams(1);
    assert_eq!(forwarded(&hub, &[]).0, 200);
}

#[test]
fn address_named_by_a_trusted_proxy_is_counted() {
    let variables = [
        ("TIDINGS_LIMITS_CONNECTIONS_PER_ADDRESS", "1"),
        ("TIDINGS_LIMITS_TRUSTED_PROXIES", "127.0.0.0/8,10.0.0.0/8,fd00::/8"),
    ];
    let hub = limited(&variables);
    let mut open = Vec::new();
    // Addresses, and whether the limit had room for them.
    for (hops, has_room) in [
        (&["203.0.113.7"][..], true),
        (&["203.0.113.7"], false),
        (&["203.0.113.8"], true),
        // The header of the client comes before that of the proxy.
        (&["198.51.100.1, 203.0.113.7"], false),
        (&["10.0.0.9, 203.0.113.7"], false),
        (&["198.51.100.1", "203.0.113.7"], false),
        (&["203.0.113.7, 198.51.100.1"], true),
        // Through two proxies.
        (&["203.0.113.7, 10.1.2.3"], false),
        (&["203.0.113.9, fd00::1", "10.1.2.3"], true),
        (&["203.0.113.9"], false),
        // Another spelling of the same address.
        (&["203.0.113.7:4711"], false),
        (&["::ffff:203.0.113.7"], false),
        (&["[::ffff:203.0.113.7]:80"], false),
        // An IPv6 client is counted by its /64.
        (&["2001:db8:1:2::1"], true),
        (&["2001:db8:1:2:ffff:ffff:ffff:ffff"], false),
        (&["[2001:db8:1:2::7]:4711"], false),
        (&["2001:db8:1:3::1"], true),
        // A header without an address counts as the proxy's own.
        (&["unknown"], true),
        (&[], false),
        (&["203.0.113.77, unknown"], false),
        (&[""], false),
    ] {
        let (status, connection) = forwarded(&hub, hops);
        assert_eq!(status, if has_room { 200 } else { 429 }, "{hops:?}");
        if has_room {
            open.push(connection);
        }
    }
    assert_eq!(hub.counter("tidings_streams_open"), 7.0);
}

#[test]
fn full_hub_refuses_new_streams_with_503_and_keeps_open_ones() {
    let hub = limited(&[("TIDINGS_LIMITS_CONNECTIONS", "2")]);
    let mut first = hub.subscribe_as(&token("u"), OWN);
    let second = hub.subscribe("/api/v1/events/open");
    for answer in [hub.get_as(&token("u"), OWN), hub.get_as(KEY, OWN), hub.get("/api/v1/events/open")] {
        assert_limit(&answer, 503, "connections_full", "connections");
    }
    assert_eq!(hub.refused("connections"), 3.0);
    // A client without rights gets 403, and does not learn that the hub is full.
    hub.get_as(&token("v"), OWN).assert_access_denied();
    hub.publish_as_backend("user.u", "still");
    assert_eq!(first.data(), "still");
    drop(second);
    hub.wait_for_streams(1);
    hub.subscribe_as(KEY, OWN).position();
}

#[test]
fn too_many_channels_are_refused_before_the_hook_is_asked() {
    const LIMIT: &str = "channels_per_connection";
    let backend = HookBackend::start(ALLOW);
    let rules = format!("secret = {SECRET:?}\n{}", backend.setting_line());
    let hub = protected_with(&rules, &[("TIDINGS_LIMITS_CHANNELS_PER_CONNECTION", "2")]);
    let u = token("u");
    let three = hub.get_as(&u, "/api/v1/events?channel=user.u&channel=user.u.a&channel=user.u.b");
    assert_limit(&three, 400, "too_many_channels", LIMIT);
    let body = "{\"channels\":[\"user.u\",\"user.u.a\",\"user.u.b\"]}";
    assert_limit(&hub.post_as(&u, "/api/v1/tickets", body), 400, "too_many_channels", LIMIT);
    assert_eq!(hub.refused(LIMIT), 2.0);
    assert_eq!(backend.request_count(), 0);
    hub.subscribe_as(&u, "/api/v1/events?channel=user.u&channel=user.u.a&channel=user.u").position();
    assert_eq!(backend.request_count(), 2);
}

fn batch(events: usize) -> String {
    (0..events).map(|number| format!("{{\"channels\":[\"a\"],\"data\":\"{number}\"}}\n")).collect()
}

#[test]
fn key_beyond_its_rate_gets_429_and_a_batch_counts_its_events() {
    const LIMIT: &str = "publishes_per_second";
    let (other, lines) = api_key(1, "rights = [\"publish\"]\npublish = [\"a\"]");
    let rules = format!("secret = {SECRET:?}\n{lines}");
    let hub = protected_with(&rules, &[("TIDINGS_LIMITS_PUBLISHES_PER_SECOND", "20")]);
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let publish = |key: &str, events: usize| {
        hub.request_as("POST", "/api/v1/publish", key, &ndjson, batch(events).as_bytes())
    };
    assert_limit(&publish(KEY, 21), 413, "batch_too_large", LIMIT);
    // Neither the refused batch nor the denied publish was counted.
    hub.post_as(&other, "/api/v1/events/b", "x").assert_access_denied();
    publish(KEY, 20).assert_status(200);
    assert_limit(&publish(KEY, 20), 429, "too_many_publishes", LIMIT);
    publish(&other, 20).assert_status(200);
    // Each user has a rate of its own.
    for user in ["u", "v"] {
        let writer = token_with(user, &json!({"tidings": {"publish": ["a"]}}));
        publish(&writer, 20).assert_status(200);
        assert_limit(&publish(&writer, 20), 429, "too_many_publishes", LIMIT);
    }
    assert_eq!(hub.refused(LIMIT), 4.0);
    eventually("the rate allows a batch again", || publish(KEY, 20).head.status == 200);
    let stored = hub.get_as(KEY, "/api/v1/channels/a/events?limit=1000").event_data();
    assert_eq!(stored.len(), 100, "refused events were not stored");
}

#[test]
fn user_that_opens_streams_too_fast_gets_429_and_heads_are_not_counted() {
    let rules = format!("secret = {SECRET:?}\nanonymous.subscribe = [\"open\"]");
    let hub = protected_with(&rules, &[("TIDINGS_LIMITS_STREAMS_PER_SECOND", "2")]);
    for user in ["u", "v"] {
        let (token, path) = (&token(user), &format!("/api/v1/events/user.{user}"));
        for _ in 0..5 {
            hub.request_as("HEAD", path, token, &[("Connection", "close")], b"").assert_status(200);
        }
        // The limit holds for each user.
        let (name, value) = bearer(token);
        let open = || hub.send_request("GET", path, &[(name, &value)], b"");
        let mut connections = [open(), open()];
        assert_eq!(connections.each_mut().map(|connection| connection.read_head().status), [200, 200]);
        assert_limit(&open().read_response(), 429, "too_many_streams", "streams_per_second");
        eventually("the rate allows a stream again", || open().read_head().status == 200);
    }
    // Anonymous clients are counted by their address.
    assert_eq!([(); 3].map(|()| forwarded(&hub, &[]).0), [200, 200, 429]);
}

#[test]
fn single_publishes_are_counted_too() {
    let hub = limited(&[("TIDINGS_LIMITS_PUBLISHES_PER_SECOND", "1")]);
    hub.publish_as_backend("a", "one");
    let publish = || hub.post_as(KEY, "/api/v1/events/a", "two");
    assert_limit(&publish(), 429, "too_many_publishes", "publishes_per_second");
    eventually("the rate allows a publish again", || publish().head.status == 200);
}

#[test]
fn events_and_bodies_are_limited_in_bytes() {
    let hub = limited(&[("TIDINGS_LIMITS_EVENT_BYTES", "100"), ("TIDINGS_LIMITS_BODY_BYTES", "1000")]);
    hub.publish_as_backend("a", "x".repeat(100));
    let answer = hub.post_as(KEY, "/api/v1/events/a", "x".repeat(101));
    assert_limit(&answer, 413, "event_too_large", "event_bytes");
    let batch = json!([{"channels": ["a"], "data": "x"}, {"channels": ["a"], "data": "x".repeat(101)}]);
    let answer = hub.request_as("POST", "/api/v1/publish", KEY, &JSON, batch.to_string().as_bytes());
    assert_limit(&answer, 413, "event_too_large", "event_bytes");
    assert_eq!(answer.json()["index"], 1);
    let large = "{".repeat(1001);
    let (name, value) = bearer(KEY);
    let headers = format!(
        "Host: {}\r\n{name}: {value}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n",
        hub.authority()
    );
    for path in ["/api/v1/events/a", "/api/v1/publish", "/api/v1/tickets", "/api/v1/revocations"] {
        let answer = hub.request_as("POST", path, KEY, &JSON, large.as_bytes());
        assert_limit(&answer, 413, "body_too_large", "body_bytes");
        let chunked = format!("POST {path} HTTP/1.1\r\n{headers}\r\n3e9\r\n{large}\r\n0\r\n\r\n");
        assert_limit(&hub.send_raw(chunked), 413, "body_too_large", "body_bytes");
    }
    assert_eq!((hub.refused("event_bytes"), hub.refused("body_bytes")), (2.0, 8.0));
    assert_eq!(hub.get_as(KEY, "/api/v1/channels/a/events").event_data().len(), 1);
}

#[test]
fn idempotency_keys_are_limited_in_number() {
    let hub = limited(&[("TIDINGS_LOG_IDEMPOTENCY_KEYS", "2")]);
    let publish =
        |key: &str| hub.request_as("POST", "/api/v1/events/a", KEY, &[("Idempotency-Key", key)], b"x");
    publish("1").assert_status(200);
    publish("2").assert_status(200);
    assert_limit(&publish("3"), 429, "idempotency_keys_full", "idempotency_keys");
    publish("1").assert_status(200);
    publish("2").assert_status(200);
    hub.publish_as_backend("a", "without a key");
    assert!(hub.refused("idempotency_keys") >= 1.0);
}

#[test]
fn stream_beyond_the_limit_gets_503_and_no_open_one_ends() {
    let hub = TestHub::in_memory(&[("TIDINGS_LIMITS_CONNECTIONS", "2")]);
    let mut one = hub.subscribe("/api/v1/events/a");
    let two = hub.subscribe("/api/v1/events/b");
    for path in ["/api/v1/events/a", "/api/v1/events?channel=c"] {
        assert_limit(&hub.get(path), 503, "connections_full", "connections");
    }
    assert_eq!(hub.metric("tidings_limit_refused_total{limit=\"connections\"}"), 2.0);
    hub.publish("a", "still published");
    assert_eq!(one.data(), "still published");
    drop(two);
    eventually("its stream is closed", || hub.connections("b") == 0);
    hub.subscribe("/api/v1/events/c").position();
}

#[test]
fn stream_of_too_many_channels_is_refused() {
    let hub = TestHub::in_memory(&[("TIDINGS_LIMITS_CHANNELS_PER_CONNECTION", "3")]);
    let answer = hub.get("/api/v1/events?channel=a&channel=b&channel=c&channel=d");
    assert_limit(&answer, 400, "too_many_channels", "channels_per_connection");
    assert_eq!(hub.metric("tidings_limit_refused_total{limit=\"channels_per_connection\"}"), 1.0);
    // A repeated channel counts once.
    let mut reader = hub.subscribe("/api/v1/events?channel=a&channel=b&channel=c&channel=a");
    hub.publish("a", "once");
    hub.publish("b", "then");
    assert_eq!(reader.data_of_next(2), ["once", "then"]);
}

#[test]
fn refused_or_closed_connection_releases_its_permit() {
    let hub = TestHub::in_memory(&[("TIDINGS_LIMITS_CONNECTIONS", "1")]);
    for _ in 0..20 {
        hub.get("/api/v1/events/a?history=x").assert_problem(400, "bad_query");
        hub.subscribe("/api/v1/events/a").position();
        eventually("its stream is closed", || hub.connections("a") == 0);
    }
}
