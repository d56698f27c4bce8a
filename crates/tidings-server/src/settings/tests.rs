//! Sources of settings, and errors with their texts.

mod auth;
mod redis;

use std::path::Path;

use tidings::config::Settings;

use super::setting::AcceptedFrom;
use super::source::Origin;
use super::table::{SETTINGS, UNSUPPORTED};
use super::value_format::{DurationFormat, SizeFormat, ValueFormat, mask_passwords};
use super::*;

/// Every value and problem of a file's text, as one line each.
fn read(text: &str) -> Vec<String> {
    let parsed = file::parse(Path::new("t.toml"), text);
    let values =
        parsed.values.iter().map(|(setting, raw, place)| format!("{place}: {} {raw:?}", setting.name));
    values.chain(parsed.diagnostics.iter().map(ToString::to_string)).collect()
}

/// Loads variables and flags without a file. The errors are texts.
fn load_with(variables: &[(&str, &str)], flags: Vec<FlagValue>) -> Result<Loaded, Vec<String>> {
    load_within(variables, flags, None)
}

/// As [`load_with`], with so many file descriptors.
fn load_within(
    variables: &[(&str, &str)],
    flags: Vec<FlagValue>,
    descriptors_max: Option<u64>,
) -> Result<Loaded, Vec<String>> {
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
    let loaded = load(Sources { config: None, variables, flags, descriptors_max });
    loaded.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

/// The errors of these variables.
#[track_caller]
fn errors(variables: &[(&str, &str)]) -> Vec<String> {
    load_with(variables, Vec::new()).expect_err("invalid settings")
}

fn flag(setting: &'static str, flag: &'static str, raw: RawValue) -> FlagValue {
    FlagValue { setting, flag, raw }
}

/// The flag `--insecure`.
fn insecure() -> FlagValue {
    flag("insecure", "--insecure", RawValue::Bare("true".to_owned()))
}

#[test]
fn every_example_and_default_reads_back_as_it_is_shown() {
    for setting in SETTINGS.iter().filter(|setting| setting.accepted_from == AcceptedFrom::FileOrEnvironment)
    {
        let mut settings = Settings::default();
        let default = (setting.show)(&settings);
        let examples = [setting.example, &default].into_iter().filter(|example| !example.is_empty());
        for text in examples {
            let parsed = file::parse(Path::new("t.toml"), &format!("{} = {text}", setting.name));
            let (read, raw, _) = parsed.values.first().expect(setting.name);
            assert_eq!(read.name, setting.name);
            (setting.read)(&mut settings, raw).expect(setting.name);
            assert_eq!((setting.show)(&settings), text, "{}", setting.name);
            // Other tests validate settings that need another setting.
            let alone = !matches!(setting.name, "auth.algorithms") && setting.section() != Some("server.tls");
            if settings.redis.as_ref().is_some_and(|redis| redis.url.is_empty()) {
                settings.redis = None;
            }
            if alone {
                assert_eq!(settings.validate(), [], "{}", setting.name);
            }
        }
    }
}

#[test]
fn settings_that_differ_are_found_also_if_they_are_masked() {
    let with_secret = |secret: &str| {
        load_with(&[("TIDINGS_AUTH_SECRET", secret)], Vec::new()).expect("valid settings").settings
    };
    let differing = |one: &Settings, other: &Settings| {
        let differs = SETTINGS.iter().filter(|setting| (setting.differs)(one, other));
        differs.map(|setting| setting.name).collect::<Vec<_>>()
    };
    let (one, other) = (with_secret("one"), with_secret("other"));
    assert_eq!(differing(&one, &other), ["auth.secret"]);
    assert_eq!(differing(&one, &one), Vec::<&str>::new());
    assert!(differing(&Settings::default(), &one).contains(&"auth.leeway"));
}

#[test]
fn names_of_supported_and_unsupported_settings_are_unique() {
    let mut names: Vec<&str> = SETTINGS.iter().map(|setting| setting.name).collect();
    names.extend(UNSUPPORTED.iter().map(|other| other.name));
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn values_of_a_file_carry_line_and_column() {
    assert_eq!(
        read("listen = [\"[::1]:1\"]\n\n[log]\n  retention_age = \"1h\"\ncache_bytes = 0x10_000\n"),
        [
            r#"t.toml:1:10: listen List(["[::1]:1"])"#,
            r#"t.toml:5:15: log.cache_bytes Bare("65536")"#,
            r#"t.toml:4:19: log.retention_age Text("1h")"#,
        ]
    );
}

#[test]
fn unknown_keys_are_all_listed_with_a_suggestion() {
    assert_eq!(
        read(
            "[log]\nretention_agee = 1\n[logs]\nretention_bytes = 1\n[strem]\n[limits]\nkeep_alive = \"1s\"\n"
        ),
        [
            "t.toml:2:1: log.retention_agee is not a setting; did you mean log.retention_age?",
            "t.toml:4:1: logs.retention_bytes is not a setting; did you mean log.retention_bytes?",
            "t.toml:5:2: strem is not a setting; did you mean stream?",
            "t.toml:7:1: limits.keep_alive is not a setting; did you mean stream.keep_alive?",
        ]
    );
}

#[test]
fn broken_toml_is_located() {
    let found = read("listen = [\n");
    assert!(found[0].starts_with("t.toml:"), "{found:?}");
}

#[test]
fn values_of_the_wrong_kind_are_located() {
    assert_eq!(
        read("log = 1\nlisten = [1]\n[limits.connections]\na = 1\n"),
        [
            "t.toml:1:1: log is a section; write [log] on a line",
            "t.toml:2:10: listen is a list of addresses, not this array; for example [\"127.0.0.1:8000\"]",
            "t.toml:3:1: limits.connections is a number, not this table; for example 15000",
        ]
    );
}

#[test]
fn settings_of_later_versions_are_refused_in_the_file() {
    let expected = "t.toml:2:1: nats.url is not available in this version; remove it; several nodes share a log over \
                    Redis, see redis.url";
    assert_eq!(read("[nats]\nurl = \"nats://u:s3cret@h\"\n"), [expected]);
    assert_eq!(read("[nats]\n").len(), 1);
}

#[test]
fn unknown_variables_are_refused_with_a_suggestion() {
    assert_eq!(
        errors(&[
            ("TIDINGS_LOG_RETENTON_AGE", "1h"),
            ("TIDINGS_TEST_MODE", "true"),
            ("TIDINGS_INSECURE", "1"),
            ("TIDINGS_NATS_URL", "nats://u:s3cret@h"),
            ("TIDINGS_AUTH_KEYS", "tk_s3cret"),
            ("REDIS_URL", ""),
            ("NATS_URL", "nats://u:s3cret@h"),
            ("TIDINGS_URL", "http://h"),
            ("TIDINGS_TOKEN", "t"),
            ("TEST_MODE", ""),
        ]),
        [
            "NATS_URL: not available in this version; unset it; several nodes share a log over Redis, see redis.url",
            "TIDINGS_AUTH_KEYS: not a setting of the environment: auth.keys is a list of tables; make a key with `tidings \
             key --name N`, put the lines that it prints into tidings.toml, and name another file with --config",
            "TIDINGS_INSECURE: not a setting of the environment; it is given as the flag --insecure",
            "TIDINGS_LOG_RETENTON_AGE: not a setting; did you mean TIDINGS_LOG_RETENTION_AGE?",
            "TIDINGS_NATS_URL: nats.url is not available in this version; unset it; several nodes share a log over Redis, \
             see redis.url",
            "TIDINGS_TEST_MODE: not a setting; did you mean TEST_MODE?",
        ]
    );
}

#[test]
fn errors_of_values_name_value_setting_location_bound_and_example() {
    assert_eq!(
        errors(&[
            ("TIDINGS_LOG_RETENTION_AGE", "24"),
            ("TIDINGS_LOG_RETENTION_BYTES", "1KiB"),
            ("TIDINGS_LOG_DURABILITY", "fsink"),
            ("TIDINGS_LIMITS_CONNECTIONS", "-1"),
            ("TIDINGS_STREAM_ENABLED", "maybe"),
            ("TIDINGS_LISTEN", "example.com:80"),
            ("TIDINGS_SHUTDOWN_WINDOW", ""),
        ]),
        [
            "TIDINGS_LIMITS_CONNECTIONS: limits.connections is \"-1\", which is not a whole number, for example 15000",
            "TIDINGS_LISTEN: listen has \"example.com:80\", which is not an address and a port; host names but \
             localhost are not looked up, write the address itself, for example [\"127.0.0.1:8000\"]",
            "TIDINGS_LOG_DURABILITY: log.durability is \"fsink\"; one of memory, interval, fsync; did you mean fsync?",
            "TIDINGS_LOG_RETENTION_AGE: log.retention_age is \"24\", which has no unit; write ms, s, m, h or d after \
             it, for example \"24h\"",
            "TIDINGS_SHUTDOWN_WINDOW: shutdown.window is empty; leave it out or give a duration, for example \"5s\"",
            "TIDINGS_STREAM_ENABLED: stream.enabled is \"maybe\", which is not true or false, for example true",
            "TIDINGS_LOG_RETENTION_BYTES: log.retention_bytes is 1KiB; at least 64KiB, for example \"1GiB\"",
        ]
    );
}

#[test]
fn flags_win_over_variables() {
    let flag = flag("listen", "--listen", RawValue::List(vec!["localhost:0".to_owned()]));
    let loaded = load_with(&[("TIDINGS_LISTEN", "127.0.0.1:1,[::1]:1")], vec![flag]).expect("valid settings");
    assert_eq!(loaded.settings.listen, ["127.0.0.1:0".parse().expect("an address")]);
    assert_eq!(loaded.origin("listen").to_string(), "flag --listen");
}

#[test]
fn addresses_beyond_loopback_need_insecure() {
    let beyond = [("TIDINGS_LISTEN", "0.0.0.0:80, [::ffff:127.0.0.1]:81, [::]:82")];
    let found = errors(&beyond);
    assert_eq!(found.len(), 2);
    assert!(found[0].contains("0.0.0.0:80") && found[0].contains("--insecure"), "{found:?}");
    assert!(found[1].contains("[::]:82"), "{found:?}");
    assert!(load_with(&beyond, vec![insecure()]).is_ok());
}

#[test]
fn defaults_follow_related_settings() {
    let limits = |name, value| {
        let loaded = load_within(&[(name, value)], Vec::new(), Some(1_000_000));
        loaded.expect("valid settings").settings.limits
    };
    assert_eq!(limits("TIDINGS_LIMITS_BODY_BYTES", "1KiB").event_bytes, 1024);
    let limits = limits("TIDINGS_LIMITS_EVENT_BYTES", "16MiB");
    assert_eq!((limits.body_bytes, limits.connections), (16 << 20, 15_000));
    let both = [("TIDINGS_LIMITS_EVENT_BYTES", "2KiB"), ("TIDINGS_LIMITS_BODY_BYTES", "1KiB")];
    assert_eq!(errors(&both).len(), 1);
}

#[test]
fn connections_follow_the_descriptors() {
    for (descriptors, connections) in [(100_000, 15_000), (4_096, 3_596), (256, 128)] {
        let loaded = load_within(&[], Vec::new(), Some(descriptors)).expect("valid settings");
        assert_eq!((loaded.settings.limits.connections, loaded.warnings.len()), (connections, 0));
    }
    let variables = [("TIDINGS_LIMITS_CONNECTIONS", "5000")];
    let loaded = load_within(&variables, Vec::new(), Some(4_096)).expect("valid settings");
    assert_eq!(loaded.settings.limits.connections, 5_000);
    assert!(loaded.warnings[0].contains("ulimit -n 5500"), "{:?}", loaded.warnings);
}

#[test]
fn durations_and_sizes_are_read_in_every_unit() {
    let milliseconds =
        |text: &str| DurationFormat::read(&RawValue::Text(text.to_owned())).map(|value| value.as_millis());
    for (text, expected) in
        [("250ms", 250), ("15s", 15_000), ("5m", 300_000), ("24h", 86_400_000), ("7d", 604_800_000)]
    {
        assert_eq!(milliseconds(text), Ok(expected));
    }
    for bad in ["15", "s", "1.5s", "-1s", "1 s", "15S", "99999999999999999999s", "18446744073709551615d", ""]
    {
        assert!(milliseconds(bad).is_err(), "{bad}");
    }
    let bytes = |text: &str| SizeFormat::read(&RawValue::Text(text.to_owned()));
    for (text, expected) in
        [("512", 512), ("512B", 512), ("64KiB", 65_536), ("1GiB", 1 << 30), ("1kB", 1000), ("2MB", 2_000_000)]
    {
        assert_eq!(bytes(text), Ok(expected));
    }
    for bad in ["64kib", "1.5MiB", "GiB", "99999999999TiB", "1 KiB", "64K"] {
        assert!(bytes(bad).is_err(), "{bad}");
    }
}

#[test]
fn passwords_in_urls_are_masked() {
    for (text, masked) in [
        ("redis://user:word@host:1/0", "redis://user:***@host:1/0"),
        ("redis://:word@host", "redis://:***@host"),
        ("a redis://u:w@rd@h, http://h:80/a@b:c", "a redis://u:***@h, http://h:80/a@b:c"),
        ("https://app.example.com", "https://app.example.com"),
    ] {
        assert_eq!(mask_passwords(text), masked);
    }
}
