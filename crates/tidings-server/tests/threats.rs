//! Attacks with credentials and names.

use std::collections::HashSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rustix::process::Signal;
use serde_json::{Value, json};
use tidings_testkit::{HttpConnection, HttpResponse, TempDirectory};

use crate::hub::{RunTidings, TestHub};
use crate::tokens::{
    KEY, KeyPair, SECRET, bearer, by_pair, by_secret, claims, header, hs256, lines_of_key, merged, now,
    protected, protected_with, sealed, token,
};

const STREAM: &str = "/api/v1/events/user.u";
const HISTORY: &str = "/api/v1/channels/user.u/events";

fn hub(lines: &str) -> TestHub {
    protected(&format!("secret = {SECRET:?}\n{lines}"))
}

fn saying(changes: Value) -> String {
    hs256(&merged(claims("u"), changes))
}

#[test]
fn signatures_that_exploit_arithmetic_faults_are_refused() {
    let good = claims("u");
    let zeros = |bytes: usize| vec![0; bytes];
    // The order of P-256, which is equal to zero. Source: FIPS 186-4, D.1.2.3.
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&order[2 * at..2 * at + 2], 16).unwrap()).collect();
    for (pair, algorithm, signatures) in [
        (
            "p256",
            "ES256",
            vec![
                zeros(64),
                [order.clone(), order.clone()].concat(),
                [zeros(32), order].concat(),
                vec![0x30, 6, 2, 1, 0, 2, 1, 0],
                vec![0xff; 64],
                zeros(1),
                Vec::new(),
            ],
        ),
        ("p384", "ES384", vec![zeros(96), vec![0xff; 96], Vec::new()]),
        ("ed25519", "EdDSA", vec![zeros(64), [vec![1], zeros(63)].concat(), Vec::new()]),
        ("rsa", "RS256", vec![zeros(256), [zeros(255), vec![1]].concat(), vec![0xff; 256], Vec::new()]),
        ("rsa", "PS256", vec![zeros(256), [zeros(255), vec![1]].concat(), Vec::new()]),
    ] {
        let pair = KeyPair(pair);
        let hub = protected(&format!("key_file = {:?}", pair.public()));
        let header = header(algorithm, json!({}));
        hub.ask(&by_pair(pair, &header, &good), "GET", HISTORY, "").assert_status(200);
        for signature in signatures {
            let forged = sealed(&header, &good, |_| signature.clone());
            hub.ask(&forged, "GET", HISTORY, "").assert_problem(401, "bad_credentials");
        }
        let pem = std::fs::read(pair.public()).unwrap();
        let forged = by_secret(&pem, &crate::tokens::header("HS256", json!({})), &good);
        hub.ask(&forged, "GET", HISTORY, "").assert_problem(401, "bad_credentials");
    }
}

#[test]
fn user_name_never_matches_beyond_its_segment() {
    let hub = hub("");
    hub.ask(KEY, "POST", "/api/v1/events/user.admin.mail", "private").assert_status(200);
    for name in [
        "*",
        "**",
        "admin.*",
        "admin.**",
        "admin.mail",
        "admin:mail",
        "ADMIN",
        ">",
        "#",
        "$",
        "{sub}",
        "..",
        "admin/../admin",
        "%61dmin",
        "admin\u{200b}",
        "\u{430}dmin",
        "admin ",
        " admin",
        "admin\n",
        "~61dmin",
        "",
    ] {
        let token = saying(json!({"sub": name}));
        for channel in ["user.admin.mail", "user.admin", "user.*.mail", "user.**", "user.admin.**", "**"] {
            let answer = hub.ask(&token, "GET", &format!("/api/v1/events/{channel}?history=all"), "");
            assert!(matches!(answer.head.status, 401 | 403), "{name:?} {channel}: {}", answer.text());
            assert!(!answer.text().contains("private"));
        }
        let history = hub.ask(&token, "GET", "/api/v1/channels/user.admin.mail/events", "");
        assert!(matches!(history.head.status, 401 | 403), "{name:?}: {}", history.text());
    }
    let admin = saying(json!({"sub": "admin"}));
    let events =
        hub.ask(&admin, "GET", "/api/v1/channels/user.admin.mail/events", "").assert_status(200).json();
    assert_eq!(events["events"][0]["data"], "private");
}

