//! Which credentials are good, by every carrier and on every route.

use serde_json::json;

use crate::{
    process::Directory,
    tokens::{KEY, Pair, SECRET, bearer, by_pair, by_secret, claims, protected, token},
    wire::Wire,
};

#[test]
fn every_algorithm_signs_tokens_that_are_taken() {
    for (pair, algorithms) in [
        ("rsa", &["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"][..]),
        ("p256", &["ES256"]),
        ("p384", &["ES384"]),
        ("ed25519", &["EdDSA"]),
    ] {
        let pair = Pair(pair);
        let directory = Directory::new();
        let hub = protected(&directory, &format!("key_file = {:?}", pair.public()));
        for algorithm in algorithms {
            let token = by_pair(pair, &json!({"alg": algorithm}), &claims("u"));
            let (name, value) = bearer(&token);
            let answer = hub.request("GET", "/api/v1/channels/user.u/events", &[(name, &value)], b"");
            answer.is(200);
        }
    }
    let directory = Directory::new();
    let hub = protected(&directory, &format!("secret = {SECRET:?}"));
    for algorithm in ["HS256", "HS384", "HS512"] {
        let token = by_secret(SECRET.as_bytes(), &json!({"alg": algorithm}), &claims("u"));
        let (name, value) = bearer(&token);
        hub.request("GET", "/api/v1/channels/user.u/events", &[(name, &value)], b"").is(200);
    }
}

#[test]
fn user_streams_and_backend_publishes() {
    let directory = Directory::new();
    let hub = protected(&directory, &format!("secret = {SECRET:?}"));
    let (name, value) = bearer(&token("u"));
    let mut wire = Wire::connect(&hub);
    wire.send(hub.head_of("GET", "/api/v1/events/user.u", &[(name, &value)], b""));
    assert_eq!(wire.head().status, 200);
    wire.chunk().unwrap();
    let (name, value) = bearer(KEY);
    hub.request("POST", "/api/v1/events/user.u", &[(name, &value)], b"hello").is(200);
    assert!(String::from_utf8(wire.chunk().unwrap()).unwrap().starts_with("data: hello\n"));
}
