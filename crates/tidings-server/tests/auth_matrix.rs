//! Every credential on every route: which status each gets, and that refusals tell a forger nothing.

use std::collections::{HashMap, HashSet};
use std::net::TcpListener;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::jwks::JwksProvider;
use crate::prelude::*;
use crate::tokens;

const OURS: KeyPair = KeyPair("rsa");
const STRANGERS: KeyPair = KeyPair("stranger");
/// An API key that was removed from the settings.
const REMOVED_KEY: &str = "tk_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
const SEED: &str = "only for u";

/// Source of the keys with which a hub verifies tokens.
#[derive(Debug, Clone, Copy, PartialEq)]
enum TokenKeys {
    Secret,
    KeyFile,
    /// Keys of an identity provider; ours is named `ours`.
    JwksProvider,
}

/// Credential of a request.
#[derive(Debug, Clone)]
enum ShownCredential {
    Nothing,
    Bearer(String),
    Ticket(String),
}

struct Route {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: &'static str,
    is_resuming: bool,
    /// Statuses for no credential, a user with rights, an API key with all rights, and a ticket.
    statuses: [u16; 4],
}

const fn get(name: &'static str, path: &'static str, statuses: [u16; 4]) -> Route {
    Route { name, method: "GET", path, body: "", is_resuming: false, statuses }
}

const fn post(name: &'static str, path: &'static str, body: &'static str, statuses: [u16; 4]) -> Route {
    Route { name, method: "POST", path, body, is_resuming: false, statuses }
}

const ROUTES: [Route; 13] = [
    get("subscribe", "/api/v1/events/user.u", [401, 200, 200, 200]),
    get("subscribe to several", "/api/v1/events?channel=user.u&channel=user.u.x", [401, 200, 200, 403]),
    Route { is_resuming: true, ..get("replay by id", "/api/v1/events/user.u", [401, 200, 200, 200]) },
    get("replay by number", "/api/v1/events/user.u?history=all", [401, 200, 200, 200]),
    get("replay of several", "/api/v1/events?channel=user.u&history=5", [401, 200, 200, 200]),
    post("subscribe by a body", "/api/v1/stream", "{\"channels\":[\"user.u\"]}", [401, 200, 200, 200]),
    post("publish", "/api/v1/events/user.u", "forged", [401, 200, 200, 403]),
    post(
        "publish JSON",
        "/api/v1/publish",
        "{\"channels\":[\"user.u\"],\"data\":\"forged\"}",
        [401, 200, 200, 403],
    ),
    get("history", "/api/v1/channels/user.u/events", [401, 200, 200, 403]),
    // Anonymous clients own no channels; an empty list reveals nothing.
    get("list", "/api/v1/channels", [200, 200, 200, 403]),
    post("ticket", "/api/v1/tickets", "{\"channels\":[\"user.u\"]}", [401, 201, 201, 403]),
    post("revocation", "/api/v1/revocations", "{\"user\":\"victim\"}", [401, 403, 204, 403]),
    get("metrics", "/metrics", [401, 403, 200, 403]),
];

#[test]
fn hub_with_a_secret_accepts_its_credentials_and_no_others() {
    check(TokenKeys::Secret);
}

#[test]
fn hub_with_a_key_file_accepts_its_credentials_and_no_others() {
    check(TokenKeys::KeyFile);
}

#[test]
fn hub_with_a_jwks_accepts_its_credentials_and_no_others() {
    check(TokenKeys::JwksProvider);
}

