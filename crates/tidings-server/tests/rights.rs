//! Rights, and what becomes of them while a stream is open.

use serde_json::{Value, json};
use tidings_protocol::user_segment;

use crate::{
    callers::{Http2, api_key, now_millis, token_for, token_until, token_with},
    process::{Directory, Hub, eventually},
    reader::Reader,
    tokens::{KEY, SECRET, bearer, now, protected, protected_with, token},
    wire::{Answer, Wire},
};

const OWN: &str = "/api/v1/events/user.u";
/// A machine with other things to do may be late by so much, in milliseconds.
const LATE_MAX: u64 = 1000;

/// `[auth]` where clocks do not differ.
fn strict() -> String {
    format!("secret = {SECRET:?}\nleeway = \"0s\"")
}

/// Fails unless it is this second now, or the next.
#[track_caller]
fn is_within_a_second_of(second: u64) {
    let late = now_millis().checked_sub(second * 1000).expect("it ended early");
    assert!(late < 1000 + LATE_MAX, "it ended {late} ms late");
}

#[test]
fn token_that_expires_ends_its_stream_and_a_new_one_resumes_without_a_hole() {
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    let end = now() + 3;
    let old = token_until("u", end);
    let mut reader = hub.subscribe_as(&old, OWN);
    let mut other = hub.subscribe_as(&token("other"), "/api/v1/events/user.other");
    hub.tell("user.u", "before");
    assert_eq!(reader.data(), "before");
    reader.ends("token_expired", true);
    is_within_a_second_of(end);
    hub.tell("user.u", "between");
    hub.tell("user.other", "for another");
    hub.get_as(&old, OWN).refuses(401, "token_expired");
    let mut reader = hub.resume_as(&token("u"), OWN, reader.last_id());
    hub.tell("user.u", "after");
    assert_eq!(reader.several(2), ["between", "after"]);
    assert_eq!(other.data(), "for another");
}

#[test]
fn leeway_is_given_to_open_streams_too() {
    let directory = Directory::new();
    let hub = protected(&directory, &format!("secret = {SECRET:?}\nleeway = \"2s\""));
    let end = now() + 1;
    let mut reader = hub.subscribe_as(&token_until("u", end), OWN);
    reader.ends("token_expired", true);
    is_within_a_second_of(end + 2);
}

#[test]
fn token_that_expires_ends_its_stream_over_http_2_and_no_other_on_the_connection() {
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    let end = now() + 3;
    let mut connection = Http2::connect(&hub);
    let old = token_until("u", end);
    let mut reader = connection.open(OWN, &old, None).unwrap();
    let mut other = connection.open("/api/v1/events/user.other", &token("other"), None).unwrap();
    hub.tell("user.u", "before");
    assert_eq!(reader.data(), "before");
    reader.ends("token_expired", true);
    is_within_a_second_of(end);
    hub.tell("user.u", "between");
    assert_eq!(connection.open(OWN, &old, None).err(), Some(401));
    let mut reader = connection.open(OWN, &token("u"), Some(&reader.last_id())).unwrap();
    hub.tell("user.u", "after");
    assert_eq!([reader.data(), reader.data()], ["between", "after"]);
    hub.tell("user.other", "for another");
    assert_eq!(other.data(), "for another");
}

#[test]
fn stream_whose_socket_is_full_when_its_token_expires_gets_nothing_more() {
    const EVENTS: usize = 200;
    const BYTES: usize = 100_000;
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    let end = now() + 6;
    let mut unread = hub.subscribe_as(&token_until("u", end), OWN);
    unread.position();
    let mut bystander = hub.subscribe_as(&token_until("u", end), "/api/v1/events/user.u.alive");
    let padding = "x".repeat(BYTES);
    for number in 0..EVENTS {
        hub.tell("user.u", format!("{number} {padding}"));
    }
    eventually("the socket is full", || hub.counter("tidings_sockets_pressed_total") >= 1.0);
    bystander.ends("token_expired", true);
    hub.tell("user.u", "late");
    let mut got = Vec::new();
    let event = loop {
        let event = unread.event();
        if event.name == "tidings.end" {
            break event;
        }
        got.push(event.data.split(' ').next().unwrap().to_owned());
    };
    assert_eq!(event.data, "{\"reason\":\"token_expired\",\"reconnect\":true}");
    assert!(unread.item().is_none());
    assert!(got.len() < EVENTS, "the socket was never full");
    // What it did not get then, it gets with a new token: all of it, once.
    let mut reader = hub.resume_as(&token("u"), OWN, unread.last_id());
    got.extend((got.len()..=EVENTS).map(|_| reader.data().split(' ').next().unwrap().to_owned()));
    let numbers: Vec<String> = (0..EVENTS).map(|number| number.to_string()).collect();
    assert_eq!(got, [numbers, vec!["late".to_owned()]].concat());
}

