//! Keys of an identity provider that is slow, unreachable, broken, or rotates them.

use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::auth_matrix::assert_refused_on_every_route;
use crate::prelude::*;

const FIRST: KeyPair = KeyPair("rsa");
const SECOND: KeyPair = KeyPair("stranger");
const HISTORY: &str = "/api/v1/channels/user.u/events";

fn hub(provider: &JwksProvider) -> TestHub {
    protected(&format!("jwks_url = {:?}", provider.url()))
}

fn token_of(pair: KeyPair, key_id: &str) -> String {
    by_pair(pair, &header("RS256", json!({"kid": key_id})), &claims("u"))
}

fn history(hub: &TestHub, token: &str) -> HttpResponse {
    hub.get_as(token, HISTORY)
}

#[test]
fn tokens_are_verified_with_the_key_of_their_key_id() {
    let mut bound = SECOND.jwk("bound");
    bound["alg"] = "RS512".into();
    let mut for_encryption = SECOND.jwk("encryption");
    for_encryption["use"] = "enc".into();
    let broken = json!({"kty": "RSA", "kid": "broken", "n": "!", "e": 3});
    let provider =
        JwksProvider::start(&[FIRST.jwk("first"), bound, for_encryption, broken, json!("nonsense")]);
    let hub = hub(&provider);
    history(&hub, &token_of(FIRST, "first")).assert_status(200);
    let without_a_name = by_pair(FIRST, &header("RS256", json!({})), &claims("u"));
    history(&hub, &without_a_name).assert_status(200);
    let as_bound = by_pair(SECOND, &header("RS512", json!({"kid": "bound"})), &claims("u"));
    history(&hub, &as_bound).assert_status(200);
    for other in ["bound", "first"] {
        history(&hub, &token_of(SECOND, other)).assert_problem(401, "bad_credentials");
    }
    history(&hub, &token_of(FIRST, "bound")).assert_problem(401, "bad_credentials");
    assert_eq!(provider.request_count(), 1);
    // Tokens with an unknown key id wait for the next fetch, all of them for the same one.
    let unknown = ["encryption", "broken", "First", "unknown", "", "../first", "first\0"];
    let unknown = unknown.map(|name| token_of(SECOND, name)).into_iter();
    let unknown = unknown.chain(["unknown", "FIRST", "first "].map(|name| token_of(FIRST, name)));
    for response in in_parallel(unknown, |token| history(&hub, &token)) {
        response.assert_problem(401, "bad_credentials");
    }
    assert_eq!(provider.request_count(), 2);
}

#[test]
fn tokens_of_unknown_keys_wait_for_one_fetch_and_those_beyond_64_are_put_off() {
    let provider = JwksProvider::start(&[FIRST.jwk("first")]);
    let hub = hub(&provider);
    let good = token_of(FIRST, "first");
    history(&hub, &good).assert_status(200);
    let statuses = in_parallel(0..100, |number| {
        // One constant signature: the test measures the hub.
        let header = header("RS256", json!({"kid": number.to_string()}));
        let response = history(&hub, &sealed(&header, &claims("u"), |_| vec![7; 256]));
        if response.head.status == 401 {
            response.assert_problem(401, "bad_credentials");
        } else {
            let head = &response.assert_problem(503, "keys_unavailable").head;
            assert!(head.header("retry-after").is_some());
        }
        response.head.status
    });
    let refused = statuses.iter().filter(|status| **status == 401).count();
    assert!((1..=64).contains(&refused), "{refused} waited at once");
    history(&hub, &good).assert_status(200);
    assert!(provider.request_count() <= 2, "{} fetches", provider.request_count());
}

#[test]
fn hub_without_keys_gives_503_on_every_route() {
    // The listener is closed.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut hub = protected(&format!("jwks_url = \"http://{address}/keys?secret=s3cret\""));
    hub.read_log_through("fetch of keys failed");
    hub.get("/readyz").assert_status(200);
    assert_keys_unavailable(&hub);
    // Tokens that no key could verify are refused as usual, and API keys need no provider.
    for bad in ["garbage".to_owned(), by_secret(SECRET.as_bytes(), &header("HS256", json!({})), &claims("u"))]
    {
        history(&hub, &bad).assert_problem(401, "bad_credentials");
    }
    history(&hub, KEY).assert_status(200);
    hub.signal(rustix::process::Signal::TERM);
    let (_, log) = hub.wait_for_exit();
    assert!(!log.contains("s3cret"), "{log}");
}

#[track_caller]
fn assert_keys_unavailable(hub: &TestHub) {
    for response in assert_refused_on_every_route(hub, &token_of(FIRST, "first"), 503, "keys_unavailable") {
        let wait: u64 = response.head.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=10).contains(&wait), "{wait}");
    }
}

/// Waits until a condition holds. It checks rarely and leaves the machine to other tests.
#[track_caller]
fn eventually_checked_rarely(condition: &str, mut holds: impl FnMut() -> bool) {
    eventually(condition, || {
        std::thread::sleep(Duration::from_millis(250));
        holds()
    });
}