fn check(side: TokenKeys) {
    let provider = JwksProvider::start(&[
        OURS.jwk("ours"),
        // The hub takes no symmetric key from a public key set.
        json!({"kty": "oct", "kid": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET)}),
    ]);
    let bait = TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = TempDirectory::create();
    let hub = hub(side, &directory, &provider);
    let seed = hub.publish_as_backend("user.u", "before");
    hub.publish_as_backend("user.u", SEED);
    for subject in [json!({"user": "gone"}), json!({"jti": "gone"})] {
        hub.revoke(&subject).assert_status(204);
    }
    let hub = AuthTarget { hub, seed };

    let bodies = send_bad_credentials(side, &hub, &format!("http://{}/jwks", bait.local_addr().unwrap()));
    assert_eq!(bodies.len(), 1, "a forger can tell refusals apart: {bodies:?}");
    for route in &ROUTES {
        // A head over its limit is refused before the hub looks for credentials.
        let large = ShownCredential::Bearer(side.token(json!({"more": "x".repeat(100 << 10)})));
        hub.request(route, &large).assert_problem(431, "head_too_large");
    }
    assert_no_effect(side, &hub);
    bait.set_nonblocking(true).unwrap();
    assert!(bait.accept().is_err(), "the hub contacted a server that a token names");

    send_good_credentials(side, &hub);
}

fn hub(side: TokenKeys, directory: &TempDirectory, provider: &JwksProvider) -> TestHub {
    let keys = match side {
        TokenKeys::Secret => format!("secret = {SECRET:?}"),
        TokenKeys::KeyFile => format!("key_file = {:?}", OURS.public()),
        TokenKeys::JwksProvider => format!("jwks_url = {:?}", provider.url()),
    };
    let settings = |more: &str| {
        format!("[auth]\n{keys}\naudience = \"hub\"\nissuer = \"issuer\"\n{}{more}", key_lines())
    };
    directory.write("tidings.toml", &settings(&lines_of_key("old", REMOVED_KEY)));
    let mut hub = TestHub::in_memory_in(directory, &[]);
    hub.get_as(REMOVED_KEY, "/metrics").assert_status(200);
    directory.write("tidings.toml", &settings(""));
    reload(&mut hub);
    hub
}

/// Sends every bad credential to every route; returns the bodies of the refusals that a forger can provoke.
fn send_bad_credentials(side: TokenKeys, hub: &AuthTarget, bait: &str) -> HashSet<Vec<u8>> {
    let mut bodies = HashSet::new();
    let bearer = |(name, token)| (name, ShownCredential::Bearer(token), "bad_credentials");
    let tickets = [
        ("ticket that is none", "ti_nonsense".to_owned()),
        ("ticket that is empty", String::new()),
        ("ticket that is spent", spent_ticket(hub)),
    ];
    let rows = bad_tokens(side, bait)
        .into_iter()
        .chain(malformed_tokens(side))
        .chain(bad_api_keys())
        .map(bearer)
        .chain(tickets.map(|(name, ticket)| (name, ShownCredential::Ticket(ticket), "bad_credentials")))
        .chain(outdated_tokens(side).map(|(name, token, code)| (name, ShownCredential::Bearer(token), code)));
    let mut heads: HashMap<&str, HashSet<Vec<(String, String)>>> = HashMap::new();
    let rows: Vec<_> = rows.collect();
    // A token of an unknown key waits for the next fetch. At most 64 may wait; these are fewer.
    for rows in rows.chunks(4) {
        let requests = rows.iter().flat_map(|row| ROUTES.iter().map(move |route| (row, route)));
        let responses = in_parallel(requests, |(row, route)| (row, route, hub.request(route, &row.1)));
        for ((name, _, code), route, response) in responses {
            let text = response.text();
            assert_eq!(response.head.status, 401, "{side:?}, {name}, {}: {text}", route.name);
            assert_eq!(response.json()["code"], *code, "{side:?}, {name}, {}: {text}", route.name);
            assert_eq!(response.head.header("www-authenticate"), Some("Bearer"));
            response.assert_problem(401, code);
            assert!(!text.contains(SEED));
            if *code == "bad_credentials" {
                let mut head = response.head.headers.clone();
                head.retain(|(name, _)| name != "date");
                heads.entry(route.name).or_default().insert(head);
                bodies.insert(response.body);
            }
        }
    }
    for (route, heads) in heads {
        assert_eq!(heads.len(), 1, "a forger can tell heads apart: {route}, {heads:?}");
    }
    for route in &ROUTES {
        let response = hub.request(route, &ShownCredential::Nothing);
        assert_eq!(response.head.status, route.statuses[0], "{}: {}", route.name, response.text());
        if response.head.status == 401 {
            response.assert_problem(401, "credentials_missing");
            assert_eq!(response.head.header("www-authenticate"), Some("Bearer"));
        } else {
            assert_eq!(response.json(), json!({"channels": []}));
        }
    }
    bodies
}

