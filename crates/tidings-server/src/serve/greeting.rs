//! What a person who starts a hub reads first: where it is, and two lines to try.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::terminal::{Paint, Style};

/// The greeting. Its first line holds the page's address, for people and for programs that wait for it.
pub(super) fn greeting(addresses: &[SocketAddr], paint: Paint) -> String {
    let mut text = String::new();
    for address in addresses {
        let url = page_url(*address);
        text.push_str(&format!(
            "tidings {} listens on {}\n",
            env!("CARGO_PKG_VERSION"),
            paint.paint(Style::Bold, &url)
        ));
    }
    let Some(first) = addresses.first() else { return text };
    let url = page_url(*first);
    let lines = [
        ("page", url.clone()),
        ("watch", format!("curl -N {url}api/v1/events/hello")),
        ("publish", format!("curl -d 'Hello, world' {url}api/v1/events/hello")),
    ];
    for (label, line) in lines {
        text.push_str(&format!("  {}  {line}\n", paint.paint(Style::Dim, &format!("{label:7}"))));
    }
    text
}

/// The page as a browser on this machine reaches it: "every address" is none that can be asked for.
fn page_url(address: SocketAddr) -> String {
    let reachable = match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        given => given,
    };
    format!("http://{}/", SocketAddr::new(reachable, address.port()))
}

#[cfg(test)]
mod tests;
