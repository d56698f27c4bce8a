//! Authentication, permits, and the effect of changes on open streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::hmac;
use serde_json::{Value, json};

use tidings_protocol::{ChannelName, Subscription, body::EndReason};

use super::*;
use crate::config::{AuthSettings, KeySettings, Right, Secret, Settings};
use crate::error::Code;
use crate::metrics::tests::metrics;

const SECRET: &str = "a secret of thirty-two bytes or more";
/// Start of the tests' clock, in seconds.
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

struct TestAuthorizer {
    authorizer: Authorizer,
    now: Arc<AtomicU64>,
}

impl TestAuthorizer {
    fn new(auth: AuthSettings) -> Self {
        let now = Arc::new(AtomicU64::new(NOW * 1000));
        let clock = now.clone();
        let settings = Settings { auth: Some(auth), ..Settings::default() };
        let authorizer = Authorizer::new(
            &settings,
            None,
            Revocations::in_memory(),
            metrics(),
            Box::new(move || clock.load(Ordering::Relaxed)),
        );
        Self { authorizer: authorizer.unwrap(), now }
    }

    fn at(&self, seconds: u64) {
        self.now.store(seconds * 1000, Ordering::Relaxed);
    }

    async fn code(&self, credential: Credential) -> Option<Code> {
        code(self.authorizer.authenticate(Some(&credential)).await)
    }

    async fn identity(&self, credential: Credential) -> Arc<Identity> {
        self.authorizer.authenticate(Some(&credential)).await.unwrap()
    }

    async fn subscribe(&self, identity: &Arc<Identity>, names: &[&str]) -> Option<Code> {
        code(self.authorizer.subscribe(identity, subscriptions(names), ReadKind::Stream).await)
    }

    async fn publish(&self, identity: &Arc<Identity>, name: &str) -> Option<Code> {
        let channel = ChannelName::parse(name).unwrap();
        code(self.authorizer.publish(identity, [std::slice::from_ref(&channel)]).await)
    }

    /// Returns the text of a new ticket for these channels.
    async fn ticket(&self, issuer: &Arc<Identity>, names: &[&str]) -> Secret {
        self.authorizer.issue_ticket(issuer, None, subscriptions(names)).await.unwrap().text
    }

    fn reauthorize(&self, identity: &Identity, name: &str) -> Result<(), EndReason> {
        self.authorizer.reauthorize(identity, &subscriptions(&[name]))
    }
}

fn code<T>(outcome: Result<T, crate::error::Error>) -> Option<Code> {
    outcome.err().map(|error| error.code())
}

/// A permit of the host application, for tests of other modules.
pub(crate) fn permit(subscriptions: Arc<[Subscription]>) -> SubscribePermit {
    SubscribePermit::new(Arc::new(Identity::local(identity::AuthMethod::Process)), subscriptions, false)
}

fn subscriptions(names: &[&str]) -> Vec<Subscription> {
    names.iter().map(|name| Subscription::parse(name).unwrap()).collect()
}

#[tokio::test]
async fn user_reads_what_the_settings_and_the_token_grant() {
    let hub = TestAuthorizer::new(auth());
    let claims =
        json!({"sub": "a@b.c", "exp": NOW + 60, "tidings": {"subscribe": ["room.*"], "publish": ["room.1"]}});
    let identity = hub.identity(token(&claims)).await;
    for names in
        [&["user.a~40b~2ec"][..], &["user.a~40b~2ec.x.y", "room.7"], &["user:a~40b~2ec:**"], &["room.*"]]
    {
        assert_eq!(hub.subscribe(&identity, names).await, None, "{names:?}");
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
        assert_eq!(hub.subscribe(&identity, names).await, Some(Code::AccessDenied), "{names:?}");
    }
    assert_eq!(hub.publish(&identity, "room.1").await, None);
    assert_eq!(hub.publish(&identity, "room.2").await, Some(Code::AccessDenied));
    assert!(hub.authorizer.manage(&identity).is_err());
}

