//! Revocations: the credentials that they refuse, the streams that they end, their duration, and their storage.

use crate::auth_matrix::assert_refused_on_every_route;
use crate::prelude::*;

const PATH: &str = "/api/v1/revocations";
pub(crate) const STREAM: &str = "/api/v1/events/all";
pub(crate) const HISTORY: &str = "/api/v1/channels/all/events";
/// Longest delay of a busy machine, in milliseconds.
const LATE_MAX: u64 = 1000;

/// Lines of `[auth]` by which every user may read `all`.
const READ_ALL: &str = "[auth.user]\nsubscribe = [\"all\"]\n";

impl TestHub {
    #[track_caller]
    fn assert_revoked(&self, credential: &str) {
        self.get_as(credential, HISTORY).assert_problem(401, "revoked");
    }

    #[track_caller]
    fn assert_accepts(&self, credential: &str) {
        self.get_as(credential, HISTORY).assert_status(200);
    }
}

/// A time this number of seconds from now.
pub(crate) fn in_seconds(seconds: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds)
}

#[test]
fn revoked_user_loses_streams_and_tokens_until_a_fresh_login() {
    let hub = hub_with_secret(READ_ALL);
    let old = token("u");
    let undated = token_with("u", &json!({"iat": null}));
    let mut connection = Http2::connect(&hub);
    let mut over_2 = connection.open(STREAM, &old, None).unwrap();
    let mut over_1 = hub.subscribe_as(&old, STREAM);
    let mut by_undated = hub.subscribe_as(&undated, STREAM);
    let mut other_over_2 = connection.open(STREAM, &token("other"), None).unwrap();
    let mut other_over_1 = hub.subscribe_as(&token("other"), STREAM);
    let response = hub.revoke(&json!({"user": "u"}));
    assert!(response.assert_status(204).body.is_empty());
    let revoked_at = now_millis();
    over_1.assert_end("revoked", false);
    by_undated.assert_end("revoked", false);
    over_2.assert_end("revoked", false);
    let late = now_millis() - revoked_at;
    assert!(late < 1000 + LATE_MAX, "the streams ended {late} ms late");
    hub.publish_as_backend("all", "secret event");
    assert_eq!((other_over_1.data(), other_over_2.data()), ("secret event".into(), "secret event".into()));
    for token in [&old, &undated] {
        for path in [STREAM, "/api/v1/events/all?history=all", HISTORY, "/api/v1/channels", "/metrics"] {
            let response = hub.get_as(token, path);
            assert!(!response.assert_problem(401, "revoked").text().contains("secret event"));
            assert_eq!(response.head.header("www-authenticate"), Some("Bearer"));
        }
        hub.post_as(token, "/api/v1/events/all", "x").assert_problem(401, "revoked");
        hub.post_as(token, "/api/v1/tickets", "{\"channels\":[\"all\"]}").assert_problem(401, "revoked");
        assert_eq!(connection.open(STREAM, token, None).err(), Some(401));
    }
    // Issuers write whole seconds: a login in the next second is a fresh one.
    let fresh = token_with("u", &json!({"iat": now() + 1}));
    hub.assert_accepts(&fresh);
    hub.subscribe_as(&fresh, STREAM).position();
}

#[test]
fn revoked_token_is_refused_and_no_other_of_its_user() {
    let hub = hub_with_secret(READ_ALL);
    let lost = token_with("u", &json!({"jti": "lost"}));
    let kept = token_with("u", &json!({"jti": "kept"}));
    let mut ended = hub.subscribe_as(&lost, STREAM);
    let mut open = hub.subscribe_as(&kept, STREAM);
    hub.revoke(&json!({"jti": "lost"})).assert_status(204);
    ended.assert_end("revoked", false);
    hub.assert_revoked(&lost);
    // The user has the name of a token, and the token has that of a user.
    hub.revoke(&json!({"jti": "u"})).assert_status(204);
    hub.revoke(&json!({"user": "kept"})).assert_status(204);
    hub.revoke(&json!({"session": "u"})).assert_status(204);
    hub.assert_accepts(&kept);
    hub.assert_accepts(&token("u"));
    hub.assert_delivers("all", "still", &mut open);
}

