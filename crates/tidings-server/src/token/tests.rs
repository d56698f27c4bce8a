//! Tokens and their explanations.

use super::*;

const NOW: u64 = 1_700_000_000;

fn args(sub: &str) -> Args {
    Args {
        sub: sub.to_owned(),
        subscribe: Vec::new(),
        publish: Vec::new(),
        expires: Duration::from_hours(1),
        config: None,
    }
}

fn settings(change: fn(&mut AuthSettings)) -> Settings {
    let mut auth = AuthSettings { secret: Some(Secret::new("s".repeat(32))), ..AuthSettings::default() };
    change(&mut auth);
    Settings { auth: Some(auth), ..Settings::default() }
}

fn decoded(token: &str, part: usize) -> Value {
    let part = token.split('.').nth(part).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

#[test]
fn token_holds_user_times_number_and_rights() {
    let args = Args { subscribe: vec!["a.*".into()], publish: vec!["b".into(), "c".into()], ..args("a@b.c") };
    let signed = issue(&args, &settings(|_| ()), NOW).expect("a token");
    assert_eq!(decoded(&signed.token, 0), json!({"alg": "HS256", "typ": "JWT"}));
    let mut claims = decoded(&signed.token, 1);
    let number = claims["jti"].take();
    assert_eq!(number.as_str().map(str::len), Some(22));
    let rights = json!({"subscribe": ["a.*"], "publish": ["b", "c"]});
    let expected = json!({"sub": "a@b.c", "iat": NOW, "exp": NOW + 3600, "jti": null, "tidings": rights});
    assert_eq!(claims, expected);
    let other = issue(&args, &settings(|_| ()), NOW).expect("a token");
    assert_ne!(decoded(&other.token, 1)["jti"], number);
}

#[test]
fn token_follows_the_settings() {
    let settings = settings(|auth| {
        auth.algorithms = vec![Algorithm::Es256, Algorithm::Hs512, Algorithm::Hs256];
        auth.user_claim = "email".to_owned();
        auth.audience = vec!["one".to_owned(), "two".to_owned()];
        auth.issuer = vec!["me".to_owned()];
    });
    let signed = issue(&args("u"), &settings, NOW).expect("a token");
    assert_eq!(decoded(&signed.token, 0)["alg"], "HS512");
    let claims = decoded(&signed.token, 1);
    assert_eq!(
        (&claims["email"], &claims["aud"], &claims["iss"]),
        (&json!("u"), &json!("one"), &json!("me"))
    );
    assert_eq!((claims.get("sub"), claims.get("tidings")), (None, None));
}

#[test]
fn explanation_names_user_rights_and_expiry() {
    let args = Args { subscribe: vec!["news.*".into()], ..args("a@b.c") };
    let text = issue(&args, &settings(|_| ()), NOW).expect("a token").explanation;
    assert_eq!(
        text,
        "user       a@b.c (as a segment of a channel: a~40b~2ec)\n\
         subscribe  user.a~40b~2ec, user.a~40b~2ec.**, user:a~40b~2ec, user:a~40b~2ec:**, news.*\n\
         publish    nothing\n\
         expires    in 1h, at 2023-11-14T23:13:20Z\n\
         try        curl -N -H \"Authorization: Bearer $TOKEN\" 'http://127.0.0.1:8000/api/v1/events/news.*'\n"
    );
}

#[test]
fn explanation_warns_of_a_name_too_long_for_a_channel() {
    let text = issue(&args(&"é".repeat(100)), &settings(|_| ()), NOW).expect("a token").explanation;
    assert!(text.contains("subscribe  nothing") && text.contains("too long for a channel"), "{text}");
}

#[test]
fn token_that_the_hub_would_refuse_is_not_signed() {
    let fault = |args: &Args, settings: &Settings| {
        issue(args, settings, NOW).map(|signed| signed.token).expect_err("refused")
    };
    let good = settings(|_| ());
    let long = fault(&Args { expires: Duration::from_hours(48), ..args("u") }, &good);
    assert!(long.contains("--expires is 2d") && long.contains("auth.token_max_age, which is 24h"), "{long}");
    let short = fault(&Args { expires: Duration::from_millis(900), ..args("u") }, &good);
    assert_eq!(short, "--expires is 900ms; at least 1s");
    let pattern = fault(&Args { publish: vec!["a..b".into()], ..args("u") }, &good);
    assert!(pattern.starts_with("--publish has \"a..b\", which is not a pattern"), "{pattern}");
    let filled = fault(&Args { subscribe: vec!["user.{sub}".into()], ..args("u") }, &good);
    assert!(filled.contains("only auth.user.subscribe fills {sub} in"), "{filled}");
    assert!(fault(&args(""), &good).contains("--sub is empty"));
    let open = fault(&args("u"), &Settings::default());
    assert!(open.contains("TIDINGS_AUTH_SECRET") && open.contains("openssl rand"), "{open}");
    let provider = settings(|auth| {
        auth.secret = None;
        auth.jwks_url = Some("https://id.example.com".to_owned());
    });
    assert!(fault(&args("u"), &provider).contains("identity provider whose public keys auth.jwks_url"));
    let unable = settings(|auth| auth.algorithms = vec![Algorithm::Es256]);
    assert!(fault(&args("u"), &unable).contains("add HS256"));
}