#[tokio::test]
async fn anonymous_client_reads_public_channels_and_gets_401_for_others() {
    let hub = TestAuthorizer::new(auth());
    let anonymous = hub.authorizer.authenticate(None).await.unwrap();
    assert_eq!(hub.subscribe(&anonymous, &["public.a", "public.b.c"]).await, None);
    assert_eq!(hub.subscribe(&anonymous, &["public.a", "room.1"]).await, Some(Code::CredentialsMissing));
    assert_eq!(hub.publish(&anonymous, "public.a").await, Some(Code::CredentialsMissing));
    assert_eq!(code(hub.authorizer.manage(&anonymous)), Some(Code::CredentialsMissing));
    assert!(!anonymous.is_owner_of(anonymous.principal()));
}

#[tokio::test]
async fn api_key_does_what_its_rights_and_patterns_both_allow() {
    let hub = TestAuthorizer::new(auth());
    let all = hub.identity(key("all")).await;
    assert_eq!(hub.publish(&all, "news.1").await, None);
    assert_eq!(hub.publish(&all, "room.1").await, Some(Code::AccessDenied));
    assert_eq!(hub.subscribe(&all, &["news.*"]).await, None);
    assert!(hub.authorizer.manage(&all).is_ok());
    let reader = hub.identity(key("reader")).await;
    assert_eq!(hub.publish(&reader, "news.1").await, Some(Code::AccessDenied));
    assert_eq!(hub.subscribe(&reader, &["news.1"]).await, None);
    assert!(hub.authorizer.manage(&reader).is_err());
    let none = hub.identity(key("none")).await;
    assert_eq!(hub.subscribe(&none, &["news.1"]).await, Some(Code::AccessDenied));
    assert_eq!(hub.code(key("other")).await, Some(Code::BadCredentials));
}

#[tokio::test]
async fn token_is_checked_by_time_audience_and_issuer() {
    let settings = AuthSettings { audience: vec!["hub".into()], issuer: vec!["idp".into()], ..auth() };
    let hub = TestAuthorizer::new(settings);
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
        assert_eq!(hub.code(with(changes.clone())).await, wanted, "{changes}");
    }
}

#[tokio::test]
async fn credentials_that_a_forger_could_probe_get_one_text() {
    let hub = TestAuthorizer::new(auth());
    let forged = Credential::Bearer(Secret::new("eyJhbGciOiJIUzI1NiJ9.e30.AAAA"));
    let unsigned = Credential::Bearer(Secret::new("eyJhbGciOiJub25lIn0.e30."));
    let mut details = std::collections::BTreeSet::new();
    for credential in
        [forged, unsigned, key("other"), Credential::Session, Credential::Ticket(Secret::new("ti_x"))]
    {
        let error = hub.authorizer.authenticate(Some(&credential)).await.unwrap_err();
        assert_eq!(error.code(), Code::BadCredentials);
        details.insert(error.to_string());
    }
    assert_eq!(details.len(), 1, "{details:?}");
}

#[tokio::test]
async fn ticket_is_for_one_stream_of_exactly_its_channels() {
    let hub = TestAuthorizer::new(auth());
    let issuer = hub.identity(user("u")).await;
    let names = ["user.u", "user.u.**"];
    let issue = async || Credential::Ticket(hub.ticket(&issuer, &names).await);
    let identity = hub.identity(issue().await).await;
    assert_eq!(identity.principal(), issuer.principal());
    assert_eq!(hub.subscribe(&identity, &["user.u.**", "user.u"]).await, None);
    for names in [&["user.u"][..], &["user.u", "user.u.**", "user.u.x"]] {
        let identity = hub.identity(issue().await).await;
        assert_eq!(hub.subscribe(&identity, names).await, Some(Code::AccessDenied), "{names:?}");
    }
    let ticket = hub.ticket(&issuer, &names).await;
    let identity = hub.identity(Credential::Ticket(ticket.clone())).await;
    assert_eq!(hub.code(Credential::Ticket(ticket)).await, Some(Code::BadCredentials), "it is redeemed");
    let history = hub.authorizer.subscribe(&identity, subscriptions(&names), ReadKind::History).await;
    assert_eq!(code(history), Some(Code::AccessDenied));
    assert_eq!(hub.publish(&identity, "user.u").await, Some(Code::AccessDenied));
    assert!(hub.authorizer.issue_ticket(&identity, None, subscriptions(&names)).await.is_err());
    let foreign = hub.authorizer.issue_ticket(&issuer, None, subscriptions(&["user.v"])).await;
    assert_eq!(code(foreign), Some(Code::AccessDenied));
}

