//! Scope of rights: patterns, user names, API keys, lists, and routes that need no right.

use serde_json::{Value, json};
use tidings_protocol::user_segment;
use tidings_testkit::{HttpResponse, SseReader, TempDirectory, eventually};

use crate::{
    clients::{api_key, token_for, token_with},
    hub::TestHub,
    tokens::{KEY, SECRET, bearer, protected, protected_in, protected_with, protected_with_in, token},
};

fn rules() -> String {
    format!("secret = {SECRET:?}")
}

#[test]
fn list_with_a_foreign_channel_is_refused_as_a_whole() {
    let hub = protected(&rules());
    let u = token("u");
    for list in [
        "channel=user.u&channel=user.other",
        "channel=user.other&channel=user.u",
        "channel=user.u&channel=user.u.a&channel=*",
    ] {
        hub.get_as(&u, &format!("/api/v1/events?{list}")).assert_access_denied();
    }
    assert_eq!(hub.counter("tidings_streams_opened_total"), 0.0);
    hub.subscribe_as(&u, "/api/v1/events?channel=user.u&channel=user.u.a&channel=user:u:**").position();
}

#[test]
fn pattern_wider_than_the_rights_is_refused() {
    let hub = protected(&rules());
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
        hub.get_as(&limited, &format!("/api/v1/events/{wider}")).assert_access_denied();
        hub.get_as(&limited, &format!("/api/v1/events?channel=user.u&channel={wider}"))
            .assert_access_denied();
    }
    for within in ["orders.eu.*", "orders.eu.1", "news.**", "news.*", "news.a.**", "news.*.b", "user.u.**"] {
        hub.subscribe_as(&limited, &format!("/api/v1/events/{within}")).position();
    }
}

/// Names that would be several segments, wildcards or names of the hub if they were not escaped.
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
fn every_user_name_is_one_segment() {
    let hub = protected(&rules());
    let names = names();
    for name in &names {
        let mine = token(name);
        let own = user_segment(name);
        for channel in [format!("user.{own}"), format!("user:{own}"), format!("user.{own}.a.b")] {
            hub.get_as(&mine, &format!("/api/v1/channels/{channel}/events")).assert_status(200);
        }
        for other in names.iter().filter(|other| *other != name) {
            let other = user_segment(other);
            for channel in [format!("user.{other}"), format!("user.{other}.a"), format!("user:{other}:a")] {
                hub.get_as(&mine, &format!("/api/v1/channels/{channel}/events")).assert_access_denied();
            }
        }
        for wide in ["user.*", "user.**", "user:*", "user:**"] {
            hub.get_as(&mine, &format!("/api/v1/events/{wide}")).assert_access_denied();
        }
    }
    let mut reader = hub.subscribe_as(&token("a@b.c"), "/api/v1/events/user.a~40b~2ec");
    hub.publish_as_backend("user.a~40b~2ec", "to a@b.c");
    assert_eq!(reader.data(), "to a@b.c");
}

#[test]
fn user_name_too_long_for_a_channel_owns_none_and_is_still_a_principal() {
    let hub = protected(&format!("{}\n[auth.user]\nsubscribe = [\"user.{{sub}}\", \"all\"]", rules()));
    // 195 bytes and `user.` are 200.
    for (name, status) in
        [("n".repeat(195), 200), ("n".repeat(196), 400), ("n".repeat(250), 400), ("é".repeat(125), 400)]
    {
        let mine = token(&name);
        let own = format!("/api/v1/channels/user.{}/events", user_segment(&name));
        hub.get_as(&mine, &own).assert_status(status);
        hub.get_as(&mine, "/api/v1/channels/all/events").assert_status(200);
        for wide in ["**", "*.*", "user.*", &format!("user.{}", "n".repeat(194))] {
            hub.get_as(&mine, &format!("/api/v1/events/{wide}")).assert_access_denied();
        }
    }
    for name in [String::new(), "n".repeat(251), "n\0".to_owned()] {
        hub.get_as(&token(&name), "/api/v1/channels").assert_problem(401, "bad_credentials");
    }
}