#[test]
fn revocation_lasts_until_its_expiry() {
    let hub = hub_with_secret(READ_ALL);
    let token = token_with("u", &json!({"jti": "x"}));
    // Two hours ahead of Greenwich, and two seconds from now.
    let there = in_seconds(2).to_zoned(jiff::tz::TimeZone::fixed(jiff::tz::offset(2)));
    let until = there.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    assert!(until.ends_with("+02:00"), "{until}");
    hub.revoke(&json!({"jti": "x", "until": until})).assert_status(204);
    hub.assert_revoked(&token);
    eventually("the revocation has expired", || hub.get_as(&token, HISTORY).head.status == 200);
    // A shorter revocation does not shorten a longer one.
    hub.revoke(&json!({"jti": "x", "until": in_seconds(60).to_string()})).assert_status(204);
    let short = in_seconds(1);
    hub.revoke(&json!({"jti": "x", "until": short.to_string()})).assert_status(204);
    eventually("the shorter revocation has expired", || jiff::Timestamp::now() > short);
    hub.assert_revoked(&token);
}

#[test]
fn revocation_without_an_expiry_lasts_as_long_as_a_token_may() {
    let hub = hub_with_secret(&format!("token_max_age = \"2s\"\nleeway = \"0s\"\n{READ_ALL}"));
    let token = || token_with("u", &json!({"jti": "x", "exp": now() + 2}));
    hub.assert_accepts(&token());
    hub.revoke(&json!({"jti": "x"})).assert_status(204);
    let revoked_at = now_millis();
    hub.assert_revoked(&token());
    eventually("the revocation has expired", || hub.get_as(&token(), HISTORY).head.status == 200);
    assert!(now_millis() - revoked_at > 1900);
    // No token may outlast a revocation.
    let longer = token_with("u", &json!({"exp": now() + 4}));
    hub.get_as(&longer, HISTORY).assert_problem(401, "bad_credentials");
}

#[test]
fn revocation_of_no_single_subject_is_refused_and_has_no_effect() {
    let hub = hub_with_secret(READ_ALL);
    let mut reader = hub.subscribe_as(&token("u"), STREAM);
    let long = "u".repeat(1025);
    for body in [
        "",
        "[]",
        "null",
        "\"u\"",
        "{",
        "{}",
        "[\"u\"]",
        "{\"user\":\"u\",\"jti\":\"x\"}",
        "{\"user\":\"u\",\"session\":\"x\"}",
        "{\"session\":\"u\",\"jti\":\"x\"}",
        "{\"user\":\"u\",\"user\":\"v\"}",
        "{\"user\":\"\"}",
        "{\"user\":null}",
        "{\"user\":7}",
        "{\"user\":[\"u\"]}",
        &format!("{{\"user\":{long:?}}}"),
        "{\"user\":\"u\",\"untill\":\"2100-01-01T00:00:00Z\"}",
        "{\"until\":\"2100-01-01T00:00:00Z\"}",
        "{\"user\":\"u\",\"until\":\"\"}",
        "{\"user\":\"u\",\"until\":\"tomorrow\"}",
        "{\"user\":\"u\",\"until\":4102444800}",
        "{\"user\":\"u\",\"until\":\"2100-01-01\"}",
        "{\"user\":\"u\",\"until\":\"2100-01-01T00:00:00\"}",
        "{\"user\":\"u\",\"until\":\"2100-13-01T00:00:00Z\"}",
        "{\"user\":\"u\",\"until\":\"2020-01-01T00:00:00Z\"}",
        "{\"user\":\"u\",\"until\":\"2020-01-01T00:00:00+02:00\"}",
    ] {
        hub.post_as(KEY, PATH, body).assert_problem(400, "malformed_body");
    }
    hub.get_as(KEY, PATH).assert_problem(405, "method_not_allowed");
    hub.assert_accepts(&token("u"));
    hub.assert_delivers("all", "still", &mut reader);
}

#[test]
fn revocation_needs_the_right_to_manage() {
    let (key, lines) =
        api_key(1, "rights = [\"subscribe\", \"publish\"]\nsubscribe = [\"**\"]\npublish = [\"**\"]");
    let hub = hub_with_secret(&format!("{READ_ALL}{lines}"));
    let everything = json!({"tidings": {"subscribe": ["**"], "publish": ["**"], "manage": true}});
    // A client without the right is refused before the hub reads the body.
    for body in ["{\"user\":\"u\"}", "nonsense"] {
        hub.post(PATH, body).assert_problem(401, "credentials_missing");
        hub.post_as("nonsense", PATH, body).assert_problem(401, "bad_credentials");
        hub.post_as(&token("u"), PATH, body).assert_access_denied();
        hub.post_as(&token_with("v", &everything), PATH, body).assert_access_denied();
        hub.post_as(&key, PATH, body).assert_access_denied();
    }
    hub.assert_accepts(&token("u"));
}