/// The hub fetches every ten seconds at most, so this test covers all cases of a second fetch at once.
#[test]
fn second_fetch_adds_keys_and_a_failed_one_removes_none() {
    let bait = TcpListener::bind("127.0.0.1:0").unwrap();
    let elsewhere = format!("Location: http://{}/keys\r\n", bait.local_addr().unwrap());
    let large = json!({"keys": [FIRST.jwk("first")], "more": "x".repeat(1 << 20)}).to_string();
    std::thread::scope(|scope| {
        scope.spawn(late_keys_are_used);
        scope.spawn(rotated_keys_are_used_and_end_streams);
        for (status, header, body) in [
            ("500 Internal Server Error", "", "{}"),
            ("404 Not Found", "", "{\"keys\":[]}"),
            ("200 OK", "", "garbage"),
            ("200 OK", "", "{\"keys\":7}"),
            ("200 OK", "", ""),
            ("200 OK", "", &large),
            ("301 Moved Permanently", &elsewhere, ""),
            ("302 Found", &elsewhere, "{\"keys\":[]}"),
            ("307 Temporary Redirect", &elsewhere, ""),
        ] {
            let (header, body) = (header.to_owned(), body.to_owned());
            scope.spawn(move || keys_are_kept_after(status, &header, &body));
        }
    });
    bait.set_nonblocking(true).unwrap();
    assert!(bait.accept().is_err(), "a redirect was followed");
}

fn late_keys_are_used() {
    let provider = JwksProvider::start_unavailable();
    provider.set_reply("503 Service Unavailable", "", "");
    let begun = Instant::now();
    let hub = hub(&provider);
    assert_keys_unavailable(&hub);
    provider.publish(&[FIRST.jwk("first")]);
    let token = token_of(FIRST, "first");
    eventually_checked_rarely("the late keys are taken", || {
        let response = history(&hub, &token);
        assert!(matches!(response.head.status, 200 | 503), "{}", response.text());
        response.head.status == 200
    });
    assert_eq!(provider.request_count(), 2);
    assert!(begun.elapsed() >= Duration::from_secs(10), "fetched again after {:?}", begun.elapsed());
    hub.subscribe_as(&token, "/api/v1/events/user.u");
}

fn rotated_keys_are_used_and_end_streams() {
    let provider = JwksProvider::start(&[FIRST.jwk("first")]);
    let hub = hub(&provider);
    let (old, new) = (token_of(FIRST, "first"), token_of(SECOND, "second"));
    let mut stream = hub.subscribe_as(&old, "/api/v1/events/user.u");
    let mut of_key = hub.subscribe_as(KEY, "/api/v1/events/user.u");
    provider.publish(&[SECOND.jwk("second")]);
    history(&hub, &new).assert_status(200);
    assert_eq!(provider.request_count(), 2);
    stream.connection.socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.assert_end("revoked", false);
    history(&hub, &old).assert_problem(401, "bad_credentials");
    hub.assert_delivers("user.u", "still here", &mut of_key);
}

/// Asserts that the hub keeps its keys after a fetch with this response.
fn keys_are_kept_after(status: &str, header: &str, body: &str) {
    let provider = JwksProvider::start(&[FIRST.jwk("first")]);
    let hub = hub(&provider);
    let token = token_of(FIRST, "first");
    let mut stream = hub.subscribe_as(&token, "/api/v1/events/user.u");
    provider.set_reply(status, header, body);
    let unknown = token_of(SECOND, "unknown");
    // This token waits for the fetch, which fails: a later one may bring its key.
    let response = history(&hub, &unknown);
    response.assert_problem(503, "keys_unavailable");
    assert!(response.head.header("retry-after").is_some());
    assert_eq!(provider.request_count(), 2);
    history(&hub, &token).assert_status(200);
    hub.publish_as_backend("user.u", "still here");
    assert_eq!(stream.data(), "still here", "{status} {body}");
    assert_eq!(hub.counter("tidings_jwks_failures_total"), 1.0, "{status} {body}");
}

#[test]
fn jwks_over_plain_http_is_refused_beyond_loopback() {
    let directory = TempDirectory::create();
    for url in [
        "http://id.example.com/keys",
        "http://10.0.0.1/keys",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost.example.com/keys",
        "http://127.0.0.1.example.com/keys",
        "http://127.0.0.1@example.com/keys",
        "http://[2001:db8::1]/keys",
        "http://0.0.0.0/keys",
        "ftp://127.0.0.1/keys",
        "file:///etc/passwd",
        "keys.json",
        "",
    ] {
        directory.write("tidings.toml", &format!("[auth]\njwks_url = {url:?}\n"));
        for command in [&["check"][..], &["serve", "--memory", "--listen", "127.0.0.1:0"]] {
            directory.run(command, &[]).assert_refused(&["tidings.toml:2:12: auth.jwks_url "]);
        }
    }
    for url in [
        "https://id.example.com/keys",
        "http://localhost/keys",
        "http://127.9.9.9:1/keys",
        "http://[::1]/keys",
    ] {
        directory.write("tidings.toml", &format!("[auth]\njwks_url = {url:?}\n"));
        assert_eq!(directory.run(&["check"], &[]).code, Some(0), "{url}");
    }
}

/// An identity provider that answers every request alike.
pub(crate) struct JwksProvider {
    server: StubServer,
    reply: Arc<Mutex<Vec<u8>>>,
}

impl JwksProvider {
    /// Starts a provider that publishes these keys.
    pub(crate) fn start(keys: &[Value]) -> Self {
        let provider = Self::start_unavailable();
        provider.publish(keys);
        provider
    }

    /// Starts a provider whose answer is empty.
    fn start_unavailable() -> Self {
        let reply = Arc::<Mutex<Vec<u8>>>::default();
        let shared = reply.clone();
        let server = StubServer::start(move |_| StubReply::closing(shared.lock().unwrap().clone()));
        Self { server, reply }
    }

    pub(crate) fn url(&self) -> String {
        self.server.url("/keys")
    }

    pub(crate) fn request_count(&self) -> usize {
        self.server.request_count()
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.set_reply("200 OK", "", &json!({"keys": keys}).to_string());
    }

    pub(crate) fn set_reply(&self, status: &str, header: &str, body: &str) {
        let headers = format!("Connection: close\r\n{header}");
        *self.reply.lock().unwrap() = StubReply::response(status, &headers, body).bytes;
    }
}
