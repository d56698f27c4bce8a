//! Accepts connections and serves them, over HTTP/1.1 and HTTP/2, plain or within TLS, until the hub ends.

mod acceptor;

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version, header};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, rt::Executor, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tidings_sync::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use self::acceptor::Acceptor;
use super::{shards::ShardThreads, supervisor::Supervisor, tls};
use crate::error::{Code, Error};
use crate::hub::{Hub, Lifecycle};
use crate::transport::event_stream::with_stream_deadline;
use crate::transport::idle::{Activity, ActivityObserver, AnsweringGuard, IdleTimeout};
use crate::transport::shard::{ForwardToHyper, ForwardedConnection, Shards};
use crate::transport::socket::{Backpressure, PeerInfo, Socket};
use crate::transport::strict_io::{HEAD_BYTES_MAX, RefusedHead, StrictIo, head_too_large};
use crate::{http as http_routes, lock};

/// Bytes of requests and of a response that hyper buffers: the largest head, and bytes that arrived with it.
const BUFFER_BYTES_MAX: usize = HEAD_BYTES_MAX + (16 << 10);
/// Bound of a request head of HTTP/2 after decompression; twice the bound of browsers and proxies.
const HEAD_BYTES_MAX_H2: usize = 32 << 10;
/// Bound above which hyper refuses a head of HTTP/2, with an empty body.
const HEAD_BYTES_READ_H2: u32 = 2 * HEAD_BYTES_MAX_H2 as u32;
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 1024;
/// Streams of an HTTP/2 connection that the client reset and hyper has not accepted yet; one more ends the connection.
const PENDING_RESETS_MAX: usize = 20;
/// Streams of an HTTP/2 connection that were reset because of client errors; one more ends the connection.
const LOCAL_RESETS_MAX: usize = 100;
/// Time that a connection has to send its first request and to end, once the listeners are closed.
const CLOSE_GRACE: Duration = Duration::from_millis(500);
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Serves a hub on listening sockets until [`Hub::shutdown`] was called and each connection has ended.
///
/// ```
/// # async fn stopped() {}
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = tidings::Hub::builder().memory().build().await?;
/// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
/// let ending = hub.clone();
/// tokio::spawn(async move {
///     stopped().await;
///     ending.shutdown().await;
/// });
/// tidings::serve(hub, vec![listener]).await?;
/// # Ok(())
/// # }
/// ```
///
/// With `server.tls` all listeners speak TLS, with HTTP/2 and HTTP/1.1; [`Hub::reload`] takes new certificates.
///
/// # Errors
/// If a listener cannot be used, if a thread or task has ended before the hub (see [`Hub::closed`]), or if the log cannot be
/// opened.
pub async fn serve(hub: Hub, listeners: Vec<TcpListener>) -> Result<(), Error> {
    let router = hub.whole_router();
    serve_with(hub, router, listeners).await
}

/// Serves the host application's router, which includes the hub's routes, as [`serve`] does.
///
/// The hub notices sockets that take no bytes. If another server serves the routes, a stream cannot know that it is behind.
///
/// # Errors
/// If a listener cannot be used, if a thread or task has ended before the hub (see [`Hub::closed`]), or if the log cannot be
/// opened.
pub async fn serve_with(hub: Hub, router: Router, listeners: Vec<TcpListener>) -> Result<(), Error> {
    let server =
        ServeContext { hub, router, connections: TaskTracker::new(), closing: CancellationToken::new() };
    let shards = ShardThreads::start(&server.hub, &server.router, &forward_to_hyper(&server))
        .map_err(|error| Error::new(Code::Internal, "a shard could not be started").caused_by(error))?;
    let acceptor =
        Acceptor::start(&Supervisor::of(&server.hub), listeners, on_accept(&server, shards.mailboxes()))
            .map_err(|error| {
                Error::new(Code::Internal, "a listening socket cannot be used").caused_by(error)
            })?;
    reached(&mut server.hub.lifecycle(), Lifecycle::Draining).await;
    shards.mailboxes().drain();
    // Connections are accepted until the end of the hub: a proxy answers 502 if its connection is refused.
    reached(&mut server.hub.lifecycle(), Lifecycle::Ended).await;
    acceptor.end().await;
    server.closing.cancel();
    shards.end(CLOSE_GRACE).await;
    server.connections.close();
    server.connections.wait().await;
    server.hub.closed().await.map_err(|ended| Error::new(Code::Internal, ended.to_string()))?;
    server.hub.check_opened()
}

