//! Tickets: credentials in the URL of an `EventSource`.

use crate::prelude::*;

const PATH: &str = "/api/v1/tickets";
const OWN: &str = "/api/v1/events/user.u";
const SEVERAL: &str = "/api/v1/events";
const POSTED: &str = "/api/v1/stream";
const PAGE: &str = "https://app.example.com";

impl TestHub {
    #[track_caller]
    fn assert_spent(&self, path: &str, ticket: &str) {
        self.get(&with(path, ticket)).assert_problem(401, "bad_credentials");
    }
}

/// Two nodes over one Redis, with these settings of `[auth]`; without any they are open.
fn two_nodes(redis: &RedisServer, auth: Option<&str>) -> [TestHub; 2] {
    let url = redis.url();
    let variables = [("TIDINGS_REDIS_URL", url.as_str()), ("TIDINGS_REDIS_DEADLINE", "1s")];
    let start = || match auth {
        Some(lines) => protected_with(lines, &variables),
        None => TestHub::in_memory(&variables),
    };
    let hubs = [start(), start()];
    hubs.iter().for_each(|hub| hub.wait_until_ready());
    hubs
}

/// Opens this number of streams with one ticket at once, at the hubs in turn, and asserts that only one is opened.
#[track_caller]
fn assert_opens_one_stream(hubs: &[TestHub], ticket: &str, count: usize) {
    let connections: Vec<_> = (0..count).map(|number| hubs[number % hubs.len()].connect()).collect();
    let request = hubs[0].encode_request("GET", &with(OWN, ticket), &[], b"");
    let statuses = in_parallel(connections, |mut connection| {
        connection.send(&request);
        connection.read_head().status
    });
    let of = |status: u16| statuses.iter().filter(|it| **it == status).count();
    assert_eq!((of(200), of(401)), (1, count - 1), "{statuses:?}");
}

fn with(path: &str, ticket: &str) -> String {
    let mark = if path.contains('?') { '&' } else { '?' };
    format!("{path}{mark}ticket={ticket}")
}

fn millis(at: &Value) -> u64 {
    let at: jiff::Timestamp = at.as_str().unwrap().parse().unwrap();
    u64::try_from(at.as_millisecond()).unwrap()
}

#[test]
fn ticket_is_valid_for_a_minute_and_not_cacheable() {
    let hub = hub_with_secret("");
    let before = now_millis();
    let response = hub.request_ticket(&token_with("u", &json!({"exp": now() + 600})), &["user.u"]);
    let after = now_millis();
    assert_eq!(response.assert_status(201).head.header("cache-control"), Some("no-store"));
    assert_eq!(response.head.header("content-type"), Some("application/json"));
    let json = response.json();
    let names: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(names, ["expiresAt", "ticket"]);
    let ticket = json["ticket"].as_str().unwrap();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    assert!(ticket.len() >= 43 && ticket.bytes().all(is_plain), "{ticket}");
    assert!((before + 60_000..=after + 60_000).contains(&millis(&json["expiresAt"])), "{json}");
    assert_ne!(hub.ticket(&token("u"), &["user.u"]), ticket);
}

#[test]
fn ticket_opens_one_stream_however_many_requests_use_it_at_once() {
    let hub = [hub_with_secret("")];
    for _ in 0..5 {
        let ticket = hub[0].ticket(&token("u"), &["user.u"]);
        assert_opens_one_stream(&hub, &ticket, 50);
    }
}

#[test]
fn ticket_is_for_exactly_its_channels_in_any_order_on_both_routes() {
    let hub = hub_with_secret("");
    let u = token("u");
    let three = ["user.u", "user.u.a", "user.u.**"];
    for path in [
        "/api/v1/events?channel=user.u&channel=user.u.a&channel=user.u.**",
        "/api/v1/events?channel=user.u.**&channel=user.u&channel=user.u.a",
        "/api/v1/events?channel=user.u&channel=user.u.a&channel=user.u&channel=user.u.**",
    ] {
        let mut reader = hub.subscribe(&with(path, &hub.ticket(&u, &three)));
        hub.assert_delivers("user.u", "hello", &mut reader);
    }
    for path in [OWN, "/api/v1/events?channel=user.u", "/api/v1/events/user%2eu"] {
        hub.open_stream(&with(path, &hub.ticket(&u, &["user.u"])));
        hub.open_stream(&with(path, &hub.ticket(&u, &["user.u", "user.u"])));
    }
    let exact = "/api/v1/events?channel=user.u&channel=user.u.a&channel=user.u.**";
    for other in [
        "/api/v1/events?channel=user.u&channel=user.u.a",
        "/api/v1/events?channel=user.u&channel=user.u.a&channel=user.u.**&channel=user.u.b",
        "/api/v1/events?channel=user.u&channel=user.u.a&channel=user.u.*",
        "/api/v1/events/user.u",
        "/api/v1/events/user.u.**",
        "/api/v1/events/user.v",
    ] {
        let ticket = hub.ticket(&u, &three);
        hub.get(&with(other, &ticket)).assert_access_denied();
        hub.assert_spent(exact, &ticket);
    }
}