/// Asserts that refused requests had no effect.
fn assert_no_effect(side: TokenKeys, hub: &AuthTarget) {
    assert_eq!(hub.hub.stored_as_backend("user.u"), ["before", SEED]);
    let victims = side.token(json!({"sub": "victim"}));
    hub.hub.get_as(&victims, "/api/v1/channels/user.victim/events").assert_status(200);
    assert_eq!(hub.hub.counter("tidings_streams_open"), 0.0);
}

/// Sends good credentials: without them, the refusals would prove nothing.
fn send_good_credentials(side: TokenKeys, hub: &AuthTarget) {
    let token = side.token(json!({}));
    let of_many = side.token(json!({"aud": ["other", "hub"], "nbf": now(), "exp": now() + 86_000}));
    for route in &ROUTES {
        let ticket = hub.hub.ticket(KEY, &["user.u"]);
        for (name, shown, status) in [
            ("token", ShownCredential::Bearer(token.clone()), route.statuses[1]),
            ("token with a list of audiences", ShownCredential::Bearer(of_many.clone()), route.statuses[1]),
            ("API key", ShownCredential::Bearer(KEY.to_owned()), route.statuses[2]),
            ("ticket", ShownCredential::Ticket(ticket), route.statuses[3]),
        ] {
            let response = hub.request(route, &shown);
            let text = response.text();
            assert_eq!(response.head.status, status, "{side:?}, {name}, {}: {text}", route.name);
            if status == 403 {
                response.assert_access_denied();
            } else if route.name.starts_with("replay") || route.name == "history" {
                assert!(text.contains(SEED), "{text}");
            }
        }
    }
}

/// Tokens with false claims, or with the signature of another key.
fn bad_tokens(side: TokenKeys, bait: &str) -> Vec<(&'static str, String)> {
    let says = |changes: Value| side.token(changes);
    let strangers = |more: Value| by_pair(STRANGERS, &header("RS256", more), &claims_with(json!({})));
    let mut jwk = STRANGERS.jwk("ours");
    jwk["alg"] = "RS256".into();
    let mut rows = vec![
        ("not valid yet", says(json!({"nbf": now() + 60}))),
        ("issued in the future", says(json!({"iat": now() + 60}))),
        ("wrong audience", says(json!({"aud": "other"}))),
        ("wrong audiences", says(json!({"aud": ["other", "hub2", ""]}))),
        ("audience that begins alike", says(json!({"aud": "hub.example"}))),
        ("audience in capitals", says(json!({"aud": "HUB"}))),
        ("audience that is a number", says(json!({"aud": 7}))),
        ("no audience", says(json!({"aud": null}))),
        ("wrong issuer", says(json!({"iss": "other"}))),
        ("issuer with a slash", says(json!({"iss": "issuer/"}))),
        ("list of issuers", says(json!({"iss": ["issuer"]}))),
        ("no issuer", says(json!({"iss": null}))),
        ("no end", says(json!({"exp": null}))),
        ("end that is a word", says(json!({"exp": "never"}))),
        ("end that is a text", says(json!({"exp": (now() + 60).to_string()}))),
        ("end that is true", says(json!({"exp": true}))),
        ("end in milliseconds", says(json!({"exp": (now() + 60) * 1000}))),
        ("end after all numbers", says(json!({"exp": 1e308}))),
        ("longer than token_max_age", says(json!({"exp": now() + 90_000}))),
        ("longer than token_max_age from its issue", says(json!({"iat": now() - 90_000, "exp": now() + 60}))),
        ("start that is a word", says(json!({"nbf": "now"}))),
        ("no user", says(json!({"sub": null}))),
        ("empty user", says(json!({"sub": ""}))),
        ("user that is a list", says(json!({"sub": ["u"]}))),
        ("user with NUL", says(json!({"sub": "u\0"}))),
        // The hub checks the signature first, then the audience, then the time: only the owner learns that a token expired.
        ("expired and for others", says(json!({"exp": now() - 60, "aud": "other"}))),
        ("revoked and for others", says(json!({"sub": "gone", "iat": now() - 60, "aud": "other"}))),
        ("critical header", side.signed(json!({"crit": ["exp"]}), &claims_with(json!({})))),
        ("unknown critical header", side.signed(json!({"crit": ["x"], "x": 1}), &claims_with(json!({})))),
        ("nothing that is critical", side.signed(json!({"crit": []}), &claims_with(json!({})))),
        ("signed by a stranger", strangers(json!({}))),
        ("unknown key", strangers(json!({"kid": "unknown"}))),
        ("our key's name", strangers(json!({"kid": "ours"}))),
        ("key named as a file", strangers(json!({"kid": "../../x"}))),
        (
            "key named as /dev/null",
            by_secret(b"", &header("HS256", json!({"kid": "/dev/null"})), &claims_with(json!({}))),
        ),
        ("key named as SQL", strangers(json!({"kid": "x' UNION SELECT 'a"}))),
        ("key that it brings along", strangers(json!({"jwk": jwk, "kid": "ours"}))),
        ("address of keys", strangers(json!({"jku": bait, "kid": "unknown"}))),
        ("address of a certificate", strangers(json!({"x5u": bait, "kid": "unknown"}))),
        ("certificate that it brings along", strangers(json!({"x5c": ["MIIB"], "x5t": "AAAA"}))),
    ];
    rows.extend(tokens_of_other_algorithms(side));
    rows
}

