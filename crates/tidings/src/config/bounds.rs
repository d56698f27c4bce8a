//! Bounds of the settings, and relations between settings.

mod auth;
mod origins;
#[cfg(feature = "redis")]
mod redis;
mod text;

use std::ops::RangeInclusive;
use std::time::Duration;

use self::text::SettingErrors;
use super::{Settings, error::SettingError, network::network};

pub use self::auth::{
    HOOK_RECHECK, HOOK_TIMEOUT, HOOK_TTL, KEY_NAME_BYTES_MAX, LEEWAY, SECRET_BYTES_ADVISED, TOKEN_MAX_AGE,
    USER_NAME_BYTES_MAX, key_name_fault, pattern_fault, user_name_fault,
};
#[cfg(feature = "redis")]
pub use self::redis::{REDIS_DEADLINE, REDIS_LEASE, REDIS_PREFIX_BYTES_MAX, REDIS_REPLICAS_MIN};
pub use self::text::{LIST_ENTRIES_MAX, duration_text, size_text};

const DAY: Duration = Duration::from_hours(24);

/// `log.retention_age`.
pub const RETENTION_AGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(24 * 3650);
/// `log.retention_bytes`.
pub const RETENTION_BYTES: RangeInclusive<u64> = (64 << 10)..=(64 << 40);
/// `log.retention_events`.
pub const RETENTION_EVENTS: RangeInclusive<u64> = 1..=1_000_000_000;
/// `log.cache_bytes`.
pub const CACHE_BYTES: RangeInclusive<u64> = (4 << 10)..=(1 << 40);
/// `log.idempotency_window`.
pub const IDEMPOTENCY_WINDOW: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(24 * 30);
/// `log.idempotency_keys`.
pub const IDEMPOTENCY_KEYS: RangeInclusive<u64> = 1..=100_000_000;
/// `stream.keep_alive`. Many proxies close a silent connection after a minute.
pub const KEEP_ALIVE: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_hours(1);
/// `stream.write_timeout`.
pub const WRITE_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
/// `stream.max_age`, where there is one.
pub const MAX_AGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24 * 365);
/// `server.head_timeout`.
pub const HEAD_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
/// `server.idle_timeout`. Clients are told whole seconds.
pub const IDLE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// `server.body_timeout`.
pub const BODY_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
/// `limits.connections`.
pub const CONNECTIONS: RangeInclusive<u64> = 1..=10_000_000;
/// `limits.connections_per_user`.
pub const CONNECTIONS_PER_USER: RangeInclusive<u64> = 1..=10_000_000;
/// `limits.connections_per_address`, where there is one.
pub const CONNECTIONS_PER_ADDRESS: RangeInclusive<u64> = 1..=10_000_000;
/// `limits.publishes_per_second`, where there is one.
pub const PUBLISHES_PER_SECOND: RangeInclusive<u64> = 1..=10_000_000;
/// `limits.streams_per_second`, where there is one.
pub const STREAMS_PER_SECOND: RangeInclusive<u64> = 1..=10_000_000;
/// `limits.channels_per_connection`.
pub const CHANNELS_PER_CONNECTION: RangeInclusive<u64> = 1..=65_536;
/// `limits.event_bytes`.
pub const EVENT_BYTES: RangeInclusive<u64> = 1..=(64 << 20);
/// `limits.body_bytes`.
pub const BODY_BYTES: RangeInclusive<u64> = 1..=(1 << 30);
/// `shutdown.window`.
pub const SHUTDOWN_WINDOW: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);

// The largest event must fit the largest body.
const _: () = assert!(*EVENT_BYTES.end() <= *BODY_BYTES.end());

impl Settings {
    /// Returns the errors of these settings: values out of their [bounds](self), and contradictions.
    pub fn validate(&self) -> Vec<SettingError> {
        let mut errors = SettingErrors::default();
        check_bounds(self, &mut errors);
        check_lists(self, &mut errors);
        origins::check(self, &mut errors);
        if let Some(auth) = &self.auth {
            auth::check(auth, &mut errors);
        }
        #[cfg(feature = "redis")]
        if let Some(redis) = &self.redis {
            redis::check(redis, &mut errors);
        }
        check_relations(self, &mut errors);
        errors.0
    }
}

