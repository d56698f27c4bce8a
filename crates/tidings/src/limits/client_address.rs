//! Client addresses, as limits count them.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::config::network;

/// Address by which limits count a client: an IPv4 address, or the /64 of an IPv6 client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ClientAddress(IpAddr);

/// Proxies whose `X-Forwarded-For` is trusted.
#[derive(Debug, Clone, Default)]
pub(crate) struct TrustedProxies(Vec<IpNet>);

impl ClientAddress {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Self(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
            address => Self(address),
        }
    }
}

impl TrustedProxies {
    /// Parses settings: networks, or single addresses.
    ///
    /// # Errors
    /// The problem, as the text after the setting's name.
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        texts.iter().map(|text| network(text)).collect::<Result<_, _>>().map(Self)
    }

    /// Returns the client's address: the nearest hop that is no trusted proxy. `forwarded` are the values of
    /// `X-Forwarded-For`, in order.
    pub(crate) fn client<'a>(
        &self,
        peer: IpAddr,
        forwarded: impl DoubleEndedIterator<Item = &'a str>,
    ) -> IpAddr {
        let mut client = peer.to_canonical();
        let hops = forwarded.rev().flat_map(|value| value.rsplit(','));
        for hop in hops {
            if !self.has(client) {
                break;
            }
            // A trusted proxy writes valid addresses, so an invalid one ends the chain.
            let Some(address) = address_of(hop.trim()) else { break };
            client = address.to_canonical();
        }
        client
    }

    fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Parses a hop. Some proxies add the port, or write IPv6 addresses in brackets.
fn address_of(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.split(']').next());
    let with_port = || hop.parse::<std::net::SocketAddr>().ok().map(|address| address.ip());
    hop.parse().ok().or_else(with_port).or_else(|| bare?.parse().ok())
}

#[cfg(test)]
mod tests;
