//! TLS of the hub's own listeners: versions, protocols, new certificates, and clients that do not speak it.

#![allow(clippy::unwrap_used, reason = "a test whose hub cannot be asked has failed")]

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidings::{
    Hub, Publication,
    config::{Durability, Settings, TlsSettings},
    protocol::ChannelName,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
        version::{TLS12, TLS13},
    },
};

const PATIENCE: Duration = Duration::from_secs(20);
const STREAM: &str = "/api/v1/events/a?position=id";

fn file(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tidings-server/tests/tls")).join(name)
}

fn settings(cert: &Path, key: &Path) -> Settings {
    let mut settings = Settings { data_dir: None, ..Settings::default() };
    settings.log.durability = Durability::Memory;
    settings.server.tls = Some(TlsSettings { cert_file: cert.to_owned(), key_file: key.to_owned() });
    settings.server.head_timeout = Duration::from_secs(1);
    settings
}

fn first() -> Settings {
    settings(&file("first.cert.pem"), &file("first.key.pem"))
}

/// A hub that is served on a port of its own.
struct Served {
    hub: Hub,
    address: SocketAddr,
    task: JoinHandle<Result<(), tidings::Error>>,
}

impl Served {
    async fn start(settings: Settings) -> Self {
        let hub = Hub::builder().settings(settings).build().await.expect("the hub starts");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(tidings::serve(hub.clone(), vec![listener]));
        Self { hub, address, task }
    }

    async fn publish(&self, text: &str) {
        let publication = Publication::new(ChannelName::parse("a").unwrap(), text);
        self.hub.publish(publication).await.unwrap();
    }

    async fn connect(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let socket = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, socket)).await.unwrap().unwrap()
    }

    async fn end(self) {
        self.hub.shutdown().await;
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }
}