fn check_bounds(settings: &Settings, errors: &mut SettingErrors) {
    let Settings { log, stream, server, limits, shutdown, .. } = settings;
    let durations = [
        ("log.retention_age", Some(log.retention_age), RETENTION_AGE),
        ("log.idempotency_window", Some(log.idempotency_window), IDEMPOTENCY_WINDOW),
        ("stream.keep_alive", Some(stream.keep_alive), KEEP_ALIVE),
        ("stream.write_timeout", Some(stream.write_timeout), WRITE_TIMEOUT),
        ("stream.max_age", stream.max_age, MAX_AGE),
        ("server.head_timeout", Some(server.head_timeout), HEAD_TIMEOUT),
        ("server.idle_timeout", Some(server.idle_timeout), IDLE_TIMEOUT),
        ("server.body_timeout", Some(server.body_timeout), BODY_TIMEOUT),
        ("shutdown.window", Some(shutdown.window), SHUTDOWN_WINDOW),
    ];
    let sizes = [
        ("log.retention_bytes", log.retention_bytes, RETENTION_BYTES),
        ("log.cache_bytes", log.cache_bytes, CACHE_BYTES),
        ("limits.event_bytes", limits.event_bytes, EVENT_BYTES),
        ("limits.body_bytes", limits.body_bytes, BODY_BYTES),
    ];
    let counts = [
        ("log.retention_events", Some(log.retention_events), RETENTION_EVENTS),
        ("log.idempotency_keys", Some(log.idempotency_keys), IDEMPOTENCY_KEYS),
        ("limits.connections", Some(limits.connections), CONNECTIONS),
        ("limits.connections_per_user", Some(limits.connections_per_user), CONNECTIONS_PER_USER),
        ("limits.connections_per_address", limits.connections_per_address, CONNECTIONS_PER_ADDRESS),
        ("limits.channels_per_connection", Some(limits.channels_per_connection), CHANNELS_PER_CONNECTION),
        ("limits.publishes_per_second", limits.publishes_per_second, PUBLISHES_PER_SECOND),
        ("limits.streams_per_second", limits.streams_per_second, STREAMS_PER_SECOND),
    ];
    for (setting, value, bound) in durations {
        errors.check(setting, value, &bound, duration_text);
    }
    for (setting, value, bound) in sizes {
        errors.check(setting, Some(value), &bound, size_text);
    }
    for (setting, value, bound) in counts {
        errors.check(setting, value, &bound, |count| count);
    }
}

fn check_lists(settings: &Settings, errors: &mut SettingErrors) {
    let is_missing = settings.listen.is_empty();
    let problem = || "is empty; at least one address, for example 127.0.0.1:8000".to_owned();
    errors.add("listen", is_missing.then(problem));
    errors.check_length("listen", settings.listen.len());
    errors.check_length("channels.types", settings.channels.types.len());
    errors.check_length("cors.origins", settings.cors.origins.len());
    errors.check_length("cors.headers", settings.cors.headers.len());
    errors.check_length("limits.trusted_proxies", settings.limits.trusted_proxies.len());
    for name in &settings.cors.headers {
        let problem = || format!("has {name:?}, which is no name of a header; for example X-Request-Id");
        errors.add("cors.headers", name.parse::<http::HeaderName>().is_err().then(problem));
    }
    for text in &settings.limits.trusted_proxies {
        errors.add("limits.trusted_proxies", network(text).err());
    }
}

fn check_relations(settings: &Settings, errors: &mut SettingErrors) {
    let (event, body) = (settings.limits.event_bytes, settings.limits.body_bytes);
    let problem =
        || format!("is {}; at most limits.body_bytes, which is {}", size_text(event), size_text(body));
    errors.add("limits.event_bytes", (event > body).then(problem));
    let Some(tls) = &settings.server.tls else { return };
    let (cert, key) = ("server.tls.cert_file", "server.tls.key_file");
    for (setting, path, other) in [(cert, &tls.cert_file, key), (key, &tls.key_file, cert)] {
        let problem = || format!("is missing beside {other}; TLS takes both files, so give both or neither");
        errors.add(setting, path.as_os_str().is_empty().then(problem));
    }
}
