//! Accepts connections and serves them, over HTTP/1.1 and HTTP/2, plain or within TLS, until the hub ends.

mod acceptor;

use std::{
    convert::Infallible,
    future::Future,
    net::{SocketAddr, TcpListener},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, extract::Request, response::Response};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version, header};
use http_body::{Frame, SizeHint};
use hyper::{body::Incoming, rt::Executor, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    runtime::Handle,
    sync::watch,
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use self::acceptor::Acceptor;
use super::{shards::ShardThreads, supervisor::Supervisor, tls};
use crate::{
    error::{Code, Error},
    http as http_routes,
    hub::{Hub, Lifecycle},
    sync::{Lock, Mutex},
    transport::{
        event_stream::with_stream_deadline,
        idle::{Activity, ActivityObserver, AnsweringGuard, IdleTimeout},
        shard::{ForwardToHyper, ForwardedConnection, Shards},
        socket::{Backpressure, PeerInfo, Socket},
        strict_io::{HEAD_BYTES_MAX, RefusedHead, StrictIo, head_too_large},
    },
};

/// Bytes that hyper may hold of requests and of a response: the largest head, and what came with it.
const BUFFER_BYTES_MAX: usize = HEAD_BYTES_MAX + (16 << 10);
/// The largest request head of HTTP/2, unpacked; twice what browsers and proxies send.
const HEAD_BYTES_MAX_H2: usize = 32 << 10;
/// Beyond this HTTP/2 itself answers, with an empty body.
const HEAD_BYTES_READ_H2: u32 = 2 * HEAD_BYTES_MAX_H2 as u32;
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 1024;
/// Streams that a client of HTTP/2 may have reset before they were looked at; one more ends the connection.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that one connection of HTTP/2 may have had reset for faults of its client; one more ends it.
const LOCAL_RESETS_MAX: usize = 100;
/// How long a connection may take to bring its first request, and to end, once the listeners are closed.
const GOODBYE: Duration = Duration::from_millis(500);
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Serves a hub on listening sockets until [`Hub::shutdown`] was called and every connection is gone.
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
/// With `server.tls` all of them speak TLS, with HTTP/2 and HTTP/1.1; see [`Hub::reload`] for new certificates.
///
/// # Errors
/// When a listener cannot be used, when a thread or task has ended before the hub (see [`Hub::closed`]), or when the log cannot
/// be opened.
pub async fn serve(hub: Hub, listeners: Vec<TcpListener>) -> Result<(), Error> {
    let router = hub.whole_router();
    serve_with(hub, router, listeners).await
}

/// Serves a service of your own, which has the hub's routes among its own, as [`serve`] does.
///
/// Sockets are watched for readers that take nothing; served by other means, a stream cannot know that it is behind.
///
/// # Errors
/// When a listener cannot be used, when a thread or task has ended before the hub (see [`Hub::closed`]), or when the log cannot
/// be opened.
pub async fn serve_with(hub: Hub, router: Router, listeners: Vec<TcpListener>) -> Result<(), Error> {
    let site =
        ServeContext { hub, router, connections: TaskTracker::new(), closing: CancellationToken::new() };
    let shards = ShardThreads::start(&site.hub, &site.router, &forward_to_hyper(&site))
        .map_err(|error| Error::new(Code::Internal, "a shard could not be started").caused_by(error))?;
    let acceptor =
        Acceptor::start(&Supervisor::of(&site.hub), listeners, on_accept(&site, shards.mailboxes()))
            .map_err(|error| {
                Error::new(Code::Internal, "a listening socket cannot be used").caused_by(error)
            })?;
    reached(&mut site.hub.lifecycle(), Lifecycle::Draining).await;
    shards.mailboxes().drain();
    // Connections are taken until the hub has done everything else: a proxy answers 502 where it is refused one.
    reached(&mut site.hub.lifecycle(), Lifecycle::Ended).await;
    acceptor.end().await;
    site.closing.cancel();
    shards.end(GOODBYE).await;
    site.connections.close();
    site.connections.wait().await;
    site.hub.closed().await.map_err(|ended| Error::new(Code::Internal, ended.to_string()))?;
    site.hub.check_opened()
}

/// What every connection is served with.
#[derive(Clone)]
struct ServeContext {
    hub: Hub,
    router: Router,
    /// Those that are not a shard's.
    connections: TaskTracker,
    /// The listeners are closed.
    closing: CancellationToken,
}

/// What becomes of a new connection: a shard has those without TLS, the one with the fewest the next.
fn on_accept(
    site: &ServeContext,
    shards: Arc<Shards>,
) -> impl Fn(mio::net::TcpStream, SocketAddr) + Send + 'static {
    let (site, runtime) = (site.clone(), Handle::current());
    let is_tls = site.hub.inner().tls.is_some();
    move |socket, peer| {
        tune(&socket, site.hub.settings().stream.write_timeout);
        if is_tls {
            site.connections.spawn_on(tls_connection(site.clone(), socket, peer), &runtime);
        } else {
            shards.assign(socket, peer);
        }
    }
}

