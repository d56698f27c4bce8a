//! Where Redis is and who we are there, read from its URL.

use std::{path::Path, sync::Arc};

use percent_encoding::percent_decode_str;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};

use crate::{
    config::Secret,
    error::{Code, Error},
};

/// The port without one in the URL.
const PORT: u16 = 6379;

/// A server, and the user there.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: u32,
    pub(super) tls: Option<Tls>,
}

/// How its certificate is judged.
#[derive(Debug, Clone)]
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
}

impl Server {
    /// Reads `redis://[[user][:password]@]host[:port][/database]`, or `rediss://` for TLS. What is trusted with TLS is in
    /// `ca_file`, else the public authorities.
    ///
    /// # Errors
    /// When it is no such URL, or the file holds no certificate. The text never has the password.
    pub(super) fn parse(url: &str, ca_file: Option<&Path>) -> Result<Self, Error> {
        let (is_tls, rest) = match url.split_once("://") {
            Some(("redis", rest)) => (false, rest),
            Some(("rediss", rest)) => (true, rest),
            _ => return Err(refused("does not begin with redis:// or rediss://")),
        };
        if rest.contains(['?', '#']) {
            return Err(refused("has a query or fragment; the hub knows none"));
        }
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let database = match database {
            "" => 0,
            digits => digits.parse().map_err(|_| refused("has a database that is not a number"))?,
        };
        let (credentials, address) = match authority.rsplit_once('@') {
            Some((credentials, address)) => (Some(credentials), address),
            None => (None, authority),
        };
        let (user, password) = match credentials.map(|it| it.split_once(':').unwrap_or((it, ""))) {
            Some((user, password)) => (decoded(user)?, decoded(password)?.map(Secret::new)),
            None => (None, None),
        };
        if user.is_some() && password.is_none() {
            return Err(refused("has a user without a password; a password alone is written as :password@"));
        }
        let (host, port) = host_and_port(address)?;
        let tls = if is_tls { Some(Tls { config: tls(ca_file)?, name: name(&host)? }) } else { None };
        Ok(Self { host, port, user, password, database, tls })
    }
}

fn host_and_port(address: &str) -> Result<(String, u16), Error> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').unwrap_or(rest)),
        None => address.split_once(':').unwrap_or((address, "")),
    };
    if host.is_empty() {
        return Err(refused("has no host"));
    }
    let port = match port {
        "" => PORT,
        digits => digits.parse().map_err(|_| refused("has a port that is not a number up to 65535"))?,
    };
    Ok((host.to_owned(), port))
}

fn decoded(text: &str) -> Result<Option<String>, Error> {
    let decoded = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| refused("has a user or password that is not UTF-8"))?;
    Ok(Some(decoded.into_owned()).filter(|text| !text.is_empty()))
}

fn name(host: &str) -> Result<ServerName<'static>, Error> {
    ServerName::try_from(host.to_owned()).map_err(|_| refused("has a host that no certificate can name"))
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

fn refused(fault: &str) -> Error {
    Error::new(
        Code::BadRequest,
        format!("redis.url {fault}; write redis://[[user][:password]@]host[:port][/database]"),
    )
}

#[cfg(test)]
mod tests;
