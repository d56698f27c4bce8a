use super::*;

#[test]
fn a_url_says_who_and_where() {
    let server = Server::parse("redis://ann:p%40ss@redis.example:7000/3", None).unwrap();
    assert_eq!((server.host.as_str(), server.port, server.database), ("redis.example", 7000, 3));
    assert_eq!(server.user.as_deref(), Some("ann"));
    assert_eq!(server.password.as_ref().map(Secret::reveal), Some("p@ss"));
    assert!(server.tls.is_none());
}

#[test]
fn what_a_url_leaves_out_has_defaults() {
    let server = Server::parse("redis://[::1]", None).unwrap();
    assert_eq!((server.host.as_str(), server.port, server.database), ("::1", 6379, 0));
    assert!(server.user.is_none() && server.password.is_none());
    let server = Server::parse("rediss://:secret@redis.example/", None).unwrap();
    assert_eq!(server.password.as_ref().map(Secret::reveal), Some("secret"));
    assert!(server.user.is_none() && server.tls.is_some());
}

#[test]
fn a_bad_url_is_refused_without_telling_its_password() {
    for url in [
        "http://host",
        "redis://",
        "redis://:secret@host:99999",
        "redis://:secret@host/x",
        "redis://:secret@host?db=1",
        "redis://ann@host",
        "redis.example:6379",
    ] {
        let error = Server::parse(url, None).expect_err(url);
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
