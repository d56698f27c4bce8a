//! Rights that end: with a token, by a reload, while a stream is open or a body is received.

use serde_json::json;
use tidings_testkit::{HttpConnection, HttpResponse, TempDirectory, eventually};

use crate::{
    clients::{Http2, api_key, now_millis, token_for, token_until, token_with},
    hub::TestHub,
    tokens::{KEY, SECRET, bearer, now, protected, protected_in, token},
};

const OWN: &str = "/api/v1/events/user.u";
/// Longest delay of a busy machine, in milliseconds.
const LATE_MAX: u64 = 1000;

/// `[auth]` without leeway between clocks.
fn strict() -> String {
    format!("secret = {SECRET:?}\nleeway = \"0s\"")
}

/// Asserts that the time is within this second or the next.
#[track_caller]
fn assert_within_a_second_of(second: u64) {
    let late = now_millis().checked_sub(second * 1000).expect("the stream ended early");
    assert!(late < 1000 + LATE_MAX, "the stream ended {late} ms late");
}

#[test]
fn token_that_expires_ends_its_stream_and_a_new_one_resumes_without_a_hole() {
    let hub = protected(&strict());
    let end = now() + 3;
    let old = token_until("u", end);
    let mut reader = hub.subscribe_as(&old, OWN);
    let mut other = hub.subscribe_as(&token("other"), "/api/v1/events/user.other");
    hub.publish_as_backend("user.u", "before");
    assert_eq!(reader.data(), "before");
    reader.assert_end("token_expired", true);
    assert_within_a_second_of(end);
    hub.publish_as_backend("user.u", "between");
    hub.publish_as_backend("user.other", "for another");
    hub.get_as(&old, OWN).assert_problem(401, "token_expired");
    let mut reader = hub.resume_as(&token("u"), OWN, reader.last_event_id());
    hub.publish_as_backend("user.u", "after");
    assert_eq!(reader.data_of_next(2), ["between", "after"]);
    assert_eq!(other.data(), "for another");
}

#[test]
fn leeway_holds_for_open_streams_too() {
    let hub = protected(&format!("secret = {SECRET:?}\nleeway = \"2s\""));
    let end = now() + 1;
    let mut reader = hub.subscribe_as(&token_until("u", end), OWN);
    reader.assert_end("token_expired", true);
    assert_within_a_second_of(end + 2);
}

#[test]
fn expired_token_ends_its_stream_over_http_2_and_no_other_of_the_connection() {
    let hub = protected(&strict());
    let end = now() + 3;
    let mut connection = Http2::connect(&hub);
    let old = token_until("u", end);
    let mut reader = connection.open(OWN, &old, None).unwrap();
    let mut other = connection.open("/api/v1/events/user.other", &token("other"), None).unwrap();
    hub.publish_as_backend("user.u", "before");
    assert_eq!(reader.data(), "before");
    reader.assert_end("token_expired", true);
    assert_within_a_second_of(end);
    hub.publish_as_backend("user.u", "between");
    assert_eq!(connection.open(OWN, &old, None).err(), Some(401));
    let mut reader = connection.open(OWN, &token("u"), Some(&reader.last_event_id())).unwrap();
    hub.publish_as_backend("user.u", "after");
    assert_eq!([reader.data(), reader.data()], ["between", "after"]);
    hub.publish_as_backend("user.other", "for another");
    assert_eq!(other.data(), "for another");
}

#[test]
fn stream_with_a_full_socket_gets_nothing_after_its_token_expires() {
    const EVENTS: usize = 200;
    const BYTES: usize = 100_000;
    let hub = protected(&strict());
    let end = now() + 6;
    let mut unread = hub.subscribe_as(&token_until("u", end), OWN);
    unread.position();
    let mut bystander = hub.subscribe_as(&token_until("u", end), "/api/v1/events/user.u.alive");
    let padding = "x".repeat(BYTES);
    for number in 0..EVENTS {
        hub.publish_as_backend("user.u", format!("{number} {padding}"));
    }
    eventually("the socket is full", || hub.counter("tidings_socket_backpressure_total") >= 1.0);
    bystander.assert_end("token_expired", true);
    hub.publish_as_backend("user.u", "late");
    let mut got = Vec::new();
    let event = loop {
        let event = unread.event();
        if event.name == "tidings.end" {
            break event;
        }
        got.push(event.data.split(' ').next().unwrap().to_owned());
    };
    assert_eq!(event.data, "{\"reason\":\"token_expired\",\"reconnect\":true}");
    assert!(unread.next_item().is_none());
    assert!(got.len() < EVENTS, "the socket was never full");
    // A new token gets the events that are missing, once.
    let mut reader = hub.resume_as(&token("u"), OWN, unread.last_event_id());
    got.extend((got.len()..=EVENTS).map(|_| reader.data().split(' ').next().unwrap().to_owned()));
    let numbers: Vec<String> = (0..EVENTS).map(|number| number.to_string()).collect();
    assert_eq!(got, [numbers, vec!["late".to_owned()]].concat());
}