#[test]
fn stream_whose_window_is_full_when_its_token_expires_gets_nothing_more() {
    const EVENTS: usize = 50;
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    let end = now() + 4;
    let mut connection = Http2::with_window(&hub, Some(64 << 10));
    let mut unread = connection.open(OWN, &token_until("u", end), None).unwrap();
    let mut bystander = hub.subscribe_as(&token_until("u", end), "/api/v1/events/user.u.alive");
    let padding = "x".repeat(50_000);
    for number in 0..EVENTS {
        hub.tell("user.u", format!("{number} {padding}"));
    }
    bystander.ends("token_expired", true);
    hub.tell("user.u", "late");
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
    let mut reader = connection.open(OWN, &token("u"), Some(&unread.last_id())).unwrap();
    for number in got..EVENTS {
        assert!(reader.data().starts_with(&format!("{number} x")), "{number}");
    }
    assert_eq!(reader.data(), "late");
}

/// Every way to what a channel holds already, refused; no answer holds the old event.
#[track_caller]
fn gets_nothing_old(hub: &Hub, credential: Option<&str>, channel: &str, id: &str, refusal: (u16, &str)) {
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
            let text = answer.refuses(refusal.0, refusal.1).text();
            assert!(!text.contains("secret event"), "{path}: {text}");
        }
    }
}

#[test]
fn new_token_without_the_pattern_gets_403_and_no_old_event() {
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    let mut reader = hub.subscribe_as(&token_for("u", &["orders.*"]), "/api/v1/events/orders.1");
    reader.position();
    let id = reader.last_id().to_owned();
    hub.tell("orders.1", "secret event 1");
    assert_eq!(reader.data(), "secret event 1");
    let lesser = token_for("u", &["invoices.*"]);
    gets_nothing_old(&hub, Some(&lesser), "orders.1", &id, (403, "access_denied"));
    hub.resume_as(&token_for("u", &["orders.1"]), "/api/v1/events/orders.1", &id).data();
}

#[test]
fn rights_that_a_hang_up_takes_end_streams_as_revoked_and_nothing_old_is_read() {
    let own_secret = "another secret of thirty-two bytes or more";
    let (key, key_block) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"feed.**\"]");
    let (_, narrowed) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"feed.other\"]");
    let (_, without_right) = api_key(1, "rights = [\"publish\"]\nsubscribe = [\"feed.**\"]");
    let (user, anonymous) = ("[auth.user]\nsubscribe", "[auth.anonymous]\nsubscribe");
    let base = strict();
    let u = token("u");
    let denied = (403, "access_denied");
    let bad = (401, "bad_credentials");
    let cases: [(&str, String, String, Option<&str>, (u16, &str)); 6] = [
        (
            "patterns of users",
            format!("{user} = [\"feed.{{sub}}\", \"b\"]"),
            format!("{user} = [\"b\"]"),
            Some(&u),
            denied,
        ),
        (
            "patterns of anyone",
            format!("{anonymous} = [\"feed.*\", \"b\"]"),
            format!("{anonymous} = [\"b\"]"),
            None,
            (401, "credentials_missing"),
        ),
        ("a key", key_block.clone(), String::new(), Some(&key), bad),
        ("patterns of a key", key_block.clone(), narrowed, Some(&key), denied),
        ("a right of a key", key_block, without_right, Some(&key), denied),
        ("the secret", format!("{user} = [\"feed.{{sub}}\"]"), String::new(), Some(&u), bad),
    ];
    for (name, before, after, credential, refusal) in cases {
        let directory = Directory::new();
        let mut hub = protected(&directory, &format!("{base}\n{before}"));
        let mut kept = hub.subscribe_as(KEY, "/api/v1/events/kept");
        let authorization = credential.map(bearer);
        let headers: Vec<(&str, &str)> =
            authorization.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut reader = hub.subscribe_with("/api/v1/events/feed.u", &headers);
        reader.position();
        let id = reader.last_id().to_owned();
        hub.tell("feed.u", "secret event");
        assert_eq!(reader.data(), "secret event", "{name}");
        let base = if name == "the secret" { base.replace(SECRET, own_secret) } else { base.clone() };
        hub.reload(&directory, &format!("{base}\n{after}"));
        reader.ends("revoked", false);
        hub.tell("feed.u", "secret event, later");
        gets_nothing_old(&hub, credential, "feed.u", &id, refusal);
        hub.tell("kept", "still");
        assert_eq!(kept.data(), "still", "{name}");
    }
}

