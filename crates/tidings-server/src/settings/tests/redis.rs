//! Settings of Redis: precedence of sources, errors, and messages without passwords.

use super::*;

fn from_flag(url: &str) -> Vec<FlagValue> {
    vec![flag("redis.url", "--redis", RawValue::Text(url.to_owned()))]
}

/// Returns the Redis of these variables and flags, and its origin.
fn redis(variables: &[(&str, &str)], flags: Vec<FlagValue>) -> Option<(String, String)> {
    let loaded = load_with(variables, flags).expect("valid settings");
    let redis = loaded.settings.redis.as_ref()?;
    Some((redis.url.reveal().to_owned(), loaded.origin("redis.url").to_string()))
}

fn from(url: &str, origin: &str) -> Option<(String, String)> {
    Some((url.to_owned(), origin.to_owned()))
}

#[test]
fn shared_redis_url_is_used_unless_the_hub_has_one_of_its_own() {
    let shared = ("REDIS_URL", "redis://a");
    let own = |url| ("TIDINGS_REDIS_URL", url);
    assert_eq!(redis(&[], Vec::new()), None);
    assert_eq!(redis(&[("REDIS_URL", "")], Vec::new()), None);
    assert_eq!(redis(&[shared], Vec::new()), from("redis://a", "environment REDIS_URL"));
    let both = [shared, own("redis://b")];
    assert_eq!(redis(&both, Vec::new()), from("redis://b", "environment TIDINGS_REDIS_URL"));
    assert_eq!(redis(&[shared, own("none")], Vec::new()), None);
    assert_eq!(redis(&both, from_flag("redis://c")), from("redis://c", "flag --redis"));
    assert_eq!(redis(&[shared], from_flag("none")), None);
}

#[test]
fn values_of_redis_are_read() {
    let variables = [
        ("REDIS_URL", "rediss://u:w@h:1/2"),
        ("TIDINGS_REDIS_PREFIX", "shop"),
        ("TIDINGS_REDIS_LISTEN", "a.*, b:**"),
        ("TIDINGS_REDIS_DEADLINE", "2s"),
        ("TIDINGS_REDIS_LEASE", "3s"),
        ("TIDINGS_REDIS_REPLICAS_MIN", "1"),
        ("TIDINGS_REDIS_CAPTURE", ""),
    ];
    let loaded = load_with(&variables, Vec::new()).expect("valid settings");
    let redis = loaded.settings.redis.expect("a Redis");
    assert_eq!((redis.prefix.as_str(), redis.replicas_min), ("shop", 1));
    assert_eq!((redis.deadline.as_secs(), redis.lease.as_secs()), (2, 3));
    assert_eq!(redis.listen.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.*", "b:**"]);
    assert_eq!(loaded.warnings, Vec::<String>::new());
}

#[test]
fn settings_of_redis_without_its_url_are_dropped_with_a_warning() {
    let variables = [("TIDINGS_REDIS_PREFIX", "shop"), ("TIDINGS_REDIS_LEASE", "3s")];
    let loaded = load_with(&variables, Vec::new()).expect("valid settings");
    assert_eq!(loaded.settings.redis, None);
    let expected =
        "without redis.url this is one node by itself; redis.lease, redis.prefix are without effect";
    assert_eq!(loaded.warnings, [expected]);
    assert_eq!(*loaded.origin("redis.prefix"), Origin::Default);
}

#[test]
fn errors_of_redis_name_their_location_and_show_no_password() {
    assert_eq!(
        errors(&[
            ("REDIS_URL", "redis://u:s3cret@h:1x/0"),
            ("TIDINGS_REDIS_LISTEN", "a, $b"),
            ("TIDINGS_REDIS_DEADLINE", "soon"),
            ("TIDINGS_REDIS_LEASEE", "1s"),
        ]),
        [
            "REDIS_URL: redis.url has a port that is no number; an IPv6 address stands in brackets, for example \
             \"rediss://redis.example.com:6379/0\"",
            "TIDINGS_REDIS_DEADLINE: redis.deadline is \"soon\", which is not a duration: digits and one of ms, s, m, h, d",
            "TIDINGS_REDIS_LEASEE: not a setting; did you mean TIDINGS_REDIS_LEASE?",
            "TIDINGS_REDIS_LISTEN: redis.listen has \"$b\", which is not a pattern: channel \"$b\" begins with \"$\"; such names \
             are the hub's own, use another, for example [\"**\"]",
        ]
    );
    assert_eq!(
        errors(&[
            ("REDIS_URL", "redis://h"),
            ("TIDINGS_REDIS_LISTEN", "__keyevent@0__:del"),
            ("TIDINGS_REDIS_CAPTURE", "a"),
        ]),
        [
            "TIDINGS_REDIS_LISTEN: redis.listen has \"__keyevent@0__:del\"; channels that begin __key are Redis's own, and \
             never heard, for example [\"**\"]",
            "TIDINGS_REDIS_CAPTURE: redis.capture has \"a\", which redis.listen does not take in; add it there, for example \
             [\"project.**\"]",
        ]
    );
}