/// Tokens that name one algorithm and use the key of another.
fn tokens_of_other_algorithms(side: TokenKeys) -> Vec<(&'static str, String)> {
    let good = claims_with(json!({}));
    let by_public =
        |algorithm: &str, secret: &[u8]| by_secret(secret, &header(algorithm, json!({"kid": "ours"})), &good);
    let pem = std::fs::read_to_string(OURS.public()).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(&body).unwrap();
    let modulus = OURS.jwk("ours")["n"].as_str().unwrap().to_owned();
    let mut rows = vec![
        ("HS256 by the text of the public key", by_public("HS256", pem.as_bytes())),
        ("HS256 by that text without its last line end", by_public("HS256", pem.trim_end().as_bytes())),
        ("HS512 by the text of the public key", by_public("HS512", pem.as_bytes())),
        ("HS256 by the base64 of the public key", by_public("HS256", body.as_bytes())),
        ("HS256 by the bytes of the public key", by_public("HS256", &der)),
        ("HS256 by the modulus", by_public("HS256", modulus.as_bytes())),
        ("HS256 by nothing", by_public("HS256", b"")),
        ("RS256 by the text of the public key", by_public("RS256", pem.as_bytes())),
        ("RS256 by the secret", by_public("RS256", SECRET.as_bytes())),
        ("HS256 by a secret that a provider publishes", {
            let key = if side == TokenKeys::Secret { b"another" } else { SECRET.as_bytes() };
            by_secret(key, &header("HS256", json!({"kid": "oct"})), &good)
        }),
    ];
    let signed_under = |header: &Value, algorithm: &str| {
        sealed(header, &good, |signed| signature_of(side, algorithm, signed))
    };
    // A valid signature under the name of another algorithm.
    let (of_another_kind, of_its_kind) =
        if side == TokenKeys::Secret { ("RS256", "HS384") } else { ("HS256", "PS256") };
    for named in [of_another_kind, of_its_kind] {
        let token = signed_under(&header(named, json!({})), side.algorithm());
        rows.push(("good signature by another algorithm than the header names", token));
    }
    for algorithm in ["none", "None", "NONE", "nOnE", "", "hs256", "rs256", "HS257", "ES256K", "dir"] {
        let header = header(algorithm, json!({}));
        rows.push(("no algorithm, no signature", sealed(&header, &good, |_| Vec::new())));
        rows.push(("no algorithm, good signature", signed_under(&header, side.algorithm())));
    }
    for algorithm in [json!(null), json!(["HS256"]), json!(1)] {
        let token = signed_under(&json!({"alg": algorithm}), side.algorithm());
        rows.push(("algorithm that is not a string", token));
    }
    rows.push(("no algorithm member", sealed(&json!({"typ": "JWT"}), &good, |_| Vec::new())));
    rows
}

