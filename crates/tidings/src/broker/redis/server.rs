//! Address, login and TLS configuration of a Redis, read from its URL and files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName,
        pem::{self, PemObject},
    },
};

use crate::{
    config::{RedisAddress, RedisHost, RedisUrl},
    error::{Code, Error},
};

/// Address of a Redis, and its TLS configuration.
#[derive(Debug)]
pub(super) struct RedisEndpoint {
    pub(super) address: RedisAddress,
    /// TLS configuration; `None` without TLS.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

/// The files of a TLS client.
#[derive(Debug, Clone, Default)]
pub(crate) struct TlsFiles {
    /// Trusted certificates; `None` for the public authorities.
    pub(crate) ca: Option<PathBuf>,
    /// Client certificate and its key, for a server that asks for one.
    pub(crate) client: Option<(PathBuf, PathBuf)>,
}

impl RedisEndpoint {
    /// Reads a URL, and the files if the URL asks for TLS.
    ///
    /// # Errors
    /// The URL or a file cannot be used. The text never contains the password.
    pub(super) fn parse(url: &str, files: &TlsFiles) -> Result<Self, Error> {
        let refused = |fault: &str| Error::new(Code::BadRequest, format!("redis.url {fault}"));
        let address = RedisUrl::new(url).address().map_err(refused)?;
        let tls = if address.tls { Some(tls(files)?) } else { None };
        Ok(Self { address, tls })
    }

    /// Whether the URL names several servers, so that one of them may be a replica.
    pub(super) fn has_others(&self) -> bool {
        self.address.sentinel.is_some() || self.address.hosts.len() > 1
    }
}

/// Returns the name that a certificate of this host has to contain.
pub(super) fn name(host: &RedisHost) -> Option<ServerName<'static>> {
    ServerName::try_from(host.name.clone()).ok()
}

fn tls(files: &TlsFiles) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    match &files.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            for certificate in certificates("redis.ca_file", file)? {
                let added = roots.add(certificate);
                added.map_err(|error| unreadable("redis.ca_file", file, &error.to_string()))?;
            }
        }
    }
    // The provider is explicit: a library must not set the default of the process.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Internal, "TLS could not be set up").caused_by(error))?
        .with_root_certificates(roots);
    let Some((cert_file, key_file)) = &files.client else {
        return Ok(Arc::new(config.with_no_client_auth()));
    };
    let chain = certificates("redis.cert_file", cert_file)?;
    let key = PrivateKeyDer::from_pem_file(key_file).map_err(|error| {
        let reason = match error {
            pem::Error::Io(error) => error.to_string(),
            _ => "it holds no private key that is not encrypted (PEM: PKCS#8, PKCS#1 or SEC1)".to_owned(),
        };
        unreadable("redis.key_file", key_file, &reason)
    })?;
    let config = config.with_client_auth_cert(chain, key).map_err(|error| {
        let reason = format!("it does not match the certificate in {}: {error}", cert_file.display());
        unreadable("redis.key_file", key_file, &reason)
    })?;
    Ok(Arc::new(config))
}

fn certificates(setting: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let chain = read.map_err(|error| unreadable(setting, file, &error.to_string()))?;
    if chain.is_empty() {
        return Err(unreadable(setting, file, "it holds no certificate (PEM)"));
    }
    Ok(chain)
}

fn unreadable(setting: &str, file: &Path, reason: &str) -> Error {
    Error::new(Code::BadRequest, format!("{setting} {}: {reason}", file.display()))
}

#[cfg(test)]
mod tests;
