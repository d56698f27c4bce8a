//! Which hop counts as the client.

use super::*;

fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
    let trusted: Vec<String> = trusted.iter().map(|text| (*text).to_owned()).collect();
    let proxies = TrustedProxies::parse(&trusted).unwrap();
    proxies.client(peer.parse().unwrap(), forwarded.iter().copied()).to_string()
}

#[test]
fn last_hop_that_nobody_vouches_for_is_the_client() {
    let trusted = ["10.0.0.0/8", "127.0.0.1", "fd00::/8"];
    for (peer, forwarded, wanted) in [
        ("9.9.9.9", vec![], "9.9.9.9"),
        // An untrusted peer's header is ignored.
        ("9.9.9.9", vec!["1.1.1.1"], "9.9.9.9"),
        ("10.0.0.1", vec!["1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", vec!["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", vec!["6.6.6.6", "1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        ("10.0.0.1", vec!["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", vec![], "10.0.0.1"),
        ("10.0.0.1", vec!["1.1.1.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", vec![""], "10.0.0.1"),
        ("10.0.0.1", vec!["1.1.1.1:4711"], "1.1.1.1"),
        ("fd00::1", vec!["[2001:db8::1]:4711"], "2001:db8::1"),
        ("fd00::1", vec!["[2001:db8::1]"], "2001:db8::1"),
        ("::ffff:10.0.0.1", vec!["::ffff:1.1.1.1"], "1.1.1.1"),
        ("127.0.0.1", vec!["1.1.1.1"], "1.1.1.1"),
    ] {
        assert_eq!(client(&trusted, peer, &forwarded), wanted, "{peer} {forwarded:?}");
    }
}
