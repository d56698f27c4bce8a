//! Redis URLs, and the parts of them that stay hidden.

use super::*;

fn address(url: &str) -> Result<RedisAddress, &'static str> {
    RedisUrl::new(url).address()
}

#[test]
fn url_says_where_and_as_whom() {
    let found = address("redis://h").unwrap();
    assert_eq!((found.tls, found.to_string().as_str(), found.database), (false, "h:6379", 0));
    assert_eq!((found.user, found.password), (None, None));
    let found = address("rediss://us%40er:p%2F%3Aw@[::1]:7000/3").unwrap();
    assert_eq!((found.tls, found.to_string().as_str(), found.database), (true, "[::1]:7000", 3));
    assert_eq!(found.hosts, [RedisHost { name: "::1".into(), port: 7000 }]);
    assert_eq!(
        (found.user.as_deref(), found.password.as_ref().map(Secret::reveal)),
        (Some("us@er"), Some("p/:w"))
    );
    let found = address("redis://:p@s:s@10.0.0.1/").unwrap();
    assert_eq!((found.user, found.password.as_ref().map(Secret::reveal)), (None, Some("p@s:s")));
    assert_eq!(found.hosts[0].name, "10.0.0.1");
    let found = address("redis://u:w@a:7000,b,[::1]:7002/1").unwrap();
    assert_eq!((found.to_string().as_str(), found.database), ("a:7000,b:6379,[::1]:7002", 1));
}

#[test]
fn url_names_sentinels_their_service_and_their_password() {
    let found = address("redis+sentinel://u:w@a,b:5000/my.service/2?sentinel_password=%3Fp%26w=").unwrap();
    assert_eq!(
        (found.tls, found.to_string().as_str(), found.database),
        (false, "my.service by a:26379,b:5000", 2)
    );
    let sentinel = found.sentinel.unwrap();
    assert_eq!((sentinel.service.as_str(), sentinel.password), ("my.service", Some(Secret::new("?p&w="))));
    assert_eq!(found.password, Some(Secret::new("w")));
    let found = address("redis+sentinel://a/s?sentinel_password=p&sentinel_username=us%40er").unwrap();
    let sentinel = found.sentinel.unwrap();
    assert_eq!((sentinel.user.as_deref(), sentinel.password), (Some("us@er"), Some(Secret::new("p"))));
    let found = address("rediss+sentinel://a/s").unwrap();
    assert_eq!((found.tls, found.database, found.password), (true, 0, None));
    assert_eq!(found.sentinel.unwrap().password, None);
    assert!(address("redis://a/0").unwrap().sentinel.is_none());
}

#[test]
fn bad_url_is_refused_without_showing_it() {
    for (url, hint) in [
        ("", "not a URL"),
        ("localhost:6379", "not a URL"),
        ("http://h", "neither a redis nor a rediss"),
        ("REDIS://h", "neither a redis nor a rediss"),
        ("redis://", "no host"),
        ("redis://:s3cret@", "no host"),
        ("redis://h:0", "1 to 65535"),
        ("redis://h:65536", "1 to 65535"),
        ("redis://h:s3cret", "port"),
        ("redis://h:", "port"),
        ("redis://fe80::1", "brackets"),
        ("redis://[h]:1", "IPv6"),
        ("redis://[::1]x", "port"),
        ("redis://:s3/cret@h", "no host"),
        ("redis://u:7/s3cret@h", "%2F"),
        ("redis://h/one", "database"),
        ("redis://h/99999999999", "too large"),
        ("redis://h?protocol=3", "query"),
        ("redis://:s3#cret@h", "%23"),
        ("redis://s3cret@h", ":password@"),
        ("redis://h h", "neither a name"),
        ("redis://:%ff@h", "UTF-8"),
        ("redis://a,,b", "no host"),
        ("redis://a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a,a", "16 hosts"),
        ("redis://a:1,b:s3cret", "port"),
        ("redis://a?sentinel_password=s3cret", "query"),
        ("redis+sentinel://a", "service"),
        ("redis+sentinel://a/s3 cret", "service"),
        ("redis+sentinel://a/s/s3cret", "database"),
        ("redis+sentinel://a/s?password=s3cret", "sentinel_password"),
        ("redis+sentinel://a/s?sentinel_password=", "sentinel_password"),
        ("redis+sentinel://a/s?sentinel_password=s3&cret", "%26"),
        ("redis+sentinel://a/s?sentinel_password=s3&sentinel_password=cret", "query"),
        ("redis+sentinel://a/s?sentinel_username=s3", "without a sentinel_password"),
        ("redis+sentinel://a/s?sentinel_password=s3#cret", "%23"),
        ("redis+sentinel://:s3?cret@a/s", "no host"),
        ("redis+sentinel://u:7?s3cret@a/s", "service"),
    ] {
        let fault = address(url).expect_err(url);
        assert!(fault.contains(hint), "{url}: {fault}");
        let shown = format!("{:?} {fault}", RedisUrl::new(url));
        assert!(!shown.contains("s3") && !shown.contains("cret"), "{shown}");
    }
}

#[test]
fn url_is_shown_without_its_password() {
    for (url, shown) in [
        ("redis://u:s3cret@h:1/2", "redis://u:***@h:1/2"),
        ("rediss://:s3:c@ret@h", "rediss://:***@h"),
        ("redis://u:@h", "redis://u:***@h"),
        ("redis://h/1", "redis://h/1"),
        ("redis://u:s3@cret@a,b:1/2", "redis://u:***@a,b:1/2"),
        (
            "redis+sentinel://u:s3cret@a/s?sentinel_password=s3@cret",
            "redis+sentinel://u:***@a/s?sentinel_password=***",
        ),
        ("redis+sentinel://a/s?sentinel_password=s3@cret", "redis+sentinel://a/s?sentinel_password=***"),
        (
            "redis+sentinel://a/s?sentinel_password=s3cret&sentinel_username=u",
            "redis+sentinel://a/s?sentinel_password=***&sentinel_username=u",
        ),
        ("s3cret", "***"),
        ("", ""),
    ] {
        let url = RedisUrl::new(url);
        assert_eq!((url.to_string().as_str(), format!("{url:?}").as_str()), (shown, shown));
        assert_eq!(url.has_password(), shown.contains("***"));
    }
    assert!(!format!("{:?}", address("redis://u:s3cret@h")).contains("s3cret"));
}
