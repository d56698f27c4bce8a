//! The origin of a request.

use std::path::{Path, PathBuf};

use axum::{Extension, routing::get};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::config::{Durability, Settings, TlsSettings};
use crate::connection::StreamOptions;

/// Settings of a hub without a directory.
pub(in crate::node) fn memory_settings(tls: Option<TlsSettings>) -> Settings {
    let mut settings = Settings { data_dir: None, ..Settings::default() };
    settings.log.durability = Durability::Memory;
    settings.server.tls = tls;
    settings
}

/// Serves a route that returns the origin of its request, and calls it over the connection that `connect` makes.
async fn origin_seen<Io>(
    tls: Option<TlsSettings>,
    connect: impl AsyncFnOnce(TcpStream) -> Io,
) -> (SocketAddr, String)
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let hub = Hub::builder().settings(memory_settings(tls)).build().await.unwrap();
    let say = async |Extension(PeerInfo { peer, is_tls }): Extension<PeerInfo>| format!("{peer} {is_tls}");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(serve_with(hub.clone(), Router::new().route("/", get(say)), vec![listener]));
    let socket = TcpStream::connect(address).await.unwrap();
    let own = socket.local_addr().unwrap();
    let mut io = connect(socket).await;
    io.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    hub.shutdown().await;
    served.await.unwrap().unwrap();
    (own, answer)
}

#[tokio::test]
async fn a_request_knows_its_peer() {
    let (own, answer) = origin_seen(None, async |socket| socket).await;
    assert!(answer.ends_with(&format!("\r\n\r\n{own} false")), "{answer}");
}

/// A certificate or key for tests.
pub(in crate::node) fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tidings-server/tests/tls").join(name)
}

fn tls() -> TlsSettings {
    TlsSettings { cert_file: tls_file("first.cert.pem"), key_file: tls_file("first.key.pem") }
}

/// Speaks TLS over a socket.
async fn greet(socket: TcpStream) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(tls_file("ca.pem")).unwrap()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap()
}

#[tokio::test]
async fn a_request_knows_that_it_came_over_tls() {
    let (own, answer) = origin_seen(Some(tls()), greet).await;
    assert!(answer.ends_with(&format!("\r\n\r\n{own} true")), "{answer}");
}

#[tokio::test]
async fn a_connection_over_tls_that_comes_during_shutdown_is_answered() {
    let hub = Hub::builder().settings(memory_settings(Some(tls()))).build().await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(serve(hub.clone(), vec![listener]));
    // The client does not read, so the hub waits for it.
    let stream = hub.body(["a"], &StreamOptions::default()).unwrap();
    let ended = tokio::spawn({
        let hub = hub.clone();
        async move { hub.shutdown().await }
    });
    reached(&mut hub.lifecycle(), Lifecycle::Draining).await;
    let mut io = greet(TcpStream::connect(address).await.unwrap()).await;
    io.write_all(b"GET /api/v1/events/a HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert!(answer.contains("\nretry: ") && answer.contains("\nevent: tidings.end\n"), "{answer}");
    drop(stream);
    ended.await.unwrap();
    served.await.unwrap().unwrap();
}