#[test]
fn rights_that_a_hang_up_takes_end_streams_over_http_2() {
    let directory = Directory::new();
    let mut hub = protected(&directory, &format!("{}\n[auth.user]\nsubscribe = [\"feed\", \"b\"]", strict()));
    let mut connection = Http2::connect(&hub);
    let mut reader = connection.open("/api/v1/events/feed", &token("u"), None).unwrap();
    let mut kept = connection.open("/api/v1/events/b", &token("u"), None).unwrap();
    hub.reload(&directory, &format!("{}\n[auth.user]\nsubscribe = [\"b\"]", strict()));
    reader.ends("revoked", false);
    assert_eq!(connection.open("/api/v1/events/feed", &token("u"), None).err(), Some(403));
    hub.tell("b", "still");
    assert_eq!(kept.data(), "still");
}

#[test]
fn key_that_a_hang_up_removes_publishes_nothing_more() {
    let directory = Directory::new();
    let mut hub = protected(&directory, &strict());
    hub.tell("a", "before");
    hub.reload_whole(&directory, &strict());
    hub.post_as(KEY, "/api/v1/events/a", "after").refuses(401, "bad_credentials");
    hub.reload(&directory, &strict());
    let page = hub.get_as(KEY, "/api/v1/channels/a/events").json();
    assert_eq!(page["events"].as_array().unwrap().len(), 1, "{page}");
}

#[test]
fn broken_file_at_a_hang_up_takes_no_rights() {
    let directory = Directory::new();
    let mut hub = protected(&directory, &strict());
    let mut reader = hub.subscribe_as(&token("u"), OWN);
    directory.write("tidings.toml", "[auth]\nsecret = \"another\"\n[auth.user]\nsubscribe = [\"{\"]\n");
    hub.signal(rustix::process::Signal::HUP);
    hub.wait_for_log("nothing has changed");
    hub.tell("user.u", "still");
    assert_eq!(reader.data(), "still");
    hub.subscribe_as(&token("u"), OWN).position();
}

#[test]
fn list_with_one_foreign_channel_is_refused_as_a_whole() {
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    let u = token("u");
    for list in [
        "channel=user.u&channel=user.other",
        "channel=user.other&channel=user.u",
        "channel=user.u&channel=user.u.a&channel=*",
    ] {
        hub.get_as(&u, &format!("/api/v1/events?{list}")).denies();
    }
    assert_eq!(hub.counter("tidings_streams_opened_total"), 0.0);
    hub.subscribe_as(&u, "/api/v1/events?channel=user.u&channel=user.u.a&channel=user:u:**").position();
}

#[test]
fn pattern_wider_than_ones_rights_is_refused() {
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    let limited = token_for("u", &["orders.eu.*", "news.**"]);
    for wider in [
        "orders.*",
        "orders.**",
        "orders.*.*",
        "*.eu.*",
        "*.*.*",
        "**",
        "*",
        "orders.eu.**",
        "orders:eu.*",
        "orders.eu:*",
        "user.*",
        "user.**",
        "user.*.a",
        "news",
        "news:**",
        "orders.eu",
        "new.**",
    ] {
        hub.get_as(&limited, &format!("/api/v1/events/{wider}")).denies();
        hub.get_as(&limited, &format!("/api/v1/events?channel=user.u&channel={wider}")).denies();
    }
    for within in ["orders.eu.*", "orders.eu.1", "news.**", "news.*", "news.a.**", "news.*.b", "user.u.**"] {
        hub.subscribe_as(&limited, &format!("/api/v1/events/{within}")).position();
    }
}

