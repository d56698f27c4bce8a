//! Advice for each fault: the setting to change, and where.

use std::time::Duration;

use super::stream_probe::WaitError;

pub(super) const BUFFERING: &str = "a proxy on the way buffers; nginx: `proxy_buffering off;` and \
    `proxy_http_version 1.1;`; Apache: `SetEnv proxy-sendchunks 1` with `flushpackets=on`; HAProxy: \
    `option http-no-delay`, no `option http-buffer-request` or compression here; a CDN: switch off caching, compression and buffering for this path";

pub(super) const IDLE: &str = "a proxy on the way closes quiet streams; its timeout has to be longer than the hub's \
    `stream.keep_alive` (15s): nginx `proxy_read_timeout 1h;`, HAProxy `timeout server 1h` and `timeout tunnel 1h`, AWS ALB \
    `idle_timeout.timeout_seconds=3600`; or make `stream.keep_alive` shorter";

/// Returns the advice for a status that is not 200.
pub(super) fn status_advice(status: u16) -> &'static str {
    match status {
        401 | 403 => {
            "give --token a key that may publish and subscribe to doctor.*; see also the hub's `cors.origins`"
        }
        404 | 405 => "the proxy sends this path elsewhere; pass /api/ on to the hub, prefix removed",
        429 | 503 => "the hub or the proxy is at a limit or starts; see /readyz and try again",
        500..=599 => "the proxy does not reach the hub; check its upstream address and its log",
        300..=399 => "give the address that it redirects to",
        _ => "another server may answer here; check the URL",
    }
}

/// Returns the fault and the advice for an event that did not arrive.
pub(super) fn missing_event(event: &str, error: &WaitError, waited: Duration) -> (String, &'static str) {
    match error {
        WaitError::Timeout => (format!("{event} did not come within {}", millis(waited)), BUFFERING),
        WaitError::Closed(reason) => (
            format!("{event} did not come: {reason}"),
            "a proxy on the way ends streams; see its timeouts and its log",
        ),
        WaitError::Gap => (
            format!("{event} did not come: the hub reported a gap"),
            "a proxy on the way changed the id, or requests go to hubs that do not share a log",
        ),
    }
}

/// Returns a duration as text.
pub(super) fn millis(duration: Duration) -> String {
    match duration.as_millis() {
        small @ 0..1000 => format!("{small} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}