#[test]
fn stream_without_channels_has_those_of_its_ticket() {
    let hub = hub_with_secret("");
    let names: Vec<String> = (0..254).map(|n| format!("user.u.{n}.{}", "x".repeat(180))).collect();
    let mut channels: Vec<&str> = names.iter().map(String::as_str).collect();
    channels.extend(["user.u", "user.u.**"]);
    let assert_receives = |reader: &mut SseReader| {
        for name in [names[253].as_str(), "user.u", "user.u.any.of.them"] {
            hub.assert_delivers(name, name, reader);
        }
    };
    for transport in TRANSPORTS {
        let path = with(SEVERAL, &hub.ticket(&token("u"), &channels));
        assert!(path.len() < 100, "{path}");
        let mut reader = SseReader::open(transport.ask(&hub, &path, &[]));
        assert_receives(&mut reader);
        hub.get(&path).assert_problem(401, "bad_credentials");
        for body in ["{}", "{\"channels\":[]}"] {
            let mut connection = transport.connect(&hub);
            let path = with(POSTED, &hub.ticket(&token("u"), &channels));
            connection.send(hub.encode_request("POST", &path, &[], body.as_bytes()));
            assert_receives(&mut SseReader::open(connection));
        }
    }
}

#[test]
fn posted_stream_accepts_a_ticket_for_exactly_its_channels() {
    let hub = hub_with_secret("");
    let post = |ticket: &str, channels: &[&str]| {
        hub.post(&with(POSTED, ticket), json!({"channels": channels}).to_string())
    };
    let ticket = hub.ticket(&token("u"), &["user.u", "user.u.a"]);
    post(&ticket, &["user.u"]).assert_access_denied();
    post(&ticket, &["user.u", "user.u.a"]).assert_problem(401, "bad_credentials");
    hub.assert_spent(SEVERAL, &ticket);
    // A request without a ticket, or with a stronger credential, has to name its channels.
    hub.get_as(&token("u"), SEVERAL).assert_problem(400, "bad_query");
    let unused = hub.ticket(&token("u"), &["user.u"]);
    hub.get_as(&token("u"), &with(SEVERAL, &unused)).assert_problem(400, "bad_query");
    hub.post_as(&token("u"), POSTED, "{}").assert_problem(400, "malformed_body");
    hub.open_stream(&with(SEVERAL, &unused));
}

/// Asserts that the first hub makes a ticket without a credential, and that the second accepts it once.
#[track_caller]
fn assert_open_hub_uses_a_ticket(maker: &TestHub, user: &TestHub) {
    let response = maker.post(PATH, "{\"channels\":[\"a\",\"b.*\"]}").assert_status(201).json();
    let ticket = response["ticket"].as_str().unwrap();
    let mut reader = user.subscribe(&with(SEVERAL, ticket));
    maker.assert_delivers("b.x", "hello", &mut reader);
    maker.assert_spent(SEVERAL, ticket);
}

#[test]
fn page_of_an_open_hub_may_use_a_ticket() {
    let hub = TestHub::in_memory(&[]);
    assert_open_hub_uses_a_ticket(&hub, &hub);
    hub.assert_spent(SEVERAL, "nonsense");
    // An open hub asks for no credentials, so it ignores a ticket beside channels.
    hub.open_stream("/api/v1/events?channel=c&ticket=nonsense");
}

#[test]
fn ticket_of_an_open_hub_is_valid_at_every_node() {
    let redis = RedisServer::start();
    let [maker, user] = two_nodes(&redis, None);
    assert_open_hub_uses_a_ticket(&maker, &user);
}

