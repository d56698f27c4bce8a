//! The client: where the hub is, who we are, and the bounds of a request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::Full;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::transport::{Exchange, Transport};
use crate::{Error, ErrorKind, Message, PublishAnswer, PublishRequest, SubscribeRequest};

/// An answer to a batch is about 70 bytes an event, and a body of the hub's default bound holds some 280,000.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A connection to one hub, shared by its clones.
#[derive(Clone, Debug)]
pub struct Client {
    shared: Arc<ClientInner>,
}

#[derive(Debug)]
struct ClientInner {
    transport: Transport,
    /// Scheme, host and path prefix, without a slash at the end.
    base: String,
    authorization: Option<HeaderValue>,
    settings: ClientSettings,
}

/// The bounds of a client, by the names of the builder's methods.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientSettings {
    pub(crate) timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) event_bytes_max: usize,
    pub(crate) attempts_max: u32,
}

/// ClientSettings of a [`Client`] before it is built.
#[derive(Clone)]
pub struct ClientBuilder {
    url: String,
    token: Option<String>,
    settings: ClientSettings,
}

/// The token is masked.
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
    /// A JWT or an API key, sent as `Authorization: Bearer`. Default: none.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// How long a publish may take, each attempt by itself. Default: 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = timeout;
        self
    }

    /// A stream that is silent for so long is taken for dead; three keep-alives of the hub. Default: 45 s.
    #[must_use]
    pub fn idle_timeout(mut self, idle_timeout: Duration) -> Self {
        self.settings.idle_timeout = idle_timeout;
        self
    }

    /// The largest event that a subscription accepts; a larger one is an error, as it cannot be skipped unseen.
    /// Default: 1 MiB, four times the hub's default.
    #[must_use]
    pub fn event_bytes_max(mut self, bytes: usize) -> Self {
        self.settings.event_bytes_max = bytes;
        self
    }

    /// How often a publish with an idempotency key is tried in all; at least once. Default: 5.
    #[must_use]
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.settings.attempts_max = attempts.max(1);
        self
    }

    /// Builds the client. It connects when it is first used.
    ///
    /// # Errors
    /// [`ErrorKind::Input`] when the URL is no `http` or `https` URL of a host, or the token cannot stand in a
    /// header.
    pub fn build(self) -> Result<Client, Error> {
        let base = base_of(&self.url)?;
        let authorization = self.token.as_deref().map(authorization_of).transpose()?;
        let transport = Transport::new(&base)?;
        Ok(Client {
            shared: Arc::new(ClientInner { transport, base, authorization, settings: self.settings }),
        })
    }
}

/// Checks the hub's URL and cuts the slash at its end.
fn base_of(url: &str) -> Result<String, Error> {
    let bad = |fault: &str| Error::input(format!("url `{}` {fault}", shown(url)));
    let uri: Uri = url
        .parse()
        .map_err(|fault| bad("is not a URL; write it like http://127.0.0.1:8000").with_source(fault))?;
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

/// The URL as an error may show it: shortened, and without what stands before an `@`, which may be a password.
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
        .map_err(|fault| Error::input("token cannot stand in a header").with_source(fault))?;
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

    /// Begins an event for `channel`; [`PublishRequest::send`] publishes it.
    pub fn publish(&self, channel: impl Into<String>) -> PublishRequest {
        PublishRequest::new(self.clone(), Message::new(channel))
    }

    /// As [`Client::publish`], with a message that is built already; it may have several channels.
    pub fn publish_message(&self, message: Message) -> PublishRequest {
        PublishRequest::new(self.clone(), message)
    }

    /// Publishes several events as one batch: all are stored, next to each other, or none. One answer each.
    ///
    /// It is tried again only if every message has an idempotency key, as for [`PublishRequest::send`].
    ///
    /// # Errors
    /// As for [`PublishRequest::send`]; [`Error::index`] names the first message at fault.
    pub async fn publish_batch(&self, messages: Vec<Message>) -> Result<Vec<PublishAnswer>, Error> {
        crate::publish::send_batch(self, &messages).await
    }

    /// Begins a subscription to channels and patterns; [`SubscribeRequest::start`] opens it. Channels that fit no URL of
    /// 2 KiB are sent in a body.
    pub fn subscribe<S: Into<String>>(&self, subscriptions: impl IntoIterator<Item = S>) -> SubscribeRequest {
        SubscribeRequest::new(self.clone(), subscriptions.into_iter().map(Into::into).collect())
    }

    /// Asks for `path` (beginning with a slash) over a connection of its own and returns the answer, whatever its
    /// status, as soon as its head is there. For tools that look at the way to a hub.
    ///
    /// # Errors
    /// [`ErrorKind::Input`], [`ErrorKind::Connect`] or [`ErrorKind::Interrupted`].
    pub async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Result<Exchange, Error> {
        self.open(Method::GET, path, headers, Bytes::new()).await
    }

    /// As [`Client::get`], by any method.
    pub(crate) async fn open(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Exchange, Error> {
        let request = self.request(method, path, headers, body)?;
        self.shared.transport.send_fresh(request).await
    }

    pub(crate) fn settings(&self) -> ClientSettings {
        self.shared.settings
    }

    /// The hub's URL, as errors name it.
    pub(crate) fn base(&self) -> &str {
        &self.shared.base
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
            let mut exchange = self.shared.transport.send(request).await?;
            if exchange.status() != 200 {
                return Err(exchange.refusal().await);
            }
            exchange.rest(ANSWER_BYTES_MAX).await
        });
        let body = answer.await.map_err(|_| {
            let text = format!("no answer of {} within {limit:?}", self.base());
            Error::new(ErrorKind::Interrupted, text)
        })??;
        serde_json::from_slice(&body).map_err(|fault| {
            let base = self.base();
            let text = format!("answer of {base} to a publish is not a hub's: {fault}; check the URL");
            Error::new(ErrorKind::Protocol, text).with_source(fault)
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
            // Visible ASCII only: what a proxy or the hub would read otherwise must not be sent.
            if value.is_empty() || !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
                let text = format!("{name} is empty or not visible ASCII, so it cannot be sent");
                return Err(Error::input(text));
            }
            builder = builder.header(*name, *value);
        }
        builder
            .body(Full::new(body))
            .map_err(|fault| Error::input(format!("request cannot be built: {fault}")).with_source(fault))
    }
}
