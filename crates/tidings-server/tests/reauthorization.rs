//! Rights that end: with a token, by a reload, while a stream is open or a body is received.

use crate::prelude::*;

const OWN: &str = "/api/v1/events/user.u";
/// No leeway between clocks.
const STRICT: &str = "leeway = \"0s\"";
/// Longest delay of a busy machine, in milliseconds.
const LATE_MAX: u64 = 1000;

/// Lines of `[auth]` with the secret, without leeway.
fn strict(lines: &str) -> String {
    with_secret(&format!("{STRICT}\n{lines}"))
}

/// Asserts that it is at most `late_max` milliseconds after this second.
#[track_caller]
fn assert_ended_after(second: u64, late_max: u64) {
    let late = now_millis().checked_sub(second * 1000).expect("the stream ended early");
    assert!(late < late_max, "the stream ended {late} ms late");
}

#[test]
fn token_that_expires_ends_its_stream_and_a_new_one_resumes_without_a_hole() {
    let hub = hub_with_secret(STRICT);
    let over_http_2 = StreamClient::Http2(Http2::connect(&hub));
    for (mut client, late_max) in [(StreamClient::Http1(&hub), 1000), (over_http_2, 1000 + LATE_MAX)] {
        let end = now() + 3;
        let old = token_until("u", end);
        let mut reader = client.open(OWN, &old, None).unwrap();
        let mut other = client.open("/api/v1/events/user.other", &token("other"), None).unwrap();
        hub.assert_delivers("user.u", "before", &mut *reader);
        reader.assert_end("token_expired", true);
        assert_ended_after(end, late_max);
        for data in ["between", "between, too"] {
            hub.publish_as_backend("user.u", data);
        }
        hub.publish_as_backend("user.other", "for another");
        assert_eq!(client.open(OWN, &old, None).err(), Some(401));
        hub.get_as(&old, OWN).assert_problem(401, "token_expired");
        let mut reader = client.open(OWN, &token("u"), Some(&reader.last_event_id())).unwrap();
        hub.publish_as_backend("user.u", "after");
        assert_eq!([(); 3].map(|()| reader.data()), ["between", "between, too", "after"]);
        assert_eq!(other.data(), "for another");
    }
}

#[test]
fn leeway_holds_for_open_streams_too() {
    let hub = hub_with_secret("leeway = \"2s\"");
    let end = now() + 1;
    let mut reader = hub.subscribe_as(&token_until("u", end), OWN);
    reader.assert_end("token_expired", true);
    assert_ended_after(end + 2, 1000 + LATE_MAX);
}

/// Fills the buffers of a stream that is not read until its token has expired, with this number of events of this size.
fn fill_until_token_expires(
    hub: &TestHub,
    client: &mut StreamClient<'_>,
    events: usize,
    bytes: usize,
    wait_until_full: impl FnOnce(),
) {
    let end = now() + 6;
    let mut unread = client.open(OWN, &token_until("u", end), None).unwrap();
    let mut bystander = hub.subscribe_as(&token_until("u", end), "/api/v1/events/user.u.alive");
    let padding = "x".repeat(bytes);
    for number in 0..events {
        hub.publish_as_backend("user.u", format!("{number} {padding}"));
    }
    wait_until_full();
    bystander.assert_end("token_expired", true);
    hub.publish_as_backend("user.u", "late");
    let number_of = |data: &str| data.split(' ').next().unwrap().to_owned();
    let mut received = Vec::new();
    let end = loop {
        let event = unread.next().unwrap();
        if event.name == "tidings.end" {
            break event;
        }
        received.push(number_of(&event.data));
    };
    assert_eq!(end.data, "{\"reason\":\"token_expired\",\"reconnect\":true}");
    assert_eq!(unread.next(), None);
    assert!(received.len() < events, "the buffers were never full");
    // A new token gets the events that are missing, once.
    let mut reader = client.open(OWN, &token("u"), Some(&unread.last_event_id())).unwrap();
    received.extend((received.len()..=events).map(|_| number_of(&reader.data())));
    let expected = (0..events).map(|number| number.to_string()).chain(["late".to_owned()]);
    assert_eq!(received, expected.collect::<Vec<_>>());
}