/// Names that would be several segments, wildcards or the hub's own, if they were not escaped.
fn names() -> Vec<String> {
    let plain = [
        "u",
        "a@b.c",
        "a~40b~2ec",
        "a.b",
        "a:b",
        "a",
        "*",
        "**",
        "u.*",
        "u.**",
        "$u",
        "$sys",
        "with space",
        "münchen",
        "mu\u{308}nchen",
        "日本",
        "🦀",
        "{sub}",
        "u%2ea",
        "../u",
        "u/v",
        "u\nv",
        "u\tv",
        "~",
        "-",
        "_",
        "U",
        "&channel=b",
        "u?x=1",
        "#",
    ];
    plain.into_iter().map(str::to_owned).collect()
}

#[test]
fn every_name_of_a_user_is_one_segment_of_its_own() {
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    let names = names();
    for name in &names {
        let mine = token(name);
        let own = user_segment(name);
        for channel in [format!("user.{own}"), format!("user:{own}"), format!("user.{own}.a.b")] {
            hub.get_as(&mine, &format!("/api/v1/channels/{channel}/events")).is(200);
        }
        for other in names.iter().filter(|other| *other != name) {
            let other = user_segment(other);
            for channel in [format!("user.{other}"), format!("user.{other}.a"), format!("user:{other}:a")] {
                hub.get_as(&mine, &format!("/api/v1/channels/{channel}/events")).denies();
            }
        }
        for wide in ["user.*", "user.**", "user:*", "user:**"] {
            hub.get_as(&mine, &format!("/api/v1/events/{wide}")).denies();
        }
    }
    let mut reader = hub.subscribe_as(&token("a@b.c"), "/api/v1/events/user.a~40b~2ec");
    hub.tell("user.a~40b~2ec", "to a@b.c");
    assert_eq!(reader.data(), "to a@b.c");
}

#[test]
fn name_too_long_for_a_channel_owns_none_and_is_somebody_all_the_same() {
    let directory = Directory::new();
    let hub =
        protected(&directory, &format!("{}\n[auth.user]\nsubscribe = [\"user.{{sub}}\", \"all\"]", strict()));
    // 195 bytes and `user.` are 200.
    for (name, status) in
        [("n".repeat(195), 200), ("n".repeat(196), 400), ("n".repeat(256), 400), ("é".repeat(128), 400)]
    {
        let mine = token(&name);
        let own = format!("/api/v1/channels/user.{}/events", user_segment(&name));
        hub.get_as(&mine, &own).is(status);
        hub.get_as(&mine, "/api/v1/channels/all/events").is(200);
        for wide in ["**", "*.*", "user.*", &format!("user.{}", "n".repeat(194))] {
            hub.get_as(&mine, &format!("/api/v1/events/{wide}")).denies();
        }
    }
    for name in [String::new(), "n".repeat(257), "n\0".to_owned()] {
        hub.get_as(&token(&name), "/api/v1/channels").refuses(401, "bad_credentials");
    }
}

#[track_caller]
fn listed(answer: &Answer) -> Vec<Value> {
    answer.is(200).json()["channels"].as_array().unwrap().clone()
}

#[test]
fn list_of_channels_shows_ones_own_connections_only() {
    let directory = Directory::new();
    let (reader_key, lines) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"**\"]");
    let hub =
        protected(&directory, &format!("{}\n[auth.anonymous]\nsubscribe = [\"open\"]\n{lines}", strict()));
    let shared = token_for("u", &["shared"]);
    let streams: Vec<Reader> = vec![
        hub.subscribe_as(&shared, "/api/v1/events?channel=user.u&channel=shared"),
        hub.subscribe_as(&token_for("v", &["shared"]), "/api/v1/events?channel=user.v.**&channel=shared"),
        hub.subscribe("/api/v1/events/open"),
        hub.subscribe_as(&reader_key, "/api/v1/events/a.*"),
    ];
    let list = |credential: &str| listed(&hub.get_as(credential, "/api/v1/channels"));
    let row = |channel: &str, connections: u64| json!({"channel": channel, "connections": connections});
    assert_eq!(list(&token("u")), [row("shared", 1), row("user.u", 1)]);
    assert_eq!(list(&token("v")), [row("shared", 1), row("user.v.**", 1)]);
    assert_eq!(list(&token("nobody")), [] as [Value; 0]);
    assert_eq!(list(&reader_key), [row("a.*", 1)]);
    assert_eq!(listed(&hub.get("/api/v1/channels")), [] as [Value; 0]);
    let all = [row("open", 1), row("shared", 2), row("user.u", 1), row("a.*", 1), row("user.v.**", 1)];
    let mut found = list(KEY);
    found.sort_by_key(ToString::to_string);
    let mut all = all.to_vec();
    all.sort_by_key(ToString::to_string);
    assert_eq!(found, all);
    drop(streams);
}

