//! Validity of credentials: expiry, revocation, and reloaded settings.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tidings_testkit::{SseReader, TempDirectory, eventually};

use crate::{
    auth_matrix::on_every_route,
    hub::TestHub,
    tokens::{
        KEY, KeyPair, SECRET, bearer, by_pair, by_secret, claims, header, hs256, key_lines, lines_of_key,
        merged, now, protected, protected_in, reload, token,
    },
};

const STREAM: &str = "/api/v1/events/user.u";
const HISTORY: &str = "/api/v1/channels/user.u/events";
const OTHER_SECRET: &str = "another secret of thirty-two bytes or more";

#[test]
fn tokens_of_every_algorithm_are_accepted() {
    for (pair, algorithms) in [
        ("rsa", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        ("p256", &["ES256"]),
        ("p384", &["ES384"]),
        ("ed25519", &["EdDSA"]),
    ] {
        let pair = KeyPair(pair);
        let directory = TempDirectory::create();
        let hub = protected_in(&directory, &format!("key_file = {:?}", pair.public()));
        for algorithm in algorithms {
            let token = by_pair(pair, &json!({"alg": algorithm}), &claims("u"));
            let (name, value) = bearer(&token);
            let answer = hub.request("GET", "/api/v1/channels/user.u/events", &[(name, &value)], b"");
            answer.assert_status(200);
        }
    }
    let directory = TempDirectory::create();
    let hub = protected_in(&directory, &format!("secret = {SECRET:?}"));
    for algorithm in ["HS256", "HS384", "HS512"] {
        let token = by_secret(SECRET.as_bytes(), &json!({"alg": algorithm}), &claims("u"));
        let (name, value) = bearer(&token);
        hub.request("GET", "/api/v1/channels/user.u/events", &[(name, &value)], b"").assert_status(200);
    }
}

#[test]
fn user_streams_and_backend_publishes() {
    let hub = protected(&format!("secret = {SECRET:?}"));
    let (name, value) = bearer(&token("u"));
    let mut connection = hub.connect();
    connection.send(hub.encode_request("GET", "/api/v1/events/user.u", &[(name, &value)], b""));
    assert_eq!(connection.read_head().status, 200);
    connection.read_chunk().unwrap();
    let (name, value) = bearer(KEY);
    hub.request("POST", "/api/v1/events/user.u", &[(name, &value)], b"hello").assert_status(200);
    assert!(String::from_utf8(connection.read_chunk().unwrap()).unwrap().starts_with("data: hello\n"));
}

fn write(directory: &TempDirectory, lines: &str) {
    directory.write("tidings.toml", &format!("[auth]\n{lines}\n{}", key_lines()));
}

/// Asserts that the stream ends for this reason, and closes at once.
#[track_caller]
fn assert_end(stream: &mut SseReader, reason: &str, reconnect: bool) {
    let begun = Instant::now();
    // Less than a keep-alive interval: keep-alives would otherwise reset the read timeout.
    stream.connection.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    assert_eq!(stream.control_event("tidings.end").1, json!({"reason": reason, "reconnect": reconnect}));
    assert!(stream.next_event().is_none());
    assert!(begun.elapsed() < Duration::from_secs(1), "the stream closed after {:?}", begun.elapsed());
}

/// Asserts that an event published now is the next of the stream.
#[track_caller]
fn assert_delivers(hub: &TestHub, stream: &mut SseReader, data: &str) {
    hub.ask(KEY, "POST", STREAM, data).assert_status(200);
    assert_eq!(stream.data(), data);
}

#[track_caller]
fn assert_refused_on_every_route(hub: &TestHub, credential: &str) {
    for (route, answer) in on_every_route(hub, credential) {
        assert_eq!(answer.head.status, 401, "{route}: {}", answer.text());
        answer.assert_problem(401, "bad_credentials");
    }
}

#[test]
fn changed_secret_ends_streams_and_tickets_of_the_old_one() {
    let directory = TempDirectory::create();
    let mut hub = protected_in(&directory, &format!("secret = {SECRET:?}"));
    let (old, new) =
        (token("u"), by_secret(OTHER_SECRET.as_bytes(), &header("HS256", json!({})), &claims("u")));
    let mut stream = hub.subscribe_as(&old, STREAM);
    let mut of_key = hub.subscribe_as(KEY, STREAM);
    let ticket = |credential: &str| {
        let made = hub
            .ask(credential, "POST", "/api/v1/tickets", "{\"channels\":[\"user.u\"]}")
            .assert_status(201)
            .json();
        format!("{STREAM}?ticket={}", made["ticket"].as_str().unwrap())
    };
    let (spent, waiting, of_backend) = (ticket(&old), ticket(&old), ticket(KEY));
    let mut by_ticket = hub.subscribe(&spent);
    assert_refused_on_every_route(&hub, &new);

    write(&directory, &format!("secret = {OTHER_SECRET:?}"));
    reload(&mut hub);
    assert_end(&mut stream, "revoked", false);
    assert_end(&mut by_ticket, "revoked", false);
    assert_refused_on_every_route(&hub, &old);
    hub.get(&waiting).assert_problem(401, "bad_credentials");
    assert_delivers(&hub, &mut of_key, "to the backend");
    assert_delivers(&hub, &mut hub.subscribe_as(&new, STREAM), "to the new token");
    hub.subscribe(&of_backend);
}

#[test]
fn replaced_key_file_ends_streams_of_removed_keys() {
    let (first, second) = (KeyPair("rsa"), KeyPair("stranger"));
    let pem = |pair: KeyPair| std::fs::read_to_string(pair.public()).unwrap();
    let directory = TempDirectory::create();
    directory.write("keys.pem", &pem(first));
    let mut hub = protected_in(&directory, "key_file = \"keys.pem\"");
    let token = |pair| by_pair(pair, &header("RS256", json!({})), &claims("u"));
    let mut of_first = hub.subscribe_as(&token(first), STREAM);
    let mut of_key = hub.subscribe_as(KEY, STREAM);
    assert_refused_on_every_route(&hub, &token(second));

    // Both keys for a while, as in a rotation.
    directory.write("keys.pem", &(pem(first) + &pem(second)));
    reload(&mut hub);
    let mut of_second = hub.subscribe_as(&token(second), STREAM);
    hub.ask(KEY, "POST", STREAM, "both").assert_status(200);
    assert_eq!([of_first.data(), of_second.data(), of_key.data()], ["both", "both", "both"]);

    directory.write("keys.pem", &pem(second));
    reload(&mut hub);
    assert_end(&mut of_first, "revoked", false);
    assert_refused_on_every_route(&hub, &token(first));
    hub.ask(KEY, "POST", STREAM, "second").assert_status(200);
    assert_eq!([of_second.data(), of_key.data()], ["second", "second"]);
}

#[test]
fn unusable_files_at_a_reload_change_nothing_and_are_logged() {
    let pem = |name: &str| {
        let path = format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"));
        std::fs::read_to_string(path).unwrap()
    };
    let good_settings = format!("[auth]\nkey_file = \"keys.pem\"\n{}", key_lines());
    let good_key = pem("rsa.pub.pem");
    let cut_key = &good_key[..good_key.len() / 2];
    let private = pem("stranger.pem");
    let directory = TempDirectory::create();
    directory.write("keys.pem", &good_key);
    let mut hub = protected_in(&directory, "key_file = \"keys.pem\"");
    let ours = by_pair(KeyPair("rsa"), &header("RS256", json!({})), &claims("u"));
    let strangers = by_pair(KeyPair("stranger"), &header("RS256", json!({})), &claims("u"));
    let mut stream = hub.subscribe_as(&ours, STREAM);
    let mut of_key = hub.subscribe_as(KEY, STREAM);
    let renamed = good_settings.replace("keys.pem", "missing.pem");
    let bad_hash = good_settings.replace("sha256:", "md5:");
    let no_keys = "[auth]\nkey_file = \"keys.pem\"\n[[auth.keys]]\n";
    for (settings, keys, told) in [
        ("[auth\nkey_file = 7", good_key.as_str(), "tidings.toml:1:"),
        ("\u{0}", &good_key, "tidings.toml:1:"),
        (no_keys, &good_key, "tidings.toml:3:"),
        (&bad_hash, &good_key, "auth.keys has a hash of"),
        (&renamed, &good_key, "auth.key_file missing.pem: it cannot be read"),
        (&good_settings, "", "auth.key_file keys.pem: it holds no `-----BEGIN PUBLIC KEY-----`"),
        (&good_settings, "garbage", "auth.key_file keys.pem: it holds no `-----BEGIN PUBLIC KEY-----`"),
        (&good_settings, cut_key, "auth.key_file keys.pem: it is not PEM"),
        (&good_settings, &private, "auth.key_file keys.pem: it holds a private key"),
        (&good_settings, &pem("small.pub.pem"), "auth.key_file keys.pem: an RSA key has"),
        (&good_settings, &pem("p521.pub.pem"), "auth.key_file keys.pem: curve"),
    ] {
        directory.write("tidings.toml", settings);
        directory.write("keys.pem", keys);
        hub.signal(Signal::HUP);
        let lines = hub.read_log_through(told);
        assert!(lines.contains("nothing has changed"), "{lines}");
        assert!(!private.lines().any(|line| lines.contains(line)), "{lines}");
        hub.ask(&ours, "GET", HISTORY, "").assert_status(200);
        hub.ask(&strangers, "GET", HISTORY, "").assert_problem(401, "bad_credentials");
        hub.ask(KEY, "POST", STREAM, told).assert_status(200);
        assert_eq!([stream.data(), of_key.data()], [told, told]);
    }
    // The hub still applies a valid file.
    directory.write("tidings.toml", &good_settings);
    directory.write("keys.pem", &pem("stranger.pub.pem"));
    reload(&mut hub);
    assert_end(&mut stream, "revoked", false);
    assert_delivers(&hub, &mut of_key, "after all of them");
    hub.ask(&strangers, "GET", HISTORY, "").assert_status(200);
}

#[test]
fn removed_api_key_ends_only_its_streams() {
    const REMOVED: &str = "tk_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
    let directory = TempDirectory::create();
    let secret = format!("secret = {SECRET:?}\n");
    let mut hub = protected_in(&directory, &format!("{secret}{}", lines_of_key("removed", REMOVED)));
    let mut of_removed = hub.subscribe_as(REMOVED, "/api/v1/events/**");
    let mut of_key = hub.subscribe_as(KEY, STREAM);
    let mut of_user = hub.subscribe_as(&token("u"), STREAM);
    write(&directory, &secret);
    reload(&mut hub);
    assert_end(&mut of_removed, "revoked", false);
    assert_refused_on_every_route(&hub, REMOVED);
    hub.ask(KEY, "POST", STREAM, "to the others").assert_status(200);
    assert_eq!([of_key.data(), of_user.data()], ["to the others", "to the others"]);
}

#[test]
fn narrowed_settings_end_streams_that_need_the_removed_rights() {
    let secret = format!("secret = {SECRET:?}\n");
    for lines in [
        "algorithms = [\"HS512\"]",
        "audience = \"other\"",
        "issuer = \"other\"",
        "token_max_age = \"10s\"",
        "user.subscribe = []",
        "user.subscribe = [\"user.{sub}.**\"]",
    ] {
        let directory = TempDirectory::create();
        let mut hub = protected_in(&directory, &secret);
        let token = token("u");
        let mut stream = hub.subscribe_as(&token, STREAM);
        let mut of_key = hub.subscribe_as(KEY, STREAM);
        assert_delivers(&hub, &mut stream, "before");
        assert_eq!(of_key.data(), "before");
        let id = stream.last_event_id().to_owned();
        hub.ask(KEY, "POST", STREAM, "missed").assert_status(200);
        assert_eq!([stream.data(), of_key.data()], ["missed", "missed"]);
        write(&directory, &format!("{secret}{lines}"));
        reload(&mut hub);
        assert_end(&mut stream, "revoked", false);
        assert_delivers(&hub, &mut of_key, "after");
        // Events without the right cannot be replayed either.
        let (name, value) = bearer(&token);
        let again = hub.request("GET", STREAM, &[(name, &value), ("Last-Event-ID", &id)], b"");
        assert!(matches!(again.head.status, 401 | 403), "{lines}: {}", again.text());
        assert!(!again.text().contains("missed"), "{lines}");
    }
}

#[test]
fn expired_token_ends_its_stream_and_a_new_one_resumes_it() {
    let hub = protected(&format!("secret = {SECRET:?}\nleeway = \"0s\""));
    let ends_at = now() + 2;
    let mut stream = hub.subscribe_as(&hs256(&merged(claims("u"), json!({"exp": ends_at}))), STREAM);
    assert_delivers(&hub, &mut stream, "1");
    assert_eq!(stream.control_event("tidings.end").1, json!({"reason": "token_expired", "reconnect": true}));
    let late = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64() - ends_at as f64;
    assert!((0.0..1.0).contains(&late), "it ended {late} s after its token");
    assert!(stream.next_event().is_none());
    for data in ["2", "3"] {
        hub.ask(KEY, "POST", STREAM, data).assert_status(200);
    }
    let (name, value) = bearer(&token("u"));
    let mut again = hub.subscribe_with(STREAM, &[(name, &value), ("Last-Event-ID", stream.last_event_id())]);
    hub.ask(KEY, "POST", STREAM, "4").assert_status(200);
    assert_eq!(again.data_of_next(3), ["2", "3", "4"]);
}

#[test]
fn revocation_ends_streams_at_once_and_survives_a_restart() {
    let directory = TempDirectory::create();
    write(&directory, &format!("secret = {SECRET:?}"));
    let hub = TestHub::serve_in(&directory, &[]);
    let old = hs256(&merged(claims("u"), json!({"iat": now() - 5})));
    let one = hs256(&merged(claims("v"), json!({"jti": "one", "tidings": {"subscribe": ["user.u"]}})));
    let another = hs256(&merged(claims("v"), json!({"jti": "two", "tidings": {"subscribe": ["user.u"]}})));
    let mut of_user = hub.subscribe_as(&old, STREAM);
    let [mut of_one, mut of_another] = [&one, &another].map(|token| hub.subscribe_as(token, STREAM));
    hub.ask(KEY, "POST", "/api/v1/revocations", "{\"user\":\"u\"}").assert_status(204);
    assert_end(&mut of_user, "revoked", false);
    hub.ask(KEY, "POST", "/api/v1/revocations", "{\"jti\":\"one\"}").assert_status(204);
    assert_end(&mut of_one, "revoked", false);
    assert_delivers(&hub, &mut of_another, "still here");
    hub.kill();
    let hub = TestHub::serve_in(&directory, &[]);
    for revoked in [&old, &one] {
        for (route, answer) in on_every_route(&hub, revoked) {
            assert_eq!(answer.head.status, 401, "{route}");
            answer.assert_problem(401, "revoked");
        }
    }
    hub.ask(&another, "GET", HISTORY, "").assert_status(200);
    let fresh = hs256(&merged(claims("u"), json!({"iat": now() + 1})));
    hub.ask(&fresh, "GET", HISTORY, "").assert_status(200);
    hub.terminate();
}

#[test]
fn rights_that_end_while_a_body_is_received_do_not_count() {
    let directory = TempDirectory::create();
    let secret = format!("secret = {SECRET:?}\nleeway = \"0s\"\n");
    let mut hub = protected_in(&directory, &secret);
    let saying =
        |changes| hs256(&merged(merged(claims("w"), json!({"tidings": {"publish": ["user.u"]}})), changes));
    let begun = |credential: &str, path: &str, body: &str| {
        let (name, value) = bearer(credential);
        let request = hub.encode_request("POST", path, &[(name, &value)], body.as_bytes());
        let mut connection = hub.connect();
        connection.send(&request[..request.len() - 1]);
        (connection, request[request.len() - 1])
    };
    let revoked = saying(json!({"jti": "slow"}));
    let ends_at = now() + 2;
    let expired = saying(json!({"exp": ends_at}));
    let batch = "{\"channels\":[\"user.u\"],\"data\":\"late\"}";
    let slow = [
        begun(&revoked, STREAM, "late"),
        begun(&revoked, "/api/v1/publish", batch),
        begun(&revoked, "/api/v1/tickets", "{\"channels\":[\"user.w\"]}"),
        begun(&expired, STREAM, "late"),
    ];
    let of_removed = begun(KEY, STREAM, "late");
    let of_manager = begun(KEY, "/api/v1/revocations", "{\"user\":\"victim\"}");
    eventually("the token expires", || now() >= ends_at);
    hub.ask(KEY, "POST", "/api/v1/revocations", "{\"jti\":\"slow\"}").assert_status(204);
    directory.write("tidings.toml", &format!("[auth]\n{secret}"));
    reload(&mut hub);
    for ((mut connection, last), code) in
        slow.into_iter().zip(["revoked", "revoked", "revoked", "token_expired"])
    {
        connection.send([last]);
        connection.read_response().assert_problem(401, code);
    }
    for (mut connection, last) in [of_removed, of_manager] {
        connection.send([last]);
        connection.read_response().assert_problem(401, "bad_credentials");
    }
}
