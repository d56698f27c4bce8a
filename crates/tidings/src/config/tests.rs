//! Settings: defaults, bounds, relations.

use super::bounds::{duration_text, size_text};
use super::*;

fn setting_errors(change: fn(&mut Settings)) -> Vec<String> {
    let mut settings = Settings::default();
    change(&mut settings);
    settings.validate().iter().map(ToString::to_string).collect()
}

#[test]
fn defaults_have_no_fault() {
    assert_eq!(setting_errors(|_| ()), Vec::<String>::new());
}

#[test]
fn small_values_of_tests_are_allowed() {
    let found = setting_errors(|settings| {
        settings.log.retention_events = 10;
        settings.log.retention_bytes = 64 << 10;
        settings.log.retention_age = Duration::from_millis(100);
        settings.log.idempotency_window = Duration::from_millis(100);
        settings.stream.keep_alive = Duration::from_millis(50);
        settings.stream.write_timeout = Duration::from_secs(1);
        settings.shutdown.window = Duration::from_secs(1);
    });
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn every_fault_is_named_with_value_and_bound() {
    let found = setting_errors(|settings| {
        settings.stream.keep_alive = Duration::from_millis(1);
        settings.log.retention_bytes = 1024;
        settings.limits.channels_per_connection = 100_000;
        settings.listen.clear();
    });
    assert_eq!(
        found,
        [
            "stream.keep_alive is 1ms; at least 50ms",
            "log.retention_bytes is 1KiB; at least 64KiB",
            "limits.channels_per_connection is 100000; at most 65536",
            "listen is empty; at least one address, for example 127.0.0.1:8000",
        ]
    );
}

#[test]
fn event_larger_than_the_body_is_a_fault() {
    let found = setting_errors(|settings| settings.limits.body_bytes = 1000);
    assert_eq!(found, ["limits.event_bytes is 256KiB; at most limits.body_bytes, which is 1000"]);
}

#[test]
fn origins_that_no_browser_sends_are_faults() {
    let check = |origin: &str| {
        let settings = Settings {
            cors: CorsSettings { origins: vec![origin.to_owned()], ..CorsSettings::default() },
            ..Settings::default()
        };
        settings.validate().first().map(|fault| fault.problem.clone())
    };
    for good in
        ["https://app.example.com", "http://localhost:3000", "http://[::1]:5173", "capacitor://localhost"]
    {
        assert_eq!(check(good), None, "{good}");
    }
    for (bad, hint) in [
        ("*", "list each origin"),
        ("app.example.com", "scheme and host"),
        ("https://app.example.com/", "write \"https://app.example.com\""),
        ("https://app.example.com:443", "write \"https://app.example.com\""),
        ("https://App.example.com", "write \"https://app.example.com\""),
        ("https://user:word@app.example.com", "write \"https://app.example.com\""),
        ("https:///path", "in ASCII"),
    ] {
        let problem = check(bad).unwrap_or_default();
        assert!(problem.contains(hint), "{bad}: {problem}");
        assert!(!problem.contains("word@"), "{problem}");
    }
}

#[test]
fn durations_and_sizes_read_in_their_largest_exact_unit() {
    let durations = [(0, "0ms"), (250, "250ms"), (15_000, "15s"), (600_000, "10m"), (86_400_000, "24h")];
    for (milliseconds, text) in durations {
        assert_eq!(duration_text(Duration::from_millis(milliseconds)), text);
    }
    assert_eq!(duration_text(Duration::from_hours(24 * 7)), "7d");
    for (bytes, text) in [(0, "0"), (1000, "1000"), (65_536, "64KiB"), (1 << 30, "1GiB")] {
        assert_eq!(size_text(bytes), text);
    }
}

#[test]
fn words_are_read_as_they_are_written() {
    for word in Durability::WORDS {
        assert_eq!(word.parse::<Durability>().unwrap().to_string(), *word);
    }
    for word in Envelope::WORDS {
        assert_eq!(word.parse::<Envelope>().unwrap().to_string(), *word);
    }
    assert_eq!(
        "Fsync".parse::<Durability>().unwrap_err().to_string(),
        "is \"Fsync\"; one of memory, interval, fsync"
    );
}

#[test]
fn patterns_of_rights_hold_the_user_only_where_it_is_filled_in() {
    use super::bounds::pattern_fault;
    for good in ["user.{sub}", "{sub}", "a:{sub}.**", "**", "a"] {
        assert_eq!(pattern_fault(good, true), None, "{good}");
    }
    for bad in ["user.{id}", "user.{sub", "$user.{sub}", "a..{sub}", ""] {
        assert!(pattern_fault(bad, true).is_some(), "{bad}");
    }
    assert_eq!(pattern_fault("a.*", false), None);
    assert!(pattern_fault("user.{sub}", false).is_some_and(|fault| fault.contains("auth.user.subscribe")));
}

#[test]
fn names_of_keys_are_short_and_plain() {
    use super::bounds::key_name_fault;
    let longest = "a".repeat(250);
    for good in ["a", "back-end_1.eu", longest.as_str()] {
        assert_eq!(key_name_fault(good), None, "{good}");
    }
    for bad in ["", "a b", "é", "a\n", &"a".repeat(251)] {
        assert!(key_name_fault(bad).is_some(), "{bad:?}");
    }
}

#[test]
fn networks_are_prefixes_or_single_addresses() {
    let holds = |text: &str, address: &str| {
        super::network(text).unwrap().contains(&address.parse::<std::net::IpAddr>().unwrap())
    };
    assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
    assert!(holds("127.0.0.1", "127.0.0.1") && !holds("127.0.0.1", "127.0.0.2"));
    assert!(holds("::1", "::1") && !holds("::1", "::2"));
    assert!(super::network("10.0.0.0/33").is_err() && super::network("proxy").is_err());
}

#[cfg(feature = "redis")]
#[test]
fn faults_of_redis_are_named_without_its_password() {
    let check = |change: fn(&mut RedisSettings)| {
        let mut redis = RedisSettings::new("redis://:s3cret@h");
        change(&mut redis);
        let settings = Settings { redis: Some(redis), ..Settings::default() };
        settings.validate().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let pattern = |text: &str| vec![tidings_protocol::Pattern::parse(text).unwrap()];
    assert_eq!(check(|_| ()), Vec::<String>::new());
    assert_eq!(check(|redis| redis.listen.clear()), Vec::<String>::new());
    let found = [
        check(|redis| redis.url = RedisUrl::new("redis://:s3/cret@h")),
        check(|redis| redis.prefix.clear()),
        check(|redis| redis.prefix = "{a}".to_owned()),
        check(|redis| redis.deadline = Duration::ZERO),
        check(|redis| redis.lease = Duration::from_hours(1)),
        check(|redis| redis.replicas_min = 33),
    ];
    assert_eq!(
        found.concat(),
        [
            "redis.url names no host, for example redis://user:password@redis.example.com:6379/0",
            "redis.prefix is empty; 1 to 64 bytes of A-Za-z0-9_.:@~/-",
            "redis.prefix is \"{a}\"; 1 to 64 bytes of A-Za-z0-9_.:@~/-",
            "redis.deadline is 0ms; at least 50ms",
            "redis.lease is 1h; at most 5m",
            "redis.replicas_min is 33; at most 32",
        ]
    );
    for (text, refused) in [("__key.a", true), ("__keyevent@0__:del", true), ("__k", false), ("**", false)] {
        let redis = RedisSettings { listen: pattern(text), ..RedisSettings::new("redis://h") };
        let settings = Settings { redis: Some(redis), ..Settings::default() };
        assert_eq!(!settings.validate().is_empty(), refused, "{text}");
    }
    let faults =
        |redis: RedisSettings| Settings { redis: Some(redis), ..Settings::default() }.validate().len();
    let url = || RedisSettings::new("redis://h");
    for (listen, capture, refused) in
        [("**", "a", 0), ("a.**", "a.*", 0), ("a.**", "**", 1), ("a.*", "a.**", 1), ("**", "__key", 1)]
    {
        let redis = RedisSettings { listen: pattern(listen), capture: pattern(capture), ..url() };
        assert_eq!(faults(redis), refused, "{capture} of {listen}");
    }
    for (mirror, refused) in [("**", 0), ("__keyspace@0__:a", 1)] {
        assert_eq!(faults(RedisSettings { mirror: pattern(mirror), ..url() }), refused, "{mirror}");
    }
}
