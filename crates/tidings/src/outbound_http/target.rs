//! URL of another server: checked once, and shown without its secrets.

use std::{fmt, net::IpAddr};

use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderValue, Uri, uri::Scheme};
use percent_encoding::percent_decode_str;

/// An http or https URL. Its `name:password@` is sent as `Authorization: Basic`.
#[derive(Clone)]
pub(crate) struct Target {
    /// Without user and password.
    uri: Uri,
    authorization: Option<HeaderValue>,
}

impl Target {
    /// Parses a URL; the error is the text after the setting's name.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        // Errors do not repeat the URL, which may have a password.
        let uri: Uri = url.parse().map_err(|_| "is no URL; for example https://backend.example.com/path")?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("has no scheme that is known; http:// or https://".to_owned());
        }
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let (user, host) =
            authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
        let name = uri.host().unwrap_or_default();
        let port = host.strip_prefix(name).unwrap_or_default();
        let is_port = |text: &str| text.strip_prefix(':').is_some_and(|text| text.parse::<u16>().is_ok());
        if name.is_empty() || !(port.is_empty() || is_port(port)) {
            return Err("has no host, or a port that is none".to_owned());
        }
        let authorization = user.map(basic);
        let mut parts = uri.clone().into_parts();
        parts.authority = Some(host.parse().map_err(|_| "has no host that is known")?);
        let uri = Uri::from_parts(parts).map_err(|_| "is no URL")?;
        Ok(Self { uri, authorization })
    }

    pub(crate) fn is_https(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Returns the host, if it is written as an address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        let host = self.uri.host()?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        host.parse().ok()
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// Shows the URL without user, password and query.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        let authority = self.uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        write!(formatter, "{scheme}://{authority}{}", self.uri.path())
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Target({self})")
    }
}

/// Source: RFC 7617; a URL percent-encodes what the header takes as it is.
fn basic(user: &str) -> HeaderValue {
    let plain: Vec<u8> = match user.split_once(':') {
        Some((user, password)) => {
            percent_decode_str(user).chain([b':']).chain(percent_decode_str(password)).collect()
        }
        None => percent_decode_str(user).chain([b':']).collect(),
    };
    let text = format!("Basic {}", STANDARD.encode(plain));
    let mut value = HeaderValue::try_from(text).expect("base64 is good in a header");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests;
