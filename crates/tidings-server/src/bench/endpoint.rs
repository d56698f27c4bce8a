//! Where requests go: a URL template, taken apart.

use std::net::ToSocketAddrs;

use tidings_load::Target;

use super::template::Template;

/// A host, and the template of what is asked of it.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    /// The template as it was given.
    pub(super) url: String,
    /// Host and port, as the `Host` header has it.
    pub(super) authority: String,
    /// Path and query.
    pub(super) path: Template,
    pub(super) target: Target,
}

impl Endpoint {
    /// Reads the URL that `flag` gave, and looks its host up.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
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
        Ok(Self { url: url.to_owned(), authority: authority.to_owned(), path, target: Target { address } })
    }
}