#[test]
fn channel_name_is_decoded_once_and_matched_by_segments() {
    let hub = hub("");
    let token = saying(json!({"tidings": {"subscribe": ["team.a.*"], "publish": ["team.a.*"]}}));
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
        let (name, value) = bearer(&token);
        let mut connection = hub.connect();
        connection.send(hub.encode_request("GET", &path, &[(name, &value)], b""));
        let publish = hub.ask(&token, "POST", &path, "x").head.status;
        assert_eq!([connection.read_head().status, publish], statuses, "{channel}");
    }
    // The hub's reserved names for a principal with all rights do not match either.
    for name in ["$sys", "$SYS.x"] {
        hub.ask(KEY, "GET", &format!("/api/v1/events/{name}"), "").assert_problem(403, "reserved_channel");
        hub.ask(KEY, "GET", &format!("/api/v1/channels/{name}/events"), "")
            .assert_problem(403, "reserved_channel");
        hub.ask(KEY, "POST", &format!("/api/v1/events/{name}"), "x").assert_problem(403, "reserved_channel");
    }
    hub.ask(KEY, "GET", "/api/v1/events?channel=team.a.x&channel=$sys", "")
        .assert_problem(403, "reserved_channel");
}

#[test]
fn history_of_others_is_refused_without_revealing_whether_it_exists() {
    let hub = hub("");
    let id = hub.ask(KEY, "POST", "/api/v1/events/user.v", "private").assert_status(200).json()["id"].clone();
    hub.ask(KEY, "POST", "/api/v1/events/user.v", "private too").assert_status(200);
    let id = id.as_str().unwrap();
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
            let answer = hub.ask(&token("u"), "GET", &path, "");
            let mut told = answer.assert_problem(403, "access_denied").json();
            // The response names the forbidden one of several channels as the client wrote it.
            if let Some(named) = told.as_object_mut().unwrap().remove("channel") {
                assert_eq!(named, channel);
            }
            bodies.insert(told.to_string());
        }
    }
    assert_eq!(bodies.len(), 1, "{bodies:?}");
    // The id of another principal's event opens only the client's own channels, and a page is bounded.
    let (name, value) = bearer(&token("u"));
    let mut stream = hub.subscribe_with(STREAM, &[(name, &value), ("Last-Event-ID", id)]);
    hub.ask(KEY, "POST", STREAM, "mine").assert_status(200);
    assert_eq!(stream.data(), "mine");
    let own = hub.ask(&token("u"), "GET", &format!("{HISTORY}?after={id}"), "").assert_status(200).json();
    assert_eq!(own["events"].as_array().unwrap().len(), 1);
    for limit in ["0", "1001", "-1", "99999999999999999999", "all"] {
        hub.ask(&token("u"), "GET", &format!("{HISTORY}?limit={limit}"), "").assert_problem(400, "bad_query");
    }
}

#[test]
fn api_key_has_its_rights_and_no_others() {
    let key = |letter: &str| format!("tk_{}", letter.repeat(43));
    let only = |name: &str, right: &str, letter: &str| {
        lines_of_key(name, &key(letter))
            .replace("\"publish\", \"subscribe\", \"manage\"", &format!("\"{right}\""))
            .replace("[\"**\"]", "[\"a.*\"]")
    };
    let keys = [only("p", "publish", "p"), only("s", "subscribe", "s"), only("m", "manage", "m")].concat();
    let hub = hub(&keys);
    for (method, path, body, [publisher, subscriber, manager]) in [
        ("POST", "/api/v1/events/a.x", "x", [200, 403, 403]),
        ("POST", "/api/v1/events/b.x", "x", [403, 403, 403]),
        ("POST", "/api/v1/publish", "{\"channels\":[\"a.x\",\"b.x\"],\"data\":1}", [403, 403, 403]),
        ("POST", "/api/v1/publish", "[{\"channels\":[\"a.x\"],\"data\":1}]", [200, 403, 403]),
        ("GET", "/api/v1/channels/a.x/events", "", [403, 200, 403]),
        ("GET", "/api/v1/channels/b.x/events", "", [403, 403, 403]),
        ("POST", "/api/v1/tickets", "{\"channels\":[\"a.*\"]}", [403, 201, 403]),
        ("POST", "/api/v1/tickets", "{\"channels\":[\"a.x\",\"b.x\"]}", [403, 403, 403]),
        ("GET", "/metrics", "", [403, 403, 200]),
        ("POST", "/api/v1/revocations", "{\"user\":\"x\"}", [403, 403, 204]),
    ] {
        for (letter, status) in [("p", publisher), ("s", subscriber), ("m", manager)] {
            let answer = hub.ask(&key(letter), method, path, body);
            assert_eq!(answer.head.status, status, "{letter} {method} {path}: {}", answer.text());
            if status == 403 {
                assert_eq!(answer.assert_problem(403, "access_denied").json()["detail"], "Access denied");
            }
        }
    }
}