/// Valid tokens that were cut, changed or extended.
fn malformed_tokens(side: TokenKeys) -> Vec<(&'static str, String)> {
    let good = side.token(json!({}));
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let other = URL_SAFE_NO_PAD.encode(claims_with(json!({"sub": "admin"})).to_string());
    let mut flipped = URL_SAFE_NO_PAD.decode(signature).unwrap();
    flipped[0] ^= 1;
    let flipped = URL_SAFE_NO_PAD.encode(&flipped);
    let zeros = URL_SAFE_NO_PAD.encode([0; 64]);
    let large = |bytes: usize| side.token(json!({"more": "x".repeat(bytes)}));
    let duplicated = format!("{{\"alg\":\"none\",\"alg\":\"{}\"}}", side.algorithm());
    vec![
        ("garbage", "garbage".to_owned()),
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("bytes above ASCII", "\u{e9}.\u{e9}.\u{e9}".to_owned()),
        ("signature stripped", format!("{header}.{payload}.")),
        ("without its third part", format!("{header}.{payload}")),
        ("claims changed", format!("{header}.{other}.{signature}")),
        ("signature changed", format!("{header}.{payload}.{flipped}")),
        ("signature cut", format!("{header}.{payload}.{}", &signature[..20])),
        ("signature grown", format!("{good}AAAA")),
        ("signature of zeros", format!("{header}.{payload}.{zeros}")),
        ("signature padded", format!("{good}==")),
        ("two tokens", format!("{good}.{good}")),
        ("five parts", format!("{header}.{payload}.{payload}.{payload}.{signature}")),
        ("two tokens with a blank", format!("{good} {good}")),
        ("in quotes", format!("\"{good}\"")),
        ("header twice", format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(duplicated))),
        ("claims that are no object", side.signed(json!({}), &json!(["u"]))),
        ("17 KiB", large(17 << 10)),
        ("40 KiB", large(40 << 10)),
        ("60 KiB of nothing", "x".repeat(60 << 10)),
        ("user with a thousand letters", side.token(json!({"sub": "u".repeat(1000)}))),
    ]
}