/// Starts a hub with `[auth]` that stores its data.
pub(crate) fn serve_with_auth(directory: &TempDirectory, variables: &[(&str, &str)]) -> TestHub {
    directory.write("tidings.toml", &format!("[auth]\nsecret = {SECRET:?}\n{READ_ALL}{}", key_lines()));
    TestHub::serve_in(directory, variables)
}

fn kept(directory: &TempDirectory, durability: &str) -> TestHub {
    serve_with_auth(directory, &[("TIDINGS_LOG_DURABILITY", durability)])
}

#[test]
fn restarts_and_kills_lose_no_revocation() {
    for durability in ["interval", "fsync", "memory"] {
        let directory = TempDirectory::create();
        let (old, lost) = (token("u"), token_with("v", &json!({"jti": "lost"})));
        let brief = token_with("w", &json!({"jti": "brief"}));
        let hub = kept(&directory, durability);
        hub.revoke(&json!({"user": "u"})).assert_status(204);
        let brief_until = in_seconds(2);
        hub.revoke(&json!({"jti": "brief", "until": brief_until.to_string()})).assert_status(204);
        hub.assert_revoked(&brief);
        hub.terminate();
        let hub = kept(&directory, durability);
        hub.assert_revoked(&old);
        hub.revoke(&json!({"jti": "lost", "until": in_seconds(3600).to_string()})).assert_status(204);
        // The revocation was stored when it was acknowledged.
        hub.kill();
        eventually("the short revocation has expired", || jiff::Timestamp::now() > brief_until);
        let hub = kept(&directory, durability);
        for token in [&old, &lost] {
            assert_refused_on_every_route(&hub, token, 401, "revoked");
        }
        hub.assert_accepts(&brief);
        hub.assert_accepts(&token("v"));
        hub.assert_accepts(&token_with("u", &json!({"iat": now() + 1})));
        hub.terminate();
    }
}

#[test]
fn hub_without_a_directory_writes_no_revocation() {
    let directory = TempDirectory::create();
    let hub = protected_in(&directory, &with_secret(READ_ALL));
    let old = token("u");
    hub.revoke(&json!({"user": "u"})).assert_status(204);
    hub.assert_revoked(&old);
    hub.terminate();
    let files: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(files, ["tidings.toml"]);
    let hub = protected_in(&directory, &with_secret(READ_ALL));
    hub.assert_accepts(&old);
}

#[test]
fn second_hub_in_one_directory_is_refused_whatever_it_stores_there() {
    for (first, second) in [("memory", "memory"), ("memory", "interval"), ("interval", "memory")] {
        let directory = TempDirectory::create();
        let hub = kept(&directory, first);
        let (u, v) = (token("u"), token("v"));
        hub.revoke(&json!({"user": "u"})).assert_status(204);
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"];
        let outcome = directory.run(&arguments, &[("TIDINGS_LOG_DURABILITY", second)]);
        assert_ne!(outcome.code, Some(0), "{outcome:?}");
        assert!(["in use", "another"].iter().any(|text| outcome.stderr.contains(text)), "{outcome:?}");
        // The running hub keeps its revocations, and accepts further ones.
        hub.revoke(&json!({"user": "v"})).assert_status(204);
        hub.kill();
        let hub = kept(&directory, first);
        hub.assert_revoked(&u);
        hub.assert_revoked(&v);
    }
}

#[test]
fn damaged_revocations_prevent_the_start() {
    let directory = TempDirectory::create();
    let hub = kept(&directory, "interval");
    let old = token("v");
    for user in ["u", "v", "w"] {
        hub.revoke(&json!({"user": user})).assert_status(204);
    }
    hub.kill();
    let path = directory.path().join("data/revocations.log");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 3);
    std::fs::write(&path, text.replacen("\"v\"", "\"x\"", 1)).unwrap();
    let outcome = directory.run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"], &[]);
    assert_ne!(outcome.code, Some(0));
    assert!(outcome.stderr.contains("line 2 is damaged"), "{}", outcome.stderr);
    // A kill may have cut the last line before it was acknowledged.
    std::fs::write(&path, &text[..text.len() - 5]).unwrap();
    let hub = kept(&directory, "interval");
    hub.assert_revoked(&old);
    hub.assert_accepts(&token("w"));
}