#[test]
fn token_never_manages_whatever_it_claims() {
    let hub = hub("");
    for rights in [
        json!({"manage": true}),
        json!({"rights": ["manage"]}),
        json!({"subscribe": ["**"], "publish": ["**"], "manage": ["**"]}),
    ] {
        let token = saying(json!({"tidings": rights, "manage": true, "scope": "manage", "roles": ["admin"]}));
        hub.ask(&token, "GET", "/metrics", "").assert_problem(403, "access_denied");
        hub.ask(&token, "POST", "/api/v1/revocations", "{\"user\":\"v\"}")
            .assert_problem(403, "access_denied");
    }
}

#[test]
fn list_shows_the_principals_own_connections_only() {
    let hub = hub("anonymous.subscribe = [\"public\"]");
    let of_v = saying(json!({"sub": "v"}));
    let _streams = [
        hub.subscribe_as(&token("u"), STREAM),
        hub.subscribe_as(&of_v, "/api/v1/events/user.v"),
        hub.subscribe("/api/v1/events/public"),
    ];
    let listed = |answer: HttpResponse| {
        let list = answer.assert_status(200).json();
        let list = list["channels"].as_array().unwrap().clone();
        list.iter().map(|it| it["channel"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(listed(hub.ask(&token("u"), "GET", "/api/v1/channels", "")), ["user.u"]);
    assert_eq!(listed(hub.ask(&of_v, "GET", "/api/v1/channels", "")), ["user.v"]);
    assert_eq!(listed(hub.get("/api/v1/channels")), [""; 0]);
    let mut all = listed(hub.ask(KEY, "GET", "/api/v1/channels", ""));
    all.sort();
    assert_eq!(all, ["public", "user.u", "user.v"]);
}

#[test]
fn ticket_sent_by_many_at_once_opens_one_stream() {
    let hub = hub("");
    for _ in 0..5 {
        let made = hub
            .ask(&token("u"), "POST", "/api/v1/tickets", "{\"channels\":[\"user.u\"]}")
            .assert_status(201)
            .json();
        let path = format!("{STREAM}?ticket={}", made["ticket"].as_str().unwrap());
        let request = hub.encode_request("GET", &path, &[], b"");
        let mut connections: Vec<HttpConnection> = (0..20).map(|_| hub.connect()).collect();
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let asking: Vec<_> = connections
                .iter_mut()
                .map(|connection| {
                    let request = &request;
                    scope.spawn(move || {
                        connection.send(request);
                        connection.read_head().status
                    })
                })
                .collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
        assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 19, "{statuses:?}");
    }
}

#[test]
fn idempotency_keys_of_a_publisher_reveal_nothing_to_another() {
    let hub = hub("");
    // Names that differ only in the kind of principal.
    let user = |name: &str| saying(json!({"sub": name, "tidings": {"publish": ["a"]}}));
    let publishers = [KEY.to_owned(), user("backend"), user("key:backend"), user("user:backend")];
    let mut ids = HashSet::new();
    for (number, publisher) in publishers.iter().enumerate() {
        let (name, value) = bearer(publisher);
        let headers = [(name, value.as_str()), ("Idempotency-Key", "the same")];
        let publish = || hub.request("POST", "/api/v1/events/a", &headers, number.to_string().as_bytes());
        let first = publish().assert_status(200).text();
        assert_eq!(publish().assert_status(200).text(), first);
        ids.insert(first);
    }
    assert_eq!(ids.len(), publishers.len());
}

const FOREIGN: [&str; 9] = [
    "null",
    "https://evil.example",
    "https://app.example.com.evil.example",
    "https://evil-app.example.com",
    "https://evilapp.example.com",
    "http://app.example.com",
    "https://app.example.com:444",
    "https://APP.example.com.",
    "",
];

#[test]
fn page_of_another_origin_cannot_use_its_visitors_cookie() {
    let variables = [("TIDINGS_CORS_ORIGINS", "https://app.example.com")];
    let hub = protected_with(&format!("secret = {SECRET:?}\ncookie = \"session\""), &variables);
    let token = saying(json!({"tidings": {"publish": ["user.u"]}}));
    let cookie = format!("session={token}");
    let ask = |method: &str, path: &str, headers: &[(&str, &str)]| {
        let mut connection = hub.connect();
        let body: &[u8] = if path == "/api/v1/tickets" { b"{\"channels\":[\"user.u\"]}" } else { b"x" };
        connection.send(hub.encode_request(method, path, headers, body));
        connection.read_head()
    };
    let routes = [("GET", STREAM, 200), ("POST", STREAM, 200), ("POST", "/api/v1/tickets", 201)];
    let own = format!("http://{}", hub.authority());
    for (method, path, status) in routes {
        for origin in FOREIGN {
            let headers = [("Cookie", cookie.as_str()), ("Origin", origin)];
            assert_eq!(ask(method, path, &headers).status, 403, "{method} {path} {origin}");
            // A credential that no browser adds by itself is accepted from any origin.
            let headers = [("Authorization", &*format!("Bearer {token}")), ("Origin", origin)];
            let head = ask(method, path, &headers);
            assert_eq!(head.status, status, "{method} {path} {origin}");
            assert_eq!(head.header("access-control-allow-origin"), None);
        }
        for origin in ["https://app.example.com", &own] {
            let headers = [("Cookie", cookie.as_str()), ("Origin", origin)];
            assert_eq!(ask(method, path, &headers).status, status, "{method} {path} {origin}");
        }
        let two = [("Cookie", cookie.as_str()), ("Origin", "https://app.example.com"), ("Origin", "null")];
        assert_eq!(ask(method, path, &two).status, 403);
        for (site, status) in
            [("cross-site", 403), ("same-origin", status), ("same-site", status), ("none", status)]
        {
            let headers = [("Cookie", cookie.as_str()), ("Sec-Fetch-Site", site)];
            assert_eq!(ask(method, path, &headers).status, status, "{method} {path} {site}");
        }
        assert_eq!(ask(method, path, &[("Cookie", &cookie)]).status, status);
    }
    hub.ask(KEY, "POST", "/api/v1/revocations", "{\"jti\":\"x\"}").assert_status(204);
}

#[test]
fn responses_may_be_read_by_listed_pages_only() {
    let variables = [("TIDINGS_CORS_ORIGINS", "https://app.example.com")];
    let hub = protected_with(&format!("secret = {SECRET:?}\ncookie = \"session\""), &variables);
    let value = format!("Bearer {}", token("u"));
    let preflight = ("Access-Control-Request-Method", "GET");
    for (method, path) in
        [("GET", HISTORY), ("GET", "/api/v1/channels"), ("GET", "/healthz"), ("OPTIONS", STREAM)]
    {
        let ask = |origin: &str| {
            hub.request(method, path, &[("Authorization", &value), ("Origin", origin), preflight], b"")
        };
        for origin in FOREIGN {
            let head = ask(origin).head;
            let allowed = head.headers.iter().find(|(name, _)| name.starts_with("access-control-allow"));
            assert_eq!(allowed, None, "{method} {path} {origin}");
            assert!(head.headers.contains(&("vary".to_owned(), "Origin".to_owned())), "{head:?}");
        }
        let head = ask("https://app.example.com").head;
        assert_eq!(head.header("access-control-allow-origin"), Some("https://app.example.com"));
        assert_eq!(head.header("access-control-allow-credentials"), Some("true"));
    }
    // A listed page may read the reason of a refusal.
    let refused = hub.request("GET", HISTORY, &[("Origin", "https://app.example.com")], b"");
    assert_eq!(
        refused.assert_problem(401, "credentials_missing").head.header("access-control-allow-origin"),
        Some("https://app.example.com")
    );
}

#[test]
fn cookie_and_every_origin_refuse_to_start() {
    let directory = TempDirectory::create();
    directory.write(
        "tidings.toml",
        &format!("[auth]\nsecret = {SECRET:?}\ncookie = \"session\"\n[cors]\norigins = [\"*\"]\n"),
    );
    let outcome = directory.run(&["serve", "--memory", "--listen", "127.0.0.1:0"], &[]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(2), ""), "{outcome:?}");
    assert!(outcome.stderr.contains("cors.origins") && outcome.stderr.contains("auth.cookie"), "{outcome:?}");
}

#[test]
fn no_request_can_write_a_line_of_the_log() {
    // An unreachable hook makes the hub log every request of a user.
    let lines = format!(
        "secret = {SECRET:?}\ncookie = \"session\"\nquery_token = true\nhook = \"http://127.0.0.1:1/hook\""
    );
    let hub = protected_with(&lines, &[("RUST_LOG", "trace")]);
    let plain =
        "x\r\n2026-01-01T00:00:00.000000Z ERROR forged\n\u{1b}[2J\u{1b}]0;forged\u{7}\u{9b}31m\u{202e}";
    let encoded: String = plain.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let user = saying(
        json!({"sub": plain, "jti": plain, "tidings": {"subscribe": ["**", plain], "publish": ["**"]}}),
    );
    let kid = by_secret(SECRET.as_bytes(), &header("HS256", json!({"kid": plain})), &claims("u"));
    let alg = sealed(&header(plain, json!({})), &claims("u"), |_| vec![1]);
    for credential in [&user, &kid, &alg, &URL_SAFE_NO_PAD.encode(plain)] {
        hub.ask(credential, "GET", "/api/v1/events/a", "");
        hub.ask(credential, "GET", &format!("/api/v1/channels/{encoded}/events?after={encoded}"), "");
        hub.ask(credential, "POST", &format!("/api/v1/events/{encoded}"), "x");
        hub.ask(credential, "POST", &format!("/api/v1/events/a?event={encoded}&key={encoded}"), plain);
        hub.ask(
            credential,
            "POST",
            "/api/v1/publish",
            json!({"channels": [plain], "data": plain}).to_string(),
        );
        hub.ask(credential, "POST", "/api/v1/tickets", json!({"channels": ["a", plain]}).to_string());
    }
    for path in ["ticket", "sessionId", "access_token", "lastEventId", "history", "position", "x"] {
        hub.get(&format!("{STREAM}?{path}={encoded}"));
        hub.get(&format!("{STREAM}?{encoded}={path}"));
    }
    for what in ["user", "jti", "session"] {
        hub.ask(KEY, "POST", "/api/v1/revocations", json!({ what: plain }).to_string()).assert_status(204);
    }
    let until = json!({"user": "x", "until": plain}).to_string();
    hub.ask(KEY, "POST", "/api/v1/revocations", until).assert_problem(400, "malformed_body");
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
    let hub = hub("");
    let patterns = |count: usize| -> Vec<String> { (0..count).map(|at| format!("a{at}.*")).collect() };
    let granting = |count: usize| saying(json!({"tidings": {"subscribe": patterns(count)}}));
    hub.ask(&granting(1000), "GET", "/api/v1/channels/a999.x/events", "").assert_status(200);
    hub.ask(&granting(1001), "GET", "/api/v1/channels/a999.x/events", "")
        .assert_problem(401, "bad_credentials");
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
        let signature = crate::tokens::hmac_of(SECRET.as_bytes(), "HS256", parts.as_bytes());
        let token = format!("{parts}.{}", URL_SAFE_NO_PAD.encode(signature));
        assert_eq!(
            hub.ask(&token, "GET", HISTORY, "").head.status,
            401,
            "{}",
            &claims[..40.min(claims.len())]
        );
    }
    hub.ask(&token("u"), "GET", HISTORY, "").assert_status(200);
}

#[test]
fn response_that_depends_on_the_principal_is_not_cacheable() {
    let hub = hub("cookie = \"session\"");
    hub.ask(KEY, "POST", STREAM, "private").assert_status(200);
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
        let answer = hub.request(method, path, &[("Cookie", &cookie)], b"x");
        assert_eq!(answer.head.status, status, "{path}: {}", answer.text());
        assert_eq!(answer.head.header("cache-control"), Some("no-store"), "{method} {path}");
    }
    hub.get(HISTORY).assert_problem(401, "credentials_missing");
    let metrics = hub.ask(KEY, "GET", "/metrics", "");
    assert_eq!(metrics.assert_status(200).head.header("cache-control"), Some("no-store"));
    // A public response names its own cache lifetime.
    assert_eq!(hub.get("/page/main.js").assert_status(200).head.header("cache-control"), Some("no-cache"));
}