#[test]
fn head_request_does_not_spend_a_ticket() {
    let redis = RedisServer::start();
    let [over_redis, _] = two_nodes(&redis, Some(&with_secret("")));
    for hub in [hub_with_secret(""), over_redis] {
        let ticket = hub.ticket(&token("u"), &["user.u"]);
        let head = |path: &str| {
            let mut connection =
                hub.send_request("HEAD", &with(path, &ticket), &[("Connection", "close")], b"");
            let head = connection.read_head();
            assert_eq!(connection.read_to_end(), b"");
            head.status
        };
        assert_eq!([0; 3].map(|_| head(OWN)), [200; 3]);
        assert_eq!(head("/api/v1/events/user.v"), 403, "a HEAD is authorized as the GET");
        hub.open_stream(&with(OWN, &ticket));
        assert_eq!(head(OWN), 401);
        hub.assert_spent(OWN, &ticket);
    }
}

#[test]
fn ticket_for_anything_but_a_stream_is_refused_and_spent() {
    let hub = hub_with_secret("");
    hub.publish_as_backend("user.u", "secret event");
    let may_all = json!({"tidings": {"publish": ["**"], "subscribe": ["**"]}});
    for maker in [token("u"), token_with("u", &may_all), KEY.to_owned()] {
        for (method, path, body) in [
            ("GET", "/api/v1/events/user.u.other", ""),
            ("GET", "/api/v1/channels/user.u/events", ""),
            ("GET", "/api/v1/channels", ""),
            ("GET", "/metrics", ""),
            ("POST", "/api/v1/events/user.u", "x"),
            ("POST", "/api/v1/publish", "{\"channels\":[\"user.u\"],\"data\":\"x\"}"),
            ("POST", PATH, "{\"channels\":[\"user.u\"]}"),
            ("POST", "/api/v1/revocations", "{\"user\":\"u\"}"),
        ] {
            let ticket = hub.ticket(&maker, &["user.u"]);
            let headers = [("Content-Type", "application/json")];
            let response = hub.request(method, &with(path, &ticket), &headers, body.as_bytes());
            response.assert_access_denied();
            hub.assert_spent(OWN, &ticket);
        }
        // A ticket is valid in the query alone.
        let ticket = hub.ticket(&maker, &["user.u"]);
        hub.get_as(&ticket, OWN).assert_problem(401, "bad_credentials");
        hub.get(&format!("{OWN}?access_token={ticket}")).assert_problem(401, "credentials_missing");
    }
    assert_eq!(hub.stored_as_backend("user.u"), ["secret event"]);
}

#[test]
fn ticket_beside_a_stronger_credential_is_ignored() {
    let hub = hub_with_secret("");
    let ticket = hub.ticket(&token("u"), &["user.u"]);
    let path = with(OWN, &ticket);
    hub.get_as(&token("v"), &path).assert_access_denied();
    hub.get_as("nonsense", &path).assert_problem(401, "bad_credentials");
    hub.get(&with(&path, &ticket)).assert_problem(400, "bad_query");
    hub.subscribe(&path).position();
    for none in ["", "ti_", "nonsense", &ticket, &format!("{ticket}x"), "%00", "ti_%ff"] {
        hub.assert_spent(OWN, none);
    }
}

#[test]
fn ticket_and_its_stream_end_with_the_makers_token() {
    let hub = hub_with_secret("leeway = \"0s\"");
    let end = now() + 3;
    let maker = token_until("u", end);
    let response = hub.request_ticket(&maker, &["user.u"]);
    assert_eq!(millis(&response.assert_status(201).json()["expiresAt"]), end * 1000);
    let unused = response.json()["ticket"].as_str().unwrap().to_owned();
    let mut reader = hub.subscribe(&with(OWN, &hub.ticket(&maker, &["user.u"])));
    hub.assert_delivers("user.u", "before", &mut reader);
    reader.assert_end("token_expired", true);
    let late = now_millis().checked_sub(end * 1000).expect("the stream ended early");
    assert!(late < 2000, "{late} ms late");
    hub.assert_spent(OWN, &unused);
}

#[test]
fn leeway_extends_no_ticket() {
    let hub = hub_with_secret("leeway = \"1m\"");
    let end = now() + 2;
    let maker = token_until("u", end);
    let ticket = hub.ticket(&maker, &["user.u"]);
    eventually("the token has expired", || now_millis() > end * 1000);
    hub.assert_spent(OWN, &ticket);
}

