//! The client: a hub's URL, a credential, and the limits of a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::error::{Error, ErrorKind};
use crate::transport::{Exchange, HttpTransport};

/// Bytes of an answer, at most. An answer to a batch has about 70 bytes an event, and a batch at most 10,000 events.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A client of one hub. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<ClientInner>,
}

#[derive(Debug)]
struct ClientInner {
    transport: HttpTransport,
    /// Scheme, host and path prefix, without a slash at the end.
    base: String,
    authorization: Option<HeaderValue>,
    settings: ClientSettings,
}

/// Limits of a client, by the names of the builder's methods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientSettings {
    pub(crate) timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) event_bytes_max: usize,
    pub(crate) attempts_max: u32,
}

/// Builder of a [`Client`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ClientBuilder {
    url: String,
    token: Option<String>,
    settings: ClientSettings,
}

/// Masks the token.
impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("url", &self.url)
            .field("token", &self.token.as_ref().map(|_| "***"))
            .field("settings", &self.settings)
            .finish()
    }
}

impl ClientBuilder {
    /// Sets a JWT or an API key, sent as `Authorization: Bearer`. Default: none.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets the time that each attempt of a publish may take. Default: 30 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// Sets the time after which a silent stream is dead; use three keep-alives of the hub. Default: 45 s.
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.settings.idle_timeout = idle_timeout;
        self
    }

    /// Sets the size of the largest event that a subscriber accepts. A larger event is an error, because skipping it would
    /// be a silent loss. Default: 1 MiB, four times the hub's default.
    pub fn event_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.event_bytes_max = bytes;
        self
    }

    /// Sets the number of attempts of a publish with an idempotency key, at least 1. Default: 5.
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.settings.attempts_max = attempts.max(1);
        self
    }

    /// Builds the client. It connects at its first request.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] if the URL is no `http` or `https` URL with a host, or if the token cannot stand in a header.
    pub fn build(self) -> Result<Client, Error> {
        let base = base_of(&self.url)?;
        let authorization = self.token.as_deref().map(authorization_of).transpose()?;
        let transport = HttpTransport::new(&base)?;
        Ok(Client {
            shared: Arc::new(ClientInner { transport, base, authorization, settings: self.settings }),
        })
    }
}

/// Checks the hub's URL and removes the slash at its end.
fn base_of(url: &str) -> Result<String, Error> {
    let bad = |problem: &str| Error::input(format!("url `{}` {problem}", shown(url)));
    let uri: Uri = url
        .parse()
        .map_err(|error| bad("is not a URL; write it like http://127.0.0.1:8000").with_source(error))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(bad("has no scheme http or https; write it like http://127.0.0.1:8000"));
    }
    let Some(authority) = uri.authority().filter(|authority| !authority.host().is_empty()) else {
        return Err(bad("names no host; write it like http://127.0.0.1:8000"));
    };
    if authority.as_str().contains('@') {
        return Err(bad("holds a user name; give the credential as a token"));
    }
    if uri.query().is_some() || url.contains('#') {
        return Err(bad("has a query or a fragment; give only the hub's base"));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// Returns the URL for an error: at most 120 characters, and without user name and password.
fn shown(url: &str) -> String {
    let shown: String = url.chars().take(120).flat_map(char::escape_debug).collect();
    match (shown.find("://"), shown.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => format!("{}://***{}", &shown[..scheme], &shown[at..]),
        _ => shown,
    }
}

fn authorization_of(token: &str) -> Result<HeaderValue, Error> {
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::input(
            "token is empty or has a byte that cannot stand in a header; paste it alone",
        ));
    }
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|error| Error::input("token cannot stand in a header").with_source(error))?;
    value.set_sensitive(true);
    Ok(value)
}

impl Client {
    /// Begins a client of the hub at `url`, e.g. `http://127.0.0.1:8000` or `https://example.org/tidings`.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        let settings = ClientSettings {
            timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(45),
            event_bytes_max: 1024 * 1024,
            attempts_max: 5,
        };
        ClientBuilder { url: url.into(), token: None, settings }
    }

    /// Gets `path` (which begins with a slash) over a connection of its own, for tools that check the way to a hub.
    /// Returns the answer after its head, with any status.
    ///
    /// # Errors
    /// [`ErrorKind::Input`], [`ErrorKind::Connect`] or [`ErrorKind::Interrupted`].
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Exchange, Error> {
        self.open(Method::GET, path, headers, Bytes::new()).await
    }

    /// As [`Client::get`], with any method.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Exchange, Error> {
        let request = self.request(method, path, headers, body)?;
        self.shared.transport.send(request, false).await
    }

    pub(crate) fn settings(&self) -> ClientSettings {
        self.shared.settings
    }

    /// Returns the error of an answer that did not come within `limit`.
    pub(crate) fn timeout_error(&self, limit: Duration) -> Error {
        let text = format!("no answer of {} within {limit:?}", self.shared.base);
        Error::new(ErrorKind::Interrupted, text)
    }

    /// Posts `body` and reads the JSON of a 200, within the client's timeout.
    pub(crate) async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<A, Error> {
        let request = self.request(Method::POST, path, headers, body)?;
        let limit = self.shared.settings.timeout;
        let answer = timeout(limit, async {
            let mut exchange = self.shared.transport.send(request, true).await?;
            if exchange.status() != 200 {
                return Err(exchange.into_error().await);
            }
            exchange.rest(ANSWER_BYTES_MAX).await
        });
        let body = answer.await.map_err(|_| self.timeout_error(limit))??;
        serde_json::from_slice(&body).map_err(|error| {
            let base = &self.shared.base;
            let text = format!("answer of {base} to a publish is not a hub's: {error}; check the URL");
            Error::new(ErrorKind::Protocol, text).with_source(error)
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, Error> {
        let mut builder = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.shared.base))
            .header(header::USER_AGENT, concat!("tidings-client/", env!("CARGO_PKG_VERSION")));
        if let Some(value) = &self.shared.authorization {
            builder = builder.header(header::AUTHORIZATION, value);
        }
        for (name, value) in headers {
            // Only visible ASCII, because proxies and the hub could read other bytes in different ways.
            if value.is_empty() || !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
                let text = format!("{name} is empty or not visible ASCII, so it cannot be sent");
                return Err(Error::input(text));
            }
            builder = builder.header(*name, *value);
        }
        builder
            .body(Full::new(body))
            .map_err(|error| Error::input(format!("request cannot be built: {error}")).with_source(error))
    }
}
