//! Which hosts and pages count as this machine's own.

use super::{is_loopback, is_loopback_page, is_own, is_own_address};

#[test]
fn loopback_hosts_are_names_and_addresses_of_this_machine() {
    for host in [
        "localhost",
        "localhost:8000",
        "LOCALHOST",
        "127.0.0.1",
        "127.9.9.9:1",
        "[::1]",
        "[::1]:8000",
        "a.localhost",
    ] {
        assert!(is_loopback(host), "{host}");
    }
    for host in [
        "example.com",
        "localhost.example.com",
        "127.0.0.1.nip.io",
        "10.0.0.1",
        "[::2]:80",
        "",
        "0.0.0.0",
        "notlocalhost",
    ] {
        assert!(!is_loopback(host), "{host}");
    }
}

#[test]
fn loopback_pages_are_http_origins_of_this_machine() {
    for origin in ["http://localhost:3000", "https://localhost", "http://127.0.0.1:5173", "http://[::1]:3000"]
    {
        assert!(is_loopback_page(origin), "{origin}");
    }
    for origin in [
        "null",
        "",
        "file://",
        "http://evil.example",
        "http://localhost.evil.example",
        "http://evil@localhost",
        "ftp://localhost",
    ] {
        assert!(!is_loopback_page(origin), "{origin}");
    }
}

#[test]
fn own_pages_are_known_by_address_never_by_name() {
    assert!(is_own_address("http://192.168.1.5:8000", "192.168.1.5:8000"));
    assert!(!is_own_address("http://rebound.example:8000", "rebound.example:8000"));
    assert!(!is_own_address("http://192.168.1.6:8000", "192.168.1.5:8000"));
}

#[test]
fn own_origin_is_the_host_that_was_asked_by_the_scheme_that_was_spoken() {
    for (origin, host, is_tls, wanted) in [
        ("https://app.example.com", "app.example.com", true, true),
        ("https://app.example.com", "app.example.com", false, true),
        ("http://app.example.com", "app.example.com", false, true),
        ("http://app.example.com", "app.example.com", true, false),
        ("https://app.example.com", "app.example.com:443", true, true),
        ("http://app.example.com:8000", "app.example.com:8000", false, true),
        ("http://app.example.com:8001", "app.example.com:8000", false, false),
        ("https://evil-app.example.com", "app.example.com", false, false),
        ("https://app.example.com.evil.example", "app.example.com", false, false),
        ("null", "null", false, false),
        ("ftp://app.example.com", "app.example.com", false, false),
        ("http://", "", false, false),
    ] {
        assert_eq!(is_own(origin, host, is_tls), wanted, "{origin} {host} {is_tls}");
    }
}