/// Serves what shards pass on.
fn forward_to_hyper(site: &ServeContext) -> ForwardToHyper {
    let (site, runtime) = (site.clone(), Handle::current());
    Arc::new(move |forwarded| {
        let connection = forwarded_connection(site.clone(), forwarded);
        site.connections.spawn_on(connection, &runtime);
    })
}

async fn forwarded_connection(site: ServeContext, forwarded: ForwardedConnection) {
    let ForwardedConnection { socket, peer, read, answered, head_due } = forwarded;
    let socket = match TcpStream::from_std(socket) {
        Ok(socket) => socket,
        Err(error) => {
            return warn!(%error, "a socket could not be passed on; its client comes back by itself");
        }
    };
    let settings = site.hub.settings();
    let socket = Socket::with_read(socket, read, settings.stream.write_timeout, site.hub.metrics().clone());
    let arrival = PeerInfo { peer, is_tls: false };
    let told = ConnectionActivity::default();
    let requests = requests(&site, socket.pressure().clone(), arrival, answered, told.clone());
    serve_http(&site, socket, requests, head_due.into(), &told).await;
}

async fn tls_connection(site: ServeContext, socket: mio::net::TcpStream, peer: SocketAddr) {
    let hub = &site.hub;
    let Some(tls) = &hub.inner().tls else { return };
    let stream = match TcpStream::from_std(socket.into()) {
        Ok(stream) => stream,
        Err(error) => return warn!(%error, "a socket could not be watched; its client comes back by itself"),
    };
    let deadline = Instant::now() + hub.settings().server.head_timeout;
    let socket = Socket::new(stream, hub.settings().stream.write_timeout, hub.metrics().clone());
    let pressure = socket.pressure().clone();
    let tls = tls.read().config.clone();
    let greeted = tokio::select! {
        greeted = timeout_at(deadline, tls::accept(tls, socket)) => greeted,
        () = closing_grace(&site.closing) => return,
    };
    match greeted {
        Ok(Ok(Some(stream))) => {
            let told = ConnectionActivity::default();
            let arrival = PeerInfo { peer, is_tls: true };
            let requests = requests(&site, pressure, arrival, None, told.clone());
            let deadline = Instant::now() + hub.settings().server.head_timeout;
            serve_http(&site, stream, requests, deadline, &told).await;
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

/// Hands requests to the routes, with what is known of where they came from, and notes them in `told`. The first may have
/// been answered before hyper saw it.
fn requests(
    site: &ServeContext,
    pressure: Arc<Backpressure>,
    arrival: PeerInfo,
    answered: Option<Response>,
    told: ConnectionActivity,
) -> impl Service<
    Request<Incoming>,
    Response = http::Response<HeldBody>,
    Error = Infallible,
    Future: Send + 'static,
> + use<> {
    let (hub, router) = (site.hub.clone(), TowerToHyperService::new(site.router.clone()));
    let idle = IdleTimeout::new(hub.settings().server.idle_timeout);
    let answered = Mutex::new(Lock::EarlyResponse, answered);
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let refused = told.refused.of(request.uri()).inspect(|error| count_cut(&hub, error));
        let refused = refused.or_else(|| oversize(&request)).map(|error| http_routes::refuse(&hub, error));
        let answered = refused.or_else(|| answered.lock().take());
        request.extensions_mut().insert(pressure.clone());
        request.extensions_mut().insert(arrival);
        let version = request.version();
        let answering = told.activity.request(version);
        let may_stay = version == Version::HTTP_11 && !wants_close(request.headers());
        let routed = answered.is_none().then(|| router.call(request));
        let (hub, idle) = (hub.clone(), idle.clone());
        async move {
            let mut response: Response = match (answered, routed) {
                (Some(response), _) => response,
                (None, Some(routed)) => routed.await?,
                (None, None) => unreachable!("what is not answered is routed"),
            };
            if hub.is_draining() && version < Version::HTTP_2 {
                response.headers_mut().insert(header::CONNECTION, CLOSE);
            } else if may_stay {
                idle.announce(response.headers_mut());
            }
            Ok(response.map(|body| HeldBody { body, _answering: answering }))
        }
    })
}

/// Counts a connection of HTTP/1 that ends with a refused head.
fn count_cut(hub: &Hub, error: &Error) {
    let reason = if error.code() == Code::BadRequest { "malformed" } else { "head_too_large" };
    hub.metrics().connections.aborted(reason);
}

/// Returns the fault of an HTTP/2 request head: hyper takes larger ones, so that they are answered in words.
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

/// Whether the client closes the connection behind the answer.
fn wants_close(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("close"))
}