#[tokio::test]
async fn ticket_ends_with_its_issuers_token() {
    let hub = TestAuthorizer::new(auth());
    let issuer = hub.identity(token(&json!({"sub": "u", "exp": NOW + 20}))).await;
    let ticket = hub.authorizer.issue_ticket(&issuer, None, subscriptions(&["user.u"])).await.unwrap();
    assert_eq!(ticket.expires_at, (NOW + 20) * 1000);
    let identity = hub.identity(Credential::Ticket(ticket.text)).await;
    assert_eq!(hub.authorizer.time_left(&identity), Some(Duration::from_secs(25)));
}

#[tokio::test]
async fn revocation_ends_streams_and_refuses_tokens_but_not_a_fresh_login() {
    let hub = TestAuthorizer::new(auth());
    let identity = hub.identity(user("u")).await;
    let ticket = hub.ticket(&identity, &["user.u"]).await;
    let mut changes = hub.authorizer.changes();
    let held = subscriptions(&["user.u"]);
    assert_eq!(hub.reauthorize(&identity, "user.u"), Ok(()));
    let manager = hub.identity(key("all")).await;
    let permit = hub.authorizer.manage(&manager).unwrap();
    hub.authorizer.revoke(&permit, RevokedSubject::User("u".into()), None).unwrap();
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(hub.reauthorize(&identity, "user.u"), Err(EndReason::Revoked));
    assert_eq!(hub.authorizer.reauthorize_new(&identity, &held), Err(EndReason::Revoked));
    assert_eq!(hub.code(user("u")).await, Some(Code::Revoked));
    assert_eq!(hub.code(Credential::Ticket(ticket)).await, Some(Code::Revoked));
    assert_eq!(hub.code(user("v")).await, None);
    hub.at(NOW + 2);
    let fresh = token(&json!({"sub": "u", "iat": NOW + 1, "exp": NOW + 60}));
    assert_eq!(hub.code(fresh).await, None);
}

#[tokio::test]
async fn settings_read_again_take_keys_and_rights_away() {
    let hub = TestAuthorizer::new(auth());
    let (reader, user, anonymous) = (
        hub.identity(key("reader")).await,
        hub.identity(user("u")).await,
        hub.authorizer.authenticate(None).await.unwrap(),
    );
    let reload = |auth: &AuthSettings| hub.authorizer.install(hub.authorizer.prepare(Some(auth)).unwrap());
    reload(&auth());
    for (identity, name) in [(&reader, "news.1"), (&user, "user.u"), (&anonymous, "public.a")] {
        assert_eq!(hub.reauthorize(identity, name), Ok(()), "{name}");
    }
    reload(&AuthSettings { keys: Vec::new(), ..auth() });
    assert_eq!(hub.reauthorize(&reader, "news.1"), Err(EndReason::Revoked));
    assert_eq!(hub.reauthorize(&user, "user.u"), Ok(()));
    reload(&AuthSettings { anonymous_subscribe: Vec::new(), user_subscribe: Vec::new(), ..auth() });
    assert_eq!(hub.reauthorize(&reader, "news.1"), Ok(()));
    assert_eq!(hub.reauthorize(&user, "user.u"), Err(EndReason::Revoked));
    assert_eq!(hub.reauthorize(&anonymous, "public.a"), Err(EndReason::Revoked));
    reload(&AuthSettings { secret: Some(Secret::new("another secret, as long as the first")), ..auth() });
    assert_eq!(hub.reauthorize(&user, "user.u"), Err(EndReason::Revoked));
    assert!(hub.authorizer.prepare(None).is_err(), "a hub is not opened by a file that lost its [auth]");
}

