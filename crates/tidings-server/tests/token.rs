//! `tidings token`.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::Value;
use tidings_testkit::TempDirectory;

use crate::hub::{ProgramOutput, RunTidings};

const SECRET: (&str, &str) = ("TIDINGS_AUTH_SECRET", "0123456789abcdef0123456789abcdef");

#[track_caller]
fn refused(outcome: &ProgramOutput, expected: &[&str]) {
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert_eq!(outcome.stdout, "");
    for text in expected {
        assert!(outcome.stderr.contains(text), "{text:?} is missing in {}", outcome.stderr);
    }
}

/// Decodes base64url without padding.
fn decoded(part: &str) -> Vec<u8> {
    const SYMBOLS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for symbol in part.bytes() {
        let value = SYMBOLS.iter().position(|known| *known == symbol).expect("base64url");
        bits = bits << 6 | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

fn json(part: &str) -> Value {
    serde_json::from_slice(&decoded(part)).unwrap()
}

#[test]
fn token_is_printed_alone_to_standard_output_and_its_rights_to_standard_error() {
    let arguments =
        ["token", "--sub", "a@b.c", "--subscribe", "news.*", "--publish", "chat.1", "--expires", "10m"];
    let outcome = TempDirectory::create().run(&arguments, &[SECRET]);
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
    let outcome = TempDirectory::create().run(&["token", "--sub", "u", "--expires", "48h"], &[SECRET]);
    refused(&outcome, &["--expires is 2d", "auth.token_max_age, which is 24h"]);
    let variables = [SECRET, ("TIDINGS_AUTH_TOKEN_MAX_AGE", "3d")];
    let outcome = TempDirectory::create().run(&["token", "--sub", "u", "--expires", "48h"], &variables);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn token_without_a_secret_prints_a_remedy() {
    let directory = TempDirectory::create();
    refused(&directory.run(&["token", "--sub", "u"], &[]), &["no auth.secret", "TIDINGS_AUTH_SECRET"]);
    let variables = [("TIDINGS_AUTH_JWKS_URL", "https://id.example.com/keys")];
    refused(&directory.run(&["token", "--sub", "u"], &variables), &["identity provider", "tidings key"]);
}

#[test]
fn bad_usage_of_token_is_refused() {
    let directory = TempDirectory::create();
    refused(&directory.run(&["token"], &[SECRET]), &["--sub"]);
    refused(&directory.run(&["token", "--sub", ""], &[SECRET]), &["--sub is empty"]);
    let run = |flag: &str, value: &str| directory.run(&["token", "--sub", "u", flag, value], &[SECRET]);
    refused(&run("--publish", "a..b"), &["--publish has \"a..b\""]);
    refused(&run("--subscribe", "$hub"), &["--subscribe has \"$hub\""]);
    refused(&run("--expires", "60"), &["no unit"]);
    refused(&run("--expires", "10ms"), &["--expires is 10ms; at least 1s"]);
    directory.write("tidings.toml", "[auth]\nsecrt = \"s3cret\"\n");
    refused(&directory.run(&["token", "--sub", "u"], &[]), &["tidings.toml:2:1: auth.secrt"]);
}

/// URL of a server that refuses one request with this status and code, as a hub with `[auth]` does.
fn refusing(status: u16, code: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = format!("{{\"code\":\"{code}\",\"detail\":\"so it is\"}}");
    let answer = format!(
        "HTTP/1.1 {status} No\r\nContent-Type: application/problem+json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let _request = socket.read(&mut [0; 4096]).unwrap();
        socket.write_all(answer.as_bytes()).unwrap();
        // Until the client has read the response and closes.
        let _end = socket.read(&mut [0; 4096]);
    });
    url
}

#[test]
fn publish_and_subscribe_print_how_to_get_a_token() {
    let directory = TempDirectory::create();
    let run = |arguments: &[&str], status, code, token: &str| {
        let variables = [("TIDINGS_URL", &*refusing(status, code)), ("TIDINGS_TOKEN", token)];
        let outcome = directory.run(arguments, &variables);
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        assert!(!outcome.stderr.contains("t0ken"), "{outcome:?}");
        outcome.stderr
    };
    let publish = ["publish", "orders.1", "x"];
    let subscribe = ["subscribe", "orders.*", "news"];
    let text = run(&publish, 401, "credentials_missing", "");
    assert!(text.contains("so it is; give a token with --token or in TIDINGS_TOKEN"), "{text}");
    assert!(text.contains("tidings token --sub me --publish 'orders.1'"), "{text}");
    let text = run(&subscribe, 401, "credentials_missing", "");
    assert!(text.contains("tidings key --name me --subscribe 'orders.*' --subscribe 'news'"), "{text}");
    assert!(run(&subscribe, 401, "bad_credentials", "t0ken").contains("not revoked"));
    let text = run(&publish, 403, "access_denied", "t0ken");
    assert!(text.contains("a token made with --publish 'orders.1' does"), "{text}");
}
