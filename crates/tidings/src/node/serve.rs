//! Accepts connections and serves them, over HTTP/1.1 and HTTP/2, plain or within TLS, until the hub ends.

mod first;

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{SocketAddr, TcpListener},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, extract::Request, response::Response};
use bytes::{Bytes, BytesMut};
use http::header;
use hyper::{body::Incoming, rt::Executor, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tower_service::Service as _;
use tracing::{debug, warn};

use self::first::First;
use super::{shards::Shards, tls};
use crate::{
    connection::Opened,
    error::{Code, Error},
    hub::{Hub, Stage},
    transport::{
        direct::{Doors, Handover, Offer, response_head},
        hyper::watched,
        socket::{Arrival, Pressure, Socket},
        strict::{HeadTimeout, Strict},
    },
};

/// How long to wait after the system could not give another socket.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The largest request head, and what hyper may hold of a response.
const HEAD_BYTES_MAX: usize = 128 << 10;
/// The largest request head of HTTP/2, unpacked; twice what browsers and proxies send.
const HEAD_BYTES_MAX_H2: u32 = 32 << 10;
/// Streams of one HTTP/2 connection.
const STREAMS_MAX: u32 = 1024;
/// Streams that a client of HTTP/2 may have reset before they were looked at; one more ends the connection.
const PENDING_RESETS_MAX: usize = 20;
/// Streams that one connection of HTTP/2 may have had reset for faults of its client; one more ends it.
const LOCAL_RESETS_MAX: usize = 100;
/// How long a connection may take to say goodbye when the hub has ended.
const GOODBYE: Duration = Duration::from_millis(200);

/// Serves a hub on listening sockets until [`Hub::shutdown`] was called and every connection is gone.
///
/// With `server.tls` all of them speak TLS, with HTTP/2 and HTTP/1.1; see [`Hub::reload`] for new certificates.
///
/// # Errors
/// When a listener cannot be used.
pub async fn serve(hub: Hub, listeners: Vec<TcpListener>) -> Result<(), Error> {
    let router = hub.whole_router();
    serve_with(hub, router, listeners).await
}

/// Serves a service of your own, which has the hub's routes among its own, as [`serve`] does.
///
/// Sockets are watched for readers that take nothing; served by other means, a stream cannot know that it is behind.
///
/// # Errors
/// When a listener cannot be used.
pub async fn serve_with(hub: Hub, router: Router, listeners: Vec<TcpListener>) -> Result<(), Error> {
    let shards = Shards::start(&hub)
        .map_err(|error| Error::new(Code::Internal, "a shard could not be started").caused_by(error))?;
    let mut acceptors = JoinSet::new();
    for listener in listeners {
        let listener = into_tokio(listener).map_err(|error| {
            Error::new(Code::Internal, "a listening socket cannot be used").caused_by(error)
        })?;
        // Whoever waits to be accepted is taken before the runtime goes round its streams again: in a storm of clients
        // the kernel would drop connection attempts otherwise, and each costs its client a second.
        let site = Site { hub: hub.clone(), router: router.clone(), doors: shards.doors() };
        acceptors.spawn(tokio::task::unconstrained(accept(site, listener)));
    }
    while acceptors.join_next().await.is_some() {}
    goodbye(&mut hub.stage()).await;
    shards.end().await;
    Ok(())
}

fn into_tokio(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

/// What every connection is served with.
#[derive(Clone)]
struct Site {
    hub: Hub,
    router: Router,
    doors: Arc<Doors>,
}

async fn accept(site: Site, listener: tokio::net::TcpListener) {
    let mut stage = site.hub.stage();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = reached(&mut stage, Stage::Draining) => break,
        };
        match accepted {
            Ok(accepted) => {
                connections.spawn(connection(site.clone(), accepted, stage.clone()));
            }
            Err(error) => {
                // Descriptors used up: those that are open go on, and nobody spins.
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Serves one connection to its end, or to where a shard takes it.
async fn connection(site: Site, (stream, peer): (TcpStream, SocketAddr), mut stage: watch::Receiver<Stage>) {
    let settings = site.hub.settings();
    tune(&stream, settings.stream.write_timeout);
    let deadline = Instant::now() + settings.server.head_timeout;
    if site.hub.parts().tls.is_some() {
        return tls_connection(site, stream, peer, deadline, stage).await;
    }
    let arrival = Arrival { peer, is_tls: false };
    let (read, answered) = match first(&stream, deadline, stage.clone()).await {
        First::Other(read) => (read, None),
        First::Request(mut request, read) => {
            request.extensions_mut().insert(arrival);
            request.extensions_mut().insert(Offer);
            let mut router = site.router.clone();
            let answering = router.call(*request);
            let Ok(mut response) = tokio::select! {
                response = answering => response,
                () = goodbye(&mut stage) => return,
            };
            let handover = response.extensions().get().cloned();
            if let Some(opened) = handover.and_then(|handover: Handover| handover.take()) {
                // A layer around the routes may have meant to encode a body that goes another way.
                response.headers_mut().remove(header::CONTENT_ENCODING);
                let head = response_head(response.status(), response.headers());
                return hand_over(&site.doors, stream, head, opened);
            }
            (read, Some(response))
        }
    };
    let metrics = site.hub.metrics().clone();
    let socket = Socket::with_read(stream, read, settings.stream.write_timeout, metrics);
    let requests = requests(site.router, socket.pressure().clone(), arrival, answered);
    serve_http(&site.hub, socket, requests, deadline, stage).await;
}

/// Reads the first request; a hub that ends takes what was read of it.
async fn first(stream: &TcpStream, deadline: Instant, mut stage: watch::Receiver<Stage>) -> First {
    let mut read = BytesMut::new();
    tokio::select! {
        first = first::read(stream, &mut read, deadline) => return first,
        () = reached(&mut stage, Stage::Draining) => {}
    }
    First::Other(read.freeze())
}

fn hand_over(doors: &Doors, stream: TcpStream, head: Bytes, opened: Opened) {
    match stream.into_std() {
        Ok(socket) => doors.hand_over(socket, head, opened),
        Err(error) => {
            warn!(%error, "a socket could not be given to a shard; its client comes back by itself");
        }
    }
}

async fn tls_connection(
    site: Site,
    stream: TcpStream,
    peer: SocketAddr,
    deadline: Instant,
    mut stage: watch::Receiver<Stage>,
) {
    let hub = &site.hub;
    let socket = Socket::new(stream, hub.settings().stream.write_timeout, hub.metrics().clone());
    let pressure = socket.pressure().clone();
    let Some(tls) = &hub.parts().tls else { return };
    let tls = tls.read().unwrap_or_else(PoisonError::into_inner).clone();
    let greeted = tokio::select! {
        greeted = timeout_at(deadline, tls::accept(tls, socket)) => greeted,
        () = reached(&mut stage, Stage::Draining) => return,
    };
    match greeted {
        Ok(Ok(Some(stream))) => {
            let requests = requests(site.router, pressure, Arrival { peer, is_tls: true }, None);
            let deadline = Instant::now() + hub.settings().server.head_timeout;
            // On the heap: it would make the task of a connection without TLS larger, too.
            Box::pin(serve_http(hub, stream, requests, deadline, stage)).await;
        }
        Ok(Ok(None)) => {
            debug!(%peer, "plain HTTP was refused on a port that speaks TLS");
            hub.metrics().connection_cut("plain_http");
        }
        Ok(Err(error)) => {
            debug!(%peer, %error, "a TLS handshake failed");
            hub.metrics().connection_cut("tls");
        }
        Err(_) => {
            debug!(%peer, "a TLS handshake did not end in time");
            hub.metrics().connection_cut("tls_timeout");
        }
    }
}

/// Hands requests to the routes, with what is known of where they came from. The first may have been answered before
/// hyper saw it.
fn requests(
    router: Router,
    pressure: Arc<Pressure>,
    arrival: Arrival,
    answered: Option<Response>,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send + 'static> {
    let router = TowerToHyperService::new(router);
    let answered = Mutex::new(answered);
    hyper::service::service_fn(move |mut request: Request<Incoming>| {
        let answered = answered.lock().unwrap_or_else(PoisonError::into_inner).take();
        request.extensions_mut().insert(pressure.clone());
        request.extensions_mut().insert(arrival);
        let routed = answered.is_none().then(|| router.call(request));
        async move {
            match (answered, routed) {
                (Some(response), _) => Ok(response),
                (None, Some(routed)) => routed.await,
                (None, None) => unreachable!("what is not answered is routed"),
            }
        }
    })
}

/// Speaks HTTP/1.1 or HTTP/2 over a connection, whichever its client begins with, until one of the two ends it.
async fn serve_http<Io, Requests>(
    hub: &Hub,
    io: Io,
    requests: Requests,
    deadline: Instant,
    mut stage: watch::Receiver<Stage>,
) where
    Io: AsyncRead + AsyncWrite + Unpin + 'static,
    Requests: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    Requests::Future: Send + 'static,
{
    let settings = hub.settings();
    let head_timeout = settings.server.head_timeout;
    let mut builder = auto::Builder::new(StreamExecutor { write_timeout: settings.stream.write_timeout });
    builder.http1().timer(TokioTimer::new()).header_read_timeout(head_timeout).max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEAD_BYTES_MAX_H2)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20));
    let io = TokioIo::new(Strict::new(io, head_timeout, deadline));
    let mut serving = pin!(builder.serve_connection(io, requests));
    let outcome = tokio::select! {
        outcome = &mut serving => outcome,
        () = reached(&mut stage, Stage::Draining) => {
            serving.as_mut().graceful_shutdown();
            tokio::select! {
                outcome = &mut serving => outcome,
                () = goodbye(&mut stage) => Ok(()),
            }
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "connection ended");
        if let Some(reason) = cut_for(&*error) {
            hub.metrics().connection_cut(reason);
        }
    }
}

/// What the client did that the connection was cut for; `None` where it went away by itself.
fn cut_for(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let cause = error.source();
    let io = [Some(error), cause].into_iter().flatten().find_map(|error| error.downcast_ref::<io::Error>());
    if io.and_then(io::Error::get_ref).is_some_and(|error| error.is::<HeadTimeout>()) {
        return Some("head_timeout");
    }
    let error = error.downcast_ref::<hyper::Error>()?;
    match () {
        () if error.is_parse_too_large() => Some("head_too_large"),
        () if error.is_parse() => Some("malformed"),
        () if error.is_timeout() => Some("head_timeout"),
        () => cause?.downcast_ref::<h2::Error>().filter(|error| error.is_library()).map(|_| "http2"),
    }
}

/// Waits until the hub is that far in its life, or gone.
async fn reached(stage: &mut watch::Receiver<Stage>, least: Stage) {
    let _ = stage.wait_for(|stage| *stage >= least).await;
}

async fn goodbye(stage: &mut watch::Receiver<Stage>) {
    reached(stage, Stage::Ended).await;
    tokio::time::sleep(GOODBYE).await;
}

/// Makes the kernel say early that a peer is behind, send at once, and notice a peer that is gone.
fn tune(stream: &TcpStream, write_timeout: Duration) {
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
        tokio::spawn(watched(work, self.write_timeout));
    }
}

#[cfg(test)]
mod tests;
