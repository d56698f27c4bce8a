//! Validity of credentials: signatures, keys, and reloaded settings.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::auth_matrix::assert_refused_on_every_route;
use crate::prelude::*;

const STREAM: &str = "/api/v1/events/user.u";
const HISTORY: &str = "/api/v1/channels/user.u/events";
const OTHER_SECRET: &str = "another secret of thirty-two bytes or more";

/// A token of `u` by this algorithm.
fn token_of(pair: KeyPair, algorithm: &str) -> String {
    by_pair(pair, &json!({"alg": algorithm}), &claims("u"))
}

#[test]
fn tokens_of_every_algorithm_are_accepted_and_forged_signatures_are_refused() {
    let zeros = |bytes: usize| vec![0; bytes];
    // The order of P-256, which is equal to zero. Source: FIPS 186-4, D.1.2.3.
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let order: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&order[2 * at..2 * at + 2], 16).unwrap()).collect();
    let of_p256 = vec![
        zeros(64),
        [order.clone(), order.clone()].concat(),
        [zeros(32), order].concat(),
        vec![0x30, 6, 2, 1, 0, 2, 1, 0],
        vec![0xff; 64],
        zeros(1),
        Vec::new(),
    ];
    let of_p384 = vec![zeros(96), vec![0xff; 96], Vec::new()];
    let of_ed25519 = vec![zeros(64), [vec![1], zeros(63)].concat(), Vec::new()];
    let of_rsa = vec![zeros(256), [zeros(255), vec![1]].concat(), vec![0xff; 256], Vec::new()];
    for (pair, algorithms, forged) in [
        ("rsa", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..], of_rsa),
        ("p256", &["ES256"], of_p256),
        ("p384", &["ES384"], of_p384),
        ("ed25519", &["EdDSA"], of_ed25519),
    ] {
        let pair = KeyPair(pair);
        let hub = protected(&format!("key_file = {:?}", pair.public()));
        for algorithm in algorithms {
            hub.get_as(&token_of(pair, algorithm), HISTORY).assert_status(200);
            for signature in &forged {
                let token = sealed(&header(algorithm, json!({})), &claims("u"), |_| signature.clone());
                hub.get_as(&token, HISTORY).assert_problem(401, "bad_credentials");
            }
        }
        let public = std::fs::read(pair.public()).unwrap();
        let token = by_secret(&public, &header("HS256", json!({})), &claims("u"));
        hub.get_as(&token, HISTORY).assert_problem(401, "bad_credentials");
    }
    let hub = hub_with_secret("");
    for algorithm in ["HS256", "HS384", "HS512"] {
        let token = by_secret(SECRET.as_bytes(), &json!({"alg": algorithm}), &claims("u"));
        hub.get_as(&token, HISTORY).assert_status(200);
    }
}

/// Asserts that the stream ends as revoked, and closes at once.
#[track_caller]
fn assert_ends_at_once(stream: &mut SseReader) {
    let begun = Instant::now();
    // Less than a keep-alive interval: keep-alives would otherwise reset the read timeout.
    stream.connection.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.assert_end("revoked", false);
    assert!(begun.elapsed() < Duration::from_secs(1), "the stream closed after {:?}", begun.elapsed());
}

/// Asserts that an event published now is the next of each stream.
#[track_caller]
fn assert_delivers<const N: usize>(hub: &TestHub, streams: [&mut SseReader; N], data: &str) {
    hub.publish_as_backend("user.u", data);
    assert_eq!(streams.map(SseReader::data), [data; N]);
}

#[test]
fn changed_secret_ends_streams_and_tickets_of_the_old_one() {
    let mut hub = hub_with_secret("");
    let old = token("u");
    let new = by_secret(OTHER_SECRET.as_bytes(), &header("HS256", json!({})), &claims("u"));
    let mut stream = hub.subscribe_as(&old, STREAM);
    let mut of_key = hub.subscribe_as(KEY, STREAM);
    let [spent, waiting, of_backend] = [&old, &old, KEY]
        .map(|credential| format!("{STREAM}?ticket={}", hub.ticket(credential, &["user.u"])));
    let mut by_ticket = hub.subscribe(&spent);
    assert_refused_on_every_route(&hub, &new, 401, "bad_credentials");

    hub.reload(&format!("secret = {OTHER_SECRET:?}"));
    assert_ends_at_once(&mut stream);
    assert_ends_at_once(&mut by_ticket);
    assert_refused_on_every_route(&hub, &old, 401, "bad_credentials");
    hub.get(&waiting).assert_problem(401, "bad_credentials");
    assert_delivers(&hub, [&mut of_key], "to the backend");
    assert_delivers(&hub, [&mut hub.subscribe_as(&new, STREAM)], "to the new token");
    hub.subscribe(&of_backend);
}

