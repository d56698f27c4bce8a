//! Addresses that outbound requests may go to, so that a URL cannot reach servers that only the hub can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses that names may resolve to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressPolicy {
    /// Any address.
    Anywhere,
    /// Public addresses only. A host written as an address, and `localhost`, are allowed: the operator chose them.
    Public,
    /// Loopback only, for hosts written as addresses, too.
    Loopback,
}

impl AddressPolicy {
    /// Checks the addresses of `name`. One forbidden address refuses the name, since any of them may be connected to.
    pub(super) fn check_name(self, name: &str, addresses: &[IpAddr]) -> Result<(), String> {
        let is_localhost = name.eq_ignore_ascii_case("localhost");
        let is_good = |address: &&IpAddr| match self {
            Self::Anywhere => true,
            Self::Public if !is_localhost => is_public(**address),
            Self::Public | Self::Loopback => is_loopback(**address),
        };
        match addresses.iter().find(|address| !is_good(address)) {
            None => Ok(()),
            Some(address) if self == Self::Loopback || is_localhost => {
                Err(format!("the name resolves to {address}, which is not loopback"))
            }
            Some(address) => Err(format!(
                "the name resolves to {address}, which is not a public address; auth.hook_private = true allows it"
            )),
        }
    }

    /// Checks a host that is written as an address.
    pub(crate) fn check_address(self, address: IpAddr) -> Result<(), String> {
        match self {
            Self::Loopback if !is_loopback(address) => Err(format!("{address} is not loopback")),
            Self::Anywhere | Self::Public | Self::Loopback => Ok(()),
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// Whether an address is public. Source: the special-purpose registries of RFC 6890, and multicast.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    match address.octets() {
        // "This" network, private, loopback.
        [0 | 10 | 127, ..] => false,
        // Shared by the customers of a carrier (RFC 6598); link-local, where clouds keep credentials.
        [100, 64..=127, ..] | [169, 254, ..] => false,
        [172, 16..=31, ..] | [192, 168, ..] => false,
        // Protocol assignments, documentation, relays of 6to4.
        [192, 0, 0 | 2, _] | [192, 88, 99, _] => false,
        // Benchmarks, documentation.
        [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => false,
        // Multicast, reserved, broadcast.
        [224..=255, ..] => false,
        _ => true,
    }
}

/// Whether an address is in the global unicast block, less its exceptions. An embedded IPv4 address decides instead.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    match segments {
        // Mapped, and NAT64: how a host without IPv4 reaches it.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => {
            is_public_v4(embedded(segments[6], segments[7]))
        }
        [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        // Protocol assignments, Teredo among them.
        [0x2001, 0..=0x1ff, ..] => false,
        // Documentation, twice.
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))
}

#[cfg(test)]
mod tests;
