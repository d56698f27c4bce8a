//! Scope of rights: patterns, user names, API keys, lists, and routes that need no right.

use tidings_protocol::user_segment;

use crate::prelude::*;

#[test]
fn list_with_a_foreign_channel_is_refused_as_a_whole() {
    let hub = hub_with_secret("");
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
    let hub = hub_with_secret("");
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
const NAMES: [&str; 22] = [
    "u", "a@b.c", "a.b", "a:b", "a", "*", "**", "u.*", "u.**", "$u", "$sys", "日本", "🦀", "{sub}", "u%2ea",
    "../u", "u/v", "~", "-", "_", "U", "#",
];
const LONGER_NAMES: [&str; 8] =
    ["a~40b~2ec", "with space", "münchen", "mu\u{308}nchen", "u\nv", "u\tv", "&channel=b", "u?x=1"];

#[test]
fn every_user_name_is_one_segment() {
    let hub = hub_with_secret("");
    let names = || NAMES.into_iter().chain(LONGER_NAMES);
    for name in names() {
        let mine = token(name);
        let own = user_segment(name);
        for channel in [format!("user.{own}"), format!("user:{own}"), format!("user.{own}.a.b")] {
            hub.get_as(&mine, &format!("/api/v1/channels/{channel}/events")).assert_status(200);
        }
        for other in names().filter(|other| *other != name).map(user_segment) {
            for channel in [format!("user.{other}"), format!("user.{other}.a"), format!("user:{other}:a")] {
                hub.get_as(&mine, &format!("/api/v1/channels/{channel}/events")).assert_access_denied();
            }
        }
        for wide in ["user.*", "user.**", "user:*", "user:**"] {
            hub.get_as(&mine, &format!("/api/v1/events/{wide}")).assert_access_denied();
        }
    }
    let mut reader = hub.subscribe_as(&token("a@b.c"), "/api/v1/events/user.a~40b~2ec");
    hub.assert_delivers("user.a~40b~2ec", "to a@b.c", &mut reader);
}

#[test]
fn user_name_too_long_for_a_channel_owns_none_and_is_still_a_principal() {
    let hub = hub_with_secret("[auth.user]\nsubscribe = [\"user.{sub}\", \"all\"]");
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
fn listed(response: &HttpResponse) -> Vec<Value> {
    response.assert_status(200).json()["channels"].as_array().unwrap().clone()
}

#[test]
fn list_of_channels_shows_only_the_principals_connections() {
    let (reader_key, lines) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"**\"]");
    let hub = hub_with_secret(&format!("[auth.anonymous]\nsubscribe = [\"open\"]\n{lines}"));
    let shared = token_for("u", &["shared"]);
    let _streams = [
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
    let mut all = list(KEY);
    all.sort_by_key(ToString::to_string);
    let rows = [row("a.*", 1), row("open", 1), row("shared", 2), row("user.u", 1), row("user.v.**", 1)];
    assert_eq!(all, rows);
}

/// Publishes one event to several channels.
#[track_caller]
fn publish_to_all(hub: &TestHub, channels: &[&str], data: &str) -> String {
    let body = json!({"channels": channels, "data": data}).to_string();
    let response = hub.post_as(KEY, "/api/v1/publish", body);
    response.assert_status(200).json()["id"].as_str().unwrap().to_owned()
}

#[test]
fn history_names_readable_channels_only() {
    let hub = hub_with_secret("");
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
    let hub = protected_with(&with_secret(""), &[("TIDINGS_LOG_RETENTION_EVENTS", "5")]);
    let first = publish_to_all(&hub, &["user.u", "user.u.a", "user.v", "admin.secret"], "first");
    for number in 0..40 {
        publish_to_all(&hub, &["user.u", "user.u.a", "user.v", "admin.secret"], &number.to_string());
    }
    let path = "/api/v1/channels/user.u/events";
    let page = |query: &str| hub.get_as(&token("u"), &format!("{path}{query}")).assert_status(200).json();
    eventually("the channel is trimmed", || page("")["events"].as_array().unwrap().len() == 5);
    assert_eq!(page(&format!("?after={first}"))["gap"]["channels"], json!(["user.u"]));
    for (subscribed, lost) in [("user.u", json!(["user.u"])), ("user.u.**", json!(["user.u.a"]))] {
        let path = format!("/api/v1/events/{subscribed}?hello=true");
        let mut reader = hub.resume_as(&token("u"), &path, &first);
        let (_, open) = reader.control_event("tidings.open");
        assert_eq!(open["channels"], json!([subscribed]));
        let (_, gap) = reader.control_event("tidings.gap");
        assert_eq!((&gap["channels"], &gap["reason"]), (&lost, &json!("trimmed")));
    }
}

#[test]
fn api_key_needs_both_right_and_pattern() {
    let patterns = "subscribe = [\"a.**\"]\npublish = [\"b.**\"]";
    let rights = ["\"subscribe\"", "\"publish\"", "\"manage\"", "\"subscribe\", \"publish\""];
    let with_patterns = rights.map(|rights| format!("rights = [{rights}]\n{patterns}"));
    let all = with_patterns.into_iter().chain(["rights = [\"publish\", \"subscribe\"]".to_owned()]);
    let (keys, lines): (Vec<_>, Vec<_>) =
        all.enumerate().map(|(number, lines)| api_key(number, &lines)).unzip();
    let hub = hub_with_secret(&lines.concat());
    let no = 403;
    // Statuses for the keys that may subscribe, publish, manage, subscribe and publish, and the one without patterns.
    for (method, path, body, statuses) in [
        ("GET", "/api/v1/channels/a.x/events", "", [200, no, no, 200, no]),
        // The right to read does not include writing, and a prefix does not match the pattern.
        ("GET", "/api/v1/channels/b.x/events", "", [no; 5]),
        ("GET", "/api/v1/channels/a/events", "", [no; 5]),
        ("GET", "/api/v1/channels/ab.x/events", "", [no; 5]),
        ("GET", "/api/v1/channels/c/events", "", [no; 5]),
        ("POST", "/api/v1/events/b.x", "x", [no, 200, no, 200, no]),
        ("POST", "/api/v1/events/a.x", "x", [no; 5]),
        ("POST", "/api/v1/events/b", "x", [no; 5]),
        ("POST", "/api/v1/events/bc.x", "x", [no; 5]),
        ("POST", "/api/v1/events/c", "x", [no; 5]),
        ("POST", "/api/v1/publish", "[{\"channels\":[\"b.x\"],\"data\":1}]", [no, 200, no, 200, no]),
        ("POST", "/api/v1/publish", "{\"channels\":[\"b.x\",\"a.x\"],\"data\":1}", [no; 5]),
        ("POST", "/api/v1/tickets", "{\"channels\":[\"a.*\"]}", [201, no, no, 201, no]),
        ("POST", "/api/v1/tickets", "{\"channels\":[\"a.x\",\"b.x\"]}", [no; 5]),
        ("GET", "/metrics", "", [no, no, 200, no, no]),
        ("POST", "/api/v1/revocations", "{\"jti\":\"x\"}", [no, no, 204, no, no]),
        ("POST", "/api/v1/revocations", "{\"user\":\"x\"}", [no, no, 204, no, no]),
    ] {
        for (number, (key, status)) in keys.iter().zip(statuses).enumerate() {
            let response = hub.request_as(method, path, key, &[], body.as_bytes());
            assert_eq!(response.head.status, status, "key {number}, {method} {path}: {}", response.text());
            if status == no {
                response.assert_access_denied();
            }
        }
    }
}

#[test]
fn token_publishes_to_its_patterns_only_also_in_a_batch() {
    let hub = hub_with_secret("");
    let writer = token_with("u", &json!({"tidings": {"publish": ["chat.u.**"]}}));
    hub.post_as(&writer, "/api/v1/events/chat.u.1", "x").assert_status(200);
    for foreign in ["chat.v.1", "chat.u", "user.u"] {
        hub.post_as(&writer, &format!("/api/v1/events/{foreign}"), "x").assert_access_denied();
    }
    let batch = json!([
        {"channels": ["chat.u.1"], "data": "good"},
        {"channels": ["chat.u.1", "chat.v.1"], "data": "bad"},
    ]);
    hub.post_as(&writer, "/api/v1/publish", batch.to_string()).assert_access_denied();
    assert_eq!(hub.stored_as_backend("chat.u.1"), ["x"]);
    // The right to write does not include reading.
    hub.get_as(&writer, "/api/v1/channels/chat.u.1/events").assert_access_denied();
}

#[test]
fn names_of_the_hub_give_403_to_every_principal() {
    let hub = hub_with_secret("[auth.anonymous]\nsubscribe = [\"**\"]");
    let user = bearer(&token_with("u", &json!({"tidings": {"subscribe": ["**"], "publish": ["**"]}})));
    for credential in [None, Some(user), Some(bearer(KEY))] {
        let headers: Vec<_> = credential.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let assert_refused = |method: &str, path: &str, body: &str| {
            let response = hub.request(method, path, &headers, body.as_bytes());
            response.assert_problem(403, "reserved_channel");
        };
        for name in ["$sys", "$sys.*", "$user.u", "%24sys", "$SYS.x"] {
            let channel = name.trim_end_matches(".*");
            assert_refused("GET", &format!("/api/v1/events/{name}"), "");
            assert_refused("GET", &format!("/api/v1/events?channel=a&channel={name}"), "");
            assert_refused("GET", &format!("/api/v1/channels/{channel}/events"), "");
            assert_refused("POST", &format!("/api/v1/events/{channel}"), "x");
        }
        assert_refused("POST", "/api/v1/publish", "{\"channels\":[\"a\",\"$sys\"],\"data\":\"x\"}");
        assert_refused("POST", "/api/v1/tickets", "{\"channels\":[\"$sys\"]}");
    }
    let mut everyone = hub.subscribe("/api/v1/events/**");
    hub.assert_delivers("a", "not the hub's own", &mut everyone);
}

#[test]
fn metrics_need_manage_unless_public_and_health_needs_nothing() {
    let hub = hub_with_secret("");
    hub.get("/metrics").assert_problem(401, "credentials_missing");
    let patterns = json!({"subscribe": ["**"], "publish": ["**"], "manage": ["**"]});
    let no_manage = json!({"subscribe": ["**"], "publish": ["**"]});
    for rights in [json!({"manage": true}), json!({"rights": ["manage"]}), patterns, no_manage] {
        let claims = json!({"tidings": rights, "manage": true, "scope": "manage", "roles": ["admin"]});
        for claims in [json!({"tidings": rights}), claims] {
            let token = token_with("u", &claims);
            hub.get_as(&token, "/metrics").assert_access_denied();
            hub.post_as(&token, "/api/v1/revocations", "{\"user\":\"v\"}").assert_access_denied();
        }
    }
    hub.get_as("nonsense", "/metrics").assert_problem(401, "bad_credentials");
    hub.get_as(KEY, "/metrics").assert_status(200);
    for path in ["/healthz", "/readyz", "/openapi.json", "/"] {
        hub.get(path).assert_status(200);
        hub.get_as("nonsense", path).assert_status(200);
    }
    let hub = protected_with(&with_secret(""), &[("TIDINGS_METRICS_PUBLIC", "true")]);
    hub.get("/metrics").assert_status(200);
}