/// State that all connections share.
#[derive(Clone)]
struct ServeContext {
    hub: Hub,
    router: Router,
    /// Tasks of the connections that hyper serves.
    connections: TaskTracker,
    /// The listeners are closed.
    closing: CancellationToken,
}

/// Returns the handler of new connections: it assigns them to shards, or with TLS to hyper.
fn on_accept(
    server: &ServeContext,
    shards: Arc<Shards>,
) -> impl Fn(mio::net::TcpStream, SocketAddr) + Send + 'static {
    let (server, runtime) = (server.clone(), Handle::current());
    let is_tls = server.hub.inner().tls.is_some();
    move |socket, peer| {
        tune(&socket, server.hub.settings().stream.write_timeout);
        if is_tls {
            server.connections.spawn_on(tls_connection(server.clone(), socket, peer), &runtime);
        } else {
            shards.assign(socket, peer);
        }
    }
}

/// Returns the handler of connections that shards forward.
fn forward_to_hyper(server: &ServeContext) -> ForwardToHyper {
    let (server, runtime) = (server.clone(), Handle::current());
    Arc::new(move |forwarded| {
        let connection = forwarded_connection(server.clone(), forwarded);
        server.connections.spawn_on(connection, &runtime);
    })
}

async fn forwarded_connection(server: ServeContext, forwarded: ForwardedConnection) {
    let ForwardedConnection { socket, peer, read, response, head_due } = forwarded;
    let socket = match TcpStream::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            return warn!(%error, "forwarding a socket failed; its client reconnects");
        }
    };
    let settings = server.hub.settings();
    let socket = Socket::with_read(socket, read, settings.stream.write_timeout, server.hub.metrics().clone());
    let arrival = PeerInfo { peer, is_tls: false };
    let activity = ConnectionActivity::default();
    let requests = requests(&server, socket.pressure().clone(), arrival, response, activity.clone());
    serve_http(&server, socket, requests, head_due.into(), &activity).await;
}

async fn tls_connection(server: ServeContext, socket: mio::net::TcpStream, peer: SocketAddr) {
    let hub = &server.hub;
    let Some(tls) = &hub.inner().tls else { return };
    let stream = match TcpStream::from_std(socket.into()) {
        Ok(stream) => stream,
        Err(error) => return warn!(%error, "registering a socket failed; its client reconnects"),
    };
    let deadline = Instant::now() + hub.settings().server.head_timeout;
    let socket = Socket::new(stream, hub.settings().stream.write_timeout, hub.metrics().clone());
    let pressure = socket.pressure().clone();
    let tls = tls.read().config.clone();
    let greeted = tokio::select! {
        greeted = timeout_at(deadline, tls::accept(tls, socket)) => greeted,
        () = closing_grace(&server.closing) => return,
    };
    match greeted {
        Ok(Ok(Some(stream))) => {
            let activity = ConnectionActivity::default();
            let arrival = PeerInfo { peer, is_tls: true };
            let requests = requests(&server, pressure, arrival, None, activity.clone());
            let deadline = Instant::now() + hub.settings().server.head_timeout;
            serve_http(&server, stream, requests, deadline, &activity).await;
        }
        Ok(Ok(None)) => {
            debug!(%peer, "plain HTTP was refused on a port that speaks TLS");
            hub.metrics().connections.aborted("plain_http");
        }
        Ok(Err(error)) => {
            debug!(%peer, %error, "a TLS handshake failed");
            hub.metrics().connections.aborted("tls");
        }
        Err(_) => {
            debug!(%peer, "a TLS handshake did not end in time");
            hub.metrics().connections.aborted("tls_timeout");
        }
    }
}