#[track_caller]
fn listed(answer: &HttpResponse) -> Vec<Value> {
    answer.assert_status(200).json()["channels"].as_array().unwrap().clone()
}

#[test]
fn list_of_channels_shows_only_the_principals_connections() {
    let (reader_key, lines) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"**\"]");
    let hub = protected(&format!("{}\n[auth.anonymous]\nsubscribe = [\"open\"]\n{lines}", rules()));
    let shared = token_for("u", &["shared"]);
    let streams: Vec<SseReader> = vec![
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
fn publish_to_all(hub: &TestHub, channels: &[&str], data: &str) -> String {
    let body = json!({"channels": channels, "data": data}).to_string();
    let (name, value) = bearer(KEY);
    let headers = [(name, value.as_str()), ("Content-Type", "application/json")];
    let answer = hub.request("POST", "/api/v1/publish", &headers, body.as_bytes());
    answer.assert_status(200).json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn history_names_readable_channels_only() {
    let hub = protected(&rules());
    publish_to_all(&hub, &["user.u", "user.u.more", "user.v", "admin.secret"], "x");
    let path = "/api/v1/channels/user.u/events";
    let channels = |credential: &str| {
        hub.get_as(credential, path).assert_status(200).json()["events"][0]["channels"].clone()
    };
    assert_eq!(channels(&token("u")), json!(["user.u", "user.u.more"]));
    assert_eq!(channels(&token_for("w", &["user.u"])), json!(["user.u"]));
    assert_eq!(channels(KEY).as_array().unwrap().len(), 4);
}

#[test]
fn gaps_and_open_events_name_no_foreign_channel() {
    let hub = protected_with(&rules(), &[("TIDINGS_LOG_RETENTION_EVENTS", "5")]);
    let first = publish_to_all(&hub, &["user.u", "user.u.a", "user.v", "admin.secret"], "first");
    for number in 0..40 {
        publish_to_all(&hub, &["user.u", "user.u.a", "user.v", "admin.secret"], &number.to_string());
    }
    let path = "/api/v1/channels/user.u/events";
    let page = |query: &str| hub.get_as(&token("u"), &format!("{path}{query}")).assert_status(200).json();
    eventually("the channel is trimmed", || page("")["events"].as_array().unwrap().len() == 5);
    assert_eq!(page(&format!("?after={first}"))["gap"]["channels"], json!(["user.u"]));
    for (asked, lost) in [("user.u", json!(["user.u"])), ("user.u.**", json!(["user.u.a"]))] {
        let path = format!("/api/v1/events/{asked}?hello=true");
        let mut reader = hub.resume_as(&token("u"), &path, &first);
        let (_, open) = reader.control_event("tidings.open");
        assert_eq!(open["channels"], json!([asked]));
        let (_, gap) = reader.control_event("tidings.gap");
        assert_eq!((&gap["channels"], &gap["reason"]), (&lost, &json!("trimmed")));
    }
}

/// Asserts this status, or a refusal without a reason if there is none.
#[track_caller]
fn assert_result(answer: &HttpResponse, status: Option<u16>) {
    match status {
        Some(status) => assert_eq!(answer.head.status, status),
        None => answer.assert_access_denied(),
    }
}

#[test]
fn api_key_needs_both_right_and_pattern() {
    let patterns = "subscribe = [\"a.**\"]\npublish = [\"b.**\"]";
    let (reads, one) = api_key(1, &format!("rights = [\"subscribe\"]\n{patterns}"));
    let (writes, two) = api_key(2, &format!("rights = [\"publish\"]\n{patterns}"));
    let (manages, three) = api_key(3, &format!("rights = [\"manage\"]\n{patterns}"));
    let (nothing, four) = api_key(4, "rights = [\"publish\", \"subscribe\"]");
    let (both, five) = api_key(5, &format!("rights = [\"subscribe\", \"publish\"]\n{patterns}"));
    let hub = protected(&format!("{}\n{one}{two}{three}{four}{five}", rules()));
    // Rights of each key: read a.x, write b.x, manage.
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
            assert_result(answer, may.then_some(200));
        }
        // The right to read does not include writing, and a prefix does not match the pattern.
        for channel in ["b.x", "a", "ab.x", "c"] {
            hub.get_as(&key, &format!("/api/v1/channels/{channel}/events")).assert_access_denied();
        }
        for channel in ["a.x", "b", "bc.x", "c"] {
            hub.post_as(&key, &format!("/api/v1/events/{channel}"), "x").assert_access_denied();
        }
        let revocation = hub.post_as(&key, "/api/v1/revocations", "{\"jti\":\"x\"}");
        assert_result(&revocation, allowed[2].then_some(204));
    }
}

