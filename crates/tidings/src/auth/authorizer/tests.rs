//! The gate: what is admitted, what it may do, and what a change takes away.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use super::*;
use crate::{
    auth::policy,
    config::{KeySettings, Right, Secret},
};

const SECRET: &str = "a secret of thirty-two bytes or more";
/// Where the tests' clock begins, in seconds.
const NOW: u64 = 1_700_000_000;

fn token(claims: &Value) -> Credential {
    let parts = [r#"{"alg":"HS256","typ":"JWT"}"#.to_owned(), claims.to_string()];
    let signed = parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    Credential::Bearer(Secret::new(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

fn user(name: &str) -> Credential {
    token(&json!({"sub": name, "iat": NOW, "exp": NOW + 60}))
}

fn api_key(name: &str, permissions: &[Right]) -> KeySettings {
    let digits: String =
        policy::hash(&format!("tk_{name}")).iter().map(|byte| format!("{byte:02x}")).collect();
    KeySettings {
        name: name.to_owned(),
        hash: format!("sha256:{digits}"),
        rights: permissions.to_vec(),
        subscribe: vec!["news.*".to_owned()],
        publish: vec!["news.*".to_owned()],
    }
}

fn key(name: &str) -> Credential {
    Credential::Bearer(Secret::new(format!("tk_{name}")))
}

fn auth() -> AuthSettings {
    AuthSettings {
        secret: Some(Secret::new(SECRET)),
        anonymous_subscribe: vec!["public.**".to_owned()],
        keys: vec![
            api_key("all", &[Right::Publish, Right::Subscribe, Right::Manage]),
            api_key("reader", &[Right::Subscribe]),
            api_key("none", &[]),
        ],
        ..AuthSettings::default()
    }
}

struct Desk {
    authorizer: Authorizer,
    now: Arc<AtomicU64>,
}

impl Desk {
    fn new(auth: AuthSettings) -> Self {
        let now = Arc::new(AtomicU64::new(NOW * 1000));
        let clock = now.clone();
        let settings = Settings { auth: Some(auth), ..Settings::default() };
        let authorizer = Authorizer::new(
            &settings,
            None,
            Revocations::in_memory(),
            Arc::new(Metrics::new()),
            Box::new(move || clock.load(Ordering::Relaxed)),
        );
        Self { authorizer: authorizer.unwrap(), now }
    }

    fn at(&self, seconds: u64) {
        self.now.store(seconds * 1000, Ordering::Relaxed);
    }

    async fn code(&self, credential: Credential) -> Option<Code> {
        self.authorizer.authenticate(Some(&credential)).await.err().map(|error| error.code())
    }

    async fn identity(&self, credential: Credential) -> Arc<Identity> {
        self.authorizer.authenticate(Some(&credential)).await.unwrap()
    }

    async fn subscribe(&self, identity: &Arc<Identity>, names: &[&str]) -> Option<Code> {
        let permit = self.authorizer.subscribe(identity, subscriptions(names), ReadKind::Stream).await;
        permit.err().map(|error| error.code())
    }

    async fn publish(&self, identity: &Arc<Identity>, name: &str) -> Option<Code> {
        let channel = ChannelName::parse(name).unwrap();
        self.authorizer
            .publish(identity, [std::slice::from_ref(&channel)])
            .await
            .err()
            .map(|error| error.code())
    }
}

fn subscriptions(names: &[&str]) -> Vec<Subscription> {
    names.iter().map(|name| Subscription::parse(name).unwrap()).collect()
}

#[tokio::test]
async fn user_reads_what_the_settings_and_the_token_grant() {
    let desk = Desk::new(auth());
    let claims =
        json!({"sub": "a@b.c", "exp": NOW + 60, "tidings": {"subscribe": ["room.*"], "publish": ["room.1"]}});
    let identity = desk.identity(token(&claims)).await;
    for names in
        [&["user.a~40b~2ec"][..], &["user.a~40b~2ec.x.y", "room.7"], &["user:a~40b~2ec:**"], &["room.*"]]
    {
        assert_eq!(desk.subscribe(&identity, names).await, None, "{names:?}");
    }
    for names in [
        &["user.b"][..],
        &["room.1.x"],
        &["room.1", "user.b"],
        &["**"],
        &["user.*"],
        &["user.**"],
        &["public.x"],
    ] {
        assert_eq!(desk.subscribe(&identity, names).await, Some(Code::AccessDenied), "{names:?}");
    }
    assert_eq!(desk.publish(&identity, "room.1").await, None);
    assert_eq!(desk.publish(&identity, "room.2").await, Some(Code::AccessDenied));
    assert!(desk.authorizer.manage(&identity).is_err());
}

#[tokio::test]
async fn nobody_reads_what_is_public_and_is_asked_who_he_is_for_the_rest() {
    let desk = Desk::new(auth());
    let nobody = desk.authorizer.authenticate(None).await.unwrap();
    assert_eq!(desk.subscribe(&nobody, &["public.a", "public.b.c"]).await, None);
    assert_eq!(desk.subscribe(&nobody, &["public.a", "room.1"]).await, Some(Code::CredentialsMissing));
    assert_eq!(desk.publish(&nobody, "public.a").await, Some(Code::CredentialsMissing));
    assert_eq!(
        desk.authorizer.manage(&nobody).err().map(|error| error.code()),
        Some(Code::CredentialsMissing)
    );
    assert!(!nobody.is_owner_of(nobody.principal()));
}

#[tokio::test]
async fn api_key_does_what_its_rights_and_patterns_both_allow() {
    let desk = Desk::new(auth());
    let all = desk.identity(key("all")).await;
    assert_eq!(desk.publish(&all, "news.1").await, None);
    assert_eq!(desk.publish(&all, "room.1").await, Some(Code::AccessDenied));
    assert_eq!(desk.subscribe(&all, &["news.*"]).await, None);
    assert!(desk.authorizer.manage(&all).is_ok());
    let reader = desk.identity(key("reader")).await;
    assert_eq!(desk.publish(&reader, "news.1").await, Some(Code::AccessDenied));
    assert_eq!(desk.subscribe(&reader, &["news.1"]).await, None);
    assert!(desk.authorizer.manage(&reader).is_err());
    let none = desk.identity(key("none")).await;
    assert_eq!(desk.subscribe(&none, &["news.1"]).await, Some(Code::AccessDenied));
    assert_eq!(desk.code(key("other")).await, Some(Code::BadCredentials));
}

#[tokio::test]
async fn token_is_judged_by_time_audience_and_issuer() {
    let settings = AuthSettings { audience: vec!["hub".into()], issuer: vec!["idp".into()], ..auth() };
    let desk = Desk::new(settings);
    let with = |changes: Value| {
        let mut claims = json!({"sub": "u", "iat": NOW, "exp": NOW + 60, "aud": "hub", "iss": "idp"});
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        token(&claims)
    };
    let bad = Some(Code::BadCredentials);
    for (changes, wanted) in [
        (json!({}), None),
        (json!({"aud": ["other", "hub"]}), None),
        (json!({"aud": "other"}), bad),
        (json!({"aud": null}), bad),
        (json!({"iss": "other"}), bad),
        (json!({"iss": null}), bad),
        (json!({"exp": NOW - 4}), None),
        (json!({"exp": NOW - 5}), Some(Code::TokenExpired)),
        (json!({"exp": NOW - 9_999_999}), Some(Code::TokenExpired)),
        (json!({"nbf": NOW + 5}), None),
        (json!({"nbf": NOW + 6}), bad),
        (json!({"iat": NOW + 6}), bad),
        (json!({"exp": NOW + 86_405}), None),
        (json!({"exp": NOW + 86_406}), bad),
        (json!({"iat": NOW - 86_400, "exp": NOW + 60}), bad),
        (json!({"iat": null, "exp": NOW + 86_406}), bad),
        (json!({"exp": "never"}), bad),
    ] {
        assert_eq!(desk.code(with(changes.clone())).await, wanted, "{changes}");
    }
}

#[tokio::test]
async fn refusal_of_what_a_forger_could_probe_says_one_thing() {
    let desk = Desk::new(auth());
    let forged = Credential::Bearer(Secret::new("eyJhbGciOiJIUzI1NiJ9.e30.AAAA"));
    let unsigned = Credential::Bearer(Secret::new("eyJhbGciOiJub25lIn0.e30."));
    let mut said = std::collections::BTreeSet::new();
    for credential in
        [forged, unsigned, key("other"), Credential::Session, Credential::Ticket(Secret::new("ti_x"))]
    {
        let error = desk.authorizer.authenticate(Some(&credential)).await.unwrap_err();
        assert_eq!(error.code(), Code::BadCredentials);
        said.insert(error.to_string());
    }
    assert_eq!(said.len(), 1, "{said:?}");
}

#[tokio::test]
async fn ticket_is_for_one_stream_of_exactly_its_channels() {
    let desk = Desk::new(auth());
    let maker = desk.identity(user("u")).await;
    let asked = || subscriptions(&["user.u", "user.u.**"]);
    let made =
        || async { Credential::Ticket(desk.authorizer.ticket(&maker, None, asked()).await.unwrap().text) };
    let ticket = made().await;
    let identity = desk.identity(ticket).await;
    assert_eq!(identity.principal(), maker.principal());
    assert_eq!(desk.subscribe(&identity, &["user.u.**", "user.u"]).await, None);
    for names in [&["user.u"][..], &["user.u", "user.u.**", "user.u.x"]] {
        let identity = desk.identity(made().await).await;
        assert_eq!(desk.subscribe(&identity, names).await, Some(Code::AccessDenied), "{names:?}");
    }
    let ticket = made().await;
    let identity = desk
        .identity(Credential::Ticket(match &ticket {
            Credential::Ticket(text) => text.clone(),
            _ => unreachable!(),
        }))
        .await;
    assert_eq!(desk.code(ticket).await, Some(Code::BadCredentials), "it is spent");
    let history = desk.authorizer.subscribe(&identity, asked(), ReadKind::History).await;
    assert_eq!(history.err().map(|error| error.code()), Some(Code::AccessDenied));
    assert_eq!(desk.publish(&identity, "user.u").await, Some(Code::AccessDenied));
    assert!(desk.authorizer.ticket(&identity, None, asked()).await.is_err());
    let foreign = desk.authorizer.ticket(&maker, None, subscriptions(&["user.v"])).await;
    assert_eq!(foreign.err().map(|error| error.code()), Some(Code::AccessDenied));
}

#[tokio::test]
async fn ticket_ends_with_its_makers_token() {
    let desk = Desk::new(auth());
    let maker = desk.identity(token(&json!({"sub": "u", "exp": NOW + 20}))).await;
    let ticket = desk.authorizer.ticket(&maker, None, subscriptions(&["user.u"])).await.unwrap();
    assert_eq!(ticket.expires_at, (NOW + 20) * 1000);
    let identity = desk.identity(Credential::Ticket(ticket.text)).await;
    assert_eq!(desk.authorizer.time_left(&identity), Some(Duration::from_secs(25)));
}

#[tokio::test]
async fn revocation_ends_streams_and_refuses_tokens_but_not_a_fresh_login() {
    let desk = Desk::new(auth());
    let identity = desk.identity(user("u")).await;
    let ticket = desk.authorizer.ticket(&identity, None, subscriptions(&["user.u"])).await.unwrap();
    let mut changes = desk.authorizer.changes();
    let held = subscriptions(&["user.u"]);
    assert_eq!(desk.authorizer.reauthorize(&identity, &held), Ok(()));
    let manager = desk.identity(key("all")).await;
    let permit = desk.authorizer.manage(&manager).unwrap();
    desk.authorizer.revoke(&permit, RevokedSubject::User("u".into()), None).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(desk.authorizer.reauthorize(&identity, &held), Err(EndReason::Revoked));
    assert_eq!(desk.authorizer.reauthorize_new(&identity, &held), Err(EndReason::Revoked));
    assert_eq!(desk.code(user("u")).await, Some(Code::Revoked));
    assert_eq!(desk.code(Credential::Ticket(ticket.text)).await, Some(Code::Revoked));
    assert_eq!(desk.code(user("v")).await, None);
    desk.at(NOW + 2);
    let fresh = token(&json!({"sub": "u", "iat": NOW + 1, "exp": NOW + 60}));
    assert_eq!(desk.code(fresh).await, None);
}

#[tokio::test]
async fn settings_read_again_take_keys_and_rights_away() {
    let desk = Desk::new(auth());
    let (reader, user, nobody) = (
        desk.identity(key("reader")).await,
        desk.identity(user("u")).await,
        desk.authorizer.authenticate(None).await.unwrap(),
    );
    let put = |auth: &AuthSettings| desk.authorizer.install(desk.authorizer.prepare(Some(auth)).unwrap());
    let judge =
        |identity: &Identity, name: &str| desk.authorizer.reauthorize(identity, &subscriptions(&[name]));
    put(&auth());
    for (identity, name) in [(&reader, "news.1"), (&user, "user.u"), (&nobody, "public.a")] {
        assert_eq!(judge(identity, name), Ok(()), "{name}");
    }
    put(&AuthSettings { keys: Vec::new(), ..auth() });
    assert_eq!(judge(&reader, "news.1"), Err(EndReason::Revoked));
    assert_eq!(judge(&user, "user.u"), Ok(()));
    put(&AuthSettings { anonymous_subscribe: Vec::new(), user_subscribe: Vec::new(), ..auth() });
    assert_eq!(judge(&reader, "news.1"), Ok(()));
    assert_eq!(judge(&user, "user.u"), Err(EndReason::Revoked));
    assert_eq!(judge(&nobody, "public.a"), Err(EndReason::Revoked));
    put(&AuthSettings { secret: Some(Secret::new("another secret, as long as the first")), ..auth() });
    assert_eq!(judge(&user, "user.u"), Err(EndReason::Revoked));
    assert!(desk.authorizer.prepare(None).is_err(), "a hub is not opened by a file that lost its [auth]");
}

#[tokio::test]
async fn stream_ends_when_its_token_has() {
    let desk = Desk::new(auth());
    let identity = desk.identity(user("u")).await;
    assert_eq!(desk.authorizer.time_left(&identity), Some(Duration::from_secs(65)));
    desk.at(NOW + 65);
    assert_eq!(desk.authorizer.time_left(&identity), Some(Duration::ZERO));
    assert_eq!(
        desk.authorizer.reauthorize(&identity, &subscriptions(&["user.u"])),
        Err(EndReason::TokenExpired)
    );
}

#[tokio::test]
async fn too_many_channels_are_refused_before_anybody_is_asked() {
    let desk = Desk::new(auth());
    let nobody = desk.authorizer.authenticate(None).await.unwrap();
    let names: Vec<String> = (0..257).map(|index| format!("room.{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(desk.subscribe(&nobody, &names).await, Some(Code::TooManyChannels));
}

fn note(name: &str, at: u64, until: u64) -> (String, String, String) {
    (name.into(), "v1".into(), format!(r#"{{"at":{at},"until":{until}.0}}"#))
}

#[tokio::test]
async fn revocation_of_another_node_ends_streams_and_is_no_news_twice() {
    let desk = Desk::new(auth());
    let identity = desk.identity(user("u")).await;
    let mut changes = desk.authorizer.changes();
    let (name, _, text) = note("user:u", NOW, NOW + 100);
    assert!(desk.authorizer.apply_remote(RevocationChange::One(name.clone(), text.clone())).is_empty());
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(desk.authorizer.reauthorize(&identity, &subscriptions(&["user.u"])), Err(EndReason::Revoked));
    assert_eq!(desk.code(user("u")).await, Some(Code::Revoked));
    desk.authorizer.apply_remote(RevocationChange::One(name, text));
    for (name, _, text) in [note("user:v", NOW, NOW), note("group:v", NOW, NOW + 100)] {
        desk.authorizer.apply_remote(RevocationChange::One(name, text));
    }
    assert!(!changes.has_changed().unwrap(), "known, over, or of a later version");
    assert_eq!(desk.code(user("v")).await, None);
}

#[tokio::test]
async fn what_other_nodes_do_not_know_is_told_with_what_they_do() {
    let desk = Desk::new(auth());
    let manager = desk.identity(key("all")).await;
    let permit = desk.authorizer.manage(&manager).unwrap();
    let revoke = |user: &str, until: u64| {
        drop(desk.authorizer.revoke(&permit, RevokedSubject::User(user.into()), Some(until as f64)).unwrap());
    };
    [("known", 100), ("longer", 100), ("unknown", 100), ("over", 1)]
        .iter()
        .for_each(|(user, life)| revoke(user, NOW + life));
    desk.at(NOW + 2);
    let notes = [
        note("user:known", NOW, NOW + 100),
        note("user:longer", NOW + 1, NOW + 50),
        note("user:theirs", NOW, NOW + 100),
    ];
    let mut untold = desk.authorizer.apply_remote(RevocationChange::All(notes.into()));
    untold.sort_by_key(|it| it.version.clone());
    let untold = untold.iter().map(|it| (&it.revocation.subject, it.revocation.at, &*it.version));
    let expected = [
        (RevokedSubject::User("unknown".into()), NOW, ""),
        (RevokedSubject::User("longer".into()), NOW + 1, "v1"),
    ];
    assert_eq!(
        untold.collect::<Vec<_>>(),
        expected.iter().map(|(subject, at, version)| (subject, *at, *version)).collect::<Vec<_>>()
    );
    assert_eq!(desk.code(user("theirs")).await, Some(Code::Revoked));
}