fn bad_api_keys() -> [(&'static str, String); 9] {
    [
        ("unknown key", "tk_CCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCCC".to_owned()),
        ("removed key", REMOVED_KEY.to_owned()),
        ("key with a changed letter", format!("{}B", &KEY[..KEY.len() - 1])),
        ("key that is cut", KEY[..KEY.len() - 1].to_owned()),
        ("key that is grown", format!("{KEY}A")),
        ("key in lower case", KEY.to_ascii_lowercase()),
        ("key without its beginning", KEY[3..].to_owned()),
        ("beginning of a key", "tk_".to_owned()),
        ("name of a key", "backend".to_owned()),
    ]
}

/// Tokens that were valid once; the refusal tells their holder why they are not valid now.
fn outdated_tokens(side: TokenKeys) -> [(&'static str, String, &'static str); 5] {
    [
        ("expired", side.token(json!({"iat": now() - 60, "exp": now() - 6})), "token_expired"),
        ("expired long ago", side.token(json!({"iat": 0, "exp": 1})), "token_expired"),
        ("revoked user", side.token(json!({"sub": "gone", "iat": now() - 60})), "revoked"),
        ("revoked user without iat", side.token(json!({"sub": "gone", "iat": null})), "revoked"),
        ("revoked token", side.token(json!({"jti": "gone"})), "revoked"),
    ]
}

fn spent_ticket(hub: &AuthTarget) -> String {
    let ticket = hub.hub.ticket(KEY, &["user.u"]);
    assert_eq!(hub.request(&ROUTES[0], &ShownCredential::Ticket(ticket.clone())).head.status, 200);
    ticket
}

/// Claims of a valid token, with changes.
fn claims_with(changes: Value) -> Value {
    let rights = json!({"subscribe": ["user.u.x"], "publish": ["user.u"]});
    merged(merged(claims("u"), json!({"aud": "hub", "iss": "issuer", "tidings": rights})), changes)
}

/// A signature that is valid if the header names the algorithm.
fn signature_of(side: TokenKeys, algorithm: &str, signed: &[u8]) -> Vec<u8> {
    match side {
        TokenKeys::Secret => hmac_of(SECRET.as_bytes(), algorithm, signed),
        TokenKeys::KeyFile | TokenKeys::JwksProvider => tokens::signature_of(OURS, algorithm, signed),
    }
}

impl TokenKeys {
    fn algorithm(self) -> &'static str {
        if self == Self::Secret { "HS256" } else { "RS256" }
    }

    fn token(self, changes: Value) -> String {
        self.signed(json!({}), &claims_with(changes))
    }

    /// A token with a signature that this hub accepts.
    fn signed(self, more: Value, claims: &Value) -> String {
        match self {
            Self::Secret => by_secret(SECRET.as_bytes(), &header("HS256", more), claims),
            Self::KeyFile => by_pair(OURS, &header("RS256", more), claims),
            Self::JwksProvider => {
                by_pair(OURS, &merged(header("RS256", json!({"kid": "ours"})), more), claims)
            }
        }
    }
}

/// Sends a credential to every route, and asserts that each refuses it by this problem; returns the responses.
#[track_caller]
pub(crate) fn assert_refused_on_every_route(
    hub: &TestHub,
    credential: &str,
    status: u16,
    code: &str,
) -> Vec<HttpResponse> {
    let shown = ShownCredential::Bearer(credential.to_owned());
    let send = |route: &Route| {
        let response = send_request(hub, route, "", &shown);
        assert_eq!(response.head.status, status, "{}: {}", route.name, response.text());
        response.assert_problem(status, code);
        response
    };
    ROUTES.iter().map(send).collect()
}

/// A hub under test, and an event id to resume after.
struct AuthTarget {
    hub: TestHub,
    seed: String,
}

impl AuthTarget {
    fn request(&self, route: &Route, shown: &ShownCredential) -> HttpResponse {
        send_request(&self.hub, route, &self.seed, shown)
    }
}

/// Sends a request, with the credential in a header or the query, and with `id` if the route resumes.
/// Of a stream it reads the first chunk, or through the seed event if the route replays it.
fn send_request(hub: &TestHub, route: &Route, id: &str, shown: &ShownCredential) -> HttpResponse {
    let mut headers = Vec::new();
    let mut path = route.path.to_owned();
    match shown {
        ShownCredential::Nothing => {}
        ShownCredential::Bearer(credential) => headers.push(bearer(credential)),
        ShownCredential::Ticket(ticket) => {
            path += if path.contains('?') { "&" } else { "?" };
            path += &format!("ticket={ticket}");
        }
    }
    if route.is_resuming {
        headers.push(("Last-Event-ID", id.to_owned()));
    }
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut connection = hub.send_request(route.method, &path, &headers, route.body.as_bytes());
    let head = connection.read_head();
    let mut body = Vec::new();
    if head.header("content-type") == Some("text/event-stream; charset=utf-8") {
        let is_replay = route.name.starts_with("replay");
        while body.is_empty() || is_replay && !String::from_utf8_lossy(&body).contains(SEED) {
            body.extend(connection.read_chunk().expect("a stream stays open"));
        }
    } else if let Some(length) = head.header("content-length") {
        body = connection.read_exact(length.parse().unwrap()).expect("the connection ended within a body");
    }
    HttpResponse { head, body }
}