#[tokio::test]
async fn stream_ends_when_its_token_has() {
    let hub = TestAuthorizer::new(auth());
    let identity = hub.identity(user("u")).await;
    assert_eq!(hub.authorizer.time_left(&identity), Some(Duration::from_secs(65)));
    hub.at(NOW + 65);
    assert_eq!(hub.authorizer.time_left(&identity), Some(Duration::ZERO));
    assert_eq!(hub.reauthorize(&identity, "user.u"), Err(EndReason::TokenExpired));
}

#[tokio::test]
async fn too_many_channels_are_refused_before_the_permissions_are_checked() {
    let hub = TestAuthorizer::new(auth());
    let anonymous = hub.authorizer.authenticate(None).await.unwrap();
    let names: Vec<String> = (0..257).map(|index| format!("room.{index}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(hub.subscribe(&anonymous, &names).await, Some(Code::TooManyChannels));
}

fn row(name: &str, at: u64, until: u64) -> (String, String, String) {
    (name.into(), "v1".into(), format!(r#"{{"at":{at},"until":{until}.0}}"#))
}

#[tokio::test]
async fn remote_revocation_ends_streams_and_changes_nothing_twice() {
    let hub = TestAuthorizer::new(auth());
    let identity = hub.identity(user("u")).await;
    let mut changes = hub.authorizer.changes();
    let (name, _, text) = row("user:u", NOW, NOW + 100);
    assert!(hub.authorizer.apply_remote(RevocationChange::One(name.clone(), text.clone())).is_empty());
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(hub.reauthorize(&identity, "user.u"), Err(EndReason::Revoked));
    assert_eq!(hub.code(user("u")).await, Some(Code::Revoked));
    hub.authorizer.apply_remote(RevocationChange::One(name, text));
    for (name, _, text) in [row("user:v", NOW, NOW), row("group:v", NOW, NOW + 100)] {
        hub.authorizer.apply_remote(RevocationChange::One(name, text));
    }
    assert!(!changes.has_changed().unwrap(), "known, over, or of a later version");
    assert_eq!(hub.code(user("v")).await, None);
}

#[tokio::test]
async fn revocations_that_the_store_lacks_are_returned_merged() {
    let hub = TestAuthorizer::new(auth());
    let manager = hub.identity(key("all")).await;
    let permit = hub.authorizer.manage(&manager).unwrap();
    let revoke = |user: &str, until: u64| {
        drop(hub.authorizer.revoke(&permit, RevokedSubject::User(user.into()), Some(until as f64)).unwrap());
    };
    [("known", 100), ("longer", 100), ("unknown", 100), ("over", 1)]
        .iter()
        .for_each(|(user, life)| revoke(user, NOW + life));
    hub.at(NOW + 2);
    let rows = [
        row("user:known", NOW, NOW + 100),
        row("user:longer", NOW + 1, NOW + 50),
        row("user:theirs", NOW, NOW + 100),
    ];
    let mut unreplicated = hub.authorizer.apply_remote(RevocationChange::All(rows.into()));
    unreplicated.sort_by_key(|it| it.version.clone());
    let unreplicated = unreplicated.iter().map(|it| (&it.revocation.subject, it.revocation.at, &*it.version));
    let expected = [
        (RevokedSubject::User("unknown".into()), NOW, ""),
        (RevokedSubject::User("longer".into()), NOW + 1, "v1"),
    ];
    assert_eq!(
        unreplicated.collect::<Vec<_>>(),
        expected.iter().map(|(subject, at, version)| (subject, *at, *version)).collect::<Vec<_>>()
    );
    assert_eq!(hub.code(user("theirs")).await, Some(Code::Revoked));
}
