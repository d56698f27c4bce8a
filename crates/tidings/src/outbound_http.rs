//! Outbound HTTP requests: bounded in time and size, without redirects, to addresses that the policy allows.

mod address_policy;
mod resolver;
mod target;

use std::{error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use self::resolver::Resolver;
pub(crate) use self::{address_policy::AddressPolicy, target::Target};

/// Longest body of a response.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// Longest head of a response, with the bytes read ahead of its body.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Time for which an idle connection is kept: below the 5 s after which common servers close it.
const IDLE_MAX: Duration = Duration::from_secs(4);

const IDLE_CONNECTIONS_MAX: usize = 8;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tidings/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Client of one server, with a few kept connections.
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    target: Target,
    deadline: Duration,
}

/// Response of any status; a redirect is not followed.
#[derive(Debug)]
pub(crate) struct FetchedResponse {
    pub(crate) status: StatusCode,
    /// Empty unless the status is 200.
    pub(crate) body: Bytes,
}

/// Reason why there is no response, for the operator's log: without the URL and the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchError(String);

impl HttpClient {
    /// Returns a client of `target`. `deadline` bounds each exchange, from the name lookup to the last byte of the body.
    pub(crate) fn new(target: Target, policy: AddressPolicy, deadline: Duration) -> Self {
        Self::with_resolver(target, Resolver::new(policy), deadline)
    }

    fn with_resolver(target: Target, resolver: Resolver, deadline: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        // Divided among the addresses of a name, so that one dead address does not use up the deadline.
        http.set_connect_timeout(Some(deadline));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(rustls::crypto::ring::default_provider())
            .expect("ring has the suites of the default protocol versions")
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(https);
        Self { client, target, deadline }
    }

    /// Returns the URL of the server.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Sends a `GET`.
    pub(crate) async fn get(&self) -> Result<FetchedResponse, FetchError> {
        self.exchange(self.request(Method::GET, Bytes::new())).await
    }

    /// Sends a JSON document by `POST`.
    pub(crate) async fn post(&self, json: Vec<u8>) -> Result<FetchedResponse, FetchError> {
        let mut request = self.request(Method::POST, json.into());
        request.headers_mut().insert(header::CONTENT_TYPE, JSON);
        self.exchange(request).await
    }

    fn request(&self, method: Method, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = self.target.uri().clone();
        let headers = request.headers_mut();
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(header::ACCEPT, JSON);
        if let Some(authorization) = self.target.authorization() {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        request
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<FetchedResponse, FetchError> {
        let answer = tokio::time::timeout(self.deadline, self.unbounded_exchange(request)).await;
        answer.unwrap_or_else(|_| Err(FetchError(format!("no answer within {:?}", self.deadline))))
    }

    async fn unbounded_exchange(&self, request: Request<Full<Bytes>>) -> Result<FetchedResponse, FetchError> {
        let response = self.client.request(request).await.map_err(|fault| {
            let failure = if fault.is_connect() { "no connection" } else { "no answer" };
            FetchError(format!("{failure}: {}", root_cause(&fault)))
        })?;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Ok(FetchedResponse { status: head.status, body: Bytes::new() });
        }
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|fault| FetchError(format!("answer broke off: {}", root_cause(&*fault))))?;
        Ok(FetchedResponse { status: head.status, body: body.to_bytes() })
    }
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl StdError for FetchError {}

/// Returns the innermost cause; the outer ones name only the layers that passed it on.
fn root_cause(fault: &(dyn StdError + 'static)) -> String {
    let mut cause = fault;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
pub(crate) mod tests;