#[test]
fn token_publishes_to_its_patterns_only_also_in_a_batch() {
    let hub = protected(&rules());
    let writer = token_with("u", &json!({"tidings": {"publish": ["chat.u.**"]}}));
    hub.post_as(&writer, "/api/v1/events/chat.u.1", "x").assert_status(200);
    for foreign in ["chat.v.1", "chat.u", "user.u"] {
        hub.post_as(&writer, &format!("/api/v1/events/{foreign}"), "x").assert_access_denied();
    }
    let batch = json!([
        {"channels": ["chat.u.1"], "data": "good"},
        {"channels": ["chat.u.1", "chat.v.1"], "data": "bad"},
    ]);
    let headers = [("Content-Type", "application/json")];
    hub.request_as("POST", "/api/v1/publish", &writer, &headers, batch.to_string().as_bytes())
        .assert_access_denied();
    let page = hub.get_as(KEY, "/api/v1/channels/chat.u.1/events").json();
    assert_eq!(page["events"].as_array().unwrap().len(), 1, "{page}");
    // The right to write does not include reading.
    hub.get_as(&writer, "/api/v1/channels/chat.u.1/events").assert_access_denied();
}

#[test]
fn names_of_the_hub_give_403_to_every_principal() {
    let everything = json!({"tidings": {"subscribe": ["**"], "publish": ["**"]}});
    let hub = protected(&format!("{}\n[auth.anonymous]\nsubscribe = [\"**\"]", rules()));
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
                hub.request("GET", &path, &headers, b"").assert_problem(403, "reserved_channel");
            }
        }
        let body = json!({"channels": ["a", "$sys"], "data": "x"}).to_string();
        let headers = [&headers[..], &[("Content-Type", "application/json")]].concat();
        hub.request("POST", "/api/v1/events/$sys", &headers, b"x").assert_problem(403, "reserved_channel");
        hub.request("POST", "/api/v1/publish", &headers, body.as_bytes())
            .assert_problem(403, "reserved_channel");
        let body = b"{\"channels\":[\"$sys\"]}";
        hub.request("POST", "/api/v1/tickets", &headers, body).assert_problem(403, "reserved_channel");
    }
    let mut everyone = hub.subscribe("/api/v1/events/**");
    hub.publish_as_backend("a", "not the hub's own");
    assert_eq!(everyone.data(), "not the hub's own");
}

#[test]
fn metrics_need_manage_unless_public_and_health_needs_nothing() {
    let directory = TempDirectory::create();
    let hub = protected_in(&directory, &rules());
    hub.get("/metrics").assert_problem(401, "credentials_missing");
    hub.get_as(&token_with("u", &json!({"tidings": {"subscribe": ["**"], "publish": ["**"]}})), "/metrics")
        .assert_access_denied();
    hub.get_as("nonsense", "/metrics").assert_problem(401, "bad_credentials");
    hub.get_as(KEY, "/metrics").assert_status(200);
    for path in ["/healthz", "/readyz", "/openapi.json", "/"] {
        hub.get(path).assert_status(200);
        hub.get_as("nonsense", path).assert_status(200);
    }
    drop(hub);
    let hub = protected_with_in(&directory, &rules(), &[("TIDINGS_METRICS_PUBLIC", "true")]);
    hub.get("/metrics").assert_status(200);
}