#[test]
fn event_source_resumes_with_a_new_ticket_and_the_last_id() {
    let hub = hub_with_secret("");
    let browser = [
        ("Accept", "text/event-stream"),
        ("Pragma", "no-cache"),
        ("User-Agent", "Mozilla/5.0"),
        ("Sec-Fetch-Mode", "cors"),
    ];
    let ticket = hub.ticket(&token("u"), &["user.u"]);
    let mut reader = hub.subscribe_with(&with(OWN, &ticket), &browser);
    hub.assert_delivers("user.u", "first", &mut reader);
    let id = reader.last_event_id().to_owned();
    drop(reader);
    hub.publish_as_backend("user.u", "missed");
    // `EventSource` by itself reconnects with the spent ticket.
    let headers = [&browser[..], &[("Last-Event-ID", id.as_str())]].concat();
    hub.request("GET", &with(OWN, &ticket), &headers, b"").assert_problem(401, "bad_credentials");
    let ticket = hub.ticket(&token("u"), &["user.u"]);
    let mut reader = hub.subscribe_with(&format!("{OWN}?ticket={ticket}&lastEventId={id}"), &browser);
    hub.publish_as_backend("user.u", "live");
    assert_eq!(reader.data_of_next(2), ["missed", "live"]);
}

#[test]
fn ticket_of_a_revoked_maker_is_refused_and_its_stream_ends() {
    let hub = hub_with_secret("");
    let maker = token("u");
    let unused = hub.ticket(&maker, &["user.u"]);
    let mut reader = hub.subscribe(&with(OWN, &hub.ticket(&maker, &["user.u"])));
    reader.position();
    hub.revoke(&json!({"user": "u"})).assert_status(204);
    reader.assert_end("revoked", false);
    hub.get(&with(OWN, &unused)).assert_problem(401, "revoked");
}

#[test]
fn ticket_has_the_rights_of_its_maker_at_its_use() {
    let (key, lines) = api_key(1, "rights = [\"subscribe\"]\nsubscribe = [\"feed\"]");
    let user = |channel: &str| with_secret(&format!("[auth.user]\nsubscribe = [{channel:?}]\n"));
    let mut hub = protected_with(&(user("feed") + &lines), &[]);
    let feed = "/api/v1/events/feed";
    let of_user = hub.ticket(&token("u"), &["feed"]);
    let of_key = hub.ticket(&key, &["feed"]);
    let mut open = hub.subscribe(&with(feed, &hub.ticket(&key, &["feed"])));
    hub.reload(&user("other"));
    open.assert_end("revoked", false);
    hub.get(&with(feed, &of_user)).assert_access_denied();
    hub.get(&with(feed, &of_key)).assert_problem(401, "bad_credentials");
}

#[test]
fn user_makes_at_most_a_hundred_tickets_a_minute() {
    let hub = hub_with_secret("");
    let u = token("u");
    for number in 0..100 {
        let ticket = hub.ticket(&u, &["user.u"]);
        if number % 2 == 0 {
            // Spent tickets count as well.
            hub.open_stream(&with(OWN, &ticket));
        }
    }
    let response = hub.request_ticket(&token("u"), &["user.u"]);
    assert_eq!(response.assert_problem(429, "too_many").json()["limit"], "tickets");
    assert!(response.head.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    assert_eq!(hub.counter("tidings_limit_refused_total{limit=\"tickets\"}"), 1.0);
    hub.ticket(&token("v"), &["user.v"]);
    hub.ticket(KEY, &["user.u"]);
}

#[test]
fn ticket_holds_only_channels_that_its_maker_may_read() {
    let variables = [("TIDINGS_LIMITS_CHANNELS_PER_CONNECTION", "3")];
    let hub = protected_with(&with_secret("[auth.anonymous]\nsubscribe = [\"open\"]"), &variables);
    let u = token_for("u", &["orders.*"]);
    for foreign in [&["user.v"][..], &["user.u", "user.v"], &["orders.**"], &["**"], &["open"]] {
        hub.request_ticket(&u, foreign).assert_access_denied();
    }
    hub.post(PATH, "{\"channels\":[\"user.u\"]}").assert_problem(401, "credentials_missing");
    hub.post(PATH, "{\"channels\":[\"open\"]}").assert_problem(401, "credentials_missing");
    hub.request_ticket("nonsense", &["user.u"]).assert_problem(401, "bad_credentials");
    for body in [
        "",
        "[]",
        "{}",
        "{\"channels\":[]}",
        "{\"channels\":\"user.u\"}",
        "{\"channels\":[1]}",
        "{\"channel\":[\"user.u\"]}",
    ] {
        hub.post_as(&u, PATH, body).assert_problem(400, "malformed_body");
    }
    hub.request_ticket(&u, &["user.u."]).assert_problem(400, "bad_channel");
    let four = hub.request_ticket(&u, &["orders.1", "orders.2", "orders.3", "orders.4"]);
    assert_eq!(four.assert_problem(400, "too_many_channels").json()["limit"], "channels_per_connection");
    hub.ticket(&u, &["orders.*", "orders.1", "user.u"]);
}

#[test]
fn listed_page_makes_and_uses_tickets() {
    let hub = protected_with(&with_secret(""), &[("TIDINGS_CORS_ORIGINS", PAGE)]);
    let preflight = [
        ("Origin", PAGE),
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "authorization,content-type"),
    ];
    let response = hub.request("OPTIONS", PATH, &preflight, b"");
    assert_eq!(response.assert_status(204).head.header("access-control-allow-origin"), Some(PAGE));
    let headers = [("Origin", PAGE), ("Content-Type", "application/json")];
    let response = hub.request_as("POST", PATH, &token("u"), &headers, b"{\"channels\":[\"user.u\"]}");
    assert_eq!(response.assert_status(201).head.header("access-control-allow-origin"), Some(PAGE));
    let ticket = response.json()["ticket"].as_str().unwrap().to_owned();
    let reader = hub.subscribe_with(&with(OWN, &ticket), &[("Origin", PAGE)]);
    assert_eq!(reader.head.header("access-control-allow-origin"), Some(PAGE));
    let refused = hub.request("GET", &with(OWN, &ticket), &[("Origin", PAGE)], b"");
    refused.assert_problem(401, "bad_credentials");
    assert_eq!(refused.head.header("access-control-allow-origin"), Some(PAGE));
}

