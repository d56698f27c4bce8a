//! Address, login and TLS configuration of a Redis, read from its URL and files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::url::{RedisAddress, RedisHost, RedisUrl};

/// Address of a Redis, and its TLS configuration.
#[derive(Debug)]
pub struct RedisEndpoint {
    pub(crate) address: RedisAddress,
    /// TLS configuration; `None` without TLS.
    pub(crate) tls: Option<Arc<ClientConfig>>,
}

/// The files of a TLS client.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Trusted certificates; `None` for the public authorities.
    pub ca: Option<PathBuf>,
    /// Client certificate and its key, for a server that asks for one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// Reason why an endpoint cannot be used. Its text contains no part of the URL.
#[derive(Debug)]
pub enum EndpointError {
    /// The URL is invalid; the text follows its name.
    Url(&'static str),
    /// A file cannot be used; the text has its path and the reason.
    File(TlsFile, String),
    /// TLS could not be set up.
    Tls(rustls::Error),
}

/// A file of [`TlsFiles`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// Trusted certificates.
    Ca,
    /// Client certificate.
    Certificate,
    /// Key of the client certificate.
    Key,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(fault) => write!(f, "the URL of redis {fault}"),
            Self::File(_, fault) => f.write_str(fault),
            Self::Tls(error) => write!(f, "TLS could not be set up: {error}"),
        }
    }
}

impl std::error::Error for EndpointError {}

impl RedisEndpoint {
    /// Reads a URL, and the files if the URL asks for TLS.
    ///
    /// # Errors
    /// The URL or a file cannot be used.
    pub fn read(url: &RedisUrl, files: &TlsFiles) -> Result<Self, EndpointError> {
        let address = url.address().map_err(EndpointError::Url)?;
        let tls = if address.tls { Some(tls(files)?) } else { None };
        Ok(Self { address, tls })
    }

    /// Whether the URL names several servers, so that one of them may be a replica.
    /// Returns the number of the database.
    pub fn database(&self) -> u32 {
        self.address.database
    }

    pub(crate) fn has_others(&self) -> bool {
        self.address.sentinel.is_some() || self.address.hosts.len() > 1
    }
}

/// Returns the name that a certificate of this host has to contain.
pub(crate) fn name(host: &RedisHost) -> Option<ServerName<'static>> {
    ServerName::try_from(host.name.clone()).ok()
}

fn tls(files: &TlsFiles) -> Result<Arc<ClientConfig>, EndpointError> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            for certificate in certificates(TlsFile::Ca, file)? {
                let added = roots.add(certificate);
                added.map_err(|error| unreadable(TlsFile::Ca, file, &error.to_string()))?;
            }
        }
    }
    // The provider is explicit: a library must not set the default of the process.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(EndpointError::Tls)?
        .with_root_certificates(roots);
    let Some((cert_file, key_file)) = &files.client else {
        return Ok(Arc::new(config.with_no_client_auth()));
    };
    let chain = certificates(TlsFile::Certificate, cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| {
        let reason = match error {
            pem::Error::Io(error) => error.to_string(),
            _ => "it holds no private key that is not encrypted (PEM: PKCS#8, PKCS#1 or SEC1)".to_owned(),
        };
        unreadable(TlsFile::Key, key_file, &reason)
    })?;
    let config = config.with_client_auth_cert(chain, key).map_err(|error| {
        let reason = format!("it does not match the certificate in {}: {error}", cert_file.display());
        unreadable(TlsFile::Key, key_file, &reason)
    })?;
    Ok(Arc::new(config))
}

fn certificates(kind: TlsFile, file: &Path) -> Result<Vec<CertificateDer<'static>>, EndpointError> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| unreadable(kind, file, &error.to_string()))?;
    if chain.is_empty() {
        return Err(unreadable(kind, file, "it holds no certificate (PEM)"));
    }
    Ok(chain)
}

fn unreadable(kind: TlsFile, file: &Path, reason: &str) -> EndpointError {
    EndpointError::File(kind, format!("{}: {reason}", file.display()))
}

#[cfg(test)]
mod tests;
