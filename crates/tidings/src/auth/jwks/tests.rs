//! Fetched when needed, not too often, and kept.

use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::metrics::tests::metrics;
use crate::outbound_http::tests::backend::{Reply, StubBackend, answer, ok};

/// Interval that no test waits for.
const LONG: Duration = Duration::from_secs(600);

type Provider = Arc<Jwks<String>>;

/// Documents that begin with `{` are good.
fn parse(document: &[u8]) -> Result<String, String> {
    let text = String::from_utf8(document.to_vec()).map_err(|_| "is not UTF-8")?;
    if text.starts_with('{') { Ok(text) } else { Err("is not a set of keys".to_owned()) }
}

fn jwks(backend: &StubBackend, interval: Duration) -> Provider {
    jwks_with(backend, interval, Duration::from_secs(20), metrics())
}

fn jwks_with(
    backend: &StubBackend,
    interval: Duration,
    deadline: Duration,
    metrics: Arc<Metrics>,
) -> Provider {
    let target = Target::parse(&backend.url()).unwrap();
    let provider = HttpClient::new(target, AddressPolicy::Loopback, deadline);
    Arc::new(Jwks::over(provider, parse, interval, metrics))
}

/// A provider whose documents are `{0}`, `{1}` and so on.
async fn numbering() -> StubBackend {
    StubBackend::start(|before| ok(format!("{{{before}}}"))).await
}

/// Looks up the document that reads so, in a task of its own.
fn look_up(jwks: &Provider, wanted: &'static str) -> JoinHandle<Option<()>> {
    let jwks = jwks.clone();
    tokio::spawn(async move { jwks.look_up(is(wanted)).await.unwrap() })
}

/// Asks for the keys, and leaves once the provider has the request.
async fn ask_and_leave(jwks: &Provider, backend: &StubBackend) {
    let jwks = jwks.clone();
    let client = tokio::spawn(async move { jwks.keys().await.map(drop) });
    backend.requested(1).await;
    client.abort();
    assert!(client.await.unwrap_err().is_cancelled());
}

#[tokio::test]
async fn first_hundred_to_ask_wait_for_one_fetch() {
    let places = Arc::new(Semaphore::new(0));
    let backend = StubBackend::always(Reply::When(places.clone(), answer("200 OK", "", "{1}"))).await;
    let jwks = jwks(&backend, LONG);
    let mut asking = JoinSet::new();
    for _ in 0..100 {
        let jwks = jwks.clone();
        asking.spawn(async move { jwks.keys().await.unwrap() });
    }
    backend.requested(1).await;
    places.add_permits(1);
    assert!(asking.join_all().await.iter().all(|keys| **keys == "{1}"));
    assert_eq!((backend.requests().len(), backend.connections()), (1, 1));
    assert!(backend.requests()[0].starts_with("GET /path HTTP/1.1\r\n"));
}

/// Finds the document that reads so.
fn is(wanted: &'static str) -> impl Fn(&String) -> Option<()> {
    move |keys| (keys == wanted).then_some(())
}

#[tokio::test]
async fn unknown_key_waits_for_the_next_fetch_and_few_may_wait() {
    let backend = numbering().await;
    let jwks = jwks(&backend, Duration::from_secs(3));
    jwks.keys().await.unwrap();
    let mut asking = JoinSet::new();
    for _ in 0..2 * WAITING_MAX {
        let jwks = jwks.clone();
        asking.spawn(async move { jwks.look_up(is("{1}")).await });
    }
    for _ in 0..WAITING_MAX {
        let fault = asking.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(fault.code(), Code::KeysUnavailable);
        assert!(fault.retry_after_hint().is_some());
    }
    assert_eq!(backend.requests().len(), 1, "the interval has just begun");
    let found = asking.join_all().await;
    assert!(found.len() == WAITING_MAX && found.into_iter().all(|found| found.unwrap().is_some()));
    assert_eq!(backend.requests().len(), 2);
}

#[tokio::test]
async fn key_is_unknown_for_good_only_after_a_fetch_that_began_later() {
    let places = Arc::new(Semaphore::new(1));
    let backend = StubBackend::start({
        let places = places.clone();
        move |before| Reply::When(places.clone(), answer("200 OK", "", format!("{{{before}}}")))
    })
    .await;
    let jwks = jwks(&backend, Duration::ZERO);
    jwks.keys().await.unwrap();
    let first = look_up(&jwks, "{1}");
    backend.requested(2).await;
    // The answer of the second fetch, which is in flight, may be older than the key.
    let second = look_up(&jwks, "{2}");
    tokio::task::yield_now().await;
    places.add_permits(100);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (Some(()), Some(())));
    assert_eq!(jwks.look_up(is("{}")).await.unwrap(), None);
    assert_eq!(backend.requests().len(), 4);
}

#[tokio::test]
async fn same_document_again_is_nothing_new() {
    let backend = StubBackend::always(ok("{1}")).await;
    let jwks = jwks(&backend, Duration::ZERO);
    let tried = jwks.keys().await.unwrap();
    assert!(jwks.look_up(is("{2}")).await.unwrap().is_none());
    assert!(Arc::ptr_eq(&tried, &jwks.newest().unwrap()));
    assert_eq!(backend.requests().len(), 2);
}