#[test]
fn stream_with_a_full_socket_gets_nothing_after_its_token_expires() {
    let hub = hub_with_secret(STRICT);
    let is_full = || hub.counter("tidings_socket_backpressure_total") >= 1.0;
    let wait_until_full = || eventually("the socket is full", is_full);
    fill_until_token_expires(&hub, &mut StreamClient::Http1(&hub), 200, 100_000, wait_until_full);
}

#[test]
fn stream_with_a_full_window_gets_nothing_after_its_token_expires() {
    let hub = hub_with_secret(STRICT);
    let mut client = StreamClient::Http2(Http2::with_window(&hub, Some(64 << 10)));
    fill_until_token_expires(&hub, &mut client, 50, 50_000, || ());
}

/// Asserts that every read of the channel's stored events is refused, and that no response holds one.
#[track_caller]
fn assert_no_old_event(
    hub: &TestHub,
    credential: Option<&str>,
    channel: &str,
    id: &str,
    refusal: (u16, &str),
) {
    let stream = format!("/api/v1/events/{channel}");
    let history = format!("/api/v1/channels/{channel}/events");
    let paths = [
        stream.clone(),
        format!("{stream}?history=all"),
        format!("{stream}?history=10"),
        format!("{stream}?lastEventId={id}"),
        format!("/api/v1/events?channel={channel}&history=all"),
        history.clone(),
        format!("{history}?after={id}"),
    ];
    let authorization = credential.map(bearer);
    for path in &paths {
        for last_id in [None, Some(id)] {
            let headers = authorization.iter().map(|(name, value)| (*name, value.as_str()));
            let headers: Vec<_> = headers.chain(last_id.map(|id| ("Last-Event-ID", id))).collect();
            let response = hub.request("GET", path, &headers, b"");
            let text = response.assert_problem(refusal.0, refusal.1).text();
            assert!(!text.contains("secret event"), "{path}: {text}");
        }
    }
}

#[test]
fn new_token_without_the_pattern_gets_403_and_no_old_event() {
    let hub = hub_with_secret(STRICT);
    let mut reader = hub.subscribe_as(&token_for("u", &["orders.*"]), "/api/v1/events/orders.1");
    reader.position();
    let id = reader.last_event_id().to_owned();
    hub.assert_delivers("orders.1", "secret event 1", &mut reader);
    let lesser = token_for("u", &["invoices.*"]);
    assert_no_old_event(&hub, Some(&lesser), "orders.1", &id, (403, "access_denied"));
    hub.resume_as(&token_for("u", &["orders.1"]), "/api/v1/events/orders.1", &id).data();
}