#[test]
fn ticket_opens_one_stream_at_any_node_of_one_redis() {
    let redis = RedisServer::start();
    let hubs = two_nodes(&redis, Some(&with_secret("")));
    for (round, credential) in [token("u"), KEY.to_owned(), token("u"), KEY.to_owned()].iter().enumerate() {
        assert_opens_one_stream(&hubs, &hubs[round % 2].ticket(credential, &["user.u"]), 20);
    }
    // The ticket carries its channels to another node.
    for credential in [token("u"), KEY.to_owned()] {
        let ticket = hubs[0].ticket(&credential, &["user.u", "user.u.**"]);
        let mut reader = hubs[1].subscribe(&with(SEVERAL, &ticket));
        for channel in ["user.u", "user.u.x"] {
            hubs[0].assert_delivers(channel, channel, &mut reader);
        }
        hubs[0].assert_spent(SEVERAL, &ticket);
    }
    // Exactly its channels at another node, too.
    let ticket = hubs[0].ticket(&token("u"), &["user.u", "user.u.**"]);
    hubs[1].get(&with(OWN, &ticket)).assert_problem(403, "access_denied");
    hubs[0].assert_spent(OWN, &ticket);
}

#[test]
fn ticket_in_redis_holds_nothing_usable() {
    let redis = RedisServer::start();
    let hubs = two_nodes(&redis, Some(&with_secret("")));
    let token = token("u");
    let ticket = hubs[0].ticket(&token, &["user.u"]);
    let names = redis.command(&["KEYS", "{tidings}:state:ticket:*"]).list();
    let [name] = &names[..] else { panic!("{names:?}") };
    let name = name.text();
    let script = "return string.find(redis.call('GET', KEYS[1]), ARGV[1], 1, true)";
    assert_eq!(redis.command(&["EVAL", script, "1", &name, &token[..20]]), RespReply::Null);
    assert!(!name.contains(&ticket));
    let life = redis.command(&["PTTL", &name]).integer();
    assert!((1..=60_000).contains(&life), "{life}");
    // A row that another program writes there gives no access.
    redis.command(&["SET", &name, "{\"credential\":\"x\",\"channels\":[\"user.u\"]}"]);
    hubs[1].assert_spent(OWN, &ticket);
}

#[test]
fn ticket_that_redis_cannot_keep_is_not_made() {
    let redis = RedisServer::start();
    let hubs = two_nodes(&redis, Some(&with_secret("")));
    let ticket = hubs[0].ticket(&token("u"), &["user.u"]);
    redis.kill();
    hubs[0].request_ticket(&token("u"), &["user.u"]).assert_problem(503, "unavailable");
    hubs[1].get(&with(OWN, &ticket)).assert_problem(503, "unavailable");
}
