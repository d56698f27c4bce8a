//! `tidings token`.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::prelude::*;

const SECRET: (&str, &str) = ("TIDINGS_AUTH_SECRET", "0123456789abcdef0123456789abcdef");

/// Runs `tidings token` with these further arguments.
fn run_token(arguments: &[&str], variables: &[(&str, &str)]) -> ProgramOutput {
    TempDirectory::create().run(&[&["token"], arguments].concat(), variables)
}

fn decoded(part: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(part).unwrap()
}

fn json(part: &str) -> Value {
    serde_json::from_slice(&decoded(part)).unwrap()
}

#[test]
fn token_is_printed_alone_to_standard_output_and_its_rights_to_standard_error() {
    let arguments = ["--sub", "a@b.c", "--subscribe", "news.*", "--publish", "chat.1", "--expires", "10m"];
    let outcome = run_token(&arguments, &[SECRET]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let token = outcome.stdout.strip_suffix('\n').unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "{token}");
    assert_eq!(json(parts[0])["alg"], "HS256");
    assert_eq!(decoded(parts[2]).len(), 32);
    let claims = json(parts[1]);
    assert_eq!(claims["sub"], "a@b.c");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 600);
    assert_eq!(claims["tidings"]["subscribe"][0], "news.*");
    assert_eq!(claims["tidings"]["publish"][0], "chat.1");
    assert!(claims["jti"].as_str().is_some_and(|number| number.len() == 22), "{claims}");
    for text in
        ["a@b.c", "a~40b~2ec", "user.a~40b~2ec.**", "news.*", "chat.1", "in 10m, at 2", "Z\n", "curl -N"]
    {
        assert!(outcome.stderr.contains(text), "{text:?} is missing in {}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains(token) && !outcome.stderr.contains(SECRET.1), "{outcome:?}");
}

#[test]
fn token_is_signed_by_the_settings_of_the_file() {
    let directory = TempDirectory::create();
    directory.write(
        "hub.toml",
        "listen = [\"0.0.0.0:81\"]\n[auth]\nsecret = \"0123456789abcdef0123456789abcdef\"\nalgorithms = [\"HS384\"]\naudience = \
         [\"one\", \"two\"]\nissuer = \"me\"\nuser_claim = \"email\"\nuser.subscribe = [\"mine:{sub}\"]\n",
    );
    let outcome = directory.run(&["token", "--sub", "u", "--config", "hub.toml"], &[]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let parts: Vec<&str> = outcome.stdout.trim().split('.').collect();
    assert_eq!(json(parts[0])["alg"], "HS384");
    let claims = json(parts[1]);
    assert_eq!(
        (&claims["email"], &claims["aud"], &claims["iss"]),
        (&"u".into(), &"one".into(), &"me".into())
    );
    assert!(outcome.stderr.contains("http://127.0.0.1:81/api/v1/events/mine:u"), "{outcome:?}");
}

#[test]
fn token_longer_than_the_maximum_age_is_refused_with_both_times() {
    let arguments = ["--sub", "u", "--expires", "48h"];
    run_token(&arguments, &[SECRET]).assert_refused(&["--expires is 2d", "auth.token_max_age, which is 24h"]);
    let outcome = run_token(&arguments, &[SECRET, ("TIDINGS_AUTH_TOKEN_MAX_AGE", "3d")]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn token_without_a_secret_prints_a_remedy() {
    run_token(&["--sub", "u"], &[]).assert_refused(&["no auth.secret", "TIDINGS_AUTH_SECRET"]);
    let variables = [("TIDINGS_AUTH_JWKS_URL", "https://id.example.com/keys")];
    run_token(&["--sub", "u"], &variables).assert_refused(&["identity provider", "tidings key"]);
}

#[test]
fn bad_usage_of_token_is_refused() {
    for (arguments, error) in [
        (&[][..], "--sub"),
        (&["--sub", ""], "--sub is empty"),
        (&["--sub", "u", "--publish", "a..b"], "--publish has \"a..b\""),
        (&["--sub", "u", "--subscribe", "$hub"], "--subscribe has \"$hub\""),
        (&["--sub", "u", "--expires", "60"], "no unit"),
        (&["--sub", "u", "--expires", "10ms"], "--expires is 10ms; at least 1s"),
    ] {
        run_token(arguments, &[SECRET]).assert_refused(&[error]);
    }
    let directory = TempDirectory::create();
    directory.write("tidings.toml", "[auth]\nsecrt = \"s3cret\"\n");
    directory.run(&["token", "--sub", "u"], &[]).assert_refused(&["tidings.toml:2:1: auth.secrt"]);
}

#[test]
fn publish_and_subscribe_print_how_to_get_a_token() {
    let run = |arguments: &[&str], status: &str, code: &str, token: &str| {
        let body = format!("{{\"code\":\"{code}\",\"detail\":\"so it is\"}}");
        let content_type = "Content-Type: application/problem+json\r\n";
        let reply = StubReply::response(status, content_type, &body);
        let server = StubServer::start(move |_| reply.clone());
        let variables = [("TIDINGS_URL", &*server.url("")), ("TIDINGS_TOKEN", token)];
        let outcome = TempDirectory::create().run(arguments, &variables);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(!outcome.stderr.contains("t0ken"), "{outcome:?}");
        outcome.stderr
    };
    let publish = ["publish", "orders.1", "x"];
    let subscribe = ["subscribe", "orders.*", "news"];
    let text = run(&publish, "401 No", "credentials_missing", "");
    assert!(text.contains("so it is; give a token with --token or in TIDINGS_TOKEN"), "{text}");
    assert!(text.contains("tidings token --sub me --publish 'orders.1'"), "{text}");
    let text = run(&subscribe, "401 No", "credentials_missing", "");
    assert!(text.contains("tidings key --name me --subscribe 'orders.*' --subscribe 'news'"), "{text}");
    assert!(run(&subscribe, "401 No", "bad_credentials", "t0ken").contains("not revoked"));
    let text = run(&publish, "403 No", "access_denied", "t0ken");
    assert!(text.contains("a token made with --publish 'orders.1' does"), "{text}");
}
