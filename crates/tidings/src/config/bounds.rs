//! What each setting may be, and how settings bound each other: the one place for these numbers.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Fault, Settings};

const DAY: Duration = Duration::from_hours(24);

/// `log.retention_age`.
pub const RETENTION_AGE: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(24 * 3650);
/// `log.retention_bytes`.
pub const RETENTION_BYTES: RangeInclusive<u64> = (64 << 10)..=(64 << 40);
/// `log.retention_events`.
pub const RETENTION_EVENTS: RangeInclusive<u64> = 1..=1_000_000_000;
/// `log.ring_bytes`.
pub const RING_BYTES: RangeInclusive<u64> = (4 << 10)..=(1 << 40);
/// `log.idempotency_window`.
pub const IDEMPOTENCY_WINDOW: RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(24 * 30);
/// `log.idempotency_keys`.
pub const IDEMPOTENCY_KEYS: RangeInclusive<u64> = 1..=100_000_000;
/// `stream.keep_alive`. Proxies cut silent connections after a minute or so; an hour helps nobody, but harms nobody either.
pub const KEEP_ALIVE: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_hours(1);
/// `stream.write_timeout`.
pub const WRITE_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
/// `stream.max_age`, where there is one.
pub const MAX_AGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(24 * 365);
/// `server.head_timeout`.
pub const HEAD_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
/// `server.body_timeout`.
pub const BODY_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
/// `limits.connections`.
pub const CONNECTIONS: RangeInclusive<u64> = 1..=10_000_000;
/// `limits.channels_per_connection`.
pub const CHANNELS_PER_CONNECTION: RangeInclusive<u64> = 1..=65_536;
/// `limits.event_bytes`.
pub const EVENT_BYTES: RangeInclusive<u64> = 1..=(64 << 20);
/// `limits.body_bytes`.
pub const BODY_BYTES: RangeInclusive<u64> = 1..=(1 << 30);
/// `shutdown.window`.
pub const SHUTDOWN_WINDOW: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);

/// How many addresses, origins and types may be listed.
pub const LIST_ENTRIES_MAX: usize = 1_000;

// An event of the largest size has to fit a body of the largest size.
const _: () = assert!(*EVENT_BYTES.end() <= *BODY_BYTES.end());

