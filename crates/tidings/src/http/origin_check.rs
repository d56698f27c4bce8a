//! The first check of every request: its `Host`, and the `Origin` of its page.

use std::{net::IpAddr, panic::AssertUnwindSafe};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version, header, request::Parts};
use tracing::error;

use super::error::{ErrorCounted, ErrorResponse};
use crate::error::{Code, Error};
use crate::failpoint;
use crate::hub::Hub;

const ALLOWED_METHODS: HeaderValue = HeaderValue::from_static("GET, POST, PUT, DELETE");
/// Headers of the hub, and those that tracing libraries set on every request of a page.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Last-Event-ID, X-Session-Id, Idempotency-Key, Cache-Control, \
    Tidings-Event, Tidings-Priority, Tidings-Key, Tidings-Ttl, Tidings-Store, traceparent, tracestate, baggage, sentry-trace";
const EXPOSED_HEADERS: HeaderValue = HeaderValue::from_static("Tidings-Connection, Retry-After, Date");
/// Routes without private data.
const PROBED: [&str; 2] = ["/healthz", "/readyz"];
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const PREFLIGHT_SECONDS: HeaderValue = HeaderValue::from_static("7200");

/// Checks `Host` and `Origin` before the route, and lets allowed pages read the response.
pub(super) async fn guard(State(hub): State<Hub>, request: Request, next: Next) -> Response {
    let settings = hub.settings();
    let origins = &settings.cors.origins;
    let checked = match hub.authorizer().settings() {
        _ if is_probe(&request) => Ok(None),
        None => check_open(&request, settings.insecure, origins).map(|origin| origin.map(with_credentials)),
        Some(auth) => check_protected(&request, origins, auth.cookie.is_some()),
    };
    let page = match checked {
        Ok(page) => page,
        Err(error) => return refused(&hub, error),
    };
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if is_preflight && page.is_some() {
        preflight(&settings.cors.headers)
    } else {
        run(&hub, request, next).await
    };
    count(&hub, &response);
    if let Some(AllowedOrigin { origin, has_credentials }) = page {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if has_credentials {
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED_HEADERS);
    }
    // A shared cache must not give the response of one user to another. Cacheable responses set the header themselves.
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(NO_STORE);
    vary(response)
}

/// Answers a request that no route gets.
pub(super) fn refused(hub: &Hub, error: Error) -> Response {
    let mut response = ErrorResponse(error).into_response();
    count(hub, &response);
    response.headers_mut().insert(header::CACHE_CONTROL, NO_STORE);
    vary(response)
}

/// Whether a load balancer asks for the state of the hub over HTTP/1.0, which needs no Host. Browsers do not use HTTP/1.0.
fn is_probe(request: &Request) -> bool {
    request.version() == Version::HTTP_10
        && !request.headers().contains_key(header::HOST)
        && PROBED.contains(&request.uri().path())
}

/// Runs the route. A panic is answered with 500, so that the thread goes on serving other requests.
async fn run(hub: &Hub, request: Request, next: Next) -> Response {
    let answering = async {
        failpoint::hit("request");
        next.run(request).await
    };
    let Ok(response) = AssertUnwindSafe(answering).catch_unwind().await else {
        error!("answering a request panicked");
        hub.metrics().panics.requests.inc();
        let detail = "the hub failed at this request; its log says why";
        return ErrorResponse(Error::new(Code::Internal, detail)).into_response();
    };
    response
}

fn count(hub: &Hub, response: &Response) {
    let Some(ErrorCounted { code, limit }) = response.extensions().get() else { return };
    hub.metrics().http.error(*code);
    if let Some(limit) = limit {
        hub.metrics().http.limit_refused(limit);
    }
}

/// The origin of a page that may read the response.
struct AllowedOrigin {
    /// Value of `Access-Control-Allow-Origin`.
    origin: HeaderValue,
    /// Whether its requests may carry cookies.
    has_credentials: bool,
}

fn with_credentials(origin: HeaderValue) -> AllowedOrigin {
    AllowedOrigin { origin, has_credentials: true }
}

