//! Which URLs are taken, and what is shown of them.

use super::*;

#[test]
fn urls_that_cannot_be_asked_are_refused_without_being_repeated() {
    for url in [
        "",
        "backend.example.com",
        "backend.example.com/path",
        "/path",
        "ftp://backend.example.com/",
        "http://",
        "http:///path",
        "http://:80/",
        "http://me:secret@/",
        "http://host:port/secret",
        "http://host:99999/secret",
        "http://host:/secret",
        "http://[::1/secret",
        "http://ho st/secret",
        "http://bäckend.example.com/secret",
    ] {
        let fault = Target::parse(url).unwrap_err();
        assert!(!fault.contains("secret"), "{url}: {fault}");
    }
}

#[test]
fn target_is_shown_without_user_and_query() {
    for (url, shown) in [
        ("https://backend.example.com", "https://backend.example.com/"),
        ("http://me:secret@host:81/a/b?key=secret#secret", "http://host:81/a/b"),
        ("https://secret@[::1]:8443/keys", "https://[::1]:8443/keys"),
    ] {
        let target = Target::parse(url).unwrap();
        assert_eq!(target.to_string(), shown);
        assert_eq!(format!("{target:?}"), format!("Target({shown})"));
        assert!(!format!("{:?}", target.authorization()).contains("c2VjcmV0"));
    }
}

#[test]
fn host_is_an_address_only_where_it_is_written_as_one() {
    for (url, address) in [
        ("http://127.0.0.1/", Some("127.0.0.1")),
        ("http://[::1]:80/", Some("::1")),
        ("http://me@10.0.0.1:80/", Some("10.0.0.1")),
        ("http://127.1/", None),
        ("http://localhost/", None),
    ] {
        let address = address.map(|address| address.parse().unwrap());
        assert_eq!(Target::parse(url).unwrap().address(), address, "{url}");
    }
}
