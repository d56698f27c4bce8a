//! TLS of the hub's listeners: versions, protocols, new certificates, and clients that do not speak TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidings::Hub;
use tidings::config::{Settings, TlsSettings};
use tidings_testkit::TempDirectory;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};

use crate::served_hub::{DEADLINE, ServedHub, TextReader, memory_settings};

const STREAM: &str = "/api/v1/events/a?position=id";

fn file(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tidings-server/tests/tls")).join(name)
}

fn settings(cert: &Path, key: &Path) -> Settings {
    let mut settings = memory_settings();
    settings.server.tls = Some(TlsSettings { cert_file: cert.to_owned(), key_file: key.to_owned() });
    settings.server.head_timeout = Duration::from_secs(1);
    settings
}

fn first() -> Settings {
    settings(&file("first.cert.pem"), &file("first.key.pem"))
}

async fn start(settings: Settings) -> ServedHub {
    ServedHub::start(Hub::builder().settings(settings).build().await.expect("the hub starts"))
}

/// A directory with the first certificate and its key, and the settings that name them.
fn copied() -> (TempDirectory, Settings) {
    let directory = TempDirectory::create();
    let [cert, key] = put(&directory, "first");
    let settings = settings(&cert, &key);
    (directory, settings)
}

/// Puts a certificate and its key into the files `cert` and `key`.
fn put(directory: &TempDirectory, name: &str) -> [PathBuf; 2] {
    ["cert", "key"].map(|kind| directory.copy(&file(&format!("{name}.{kind}.pem")), kind))
}

/// Connects with these versions of TLS and protocols, and trusts the authority of the tests.
async fn connect(
    served: &ServedHub,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> TlsStream<TcpStream> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
    try_connect(served, roots, versions, alpn).await.unwrap()
}

