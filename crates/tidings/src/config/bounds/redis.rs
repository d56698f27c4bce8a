//! Bounds of `[redis]`.

use std::ops::RangeInclusive;
use std::time::Duration;

use tidings_protocol::{Pattern, Subscription};

use super::super::{
    error::SettingError,
    redis::{RedisSettings, is_of_key_events},
};
use super::text::{duration_text, out_of_bound, too_many};

/// `redis.deadline`.
pub const REDIS_DEADLINE: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_mins(5);
/// `redis.lease`.
pub const REDIS_LEASE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_mins(5);
/// `redis.replicas_min`.
pub const REDIS_REPLICAS_MIN: RangeInclusive<u64> = 0..=32;
/// Longest `redis.prefix`.
pub const REDIS_PREFIX_BYTES_MAX: usize = 64;

pub(super) fn errors(redis: &RedisSettings) -> Vec<SettingError> {
    let durations =
        [("redis.deadline", redis.deadline, REDIS_DEADLINE), ("redis.lease", redis.lease, REDIS_LEASE)];
    let durations = durations
        .into_iter()
        .filter_map(|(setting, value, bound)| out_of_bound(setting, value, &bound, duration_text));
    let replicas = out_of_bound("redis.replicas_min", redis.replicas_min, &REDIS_REPLICAS_MIN, |count| count);
    let mut faults: Vec<SettingError> = durations.chain(replicas).collect();
    let mut add = |setting: &'static str, problem: Option<String>| {
        faults.extend(problem.map(|problem| SettingError { setting, problem }));
    };
    add("redis.url", url_fault(redis));
    for (setting, file) in [
        ("redis.ca_file", &redis.ca_file),
        ("redis.cert_file", &redis.cert_file),
        ("redis.key_file", &redis.key_file),
    ] {
        add(setting, file.as_ref().and_then(|_| no_tls_fault(redis)));
    }
    match (&redis.cert_file, &redis.key_file) {
        (Some(_), None) => {
            add("redis.cert_file", Some("is set without redis.key_file; set both or none".into()));
        }
        (None, Some(_)) => {
            add("redis.key_file", Some("is set without redis.cert_file; set both or none".into()));
        }
        _ => {}
    }
    add("redis.prefix", prefix_fault(&redis.prefix));
    let lists =
        [("redis.listen", &redis.listen), ("redis.capture", &redis.capture), ("redis.mirror", &redis.mirror)];
    for (setting, patterns) in lists {
        add(setting, list_fault(setting, patterns));
        add(setting, too_many(setting, patterns.len()).map(|fault| fault.problem));
    }
    add("redis.capture", capture_fault(redis));
    faults
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
