//! Where Redis is and who we are there, read from its URL.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{
    config::{RedisAddress, RedisHost, RedisUrl},
    error::{Code, Error},
};

/// What a URL says, and whom to trust.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: RedisAddress,
    /// How certificates are judged, where there are any.
    pub(super) tls: Option<Arc<ClientConfig>>,
}

impl Server {
    /// Reads a URL. What is trusted with TLS is in `ca_file`, else the public authorities.
    ///
    /// # Errors
    /// When it is no such URL, or the file holds no certificate. The text never has the password.
    pub(super) fn parse(url: &str, ca_file: Option<&Path>) -> Result<Self, Error> {
        let refused = |fault: &str| Error::new(Code::BadRequest, format!("redis.url {fault}"));
        let address = RedisUrl::new(url).address().map_err(refused)?;
        let tls = if address.tls { Some(tls(ca_file)?) } else { None };
        Ok(Self { address, tls })
    }

    /// Whether a server that is found need not be the primary: there are others, and they change their parts.
    pub(super) fn has_others(&self) -> bool {
        self.address.sentinel.is_some() || self.address.hosts.len() > 1
    }
}

/// What a certificate of this host has to name.
pub(super) fn name(host: &RedisHost) -> Option<ServerName<'static>> {
    ServerName::try_from(host.name.clone()).ok()
}

fn tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let unreadable = |fault: String| {
                Error::new(Code::BadRequest, format!("redis.ca_file {}: {fault}", file.display()))
            };
            let certificates =
                CertificateDer::pem_file_iter(file).map_err(|error| unreadable(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unreadable("it holds no certificate (PEM)".into()));
            }
        }
    }
    // The provider is named: a default of the whole process is not a library's to choose.
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::new(Code::Internal, "TLS could not be set up").caused_by(error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests;