/// Asks for a stream over HTTP/1.1.
async fn subscribe(mut connection: TlsStream<TcpStream>) -> Plain {
    let request = format!("GET {STREAM} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut plain = Plain { connection, text: String::new() };
    plain.wait_for("\nid: ").await;
    assert!(plain.text.starts_with("HTTP/1.1 200 OK\r\n"), "{}", plain.text);
    plain
}

/// What has come over a connection, as text.
struct Plain {
    connection: TlsStream<TcpStream>,
    text: String,
}

impl Plain {
    async fn wait_for(&mut self, text: &str) {
        let has_come = timeout(PATIENCE, self.read_to(text)).await;
        assert!(has_come.is_ok(), "{text:?} never came: {}", self.text);
    }

    async fn read_to(&mut self, text: &str) {
        while !self.text.contains(text) {
            let mut buffer = [0; 4096];
            let bytes = self.connection.read(&mut buffer).await.unwrap();
            assert!(bytes > 0, "it ended without {text:?}: {}", self.text);
            self.text.push_str(std::str::from_utf8(&buffer[..bytes]).unwrap());
        }
    }
}

fn certificate(connection: &TlsStream<TcpStream>) -> CertificateDer<'static> {
    connection.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

fn of(name: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(file(name)).unwrap()
}

#[tokio::test]
async fn http_1_stream_is_served_over_both_versions_of_tls() {
    let served = Served::start(first()).await;
    for (version, number) in [(&TLS13, ProtocolVersion::TLSv1_3), (&TLS12, ProtocolVersion::TLSv1_2)] {
        for alpn in [&["http/1.1"][..], &[]] {
            let connection = served.connect(&[version], alpn).await;
            let session = connection.get_ref().1;
            assert_eq!(session.protocol_version(), Some(number));
            assert_eq!(session.alpn_protocol(), alpn.first().map(|name| name.as_bytes()));
            let mut stream = subscribe(connection).await;
            served.publish("over TLS").await;
            stream.wait_for("data: over TLS\n").await;
        }
    }
    served.end().await;
}

#[tokio::test]
async fn http_2_is_chosen_where_the_client_offers_both() {
    let served = Served::start(first()).await;
    for version in [&TLS13, &TLS12] {
        let connection = served.connect(&[version], &["h2", "http/1.1"]).await;
        assert_eq!(connection.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(connection));
        let (mut sender, connection) = handshake.await.unwrap();
        tokio::spawn(connection);
        let uri = format!("https://localhost:{}{STREAM}", served.address.port());
        let request = http::Request::get(uri).body(Empty::<bytes::Bytes>::new()).unwrap();
        let response = timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
        let mut body = response.into_body();
        body.frame().await.unwrap().unwrap();
        served.publish("over HTTP/2").await;
        let frame = timeout(PATIENCE, body.frame()).await.unwrap().unwrap().unwrap().into_data().unwrap();
        assert!(frame.starts_with(b"data: over HTTP/2\n"), "{frame:?}");
    }
    served.end().await;
}

#[tokio::test]
async fn malformed_heads_are_refused_within_tls_too() {
    let served = Served::start(first()).await;
    for alpn in [&["http/1.1"][..], &["h2"], &[]] {
        let mut connection = served.connect(&[&TLS13], alpn).await;
        connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\nX: a\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        timeout(PATIENCE, connection.read_to_string(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    }
    served.end().await;
}

#[tokio::test]
async fn reload_gives_new_connections_the_new_certificate_and_cuts_no_stream() {
    let directory = Directory::new();
    let (cert, key) = (directory.copy("first.cert.pem", "cert"), directory.copy("first.key.pem", "key"));
    let served = Served::start(settings(&cert, &key)).await;
    let connection = served.connect(&[&TLS13], &[]).await;
    assert_eq!(certificate(&connection), of("first.cert.pem"));
    let mut open = subscribe(connection).await;

    // The same files, with something else in them.
    directory.copy("second.cert.pem", "cert");
    directory.copy("second.key.pem", "key");
    served.hub.reload(settings(&cert, &key)).unwrap();
    let connection = served.connect(&[&TLS13], &[]).await;
    assert_eq!(certificate(&connection), of("second.cert.pem"));
    let mut new = subscribe(connection).await;
    served.publish("to both").await;
    open.wait_for("data: to both\n").await;
    new.wait_for("data: to both\n").await;

    // Files that cannot be used leave everything as it is.
    directory.copy("first.key.pem", "key");
    let error = served.hub.reload(settings(&cert, &key)).unwrap_err().to_string();
    assert!(error.contains("server.tls.key_file") && error.contains("not the key"), "{error}");
    assert_eq!(certificate(&served.connect(&[&TLS13], &[]).await), of("second.cert.pem"));

    // Other files.
    served.hub.reload(first()).unwrap();
    assert_eq!(certificate(&served.connect(&[&TLS12], &[]).await), of("first.cert.pem"));
    served.end().await;
}

#[tokio::test]
async fn certificate_that_was_renewed_on_disk_is_taken_without_a_reload() {
    let directory = Directory::new();
    let (cert, key) = (directory.copy("first.cert.pem", "cert"), directory.copy("first.key.pem", "key"));
    let served = Served::start(settings(&cert, &key)).await;
    let mut open = subscribe(served.connect(&[&TLS13], &[]).await).await;
    directory.copy("second.cert.pem", "cert");
    directory.copy("second.key.pem", "key");
    // The hub looks every 5 s, later on a machine that is busy.
    let renewed = async {
        while certificate(&served.connect(&[&TLS13], &[]).await) != of("second.cert.pem") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(3 * PATIENCE, renewed).await.unwrap();
    served.publish("to the open stream").await;
    open.wait_for("data: to the open stream\n").await;
    served.end().await;
}

#[tokio::test]
async fn tls_is_neither_turned_off_nor_on_by_a_reload() {
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
async fn unfinished_handshakes_are_closed_at_the_deadline_and_hold_nobody_up() {
    let served = Served::start(first()).await;
    let begun = Instant::now();
    let mut stuck = Vec::new();
    // The header of a handshake whose body never comes, a half of that, and nothing at all.
    for beginning in [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"\x16", b""].into_iter().cycle().take(300) {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.write_all(beginning).await.unwrap();
        stuck.push(socket);
    }
    let mut stream = subscribe(served.connect(&[&TLS13], &[]).await).await;
    served.publish("meanwhile").await;
    stream.wait_for("data: meanwhile\n").await;
    for mut socket in stuck {
        let mut rest = Vec::new();
        timeout(PATIENCE, socket.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(950), "{:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    served.publish("afterwards").await;
    stream.wait_for("data: afterwards\n").await;
    served.end().await;
}

#[tokio::test]
async fn reader_within_tls_that_takes_nothing_is_closed_at_its_deadline() {
    let mut settings = first();
    settings.stream.write_timeout = Duration::from_millis(500);
    let served = Served::start(settings).await;
    let stuck = subscribe(served.connect(&[&TLS13], &[]).await).await;
    let text = "x".repeat(100 << 10);
    let begun = Instant::now();
    while !served.hub.metrics_text().contains("\ntidings_write_timeouts_total 1\n") {
        served.publish(&text).await;
        assert!(begun.elapsed() < PATIENCE, "it is never closed");
    }
    while !served.hub.metrics_text().contains("\ntidings_streams_open 0\n") {
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(begun.elapsed() < PATIENCE, "its place is never given back");
    }
    drop(stuck);
    served.end().await;
}

#[tokio::test]
async fn plain_http_on_a_port_that_speaks_tls_is_told_so() {
    let served = Served::start(first()).await;
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("Content-Type: application/problem+json\r\n"), "{head}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["status"], &problem["code"]), (&400.into(), &"bad_request".into()));
    assert!(problem["detail"].as_str().unwrap().contains("https"), "{problem}");
    served.end().await;
}

#[tokio::test]
async fn client_that_trusts_another_authority_harms_nobody() {
    let served = Served::start(first()).await;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let socket = TcpStream::connect(served.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    assert!(TlsConnector::from(Arc::new(config)).connect(name, socket).await.is_err());
    subscribe(served.connect(&[&TLS13], &[]).await).await;
    served.end().await;
}

#[tokio::test]
async fn keys_in_every_form_are_read() {
    for (cert, key) in [
        ("first.cert.pem", "first.key.pem"),
        ("first.cert.pem", "first.sec1.pem"),
        ("rsa.cert.pem", "rsa.pkcs1.pem"),
    ] {
        Hub::builder().settings(settings(&file(cert), &file(key))).build().await.expect(key);
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_the_reason_and_nothing_of_what_they_hold() {
    let directory = Directory::new();
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
        let error = built.expect_err("it is refused").to_string();
        for part in [setting, reason, &named] {
            assert!(error.contains(part), "{part:?} is not in {error}");
        }
        assert!(!error.contains("c2VjcmV0") && !error.contains("secret"), "{error}");
    }
}

/// A directory that is gone after the test.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        let name = format!("tidings-tls-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn copy(&self, from: &str, name: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::copy(file(from), &path).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}