#[test]
fn stream_with_a_full_window_gets_nothing_after_its_token_expires() {
    const EVENTS: usize = 50;
    let hub = protected(&strict());
    let end = now() + 4;
    let mut connection = Http2::with_window(&hub, Some(64 << 10));
    let mut unread = connection.open(OWN, &token_until("u", end), None).unwrap();
    let mut bystander = hub.subscribe_as(&token_until("u", end), "/api/v1/events/user.u.alive");
    let padding = "x".repeat(50_000);
    for number in 0..EVENTS {
        hub.publish_as_backend("user.u", format!("{number} {padding}"));
    }
    bystander.assert_end("token_expired", true);
    hub.publish_as_backend("user.u", "late");
    let mut got = 0;
    let end = loop {
        let event = unread.next().unwrap();
        if event.name == "tidings.end" {
            break event;
        }
        assert!(event.data.starts_with(&format!("{got} x")), "{got}");
        got += 1;
    };
    assert_eq!(end.data, "{\"reason\":\"token_expired\",\"reconnect\":true}");
    assert_eq!(unread.next(), None);
    assert!(got < EVENTS, "the window was never full");
    let mut reader = connection.open(OWN, &token("u"), Some(&unread.last_event_id())).unwrap();
    for number in got..EVENTS {
        assert!(reader.data().starts_with(&format!("{number} x")), "{number}");
    }
    assert_eq!(reader.data(), "late");
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
    for path in &paths {
        let authorization = credential.map(bearer);
        let mut headers: Vec<(&str, &str)> =
            authorization.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for last_id in [None, Some(id)] {
            headers.extend(last_id.map(|id| ("Last-Event-ID", id)));
            let answer = hub.request("GET", path, &headers, b"");
            let text = answer.assert_problem(refusal.0, refusal.1).text();
            assert!(!text.contains("secret event"), "{path}: {text}");
        }
    }
}

#[test]
fn new_token_without_the_pattern_gets_403_and_no_old_event() {
    let hub = protected(&strict());
    let mut reader = hub.subscribe_as(&token_for("u", &["orders.*"]), "/api/v1/events/orders.1");
    reader.position();
    let id = reader.last_event_id().to_owned();
    hub.publish_as_backend("orders.1", "secret event 1");
    assert_eq!(reader.data(), "secret event 1");
    let lesser = token_for("u", &["invoices.*"]);
    assert_no_old_event(&hub, Some(&lesser), "orders.1", &id, (403, "access_denied"));
    hub.resume_as(&token_for("u", &["orders.1"]), "/api/v1/events/orders.1", &id).data();
}

/// Settings that remove a right of a principal, and the response to its return.
struct RemovedRight<'a> {
    name: &'static str,
    before: String,
    after: String,
    credential: Option<&'a str>,
    refusal: (u16, &'static str),
}

