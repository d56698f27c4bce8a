//! Bounds of `[redis]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidings_protocol::{Pattern, Subscription};

use super::super::redis::{RedisSettings, is_of_key_events};
use super::text::{SettingErrors, duration_text};

/// `redis.deadline`.
pub const REDIS_DEADLINE: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_mins(5);
/// `redis.lease`.
pub const REDIS_LEASE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_mins(5);
/// `redis.replicas_min`.
pub const REDIS_REPLICAS_MIN: RangeInclusive<u64> = 0..=32;
/// Longest `redis.prefix`.
pub const REDIS_PREFIX_BYTES_MAX: usize = 64;

pub(super) fn check(redis: &RedisSettings, errors: &mut SettingErrors) {
    errors.check("redis.deadline", Some(redis.deadline), &REDIS_DEADLINE, duration_text);
    errors.check("redis.lease", Some(redis.lease), &REDIS_LEASE, duration_text);
    errors.check("redis.replicas_min", Some(redis.replicas_min), &REDIS_REPLICAS_MIN, |count| count);
    errors.add("redis.url", url_fault(redis));
    for (setting, file) in [
        ("redis.ca_file", &redis.ca_file),
        ("redis.cert_file", &redis.cert_file),
        ("redis.key_file", &redis.key_file),
    ] {
        errors.add(setting, file.as_ref().and_then(|_| no_tls_fault(redis)));
    }
    let (cert, key) = (("redis.cert_file", &redis.cert_file), ("redis.key_file", &redis.key_file));
    for ((setting, file), (other, missing)) in [(cert, key), (key, cert)] {
        let problem = || format!("is set without {other}; set both or none");
        errors.add(setting, (file.is_some() && missing.is_none()).then(problem));
    }
    errors.add("redis.prefix", prefix_fault(&redis.prefix));
    let lists =
        [("redis.listen", &redis.listen), ("redis.capture", &redis.capture), ("redis.mirror", &redis.mirror)];
    for (setting, patterns) in lists {
        errors.add(setting, list_fault(setting, patterns));
        errors.check_length(setting, patterns.len());
    }
    errors.add("redis.capture", capture_fault(redis));
}

fn url_fault(redis: &RedisSettings) -> Option<String> {
    const EXAMPLE: &str = "for example redis://user:password@redis.example.com:6379/0";
    let fault = redis.url.address().err()?;
    Some(format!("{fault}, {EXAMPLE}"))
}

fn no_tls_fault(redis: &RedisSettings) -> Option<String> {
    let is_tls = redis.url.address().map_or(true, |address| address.tls);
    (!is_tls).then(|| "is set, and redis.url asks for no TLS; begin it with rediss".to_owned())
}

/// Returns the problem of a prefix. Braces choose the slot of a key in Redis Cluster; `*?[\` are special in ACL patterns.
fn prefix_fault(prefix: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:@~/-".contains(&byte);
    match () {
        () if prefix.is_empty() => Some("is empty; 1 to 64 bytes of A-Za-z0-9_.:@~/-".to_owned()),
        () if prefix.len() > REDIS_PREFIX_BYTES_MAX => {
            Some(format!("is {} bytes; at most {REDIS_PREFIX_BYTES_MAX}", prefix.len()))
        }
        () if !prefix.bytes().all(allowed) => {
            Some(format!("is {prefix:?}; 1 to 64 bytes of A-Za-z0-9_.:@~/-"))
        }
        () => None,
    }
}

fn list_fault(setting: &str, patterns: &[Pattern]) -> Option<String> {
    let pattern = patterns.iter().find(|pattern| is_of_key_events(pattern.as_str()))?;
    let use_of = if setting == "redis.mirror" { "published on" } else { "heard" };
    Some(format!("has {:?}; channels that begin __key are Redis's own, and never {use_of}", pattern.as_str()))
}

/// Returns the first captured pattern that `redis.listen` does not cover.
fn capture_fault(redis: &RedisSettings) -> Option<String> {
    let subscription =
        |pattern: &Pattern| Subscription::parse(pattern.as_str()).expect("a pattern is a subscription");
    let is_heard =
        |captured: &&Pattern| redis.listen.iter().any(|it| subscription(it).covers(&subscription(captured)));
    let unheard = redis.capture.iter().find(|captured| !is_heard(captured))?;
    Some(format!("has {:?}, which redis.listen does not take in; add it there", unheard.as_str()))
}
