//! Every block that is not the whole internet's, at its edges.

use super::*;

const NOT_PUBLIC: &[&str] = &[
    "0.0.0.0 0.255.255.255 10.0.0.0 10.255.255.255 100.64.0.0 100.127.255.255 127.0.0.1 127.255.255.255",
    "169.254.0.0 169.254.169.254 172.16.0.0 172.31.255.255 192.0.0.0 192.0.0.170 192.0.2.1 192.88.99.1",
    "192.168.0.0 192.168.255.255 198.18.0.0 198.19.255.255 198.51.100.7 203.0.113.255",
    "224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255",
    // Unspecified, loopback, compatible, mapped, translated.
    ":: ::1 ::7f00:1 ::8.8.8.8 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:10.0.0.1 ::ffff:0:8.8.8.8",
    // NAT64, the last two of local use.
    "64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b::10.1.2.3 64:ff9b:1::8.8.8.8 64:ff9b:0:1::8.8.8.8",
    // 6to4 of 10.0.0.1, 127.0.0.1 and 192.168.1.1.
    "2002:a00:1:: 2002:7f00:1::1 2002:c0a8:101::",
    // Teredo, and other assignments.
    "2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:1ff:ffff::",
    // Documentation, discard, segment routing, unassigned.
    "2001:db8::1 3fff::1 3fff:fff::1 100::1 5f00::1 4000::1",
    // Unique local, link-local, site-local, multicast.
    "fc00::1 fd12:3456::1 fe80::1 febf::1 fec0::1 feff::1 ff02::1 ff0e::1",
];

const PUBLIC: &[&str] = &[
    "1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0",
    "169.253.255.255 169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.0.3.0 192.88.98.1 192.88.100.0",
    "192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 198.51.99.255 198.51.101.0 203.0.112.0 203.0.114.0",
    "223.255.255.255 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2002:808:808::1",
    "2000::1 2001:200::1 2001:4860:4860::8888 2001:db7::1 2001:db9::1 2606:4700::1111 3ffe::1 3fff:1000::1",
];

#[test]
fn addresses_are_public_or_not() {
    for (lines, expected) in [(NOT_PUBLIC, false), (PUBLIC, true)] {
        for address in lines.iter().flat_map(|line| line.split(' ')) {
            assert_eq!(is_public(address.parse().unwrap()), expected, "{address}");
        }
    }
}

#[test]
fn loopback_is_loopback_however_it_is_written() {
    for (address, expected) in [
        ("127.0.0.1", true),
        ("127.8.8.8", true),
        ("::1", true),
        ("::ffff:127.0.0.1", true),
        ("0.0.0.0", false),
        ("::", false),
        ("::ffff:10.0.0.1", false),
        ("10.0.0.1", false),
        ("8.8.8.8", false),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(AddressPolicy::Loopback.check_address(address).is_ok(), expected, "{address}");
        assert_eq!(
            AddressPolicy::Loopback.check_name("a.example", &[address]).is_ok(),
            expected,
            "{address}"
        );
        assert_eq!(AddressPolicy::Public.check_name("localhost", &[address]).is_ok(), expected, "{address}");
        AddressPolicy::Public.check_address(address).unwrap();
        AddressPolicy::Anywhere.check_name("a.example", &[address]).unwrap();
    }
}

/// Only the whole name is what its writer must have known.
#[test]
fn names_that_look_like_localhost_are_judged_as_names() {
    let loopback = ["127.0.0.1".parse().unwrap()];
    for name in ["localhost.", "localhost.example", "my.localhost", "localhost6", "127.1"] {
        AddressPolicy::Public.check_name(name, &loopback).unwrap_err();
    }
    AddressPolicy::Public.check_name("LocalHost", &loopback).unwrap();
}