/// Publishes one event to several channels.
#[track_caller]
fn tell_all(hub: &Hub, channels: &[&str], data: &str) -> String {
    let body = json!({"channels": channels, "data": data}).to_string();
    let (name, value) = bearer(KEY);
    let headers = [(name, value.as_str()), ("Content-Type", "application/json")];
    let answer = hub.request("POST", "/api/v1/publish", &headers, body.as_bytes());
    answer.is(200).json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn history_names_readable_channels_only() {
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    tell_all(&hub, &["user.u", "user.u.more", "user.v", "admin.secret"], "x");
    let path = "/api/v1/channels/user.u/events";
    let channels =
        |credential: &str| hub.get_as(credential, path).is(200).json()["events"][0]["channels"].clone();
    assert_eq!(channels(&token("u")), json!(["user.u", "user.u.more"]));
    assert_eq!(channels(&token_for("w", &["user.u"])), json!(["user.u"]));
    assert_eq!(channels(KEY).as_array().unwrap().len(), 4);
}

#[test]
fn gaps_and_greetings_name_no_foreign_channel() {
    let directory = Directory::new();
    let hub = protected_with(&directory, &strict(), &[("TIDINGS_LOG_RETENTION_EVENTS", "5")]);
    let first = tell_all(&hub, &["user.u", "user.u.a", "user.v", "admin.secret"], "first");
    for number in 0..40 {
        tell_all(&hub, &["user.u", "user.u.a", "user.v", "admin.secret"], &number.to_string());
    }
    let path = "/api/v1/channels/user.u/events";
    let page = |query: &str| hub.get_as(&token("u"), &format!("{path}{query}")).is(200).json();
    eventually("the channel is trimmed", || page("")["events"].as_array().unwrap().len() == 5);
    assert_eq!(page(&format!("?after={first}"))["gap"]["channels"], json!(["user.u"]));
    for (asked, lost) in [("user.u", json!(["user.u"])), ("user.u.**", json!(["user.u.a"]))] {
        let path = format!("/api/v1/events/{asked}?hello=true");
        let mut reader = hub.resume_as(&token("u"), &path, &first);
        let (_, open) = reader.notice("tidings.open");
        assert_eq!(open["channels"], json!([asked]));
        let (_, gap) = reader.notice("tidings.gap");
        assert_eq!((&gap["channels"], &gap["reason"]), (&lost, &json!("trimmed")));
    }
}

/// Fails unless the answer has this status, or tells nothing where there is none.
#[track_caller]
fn judge(answer: &Answer, status: Option<u16>) {
    match status {
        Some(status) => assert_eq!(answer.head.status, status),
        None => answer.denies(),
    }
}

#[test]
fn rights_and_patterns_of_a_key_are_both_needed() {
    let patterns = "subscribe = [\"a.**\"]\npublish = [\"b.**\"]";
    let (reads, one) = api_key(1, &format!("rights = [\"subscribe\"]\n{patterns}"));
    let (writes, two) = api_key(2, &format!("rights = [\"publish\"]\n{patterns}"));
    let (manages, three) = api_key(3, &format!("rights = [\"manage\"]\n{patterns}"));
    let (nothing, four) = api_key(4, "rights = [\"publish\", \"subscribe\"]");
    let (both, five) = api_key(5, &format!("rights = [\"subscribe\", \"publish\"]\n{patterns}"));
    let directory = Directory::new();
    let hub = protected(&directory, &format!("{}\n{one}{two}{three}{four}{five}", strict()));
    // What each may do: read a.x, write b.x, manage.
    for (key, allowed) in [
        (reads, [true, false, false]),
        (writes, [false, true, false]),
        (manages, [false, false, true]),
        (nothing, [false, false, false]),
        (both, [true, true, false]),
    ] {
        let answers = [
            hub.get_as(&key, "/api/v1/channels/a.x/events"),
            hub.post_as(&key, "/api/v1/events/b.x", "x"),
            hub.get_as(&key, "/metrics"),
        ];
        for (answer, may) in answers.iter().zip(allowed) {
            judge(answer, may.then_some(200));
        }
        // Reading is not writing, and a prefix is not the pattern.
        for channel in ["b.x", "a", "ab.x", "c"] {
            hub.get_as(&key, &format!("/api/v1/channels/{channel}/events")).denies();
        }
        for channel in ["a.x", "b", "bc.x", "c"] {
            hub.post_as(&key, &format!("/api/v1/events/{channel}"), "x").denies();
        }
        let revocation = hub.post_as(&key, "/api/v1/revocations", "{\"jti\":\"x\"}");
        judge(&revocation, allowed[2].then_some(204));
    }
}

#[test]
fn token_that_may_publish_publishes_to_its_patterns_and_no_batch_goes_beyond() {
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    let writer = token_with("u", &json!({"tidings": {"publish": ["chat.u.**"]}}));
    hub.post_as(&writer, "/api/v1/events/chat.u.1", "x").is(200);
    for foreign in ["chat.v.1", "chat.u", "user.u"] {
        hub.post_as(&writer, &format!("/api/v1/events/{foreign}"), "x").denies();
    }
    let batch = json!([
        {"channels": ["chat.u.1"], "data": "good"},
        {"channels": ["chat.u.1", "chat.v.1"], "data": "bad"},
    ]);
    let headers = [("Content-Type", "application/json")];
    hub.ask("POST", "/api/v1/publish", &writer, &headers, batch.to_string().as_bytes()).denies();
    let page = hub.get_as(KEY, "/api/v1/channels/chat.u.1/events").json();
    assert_eq!(page["events"].as_array().unwrap().len(), 1, "{page}");
    // Who may write may not read for that.
    hub.get_as(&writer, "/api/v1/channels/chat.u.1/events").denies();
}

#[test]
fn names_of_the_hubs_own_are_403_for_everyone() {
    let directory = Directory::new();
    let everything = json!({"tidings": {"subscribe": ["**"], "publish": ["**"]}});
    let hub = protected(&directory, &format!("{}\n[auth.anonymous]\nsubscribe = [\"**\"]", strict()));
    let user = token_with("u", &everything);
    for credential in [None, Some(user.as_str()), Some(KEY)] {
        let authorization = credential.map(bearer);
        let headers: Vec<(&str, &str)> =
            authorization.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for name in ["$sys", "$sys.*", "$user.u", "%24sys"] {
            for path in [
                format!("/api/v1/events/{name}"),
                format!("/api/v1/events?channel=a&channel={name}"),
                format!("/api/v1/channels/{}/events", name.trim_end_matches(".*")),
            ] {
                hub.request("GET", &path, &headers, b"").refuses(403, "reserved_channel");
            }
        }
        let body = json!({"channels": ["a", "$sys"], "data": "x"}).to_string();
        let headers = [&headers[..], &[("Content-Type", "application/json")]].concat();
        hub.request("POST", "/api/v1/events/$sys", &headers, b"x").refuses(403, "reserved_channel");
        hub.request("POST", "/api/v1/publish", &headers, body.as_bytes()).refuses(403, "reserved_channel");
        let body = b"{\"channels\":[\"$sys\"]}";
        hub.request("POST", "/api/v1/tickets", &headers, body).refuses(403, "reserved_channel");
    }
    let mut everyone = hub.subscribe("/api/v1/events/**");
    hub.tell("a", "not the hub's own");
    assert_eq!(everyone.data(), "not the hub's own");
}

#[test]
fn metrics_need_manage_unless_public_and_health_needs_nothing() {
    let directory = Directory::new();
    let hub = protected(&directory, &strict());
    hub.get("/metrics").refuses(401, "credentials_missing");
    hub.get_as(&token_with("u", &json!({"tidings": {"subscribe": ["**"], "publish": ["**"]}})), "/metrics")
        .denies();
    hub.get_as("nonsense", "/metrics").refuses(401, "bad_credentials");
    hub.get_as(KEY, "/metrics").is(200);
    for path in ["/healthz", "/readyz", "/openapi.json", "/"] {
        hub.get(path).is(200);
        hub.get_as("nonsense", path).is(200);
    }
    drop(hub);
    let hub = protected_with(&directory, &strict(), &[("TIDINGS_METRICS_PUBLIC", "true")]);
    hub.get("/metrics").is(200);
}

#[test]
fn stream_that_is_opened_while_rights_are_taken_ends_too() {
    let directory = Directory::new();
    let with = format!("{}\n[auth.user]\nsubscribe = [\"feed\"]", strict());
    let without = format!("{}\n[auth.user]\nsubscribe = [\"b\"]", strict());
    let mut hub = protected(&directory, &with);
    let (name, value) = bearer(&token("u"));
    for _ in 0..5 {
        let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(&hub)).collect();
        for wire in &mut wires {
            wire.send(hub.head_of("GET", "/api/v1/events/feed", &[(name, &value)], b""));
        }
        hub.reload(&directory, &without);
        // Each was refused, or opened and ended: none is left open.
        for mut wire in wires {
            let head = wire.head();
            assert!(matches!(head.status, 200 | 403), "{head:?}");
            if head.status == 200 {
                let mut all = Vec::new();
                while let Some(chunk) = wire.chunk() {
                    all.extend(chunk);
                }
                assert!(String::from_utf8(all).unwrap().contains("\"reason\":\"revoked\""));
            }
        }
        hub.reload(&directory, &with);
    }
    eventually("no stream is left", || hub.counter("tidings_connections") == 0.0);
}