#[test]
fn rights_removed_by_a_reload_end_streams_as_revoked_and_no_old_event_is_read() {
    let other_secret = format!("secret = \"another secret of thirty-two bytes or more\"\n{STRICT}");
    let (key, key_lines) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"feed.**\"]");
    let (_, narrowed) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"feed.other\"]");
    let (_, without_right) = api_key(1, "rights = [\"publish\"]\nsubscribe = [\"feed.**\"]");
    let by_user = |patterns: &str| strict(&format!("[auth.user]\nsubscribe = {patterns}"));
    let by_anyone = |patterns: &str| strict(&format!("[auth.anonymous]\nsubscribe = {patterns}"));
    let own = r#"["feed.{sub}"]"#;
    let own_and = |line: &str| strict(&format!("{line}\n[auth.user]\nsubscribe = {own}"));
    let (both, one) = (r#"["feed.*", "b"]"#, r#"["b"]"#);
    let u = token("u");
    let user = Some(u.as_str());
    let denied = (403, "access_denied");
    let bad = (401, "bad_credentials");
    let missing = (401, "credentials_missing");
    for (name, before, after, credential, refusal) in [
        ("patterns of users", by_user(own), by_user(one), user, denied),
        ("all patterns of users", by_user(own), by_user("[]"), user, denied),
        ("wider patterns of users", by_user(own), by_user(r#"["feed.{sub}.**"]"#), user, denied),
        ("patterns of anyone", by_anyone(both), by_anyone(one), None, missing),
        ("a key", strict(&key_lines), strict(""), Some(&key), bad),
        ("patterns of a key", strict(&key_lines), strict(&narrowed), Some(&key), denied),
        ("a right of a key", strict(&key_lines), strict(&without_right), Some(&key), denied),
        ("the secret", by_user(both), other_secret, user, bad),
        ("algorithms", by_user(own), own_and("algorithms = [\"HS512\"]"), user, bad),
        ("audience", by_user(own), own_and("audience = \"other\""), user, bad),
        ("issuer", by_user(own), own_and("issuer = \"other\""), user, bad),
        ("maximum age", by_user(own), own_and("token_max_age = \"10s\""), user, bad),
    ] {
        let mut hub = protected(&before);
        let mut kept = hub.subscribe_as(KEY, "/api/v1/events?channel=kept&channel=feed.u");
        let authorization = credential.map(bearer);
        let headers: Vec<_> = authorization.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut reader = hub.subscribe_with("/api/v1/events/feed.u", &headers);
        reader.position();
        let id = reader.last_event_id().to_owned();
        hub.publish_as_backend("feed.u", "secret event");
        assert_eq!(reader.data(), "secret event", "{name}");
        hub.reload(&after);
        reader.assert_end("revoked", false);
        hub.publish_as_backend("feed.u", "secret event, later");
        assert_no_old_event(&hub, credential, "feed.u", &id, refusal);
        hub.publish_as_backend("kept", "still");
        assert_eq!(kept.data_of_next(3), ["secret event", "secret event, later", "still"], "{name}");
    }
}

#[test]
fn rights_removed_by_a_reload_end_streams_over_http_2() {
    let mut hub = protected(&strict("[auth.user]\nsubscribe = [\"feed\", \"b\"]"));
    let mut connection = Http2::connect(&hub);
    let mut reader = connection.open("/api/v1/events/feed", &token("u"), None).unwrap();
    let mut kept = connection.open("/api/v1/events/b", &token("u"), None).unwrap();
    hub.reload(&strict("[auth.user]\nsubscribe = [\"b\"]"));
    reader.assert_end("revoked", false);
    assert_eq!(connection.open("/api/v1/events/feed", &token("u"), None).err(), Some(403));
    hub.assert_delivers("b", "still", &mut kept);
}

#[test]
fn key_removed_by_a_reload_publishes_nothing_more() {
    let mut hub = hub_with_secret(STRICT);
    hub.publish_as_backend("a", "before");
    hub.reload_whole(&strict(""));
    hub.post_as(KEY, "/api/v1/events/a", "after").assert_problem(401, "bad_credentials");
    hub.reload(&strict(""));
    assert_eq!(hub.stored_as_backend("a"), ["before"]);
}

#[test]
fn stream_opened_while_rights_are_removed_ends_too() {
    let with = strict("[auth.user]\nsubscribe = [\"feed\"]");
    let without = strict("[auth.user]\nsubscribe = [\"b\"]");
    let mut hub = protected(&with);
    for _ in 0..5 {
        let send = |_| hub.send_as("GET", "/api/v1/events/feed", &token("u"), &[], b"");
        let connections: Vec<HttpConnection> = (0..20).map(send).collect();
        hub.reload(&without);
        // Each stream was refused, or opened and ended.
        for mut connection in connections {
            let head = connection.read_head();
            assert!(matches!(head.status, 200 | 403), "{head:?}");
            if head.status == 200 {
                let body = String::from_utf8(connection.read_body(&head)).unwrap();
                assert!(body.contains("\"reason\":\"revoked\""), "{body}");
            }
        }
        hub.reload(&with);
    }
    eventually("every stream is closed", || hub.counter("tidings_streams_open") == 0.0);
}

/// A request without the end of its body.
struct UnfinishedRequest {
    connection: HttpConnection,
    rest: &'static str,
}

impl UnfinishedRequest {
    /// Begins requests to all these paths, each in both ways.
    fn all(hub: &TestHub, credential: &str, requests: &[(&str, &'static str)]) -> Vec<Self> {
        let begin = |(path, body): &(&str, &'static str)| {
            [true, false].map(|expects_continue| Self::begin(hub, credential, path, body, expects_continue))
        };
        requests.iter().flat_map(begin).collect()
    }

    /// Sends a head and waits for `100 Continue`: by then the hub has checked the credential. Otherwise sends all but the last byte.
    fn begin(
        hub: &TestHub,
        credential: &str,
        path: &str,
        body: &'static str,
        expects_continue: bool,
    ) -> Self {
        let mut connection = hub.connect();
        let (name, value) = bearer(credential);
        let (sent, rest) = if expects_continue { ("", body) } else { body.split_at(body.len() - 1) };
        let expect = if expects_continue { "Expect: 100-continue\r\n" } else { "" };
        connection.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{name}: {value}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{expect}\r\n{sent}",
            hub.authority(),
            body.len()
        ));
        if expects_continue {
            assert_eq!(connection.read_head().status, 100, "{path}");
        }
        Self { connection, rest }
    }

    fn finish(mut self) -> HttpResponse {
        self.connection.send(self.rest);
        self.connection.read_response()
    }
}

#[test]
fn credentials_that_end_while_the_body_is_received_have_no_effect() {
    const REQUESTS: [(&str, &str); 4] = [
        ("/api/v1/events/late", "late"),
        ("/api/v1/publish", "{\"channels\":[\"late\"],\"data\":\"late\"}"),
        ("/api/v1/tickets", "{\"channels\":[\"late\"]}"),
        ("/api/v1/revocations", "{\"user\":\"w\"}"),
    ];
    let rights = json!({"subscribe": ["late"], "publish": ["late"]});
    let key_lines =
        "rights = [\"publish\", \"subscribe\", \"manage\"]\nsubscribe = [\"late\"]\npublish = [\"late\"]";
    let (removed, lines) = api_key(1, key_lines);
    let (narrowed, narrowed_lines) = api_key(2, key_lines);
    let (_, without) = api_key(2, "rights = []");
    let mut hub = protected(&strict(&format!("{lines}{narrowed_lines}")));
    let end = now() + 3;
    let of_user = |user: &str, id: &str, end: u64| {
        let claims = json!({"exp": end, "jti": id, "tidings": rights});
        UnfinishedRequest::all(&hub, &token_with(user, &claims), &REQUESTS[..3])
    };
    let of_key = |key: &str| UnfinishedRequest::all(&hub, key, &REQUESTS);
    let cases = [
        ("token that expires", of_user("u", "1", end), 401, "token_expired"),
        ("token of a revoked user", of_user("v", "2", end + 60), 401, "revoked"),
        ("revoked token", of_user("x", "lost", end + 60), 401, "revoked"),
        ("removed key", of_key(&removed), 401, "bad_credentials"),
        ("key without its rights", of_key(&narrowed), 403, "access_denied"),
    ];
    let of_kept = of_user("w", "3", end + 60);
    for subject in [json!({"user": "v"}), json!({"jti": "lost"})] {
        hub.revoke(&subject).assert_status(204);
    }
    hub.reload(&strict(&without));
    eventually("the token has expired", || now_millis() > end * 1000);
    for (name, requests, status, code) in cases {
        for request in requests {
            let response = request.finish();
            assert_eq!(response.head.status, status, "{name}: {}", response.text());
            response.assert_problem(status, code);
        }
    }
    assert_eq!(hub.stored_as_backend("late"), [""; 0]);
    // A principal that kept its rights is served.
    let statuses: Vec<u16> = of_kept.into_iter().map(|request| request.finish().head.status).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 201, 201]);
}

#[test]
fn batch_that_is_not_allowed_names_its_first_event() {
    let hub = hub_with_secret("");
    let credential = token_with("u", &json!({"tidings": {"publish": ["own.**"]}}));
    let message = |channel: &str| json!({"channels": [channel], "data": 1});
    let cases = [
        (vec!["own.a", "other", "bad..name"], 403, "access_denied", 1),
        (vec!["own.a", "bad..name", "other"], 400, "bad_channel", 1),
        (vec!["own.a", "own.b", "own.a", "other", "other"], 403, "access_denied", 3),
    ];
    for (channels, status, code, index) in cases {
        let batch: Vec<_> = channels.iter().map(|channel| message(channel)).collect();
        let response = hub.post_as(&credential, "/api/v1/publish", json!(batch).to_string());
        assert_eq!(response.assert_problem(status, code).json()["index"], index, "{channels:?}");
    }
    let alone = hub.post_as(&credential, "/api/v1/publish", message("other").to_string());
    assert_eq!(alone.assert_problem(403, "access_denied").json().get("index"), None);
}