async fn try_connect(
    served: &ServedHub,
    roots: RootCertStore,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let socket = TcpStream::connect(served.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    timeout(DEADLINE, TlsConnector::from(Arc::new(config)).connect(name, socket)).await.unwrap()
}

/// Opens a stream over HTTP/1.1.
async fn subscribe(mut connection: TlsStream<TcpStream>) -> TextReader<TlsStream<TcpStream>> {
    let request = format!("GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut reader = TextReader::new(connection);
    reader.wait_for("\nid: ").await;
    assert!(reader.text.starts_with("HTTP/1.1 200 OK\r\n"), "{}", reader.text);
    reader
}

fn certificate(connection: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    connection.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn certificate_in(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(name)).unwrap()
}

#[tokio::test]
async fn http_1_stream_is_served_over_both_versions_of_tls() {
    let served = start(first()).await;
    for (version, number) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
        for alpn in [&["http/1.1"][..], &[]] {
            let connection = connect(&served, &[version], alpn).await;
            let session = connection.get_ref().1;
            assert_eq!(session.protocol_version(), Some(number));
            assert_eq!(session.alpn_protocol(), alpn.first().map(|name| name.as_bytes()));
            let mut stream = subscribe(connection).await;
            served.publish("over TLS").await;
            stream.wait_for("data: over TLS\n").await;
        }
    }
    served.shut_down().await;
}

#[tokio::test]
async fn http_2_is_chosen_if_the_client_offers_both() {
    let served = start(first()).await;
    for version in [&TLS13, &TLS12] {
        let connection = connect(&served, &[version], &["h2", "http/1.1"]).await;
        assert_eq!(connection.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let uri = format!("https://localhost:{}{STREAM}", served.address.port());
        let request = http::Request::get(uri).body(Empty::<bytes::Bytes>::new()).unwrap();
        let response = timeout(DEADLINE, sender.send_request(request)).await.unwrap().unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        served.publish("over HTTP/2").await;
        let frame = timeout(DEADLINE, body.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
        assert!(frame.starts_with(b"data: over HTTP/2\n"), "{frame:?}");
    }
    served.shut_down().await;
}

#[tokio::test]
async fn malformed_heads_are_refused_within_tls_too() {
    let served = start(first()).await;
    for alpn in [&["http/1.1"][..], &["h2"], &[]] {
        let mut connection = connect(&served, &[&TLS13], alpn).await;
        connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\nX: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(DEADLINE, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    served.shut_down().await;
}

#[tokio::test]
async fn reload_gives_new_connections_the_new_certificate_and_ends_no_stream() {
    let (directory, settings) = copied();
    let served = start(settings.clone()).await;
    let connection = connect(&served, &[&TLS13], &[]).await;
    assert_eq!(certificate(&connection), certificate_in("first.cert.pem"));
    let mut open = subscribe(connection).await;

    // The same paths with another certificate.
    put(&directory, "second");
    served.hub.reload(settings.clone()).unwrap();
    let connection = connect(&served, &[&TLS13], &[]).await;
    assert_eq!(certificate(&connection), certificate_in("second.cert.pem"));
    let mut new = subscribe(connection).await;
    served.publish("to both").await;
    open.wait_for("data: to both\n").await;
    new.wait_for("data: to both\n").await;

    // A reload with unusable files changes nothing.
    directory.copy(&file("first.key.pem"), "key");
    let error = served.hub.reload(settings).unwrap_err().to_string();
    assert!(error.contains("server.tls.key_file") && error.contains("not the key"), "{error}");
    assert_eq!(certificate(&connect(&served, &[&TLS13], &[]).await), certificate_in("second.cert.pem"));

    // Other paths.
    served.hub.reload(first()).unwrap();
    assert_eq!(certificate(&connect(&served, &[&TLS12], &[]).await), certificate_in("first.cert.pem"));
    served.shut_down().await;
}

#[tokio::test]
async fn certificate_renewed_on_disk_is_used_without_a_reload() {
    let (directory, settings) = copied();
    let served = start(settings).await;
    let mut open = subscribe(connect(&served, &[&TLS13], &[]).await).await;
    put(&directory, "second");
    // The hub reads the files every 5 s, less often on a busy machine.
    let renewed = async {
        while certificate(&connect(&served, &[&TLS13], &[]).await) != certificate_in("second.cert.pem") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(3 * DEADLINE, renewed).await.unwrap();
    served.publish("to the open stream").await;
    open.wait_for("data: to the open stream\n").await;
    served.shut_down().await;
}

#[tokio::test]
async fn reload_that_turns_tls_on_or_off_is_refused() {
    let without = || {
        let mut settings = first();
        settings.server.tls = None;
        settings
    };
    let with = Hub::builder().settings(first()).build().await.unwrap();
    let plain = Hub::builder().settings(without()).build().await.unwrap();
    for (hub, other) in [(&with, without()), (&plain, first())] {
        let error = hub.reload(other).unwrap_err().to_string();
        assert!(error.contains("server.tls") && error.contains("restart"), "{error}");
    }
    plain.reload(without()).unwrap();
    let mut bad = first();
    bad.limits.connections = 0;
    let error = with.reload(bad).unwrap_err().to_string();
    assert!(error.contains("limits.connections"), "{error}");
    with.shutdown().await;
    plain.shutdown().await;
}

#[tokio::test]
async fn unfinished_handshakes_are_closed_at_the_deadline_and_delay_no_client() {
    let served = start(first()).await;
    let begun = Instant::now();
    let mut stuck = Vec::new();
    // The header of a handshake without its body, the first byte of that header, and no bytes.
    for beginning in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\x16", b""].into_iter().cycle().take(300) {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.write_all(beginning).await.unwrap();
        stuck.push(socket);
    }
    let mut stream = subscribe(connect(&served, &[&TLS13], &[]).await).await;
    served.publish("meanwhile").await;
    stream.wait_for("data: meanwhile\n").await;
    for mut socket in stuck {
        let mut rest = Vec::new();
        timeout(DEADLINE, socket.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    served.publish("afterwards").await;
    stream.wait_for("data: afterwards\n").await;
    served.shut_down().await;
}

#[tokio::test]
async fn client_within_tls_that_reads_nothing_is_closed_at_the_write_timeout() {
    let mut settings = first();
    settings.stream.write_timeout = Duration::from_millis(500);
    let served = start(settings).await;
    let stuck = subscribe(connect(&served, &[&TLS13], &[]).await).await;
    let text = "x".repeat(100 << 10);
    let begun = Instant::now();
    while !served.hub.metrics_text().contains("\ntidings_write_timeouts_total 1\n") {
        served.publish(&text).await;
        assert!(begun.elapsed() < DEADLINE, "the write timeout closed no stream");
    }
    while !served.hub.metrics_text().contains("\ntidings_streams_open 0\n") {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(begun.elapsed() < DEADLINE, "the closed stream is still counted");
    }
    drop(stuck);
    served.shut_down().await;
}

#[tokio::test]
async fn plain_http_to_a_tls_port_gets_400() {
    let served = start(first()).await;
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(DEADLINE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: application/problem+json\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["status"], &problem["code"]), (&400.into(), &"bad_request".into()));
    assert!(problem["detail"].as_str().unwrap().contains("https"), "{problem}");
    served.shut_down().await;
}

#[tokio::test]
async fn client_that_trusts_another_authority_fails_alone() {
    let served = start(first()).await;
    assert!(try_connect(&served, RootCertStore::empty(), &[&TLS13], &[]).await.is_err());
    subscribe(connect(&served, &[&TLS13], &[]).await).await;
    served.shut_down().await;
}

#[tokio::test]
async fn private_keys_of_every_format_are_read() {
    for (cert, key) in [
        ("first.cert.pem", "first.key.pem"),
        ("first.cert.pem", "first.sec1.pem"),
        ("rsa.cert.pem", "rsa.pkcs1.pem"),
    ] {
        Hub::builder().settings(settings(&file(cert), &file(key))).build().await.expect(key);
    }
}

#[tokio::test]
async fn unusable_file_is_named_with_the_reason_and_without_its_content() {
    let directory = TempDirectory::create();
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let broken = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n";
    let torn = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n";
    let (cert, key) = (file("first.cert.pem"), file("first.key.pem"));
    for (cert, key, setting, reason) in [
        (file("none.pem"), key.clone(), "server.tls.cert_file", "No such file"),
        (key.clone(), key.clone(), "server.tls.cert_file", "no certificate"),
        (directory.write("empty", ""), key.clone(), "server.tls.cert_file", "no certificate"),
        (cert.clone(), file("none.pem"), "server.tls.key_file", "No such file"),
        (cert.clone(), cert.clone(), "server.tls.key_file", "no private key"),
        (cert.clone(), directory.write("encrypted", encrypted), "server.tls.key_file", "not encrypted"),
        (cert.clone(), directory.write("torn", torn), "server.tls.key_file", "no end line"),
        (cert.clone(), directory.write("broken", broken), "server.tls.key_file", "with the certificate"),
        (cert.clone(), file("second.key.pem"), "server.tls.key_file", "not the key of the certificate"),
    ] {
        let named = if setting.ends_with("cert_file") { &cert } else { &key };
        let named = format!("{named:?}");
        let built = Hub::builder().settings(settings(&cert, &key)).build().await;
        let error = built.expect_err("the files are refused").to_string();
        for part in [setting, reason, &named] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        assert!(!error.contains("c2VjcmV0") && !error.contains("secret"), "{error}");
    }
}