/// Requests whose bodies are still on their way.
struct Waiting {
    wire: Wire,
    body: &'static str,
}

impl Waiting {
    /// Sends heads, and waits until the hub asks for the bodies: by then it has looked at the credential.
    fn all(hub: &Hub, credential: &str) -> Vec<Self> {
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

    fn one(hub: &Hub, credential: &str, path: &str, body: &'static str) -> Self {
        let mut wire = Wire::connect(hub);
        let (name, value) = bearer(credential);
        wire.send(format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\n{name}: {value}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            hub.authority(),
            body.len()
        ));
        assert_eq!(wire.head().status, 100, "{path}");
        Self { wire, body }
    }

    fn finish(mut self) -> Answer {
        self.wire.send(self.body);
        self.wire.answer()
    }
}

#[test]
fn credentials_that_end_while_the_body_is_on_its_way_do_nothing() {
    let directory = Directory::new();
    let all = json!({"tidings": {"subscribe": ["late"], "publish": ["late"]}});
    let key_lines =
        "rights = [\"publish\", \"subscribe\", \"manage\"]\nsubscribe = [\"late\"]\npublish = [\"late\"]";
    let (removed, lines) = api_key(1, key_lines);
    let (narrowed, narrowed_lines) = api_key(2, key_lines);
    let (_, without) = api_key(2, "rights = []");
    let mut hub = protected(&directory, &format!("{}\n{lines}{narrowed_lines}", strict()));
    let end = now() + 3;
    let of_expiring = Waiting::all(&hub, &token_with("u", &json!({"exp": end, "tidings": all["tidings"]})));
    let of_revoked = Waiting::all(&hub, &token_with("v", &all));
    let of_kept = Waiting::all(&hub, &token_with("w", &all));
    let revocation = |key: &str| Waiting::one(&hub, key, "/api/v1/revocations", "{\"user\":\"w\"}");
    let mut of_removed = Waiting::all(&hub, &removed);
    of_removed.push(revocation(&removed));
    let mut of_narrowed = Waiting::all(&hub, &narrowed);
    of_narrowed.push(revocation(&narrowed));
    hub.post_as(KEY, "/api/v1/revocations", "{\"user\":\"v\"}").is(204);
    hub.reload(&directory, &format!("{}\n{without}", strict()));
    eventually("the token's time is over", || now_millis() > end * 1000);
    for (waiting, status, code) in [
        (of_expiring, 401, "token_expired"),
        (of_revoked, 401, "revoked"),
        (of_removed, 401, "bad_credentials"),
        (of_narrowed, 403, "access_denied"),
    ] {
        for request in waiting {
            request.finish().refuses(status, code);
        }
    }
    let page = hub.get_as(KEY, "/api/v1/channels/late/events").json();
    assert_eq!(page["events"], json!([]));
    // Who has lost nothing is served.
    let statuses: Vec<u16> = of_kept.into_iter().map(|request| request.finish().head.status).collect();
    assert_eq!(statuses, [200, 200, 201]);
}