#[test]
fn rights_removed_by_a_reload_end_streams_as_revoked_and_no_old_event_is_read() {
    let own_secret = "another secret of thirty-two bytes or more";
    let (key, key_block) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"feed.**\"]");
    let (_, narrowed) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"feed.other\"]");
    let (_, without_right) = api_key(1, "rights = [\"publish\"]\nsubscribe = [\"feed.**\"]");
    let base = strict();
    let u = token("u");
    let denied = (403, "access_denied");
    let bad = (401, "bad_credentials");
    let case = |name, before: &str, after: &str, credential, refusal| RemovedRight {
        name,
        before: before.to_owned(),
        after: after.to_owned(),
        credential,
        refusal,
    };
    let by_user = |patterns: &str| format!("[auth.user]\nsubscribe = {patterns}");
    let by_anyone = |patterns: &str| format!("[auth.anonymous]\nsubscribe = {patterns}");
    let (both, one) = (r#"["feed.*", "b"]"#, r#"["b"]"#);
    let missing = (401, "credentials_missing");
    for RemovedRight { name, before, after, credential, refusal } in [
        case("patterns of users", &by_user(r#"["feed.{sub}"]"#), &by_user(one), Some(&u), denied),
        case("patterns of anyone", &by_anyone(both), &by_anyone(one), None, missing),
        case("a key", &key_block, "", Some(&key), bad),
        case("patterns of a key", &key_block, &narrowed, Some(&key), denied),
        case("a right of a key", &key_block, &without_right, Some(&key), denied),
        case("the secret", &by_user(both), "", Some(&u), bad),
    ] {
        let mut hub = protected(&format!("{base}\n{before}"));
        let mut kept = hub.subscribe_as(KEY, "/api/v1/events/kept");
        let authorization = credential.map(bearer);
        let headers: Vec<(&str, &str)> =
            authorization.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut reader = hub.subscribe_with("/api/v1/events/feed.u", &headers);
        reader.position();
        let id = reader.last_event_id().to_owned();
        hub.publish_as_backend("feed.u", "secret event");
        assert_eq!(reader.data(), "secret event", "{name}");
        let base = if name == "the secret" { base.replace(SECRET, own_secret) } else { base.clone() };
        hub.reload(&format!("{base}\n{after}"));
        reader.assert_end("revoked", false);
        hub.publish_as_backend("feed.u", "secret event, later");
        assert_no_old_event(&hub, credential, "feed.u", &id, refusal);
        hub.publish_as_backend("kept", "still");
        assert_eq!(kept.data(), "still", "{name}");
    }
}

#[test]
fn rights_removed_by_a_reload_end_streams_over_http_2() {
    let mut hub = protected(&format!("{}\n[auth.user]\nsubscribe = [\"feed\", \"b\"]", strict()));
    let mut connection = Http2::connect(&hub);
    let mut reader = connection.open("/api/v1/events/feed", &token("u"), None).unwrap();
    let mut kept = connection.open("/api/v1/events/b", &token("u"), None).unwrap();
    hub.reload(&format!("{}\n[auth.user]\nsubscribe = [\"b\"]", strict()));
    reader.assert_end("revoked", false);
    assert_eq!(connection.open("/api/v1/events/feed", &token("u"), None).err(), Some(403));
    hub.publish_as_backend("b", "still");
    assert_eq!(kept.data(), "still");
}

#[test]
fn key_removed_by_a_reload_publishes_nothing_more() {
    let mut hub = protected(&strict());
    hub.publish_as_backend("a", "before");
    hub.reload_whole(&strict());
    hub.post_as(KEY, "/api/v1/events/a", "after").assert_problem(401, "bad_credentials");
    hub.reload(&strict());
    let page = hub.get_as(KEY, "/api/v1/channels/a/events").json();
    assert_eq!(page["events"].as_array().unwrap().len(), 1, "{page}");
}

#[test]
fn unusable_file_at_a_reload_removes_no_rights() {
    let directory = TempDirectory::create();
    let mut hub = protected_in(&directory, &strict());
    let mut reader = hub.subscribe_as(&token("u"), OWN);
    directory.write("tidings.toml", "[auth]\nsecret = \"another\"\n[auth.user]\nsubscribe = [\"{\"]\n");
    hub.signal(rustix::process::Signal::HUP);
    hub.read_log_through("nothing has changed");
    hub.publish_as_backend("user.u", "still");
    assert_eq!(reader.data(), "still");
    hub.subscribe_as(&token("u"), OWN).position();
}

#[test]
fn stream_opened_while_rights_are_removed_ends_too() {
    let with = format!("{}\n[auth.user]\nsubscribe = [\"feed\"]", strict());
    let without = format!("{}\n[auth.user]\nsubscribe = [\"b\"]", strict());
    let mut hub = protected(&with);
    let (name, value) = bearer(&token("u"));
    for _ in 0..5 {
        let mut connections: Vec<HttpConnection> = (0..20).map(|_| hub.connect()).collect();
        for connection in &mut connections {
            connection.send(hub.encode_request("GET", "/api/v1/events/feed", &[(name, &value)], b""));
        }
        hub.reload(&without);
        // Each stream was refused, or opened and ended.
        for mut connection in connections {
            let head = connection.read_head();
            assert!(matches!(head.status, 200 | 403), "{head:?}");
            if head.status == 200 {
                let mut all = Vec::new();
                while let Some(chunk) = connection.read_chunk() {
                    all.extend(chunk);
                }
                assert!(String::from_utf8(all).unwrap().contains("\"reason\":\"revoked\""));
            }
        }
        hub.reload(&with);
    }
    eventually("every stream is closed", || hub.counter("tidings_streams_open") == 0.0);
}

/// Requests whose bodies the client has not sent yet.
struct UnfinishedRequest {
    connection: HttpConnection,
    body: &'static str,
}

impl UnfinishedRequest {
    /// Sends heads, and waits for `100 Continue`: by then the hub has checked the credential.
    fn all(hub: &TestHub, credential: &str) -> Vec<Self> {
        let mut waiting: Vec<Self> = Vec::new();
        for (path, body) in [
            ("/api/v1/events/late", "late"),
            ("/api/v1/publish", "{\"channels\":[\"late\"],\"data\":\"late\"}"),
            ("/api/v1/tickets", "{\"channels\":[\"late\"]}"),
        ] {
            waiting.push(Self::one(hub, credential, path, body));
        }
        waiting
    }

    fn one(hub: &TestHub, credential: &str, path: &str, body: &'static str) -> Self {
        let mut connection = hub.connect();
        let (name, value) = bearer(credential);
        connection.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{name}: {value}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            hub.authority(),
            body.len()
        ));
        assert_eq!(connection.read_head().status, 100, "{path}");
        Self { connection, body }
    }

    fn finish(mut self) -> HttpResponse {
        self.connection.send(self.body);
        self.connection.read_response()
    }
}

