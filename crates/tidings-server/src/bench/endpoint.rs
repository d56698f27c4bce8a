//! Target of requests: a parsed URL template.

use std::net::{SocketAddr, ToSocketAddrs};

use super::template::Template;

/// Host, and template of path and query.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The template as given.
    pub(super) url: String,
    /// Host and port, as in the `Host` header.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: Template,
    pub(super) address: SocketAddr,
}

impl Endpoint {
    /// Parses the URL of `flag`, and resolves its host.
    ///
    /// # Errors
    /// The fault, as a sentence.
    pub(super) fn new(flag: &str, url: &str) -> Result<Self, String> {
        let fault = |what: &str| format!("{flag} {url:?} {what}");
        if url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return Err(fault(
                "is https; a load generator speaks plain HTTP only: give the server's own port, behind what ends TLS",
            ));
        }
        let rest = url.strip_prefix("http://").ok_or_else(|| fault("does not begin with http://"))?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        if authority.is_empty() || authority.contains(['{', '@', ' ']) {
            return Err(fault("has no plain host; write http://host:port/path"));
        }
        if path.contains(|byte: char| byte.is_ascii_control() || byte == ' ') {
            return Err(fault("holds a space or a control character; percent-encode it"));
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let place = if has_port { authority.to_owned() } else { format!("{authority}:80") };
        let mut addresses =
            place.to_socket_addrs().map_err(|error| fault(&format!("cannot be resolved: {error}")))?;
        let address = addresses.next().ok_or_else(|| fault("has no address"))?;
        let path = Template::new(&path);
        if let Some(stray) = path.stray_brace() {
            return Err(fault(&format!(
                "holds {stray:?}, which is no place to fill in; there are {{channel}} and {{n}}, and other braces are written %7B and %7D"
            )));
        }
        Ok(Self { url: url.to_owned(), authority: authority.to_owned(), path, address })
    }
}