#[test]
fn replaced_key_file_ends_streams_of_removed_keys() {
    let (first, second) = (KeyPair("rsa"), KeyPair("stranger"));
    let pem = |pair: KeyPair| std::fs::read_to_string(pair.public()).unwrap();
    let directory = TempDirectory::create();
    directory.write("keys.pem", &pem(first));
    let mut hub = protected_in(&directory, "key_file = \"keys.pem\"");
    let mut of_first = hub.subscribe_as(&token_of(first, "RS256"), STREAM);
    let mut of_key = hub.subscribe_as(KEY, STREAM);
    assert_refused_on_every_route(&hub, &token_of(second, "RS256"), 401, "bad_credentials");

    // Both keys for a while, as in a rotation.
    directory.write("keys.pem", &(pem(first) + &pem(second)));
    reload(&mut hub);
    let mut of_second = hub.subscribe_as(&token_of(second, "RS256"), STREAM);
    assert_delivers(&hub, [&mut of_first, &mut of_second, &mut of_key], "both");

    directory.write("keys.pem", &pem(second));
    reload(&mut hub);
    assert_ends_at_once(&mut of_first);
    assert_refused_on_every_route(&hub, &token_of(first, "RS256"), 401, "bad_credentials");
    assert_delivers(&hub, [&mut of_second, &mut of_key], "second");
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
    let [ours, strangers] = ["rsa", "stranger"].map(|pair| token_of(KeyPair(pair), "RS256"));
    let mut stream = hub.subscribe_as(&ours, STREAM);
    let mut of_key = hub.subscribe_as(KEY, STREAM);
    let renamed = good_settings.replace("keys.pem", "missing.pem");
    let bad_hash = good_settings.replace("sha256:", "md5:");
    let no_keys = "[auth]\nkey_file = \"keys.pem\"\n[[auth.keys]]\n";
    let unusable_pattern = good_settings.clone() + "[auth.user]\nsubscribe = [\"{\"]\n";
    for (settings, keys, error) in [
        ("[auth\nkey_file = 7", good_key.as_str(), "tidings.toml:1:"),
        ("\u{0}", &good_key, "tidings.toml:1:"),
        (no_keys, &good_key, "tidings.toml:3:"),
        (&bad_hash, &good_key, "auth.keys has a hash of"),
        (&unusable_pattern, &good_key, "auth.user.subscribe"),
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
        let lines = hub.read_log_through(error);
        assert!(lines.contains("nothing has changed"), "{lines}");
        assert!(!private.lines().any(|line| lines.contains(line)), "{lines}");
        hub.get_as(&ours, HISTORY).assert_status(200);
        hub.get_as(&strangers, HISTORY).assert_problem(401, "bad_credentials");
        assert_delivers(&hub, [&mut stream, &mut of_key], error);
        hub.subscribe_as(&ours, STREAM).position();
    }
    // The hub still applies a valid file.
    directory.write("tidings.toml", &good_settings);
    directory.write("keys.pem", &pem("stranger.pub.pem"));
    reload(&mut hub);
    assert_ends_at_once(&mut stream);
    assert_delivers(&hub, [&mut of_key], "after all of them");
    hub.get_as(&strangers, HISTORY).assert_status(200);
}

#[test]
fn removed_api_key_ends_only_its_streams() {
    const REMOVED: &str = "tk_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
    let mut hub = hub_with_secret(&lines_of_key("removed", REMOVED));
    let mut of_removed = hub.subscribe_as(REMOVED, "/api/v1/events/**");
    let mut of_key = hub.subscribe_as(KEY, STREAM);
    let mut of_user = hub.subscribe_as(&token("u"), STREAM);
    hub.reload(&with_secret(""));
    assert_ends_at_once(&mut of_removed);
    assert_refused_on_every_route(&hub, REMOVED, 401, "bad_credentials");
    assert_delivers(&hub, [&mut of_key, &mut of_user], "to the others");
}
