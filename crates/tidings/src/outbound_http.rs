//! Asks other servers over HTTP: bounded in time and size, never redirected, and only at addresses that were judged.

mod address_policy;
mod resolver;
mod target;

use std::{error::Error as StdError, fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

use self::resolver::Resolver;
pub(crate) use self::{address_policy::AddressPolicy, target::Target};

/// A longer answer is not read to its end.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// The head of an answer, and what is read ahead of its body.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// Below the five seconds after which common servers close a connection that we may be about to use.
const IDLE_MAX: Duration = Duration::from_secs(4);

const IDLE_CONNECTIONS_MAX: usize = 8;

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("tidings/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// One server that is asked again and again, over a few kept connections.
pub(crate) struct HttpClient {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    target: Target,
    deadline: Duration,
}

/// What a server answered, whatever its status: a redirect is an answer like any other.
#[derive(Debug)]
pub(crate) struct FetchedResponse {
    pub(crate) status: StatusCode,
    /// Empty unless the status is 200: nothing else is read.
    pub(crate) body: Bytes,
}

/// Why there is no answer, for the log of the operator: it names neither the URL nor what was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FetchError(String);

impl HttpClient {
    /// Asks `target`, where `reach` lets it, with `deadline` for each exchange from the look-up of the name to
    /// the last byte of the body.
    pub(crate) fn new(target: Target, reach: AddressPolicy, deadline: Duration) -> Self {
        Self::with_resolver(target, Resolver::new(reach), deadline)
    }

    fn with_resolver(target: Target, resolver: Resolver, deadline: Duration) -> Self {
        let mut http = HttpConnector::new_with_resolver(resolver);
        http.enforce_http(false);
        http.set_nodelay(true);
        // Shared out among the addresses of a name, so that the first dead one does not take all of it.
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

    /// Where it asks.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Fetches what is there.
    pub(crate) async fn get(&self) -> Result<FetchedResponse, FetchError> {
        self.exchange(self.request(Method::GET, Bytes::new())).await
    }

    /// Sends a JSON document.
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
            let what = if fault.is_connect() { "no connection" } else { "no answer" };
            FetchError(format!("{what}: {}", root_cause(&fault)))
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

/// The innermost cause says what happened; those around it say who noticed.
fn root_cause(fault: &(dyn StdError + 'static)) -> String {
    let mut cause = fault;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
pub(crate) mod tests;