/// State that the reader, the responder and the end of a connection share.
#[derive(Clone, Default)]
struct ConnectionActivity {
    activity: Activity,
    refused: RefusedHead,
}

/// Returns the service that passes requests to the routes, with their origin, and notes them in `connection`.
///
/// `answered` is the response to the first request, if a shard called the routes for it.
fn requests(
    server: &ServeContext,
    pressure: Arc<Backpressure>,
    arrival: PeerInfo,
    answered: Option<Response>,
    connection: ConnectionActivity,
) -> impl Service<
    Request<Incoming>,
    Response = http::Response<HeldBody>,
    Error = Infallible,
    Future: Send + 'static,
> + use<> {
    let (hub, router) = (server.hub.clone(), TowerToHyperService::new(server.router.clone()));
    let idle = IdleTimeout::new(hub.settings().server.idle_timeout);
    let answered = Mutex::new(&lock::EARLY_RESPONSE, answered);
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let refused = connection.refused.of(request.uri()).inspect(|error| count_aborted(&hub, error));
        let refused = refused.or_else(|| oversize(&request)).map(|error| http_routes::refuse(&hub, error));
        let answered = refused.or_else(|| answered.lock().take());
        request.extensions_mut().insert(pressure.clone());
        request.extensions_mut().insert(arrival);
        let version = request.version();
        let answering = connection.activity.request(version);
        let may_keep_alive = version == Version::HTTP_11 && !wants_close(request.headers());
        let routed = answered.is_none().then(|| router.call(request));
        let (hub, idle) = (hub.clone(), idle.clone());
        async move {
            let mut response: Response = match (answered, routed) {
                (Some(response), _) => response,
                (None, Some(routed)) => routed.await?,
                (None, None) => unreachable!("a request without a response is routed"),
            };
            if hub.is_draining() && version < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, CLOSE);
            } else if may_keep_alive {
                idle.announce(response.headers_mut());
            }
            Ok(response.map(|body| HeldBody { body, _answering: answering }))
        }
    })
}

/// Counts an HTTP/1 connection that ends with a refused head.
fn count_aborted(hub: &Hub, error: &Error) {
    let reason = if error.code() == Code::BadRequest { "malformed" } else { "head_too_large" };
    hub.metrics().connections.aborted(reason);
}

/// Returns the error of an HTTP/2 head that is too large. hyper's own bound is higher, so that the hub can answer with a body.
fn oversize(request: &Request<Incoming>) -> Option<Error> {
    // Source: RFC 9113, 6.5.2.
    const FIELD_BYTES: usize = 32;
    if request.version() != Version::HTTP_2 {
        return None;
    }
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    let uri = request.uri();
    let target = [
        (":method", request.method().as_str().len()),
        (":scheme", uri.scheme_str().map_or(0, str::len)),
        (":authority", uri.authority().map_or(0, |authority| authority.as_str().len())),
        (":path", uri.path_and_query().map_or(0, |path| path.as_str().len())),
    ];
    let fields = fields.chain(target.map(|(name, bytes)| name.len() + bytes));
    let bytes: usize = fields.map(|bytes| bytes + FIELD_BYTES).sum();
    (bytes > HEAD_BYTES_MAX_H2)
        .then(|| head_too_large(&format!("header list is {bytes} bytes"), HEAD_BYTES_MAX_H2))
}

/// Whether the client closes the connection after the response.
fn wants_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("close"))
}

/// The body of a response; while it exists, the connection is not idle.
struct HeldBody {
    body: Body,
    _answering: AnsweringGuard,
}