/// Adds the headers of every response.
fn vary(mut response: Response) -> Response {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Origin"));
    // A browser must not take the data of an event for a page.
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn preflight(more: &[String]) -> Response {
    let allowed = more.iter().fold(ALLOWED_HEADERS.to_owned(), |all, name| all + ", " + name);
    let allowed = HeaderValue::try_from(allowed).expect("the settings were checked for names of headers");
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, allowed),
        (header::ACCESS_CONTROL_MAX_AGE, PREFLIGHT_SECONDS),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Checks a request to an open hub: programs of this machine may do everything, pages of other sites nothing. Returns the origin
/// of an allowed page, `None` if no page asks.
fn check_open(request: &Request, insecure: bool, listed: &[String]) -> Result<Option<HeaderValue>, Error> {
    let host = host(request.uri(), request.headers())?;
    if !insecure && !is_loopback(host) {
        return Err(Error::new(
            Code::ForbiddenHost,
            format!(
                "this hub has no credentials and answers to loopback names only, not to the Host {host:?}; \
                 ask for localhost or 127.0.0.1, or set up [auth]"
            ),
        ));
    }
    let mut origins = request.headers().get_all(header::ORIGIN).iter();
    let Some(origin) = origins.next() else { return Ok(None) };
    let text = origin.to_str().unwrap_or_default();
    let is_own = insecure && is_own_address(text, host);
    if origins.next().is_none() && (is_own || listed.iter().any(|it| it == text) || is_loopback_page(text)) {
        return Ok(Some(origin.clone()));
    }
    Err(Error::new(
        Code::ForbiddenOrigin,
        format!("pages of {text:?} may not use this hub; list the origin in cors.origins to allow them"),
    ))
}

/// Checks a request to a hub with credentials. It answers to any host name, and also to pages that are not listed: they cannot
/// read the response.
fn check_protected(
    request: &Request,
    listed: &[String],
    has_cookie: bool,
) -> Result<Option<AllowedOrigin>, Error> {
    host(request.uri(), request.headers())?;
    let Some(origin) = only_origin(request.headers()) else { return Ok(None) };
    if listed.iter().any(|it| it == origin) {
        let origin = HeaderValue::from_str(origin).expect("it came as a header");
        return Ok(Some(AllowedOrigin { origin, has_credentials: has_cookie }));
    }
    let is_any = listed.iter().any(|it| it == "*");
    Ok(is_any.then_some(AllowedOrigin { origin: HeaderValue::from_static("*"), has_credentials: false }))
}

/// Returns why a request may not act on its cookie alone, which browsers send for any page. The page must be of the hub's own
/// origin or listed. Without an `Origin`, `Sec-Fetch-Site` must not be `cross-site`.
pub(super) fn cookie_fault(request: &Parts, listed: &[String], is_tls: bool) -> Option<Error> {
    let headers = &request.headers;
    let is_allowed = if headers.contains_key(header::ORIGIN) {
        only_origin(headers).is_some_and(|origin| {
            let host = host(&request.uri, headers).unwrap_or_default();
            listed.iter().any(|it| it == origin) || is_own(origin, host, is_tls)
        })
    } else {
        headers.get("sec-fetch-site").is_none_or(|site| site != "cross-site")
    };
    (!is_allowed).then(|| {
        Error::new(
            Code::ForbiddenOrigin,
            "a page of another origin may not use its visitor's cookie here; list the origin in cors.origins, \
             or send `Authorization: Bearer`",
        )
    })
}

/// Returns the origin if there is exactly one.
fn only_origin(headers: &HeaderMap) -> Option<&str> {
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let origin = origins.next()?.to_str().ok()?;
    origins.next().is_none().then_some(origin)
}

/// Whether the page came from the requested host. A proxy may have ended TLS in front of a hub without TLS.
fn is_own(origin: &str, host: &str, is_tls: bool) -> bool {
    let Some((scheme, of_page)) = origin.split_once("://") else { return false };
    let default_port = if scheme == "https" { ":443" } else { ":80" };
    let host = host.strip_suffix(default_port).unwrap_or(host);
    (scheme == "https" || scheme == "http" && !is_tls)
        && of_page.eq_ignore_ascii_case(host)
        && !host.is_empty()
}

/// Returns the requested host, with its port if it has one.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Result<&'a str, Error> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let named = hosts.next();
    if hosts.next().is_some() {
        return Err(Error::new(Code::BadHeader, "two Host headers; send one"));
    }
    let of_uri = uri.authority().map(http::uri::Authority::as_str);
    let of_header = named.map(|host| host.to_str().unwrap_or("\u{fffd}"));
    match (of_uri, of_header) {
        // HTTP/2 has the host in the target. If both are present they must be equal.
        (Some(target), Some(header)) if target != header => Err(Error::new(
            Code::BadHeader,
            format!("the target names {target:?} and Host {header:?}; they must be one"),
        )),
        (Some(host), _) | (None, Some(host)) => Ok(host),
        (None, None) => Err(Error::new(Code::BadHeader, "no Host header; HTTP/1.1 requires one")),
    }
}

/// Returns the host without its port.
fn bare(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or(host, |(address, _)| address);
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

fn is_loopback(host: &str) -> bool {
    let name = bare(host);
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(address)) => address.is_loopback(),
        Ok(IpAddr::V6(address)) => address.to_canonical().is_loopback(),
        Err(_) => {
            let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
            // Browsers resolve names below `localhost` to loopback themselves; no DNS server is asked.
            name == "localhost" || name.ends_with(".localhost")
        }
    }
}

fn is_loopback_page(origin: &str) -> bool {
    let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    host.is_some_and(|host| !host.contains(['/', '@', '?', '#']) && is_loopback(host))
}

/// Whether the page came from the requested address. A name is not enough: its owner may point it to any address.
fn is_own_address(origin: &str, host: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, of_page)| of_page == host)
        && bare(host).parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests;