/// Writes a duration as settings do, in the largest unit that is exact: `250ms`, `15s`, `24h`, `7d`.
pub fn duration_text(duration: Duration) -> String {
    const UNITS: [(u128, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let milliseconds = duration.as_millis();
    // One day reads `24h`, as everyone writes it; two and more read in days.
    if milliseconds == UNITS[0].0 {
        return "24h".to_owned();
    }
    let exact = UNITS.iter().find(|(unit, _)| milliseconds != 0 && milliseconds.is_multiple_of(*unit));
    match exact {
        Some((unit, name)) => format!("{}{name}", milliseconds / unit),
        None => format!("{milliseconds}ms"),
    }
}

/// Writes a size as settings do, in the largest unit that is exact: `512`, `64KiB`, `1GiB`.
pub fn size_text(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match UNITS.iter().find(|(unit, _)| bytes != 0 && bytes.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", bytes / unit),
        None => bytes.to_string(),
    }
}

pub(super) fn faults(settings: &Settings) -> Vec<Fault> {
    let Settings { log, stream, server, limits, shutdown, .. } = settings;
    let durations = [
        ("log.retention_age", Some(log.retention_age), RETENTION_AGE),
        ("log.idempotency_window", Some(log.idempotency_window), IDEMPOTENCY_WINDOW),
        ("stream.keep_alive", Some(stream.keep_alive), KEEP_ALIVE),
        ("stream.write_timeout", Some(stream.write_timeout), WRITE_TIMEOUT),
        ("stream.max_age", stream.max_age, MAX_AGE),
        ("server.head_timeout", Some(server.head_timeout), HEAD_TIMEOUT),
        ("server.body_timeout", Some(server.body_timeout), BODY_TIMEOUT),
        ("shutdown.window", Some(shutdown.window), SHUTDOWN_WINDOW),
    ];
    let sizes = [
        ("log.retention_bytes", log.retention_bytes, RETENTION_BYTES),
        ("log.ring_bytes", log.ring_bytes, RING_BYTES),
        ("limits.event_bytes", limits.event_bytes, EVENT_BYTES),
        ("limits.body_bytes", limits.body_bytes, BODY_BYTES),
    ];
    let counts = [
        ("log.retention_events", log.retention_events, RETENTION_EVENTS),
        ("log.idempotency_keys", log.idempotency_keys, IDEMPOTENCY_KEYS),
        ("limits.connections", limits.connections, CONNECTIONS),
        ("limits.channels_per_connection", limits.channels_per_connection, CHANNELS_PER_CONNECTION),
    ];
    let mut faults = Vec::new();
    for (setting, value, bound) in durations {
        faults.extend(value.and_then(|value| out_of_bound(setting, value, &bound, duration_text)));
    }
    for (setting, value, bound) in sizes {
        faults.extend(out_of_bound(setting, value, &bound, size_text));
    }
    for (setting, value, bound) in counts {
        faults.extend(out_of_bound(setting, value, &bound, |count| count.to_string()));
    }
    faults.extend(list_faults(settings));
    faults.extend(relation_faults(settings));
    faults
}

fn out_of_bound<T: PartialOrd + Copy, D: Display>(
    setting: &'static str,
    value: T,
    bound: &RangeInclusive<T>,
    text: fn(T) -> D,
) -> Option<Fault> {
    let (low, high) = (*bound.start(), *bound.end());
    let side = match () {
        () if value < low => format!("at least {}", text(low)),
        () if value > high => format!("at most {}", text(high)),
        () => return None,
    };
    Some(Fault { setting, problem: format!("is {}; {side}", text(value)) })
}

fn list_faults(settings: &Settings) -> Vec<Fault> {
    let mut faults = Vec::new();
    if settings.listen.is_empty() {
        let problem = "is empty; at least one address, for example 127.0.0.1:8000".to_owned();
        faults.push(Fault { setting: "listen", problem });
    }
    let lengths = [
        ("listen", settings.listen.len()),
        ("channels.types", settings.channels.types.len()),
        ("cors.origins", settings.cors.origins.len()),
    ];
    for (setting, length) in lengths {
        if length > LIST_ENTRIES_MAX {
            let problem = format!("has {length} entries; at most {LIST_ENTRIES_MAX}");
            faults.push(Fault { setting, problem });
        }
    }
    for origin in &settings.cors.origins {
        faults.extend(origin_fault(origin).map(|problem| Fault { setting: "cors.origins", problem }));
    }
    faults
}

/// A browser sends an origin as scheme, host and a port only where it is not the scheme's own; nothing else can ever match.
fn origin_fault(origin: &str) -> Option<String> {
    if origin == "*" {
        return Some(
            "has \"*\"; a hub without credentials answers pages with credentials allowed, so list each origin, \
             for example https://app.example.com"
                .to_owned(),
        );
    }
    let parts = origin.split_once("://").filter(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    let Some((scheme, rest)) = parts else {
        return Some(format!(
            "has {origin:?}; an origin is scheme and host, for example https://app.example.com"
        ));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let own_port = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let bare = authority.strip_suffix(own_port).unwrap_or(authority);
    let sent = format!("{scheme}://{bare}").to_ascii_lowercase();
    let plain = sent.bytes().all(|byte| byte.is_ascii_graphic());
    match () {
        () if bare.is_empty() || !plain => Some(
            "has an entry that no browser sends; an origin is scheme and host in ASCII, for example \
                  https://app.example.com"
                .to_owned(),
        ),
        () if sent != origin => Some(format!("has an entry that no browser sends; write {sent:?}")),
        () => None,
    }
}

fn relation_faults(settings: &Settings) -> Option<Fault> {
    let limits = &settings.limits;
    (limits.event_bytes > limits.body_bytes).then(|| Fault {
        setting: "limits.event_bytes",
        problem: format!(
            "is {}; at most limits.body_bytes, which is {}",
            size_text(limits.event_bytes),
            size_text(limits.body_bytes)
        ),
    })
}
