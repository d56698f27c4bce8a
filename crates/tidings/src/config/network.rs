//! Networks in settings.

use std::net::IpAddr;

use ipnet::IpNet;

/// Parses a network, `10.0.0.0/8`, or a single address.
///
/// # Errors
/// The problem, as the text after the setting's name.
pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    text.parse::<IpNet>().map_err(|_| {
        let shown: String = text.chars().take(60).collect();
        format!("has {shown:?}, which is no network, for example 10.0.0.0/8, fd00::/8, or one address")
    })
}