#[test]
fn credentials_that_end_while_the_body_is_received_have_no_effect() {
    let all = json!({"tidings": {"subscribe": ["late"], "publish": ["late"]}});
    let key_lines =
        "rights = [\"publish\", \"subscribe\", \"manage\"]\nsubscribe = [\"late\"]\npublish = [\"late\"]";
    let (removed, lines) = api_key(1, key_lines);
    let (narrowed, narrowed_lines) = api_key(2, key_lines);
    let (_, without) = api_key(2, "rights = []");
    let mut hub = protected(&format!("{}\n{lines}{narrowed_lines}", strict()));
    let end = now() + 3;
    let of_expiring =
        UnfinishedRequest::all(&hub, &token_with("u", &json!({"exp": end, "tidings": all["tidings"]})));
    let of_revoked = UnfinishedRequest::all(&hub, &token_with("v", &all));
    let of_kept = UnfinishedRequest::all(&hub, &token_with("w", &all));
    let revocation = |key: &str| UnfinishedRequest::one(&hub, key, "/api/v1/revocations", "{\"user\":\"w\"}");
    let mut of_removed = UnfinishedRequest::all(&hub, &removed);
    of_removed.push(revocation(&removed));
    let mut of_narrowed = UnfinishedRequest::all(&hub, &narrowed);
    of_narrowed.push(revocation(&narrowed));
    hub.post_as(KEY, "/api/v1/revocations", "{\"user\":\"v\"}").assert_status(204);
    hub.reload(&format!("{}\n{without}", strict()));
    eventually("the token has expired", || now_millis() > end * 1000);
    for (waiting, status, code) in [
        (of_expiring, 401, "token_expired"),
        (of_revoked, 401, "revoked"),
        (of_removed, 401, "bad_credentials"),
        (of_narrowed, 403, "access_denied"),
    ] {
        for request in waiting {
            request.finish().assert_problem(status, code);
        }
    }
    let page = hub.get_as(KEY, "/api/v1/channels/late/events").json();
    assert_eq!(page["events"], json!([]));
    // A principal that kept its rights is served.
    let statuses: Vec<u16> = of_kept.into_iter().map(|request| request.finish().head.status).collect();
    assert_eq!(statuses, [200, 200, 201]);
}

#[test]
fn batch_that_is_not_allowed_names_its_first_event() {
    let hub = protected(&format!("secret = {SECRET:?}"));
    let credential = token_with("u", &json!({"tidings": {"publish": ["own.**"]}}));
    let message = |channel: &str| json!({"channels": [channel], "data": 1});
    let cases = [
        (vec!["own.a", "other", "bad..name"], 403, "access_denied", 1),
        (vec!["own.a", "bad..name", "other"], 400, "bad_channel", 1),
        (vec!["own.a", "own.b", "own.a", "other", "other"], 403, "access_denied", 3),
    ];
    for (channels, status, code, index) in cases {
        let batch: Vec<_> = channels.iter().map(|channel| message(channel)).collect();
        let answer = hub.post_as(&credential, "/api/v1/publish", json!(batch).to_string());
        assert_eq!(answer.assert_problem(status, code).json()["index"], index, "{channels:?}");
    }
    let alone = hub.post_as(&credential, "/api/v1/publish", message("other").to_string());
    assert_eq!(alone.assert_problem(403, "access_denied").json().get("index"), None);
}
