//! Requests over HTTP/1.1 and HTTP/2, with or without TLS, and answers as they arrive.

use std::error::Error as StdError;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, Version, header};
use http_body_util::Full;
use hyper::body::{Body, Incoming};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client as HyperClient, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use tokio::time::timeout;

use crate::error::{Error, ErrorKind, ProblemText};

/// Time for a connection attempt.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for which an idle connection is kept. It is below `server.idle_timeout` of hubs and proxies, so that none closes a
/// connection that is about to be used.
const POOL_IDLE_MAX: Duration = Duration::from_secs(5);

/// Interval of HTTP/2 pings, and time for each answer.
const PING_INTERVAL: Duration = Duration::from_secs(15);

/// Bytes of an error's body that are read, at most.
const PROBLEM_BYTES_MAX: usize = 64 * 1024;

/// Time for the body of an error.
const PROBLEM_TIMEOUT: Duration = Duration::from_secs(5);

type HttpSender = HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends requests: over pooled connections, or each over its own.
#[derive(Clone, Debug)]
pub(crate) struct HttpTransport {
    /// The hub's URL, for errors.
    base: Arc<str>,
    pooled: HttpSender,
    /// Used for streams: after a break the next attempt must not use the same dead HTTP/2 connection.
    fresh: HttpSender,
}

impl HttpTransport {
    pub(crate) fn new(base: &str) -> Result<Self, Error> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_keepalive(Some(Duration::from_secs(30)));
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_webpki_roots(Arc::new(rustls::crypto::ring::default_provider()))
            .map_err(|error| Error::input(format!("TLS cannot be set up: {error}")).with_source(error))?
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(http);
        let mut builder = HyperClient::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_MAX)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_INTERVAL)
            // It retries only requests of which no byte was written, so no event is published twice.
            .retry_canceled_requests(true);
        let pooled = builder.build(https.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(https);
        Ok(Self { base: base.into(), pooled, fresh })
    }

    /// Sends over a pooled connection, or over one of its own, and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        is_pooled: bool,
    ) -> Result<Exchange, Error> {
        let sender = if is_pooled { &self.pooled } else { &self.fresh };
        let response = sender.request(request).await.map_err(|error| {
            let (kind, problem) = if error.is_connect() {
                (ErrorKind::Connect, "no connection to")
            } else {
                (ErrorKind::Interrupted, "no answer before the connection broke from")
            };
            let (base, cause) = (&self.base, root_cause(&error));
            let hint = other_scheme(base, &error).map_or_else(String::new, |hint| format!("; {hint}"));
            Error::new(kind, format!("{problem} {base}: {cause}{hint}")).with_source(error)
        })?;
        Ok(Exchange { base: self.base.clone(), response })
    }
}

/// Returns advice if the error shows that the port speaks the other scheme.
fn other_scheme(base: &str, error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(place) = base.strip_prefix("https://") {
        return causes(error)
            .any(is_plain_text)
            .then(|| format!("that port speaks no TLS; write http://{place} if it is the hub's own"));
    }
    let place = base.strip_prefix("http://")?;
    let is_no_http = |cause: &(dyn StdError + 'static)| {
        cause.downcast_ref::<hyper::Error>().is_some_and(|cause| cause.is_parse())
    };
    causes(error)
        .any(is_no_http)
        .then(|| format!("that port speaks no plain HTTP; write https://{place} if it speaks TLS"))
}

/// Returns whether the answer to a TLS handshake was of another protocol.
fn is_plain_text(cause: &(dyn StdError + 'static)) -> bool {
    if let Some(cause) = cause.downcast_ref::<rustls::Error>() {
        return matches!(cause, rustls::Error::InvalidMessage(_));
    }
    // `source` does not return the error inside an `io::Error`.
    let inner = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    inner.is_some_and(|inner| is_plain_text(inner))
}

/// Returns an error, then its causes.
fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |cause| (*cause).source())
}

/// Returns the innermost cause, the failure itself. Outer causes only name the layers that reported it.
fn root_cause(error: &(dyn StdError + 'static)) -> String {
    causes(error).last().unwrap_or(error).to_string()
}

/// An answer as it arrives: its head, then its body chunk by chunk. For tools that check the way to a hub.
#[derive(Debug)]
pub struct Exchange {
    base: Arc<str>,
    response: Response<Incoming>,
}

impl Exchange {
    /// Returns the HTTP status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// Returns the HTTP version, e.g. `HTTP/1.1`.
    #[must_use]
    pub fn version(&self) -> &'static str {
        match self.response.version() {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2",
            Version::HTTP_3 => "HTTP/3",
            _ => "HTTP/1.1",
        }
    }

    /// Returns the first header of this name, if it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// Returns the next chunk of the body as it arrived; `None` at its end. Cancel safe.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when the connection breaks before the body's end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        poll_fn(|context| self.poll_chunk(context)).await
    }

    pub(crate) fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Error>> {
        loop {
            match ready!(Pin::new(self.response.body_mut()).poll_frame(context)) {
                None => return Poll::Ready(Ok(None)),
                Some(Ok(frame)) => {
                    // Trailers are ignored.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Ok(Some(data)));
                    }
                }
                Some(Err(error)) => {
                    let text = format!("connection to {} broke: {}", self.base, root_cause(&error));
                    return Poll::Ready(Err(Error::new(ErrorKind::Interrupted, text).with_source(error)));
                }
            }
        }
    }

    /// Returns the rest of the body.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] beyond `bytes_max`; [`ErrorKind::Interrupted`] as for [`Exchange::chunk`].
    pub async fn rest(&mut self, bytes_max: usize) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if body.len() + chunk.len() > bytes_max {
                let text = format!(
                    "answer of {} is more than {bytes_max} bytes, the bound of this client",
                    self.base
                );
                return Err(Error::new(ErrorKind::TooLarge, text));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// Reads the error of an unsuccessful status.
    pub(crate) async fn into_error(mut self) -> Error {
        let status = self.status();
        let retry_after = self
            .header(header::RETRY_AFTER.as_str())
            .and_then(|text| text.trim().parse().ok())
            .map(Duration::from_secs);
        if (300..400).contains(&status) {
            let to = self.header(header::LOCATION.as_str()).unwrap_or("another address").to_owned();
            let problem = ProblemText::redirect(&to);
            return Error::of_status(&self.base, status, problem, retry_after);
        }
        // An unreadable body does not change the error.
        let body = timeout(PROBLEM_TIMEOUT, self.rest(PROBLEM_BYTES_MAX)).await;
        let body = body.ok().and_then(Result::ok).unwrap_or_default();
        let is_text =
            self.header(header::CONTENT_TYPE.as_str()).is_some_and(|it| it.starts_with("text/plain"));
        let problem = if is_text {
            ProblemText::plain(&String::from_utf8_lossy(&body))
        } else {
            serde_json::from_slice(&body).unwrap_or_default()
        };
        Error::of_status(&self.base, status, problem, retry_after)
    }
}