/// The body of an answer; while it is there, the connection is not idle.
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

/// Speaks HTTP/1.1 or HTTP/2 over a connection, whichever its client begins with, until one of the two ends it.
async fn serve_http<Io, Requests>(
    site: &ServeContext,
    io: Io,
    requests: Requests,
    deadline: Instant,
    told: &ConnectionActivity,
) where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
    Requests: Service<Request<Incoming>, Response = http::Response<HeldBody>, Error = Infallible>,
    Requests::Future: Send + 'static,
{
    let (hub, settings) = (&site.hub, site.hub.settings());
    let head_timeout = settings.server.head_timeout;
    let mut builder = auto::Builder::new(StreamExecutor { write_timeout: settings.stream.write_timeout });
    // `StrictIo` keeps the deadlines of heads: hyper's begin while a connection is idle.
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
    let ConnectionActivity { activity, refused } = told.clone();
    let observer = activity.observer();
    let ended = observer.clone();
    let io = TokioIo::new(StrictIo::new(io, head_timeout, deadline, activity, refused));
    let mut serving = pin!(builder.serve_connection(io, requests));
    // Bytes that have come are read before an idle connection is closed.
    let outcome = tokio::select! {
        biased;
        outcome = &mut serving => outcome,
        () = idle_end(site, observer) => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = &mut serving => outcome,
                () = closing_grace(&site.closing) => Ok(()),
            }
        }
    };
    let outcome = outcome.inspect_err(|error| debug!(%error, "connection ended"));
    let reason = if ended.saw_late_head() {
        Some("head_timeout")
    } else {
        outcome.err().and_then(|error| cut_for(&*error))
    };
    if let Some(reason) = reason {
        hub.metrics().connections.aborted(reason);
    }
}

/// What the client did that the connection was cut for; `None` where it went away by itself.
fn cut_for(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let cause = error.source();
    let error = error.downcast_ref::<hyper::Error>()?;
    match () {
        () if error.is_parse_too_large() => Some("head_too_large"),
        () if error.is_parse() => Some("malformed"),
        () => cause?.downcast_ref::<h2::Error>().filter(|error| error.is_library()).map(|_| "http2"),
    }
}

/// Waits until the hub is that far in its life, or gone.
async fn reached(stage: &mut watch::Receiver<Lifecycle>, least: Lifecycle) {
    let _ = stage.wait_for(|stage| *stage >= least).await;
}

/// Waits until a connection that is idle is to be closed: at `server.idle_timeout`, or as the hub ends.
///
/// HTTP/2 says which requests it no longer takes, so its connections end as soon as the hub shuts down. HTTP/1.1 cannot
/// say it, so the connection stays until the listeners are closed. One that has not asked yet gets a moment more: its
/// first request may be on its way.
async fn idle_end(site: &ServeContext, mut observer: ActivityObserver) {
    let (mut idle, patience) =
        (observer.clone(), IdleTimeout::new(site.hub.settings().server.idle_timeout).patience);
    let has_asked = async {
        match observer.first_version().await {
            Some(Version::HTTP_2) => reached(&mut site.hub.lifecycle(), Lifecycle::Draining).await,
            _ => site.closing.cancelled().await,
        }
    };
    tokio::select! {
        () = has_asked => {}
        () = idle.idle_for(patience) => {}
        () = closing_grace(&site.closing) => {}
    }
}

async fn closing_grace(closing: &CancellationToken) {
    closing.cancelled().await;
    tokio::time::sleep(GOODBYE).await;
}

/// Makes the kernel say early that a peer is behind, send at once, and notice a peer that is gone.
fn tune(stream: &mio::net::TcpStream, write_timeout: Duration) {
    const UNSENT_BYTES_MAX: u32 = 128 << 10;
    let socket = socket2::SockRef::from(stream);
    let outcome = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX))
        .and_then(|()| socket.set_tcp_user_timeout(Some(write_timeout.max(Duration::from_secs(10)))));
    if let Err(error) = outcome {
        debug!(%error, "a socket option was refused");
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
mod tests;