#[tokio::test]
async fn keys_are_kept_when_a_fetch_fails() {
    let metrics = metrics();
    let replies = [
        ok("{1}"),
        Reply::Bytes(answer("500 Oops", "", "{2}")),
        Reply::Bytes(answer("302 Found", "Location: /path\r\n", "{2}")),
        Reply::Bytes(answer("201 Created", "", "{2}")),
        ok("<html>"),
        ok(format!("{{{}}}", "x".repeat(64 << 10))),
        Reply::Last(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{2}".to_vec()),
        ok("{3}"),
    ];
    let count = replies.len();
    let backend = StubBackend::replying(replies).await;
    let jwks = jwks_with(&backend, Duration::from_nanos(1), LONG, metrics.clone());
    jwks.keys().await.unwrap();
    for fetches in 2..count {
        assert_eq!(jwks.look_up(is("{3}")).await.unwrap_err().code(), Code::KeysUnavailable);
        assert_eq!(*jwks.keys().await.unwrap(), "{1}");
        assert_eq!(backend.requests().len(), fetches);
    }
    assert!(jwks.look_up(is("{3}")).await.unwrap().is_some());
    let text = metrics.text(0, crate::metrics::LogGauges::default());
    assert!(text.contains("tidings_jwks_fetches_total 8\n"), "{text}");
    assert!(text.contains("tidings_jwks_failures_total 6\n"), "{text}");
}

#[tokio::test]
async fn hub_starts_without_keys_and_gets_them_when_the_interval_is_over() {
    let backend = StubBackend::replying([Reply::Bytes(answer("503 Later", "", "")), ok("{1}")]).await;
    let jwks = jwks(&backend, INTERVAL_MIN);
    for _ in 0..10 {
        let fault = jwks.keys().await.unwrap_err();
        assert_eq!(fault.code(), Code::KeysUnavailable);
        let wait = fault.retry_after_hint().unwrap();
        assert!(wait >= Duration::from_secs(1) && wait <= INTERVAL_MIN, "{wait:?}");
        assert!(!fault.to_string().contains("127.0.0.1"), "{fault}");
    }
    assert_eq!(backend.requests().len(), 1);
    jwks.fetching.lock().await.began = Some(Instant::now() - INTERVAL_MIN);
    assert_eq!(*jwks.keys().await.unwrap(), "{1}");
    assert_eq!(backend.requests().len(), 2);
}

#[tokio::test]
async fn wait_until_the_next_fetch_is_never_said_to_be_less_than_a_second() {
    let backend = StubBackend::always(Reply::Last(Vec::new())).await;
    let fault = jwks(&backend, Duration::from_millis(10)).keys().await.unwrap_err();
    assert_eq!(fault.retry_after_hint(), Some(Duration::from_secs(1)));
}

/// Otherwise a client that asks and leaves every ten seconds keeps a hub without keys.
#[tokio::test]
async fn fetch_that_was_left_behind_is_taken_up_by_the_next() {
    let places = Arc::new(Semaphore::new(0));
    let backend = StubBackend::always(Reply::When(places.clone(), answer("200 OK", "", "{1}"))).await;
    let jwks = jwks(&backend, LONG);
    ask_and_leave(&jwks, &backend).await;
    places.add_permits(1);
    assert_eq!(*jwks.keys().await.unwrap(), "{1}");
    assert_eq!(backend.requests().len(), 1);
}

#[tokio::test]
async fn fetch_that_was_left_behind_too_long_ago_is_begun_anew() {
    let backend = StubBackend::replying([Reply::Silence, ok("{1}")]).await;
    let jwks = jwks_with(&backend, Duration::from_millis(100), Duration::from_millis(100), metrics());
    ask_and_leave(&jwks, &backend).await;
    assert_eq!(*jwks.keys().await.unwrap(), "{1}");
}

#[tokio::test]
async fn keep_fresh_waits_for_its_turn_and_brings_what_is_new() {
    let backend = numbering().await;
    let interval = Duration::from_millis(50);
    let jwks = jwks(&backend, interval);
    let began = Instant::now();
    jwks.refresh().await;
    assert_eq!(*jwks.newest().unwrap(), "{0}");
    jwks.refresh().await;
    assert_eq!(*jwks.newest().unwrap(), "{1}");
    assert!(began.elapsed() >= interval);
    assert_eq!(backend.requests().len(), 2);
}

#[test]
fn url_is_https_or_http_to_loopback() {
    let made = |url| Jwks::new(url, parse, metrics()).map(drop);
    for url in [
        "https://id.example.com/keys",
        "https://10.0.0.1/keys",
        "http://127.0.0.1:8080/keys",
        "http://[::1]/keys",
        "http://localhost/keys",
    ] {
        made(url).unwrap();
    }
    for url in
        ["http://10.0.0.1/keys", "http://[fe80::1]/", "http://169.254.169.254/", "ftp://localhost/", "keys"]
    {
        made(url).unwrap_err();
    }
}