impl http_body::Body for HeldBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Serves a connection over HTTP/1.1 or HTTP/2, as its client chooses, until client or hub end it.
async fn serve_http<Io, Requests>(
    server: &ServeContext,
    io: Io,
    requests: Requests,
    deadline: Instant,
    connection: &ConnectionActivity,
) where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
    Requests: Service<Request<Incoming>, Response = http::Response<HeldBody>, Error = Infallible>,
    Requests::Future: Send + 'static,
{
    let (hub, settings) = (&server.hub, server.hub.settings());
    let head_timeout = settings.server.head_timeout;
    let mut builder = auto::Builder::new(StreamExecutor { write_timeout: settings.stream.write_timeout });
    // `StrictIo` enforces the deadlines of heads: hyper's would run while a connection is idle.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_READ_H2)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    let ConnectionActivity { activity, refused } = connection.clone();
    let observer = activity.observer();
    let ended = observer.clone();
    let io = TokioIo::new(StrictIo::new(io, head_timeout, deadline, activity, refused));
    let mut serving = pin!(builder.serve_connection(io, requests));
    // Bytes that have arrived are read before an idle connection is closed.
    let outcome = tokio::select! {
        biased;
        outcome = &mut serving => outcome,
        () = idle_end(server, observer) => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = &mut serving => outcome,
                () = closing_grace(&server.closing) => Ok(()),
            }
        }
    };
    let outcome = outcome.inspect_err(|error| debug!(%error, "connection ended"));
    let reason = if ended.saw_late_head() {
        Some("head_timeout")
    } else {
        outcome.err().and_then(|error| abort_reason(&*error))
    };
    if let Some(reason) = reason {
        hub.metrics().connections.aborted(reason);
    }
}

/// Returns the client error that ended the connection; `None` if the client closed it.
fn abort_reason(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let cause = error.source();
    let error = error.downcast_ref::<hyper::Error>()?;
    match () {
        () if error.is_parse_too_large() => Some("head_too_large"),
        () if error.is_parse() => Some("malformed"),
        () => cause?.downcast_ref::<h2::Error>().filter(|error| error.is_library()).map(|_| "http2"),
    }
}

/// Waits until the hub has reached a stage of its lifecycle, or is dropped.
async fn reached(lifecycle: &mut watch::Receiver<Lifecycle>, stage: Lifecycle) {
    let _ = lifecycle.wait_for(|current| *current >= stage).await;
}

/// Waits until an idle connection is to be closed: at `server.idle_timeout`, or when the hub ends.
///
/// - HTTP/2: when the hub shuts down. The protocol tells the client which requests are not served.
/// - HTTP/1.1: when the listeners are closed. The protocol cannot tell the client.
/// - Before the first request: [`CLOSE_GRACE`] after the listeners are closed. The request may be on its way.
async fn idle_end(server: &ServeContext, mut observer: ActivityObserver) {
    let (mut idle, closes_after) =
        (observer.clone(), IdleTimeout::new(server.hub.settings().server.idle_timeout).closes_after);
    let hub_ends = async {
        match observer.first_version().await {
            Some(Version::HTTP_2) => reached(&mut server.hub.lifecycle(), Lifecycle::Draining).await,
            _ => server.closing.cancelled().await,
        }
    };
    tokio::select! {
        () = hub_ends => {}
        () = idle.idle_for(closes_after) => {}
        () = closing_grace(&server.closing) => {}
    }
}

async fn closing_grace(closing: &CancellationToken) {
    closing.cancelled().await;
    tokio::time::sleep(CLOSE_GRACE).await;
}

/// Sets options of a socket: send at once, report back-pressure early, and notice a lost client.
fn tune(stream: &mio::net::TcpStream, write_timeout: Duration) {
    const UNSENT_BYTES_MAX: u32 = 128 << 10;
    let socket = socket2::SockRef::from(stream);
    let outcome = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX))
        .and_then(|()| socket.set_tcp_user_timeout(Some(write_timeout.max(Duration::from_secs(10)))));
    if let Err(error) = outcome {
        debug!(%error, "setting a socket option failed");
    }
}

/// Runs the streams of an HTTP/2 connection, each with its own deadline.
#[derive(Clone, Copy)]
struct StreamExecutor {
    write_timeout: Duration,
}

impl<Work> Executor<Work> for StreamExecutor
where
    Work: Future + Send + 'static,
    Work::Output: Send + 'static,
{
    fn execute(&self, work: Work) {
        tokio::spawn(with_stream_deadline(work, self.write_timeout));
    }
}

#[cfg(test)]
pub(super) mod tests;
