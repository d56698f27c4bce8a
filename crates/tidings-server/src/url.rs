//! URLs of a hub as a user types them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Returns the URL of the page for a browser on this machine; an unspecified address becomes loopback.
pub(crate) fn page_url(address: SocketAddr, tls: bool) -> String {
    let reachable = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        given => given,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}/", SocketAddr::new(reachable, address.port()))
}

/// Returns the URL of a channel or pattern below a page, quoted for a shell.
pub(crate) fn channel_url(page: &str, channel: &str) -> String {
    let url = format!("{page}api/v1/events/{channel}");
    if channel.contains('*') { format!("'{url}'") } else { url }
}
