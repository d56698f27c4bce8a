//! TLS of the hub's listeners: reading the certificate, and the handshake of a connection.

use std::{io, path::Path, sync::Arc};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use sha2::{Digest, Sha256};
use tidings_protocol::Problem;
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::config::TlsSettings;
use crate::error::{Code, Error};
use crate::hub::Certificate;
use crate::transport::socket::Socket;

/// The first byte of a handshake. Source: RFC 8446, 5.1.
const HANDSHAKE: u8 = 22;

const PLAIN_PROBLEM: &str = r#"{"type":"about:blank","title":"Bad request","status":400,"code":"bad_request","detail":"this port speaks https, and the request came in plain HTTP; ask https://"}"#;

/// Reads the certificate and its key.
///
/// # Errors
/// The setting, the file and the reason, for a file that cannot be read or used, and for a key of another certificate.
pub(super) fn load(files: &TlsSettings) -> Result<Certificate, Error> {
    let chain_text = read("server.tls.cert_file", &files.cert_file)?;
    let key_text = read("server.tls.key_file", &files.key_file)?;
    let chain = certificates(&chain_text)
        .map_err(|reason| refused("server.tls.cert_file", &files.cert_file, reason))?;
    let key = PrivateKeyDer::from_pem_slice(&key_text).map_err(|error| {
        let reason = match error {
            pem::Error::NoItemsFound => {
                "it holds no private key that is not encrypted (PEM: PKCS#8, PKCS#1 or SEC1)"
            }
            error => fault(&error),
        };
        refused("server.tls.key_file", &files.key_file, reason)
    })?;
    // The provider is explicit: a library must not set the default of the process.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| Error::new(Code::Internal, "TLS could not be set up").caused_by(error))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            let reason = match &error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("it is not the key of the certificate in {:?}", files.cert_file)
                }
                error => format!("with the certificate in {:?}: {error}", files.cert_file),
            };
            refused("server.tls.key_file", &files.key_file, &reason).caused_by(error)
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let digest = Sha256::new().chain_update(Sha256::digest(&chain_text)).chain_update(key_text).finalize();
    Ok(Certificate { config: Arc::new(config), files: files.clone(), digest: digest.into() })
}

fn read(setting: &str, file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(|error| refused(setting, file, &error.to_string()))
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let chain = chain.map_err(|error| fault(&error))?;
    if chain.is_empty() { Err("it holds no certificate (PEM)") } else { Ok(chain) }
}

/// Returns the problem of a PEM file, without its content.
fn fault(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section has no end line",
        pem::Error::Base64Decode(_) => "a section is not base64",
        _ => "it is not PEM",
    }
}

fn refused(setting: &str, file: &Path, reason: &str) -> Error {
    Error::new(Code::BadRequest, format!("{setting} {file:?} cannot be used: {reason}"))
}

/// Performs the handshake of a new connection. A client of plain HTTP gets a 400 response, and the result is `None`.
///
/// # Errors
/// For a client that disconnects, or that supports no protocol version of the hub.
pub(super) async fn accept(
    config: Arc<ServerConfig>,
    mut socket: Socket,
) -> io::Result<Option<TlsStream<Socket>>> {
    if is_plain_http(socket.stream()).await? {
        socket.write_all(plain_http_response().as_bytes()).await?;
        socket.shutdown().await?;
        return Ok(None);
    }
    TlsAcceptor::from(config).accept(socket).await.map(Some)
}

fn plain_http_response() -> String {
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{PLAIN_PROBLEM}",
        Problem::CONTENT_TYPE,
        PLAIN_PROBLEM.len()
    )
}

/// Whether the first byte belongs to an HTTP method instead of a handshake.
async fn is_plain_http(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [HANDSHAKE];
    stream.peek(&mut first).await?;
    Ok(first[0].is_ascii_alphabetic())
}
