//! Each proxy of the manual forwards events at once, and keeps a quiet stream open. Module `restart` restarts the hub behind them.

use tidings_protocol::sse::StreamItem;

use super::proxy::{Changes, Proxy};
use crate::prelude::*;

const STREAM: &str = "/api/v1/events/a";
const EVENTS: usize = 20;

type StartProxy = fn(&str, Changes<'_>) -> Proxy;

/// A proxy of the manual, and its setting for a timeout of two seconds on silent streams, if it has one.
type ProxyCase = (&'static str, StartProxy, Option<Changes<'static>>);

const CASES: &[ProxyCase] = &[
    ("nginx", Proxy::nginx, Some(&[("proxy_read_timeout 1h;", "proxy_read_timeout 2s;")])),
    ("HAProxy", Proxy::haproxy, Some(&[("timeout server  1h", "timeout server  2s")])),
    ("Caddy", Proxy::caddy, None),
    ("Apache", Proxy::apache, Some(&[("timeout=3600", "timeout=2")])),
    ("Varnish", Proxy::varnish, Some(&[(".between_bytes_timeout = 60s;", ".between_bytes_timeout = 2s;")])),
    ("Traefik", Proxy::traefik, None),
];

fn hub(keep_alive: &str) -> TestHub {
    TestHub::in_memory(&[("TIDINGS_STREAM_KEEP_ALIVE", keep_alive), ("TIDINGS_SHUTDOWN_WINDOW", "1s")])
}

/// Opens a stream whose first bytes come before any event.
#[track_caller]
fn open(proxy: &Proxy) -> SseReader {
    let mut reader = proxy.subscribe(STREAM);
    assert!(matches!(reader.next_item(), Some(StreamItem::Retry(_))), "the stream begins with `retry:`");
    reader
}

#[test]
fn first_byte_and_each_event_arrive_while_the_stream_is_open() {
    let hub = hub("1h");
    for &(name, start, _) in CASES {
        let proxy = start(hub.authority(), &[]);
        let mut reader = open(&proxy);
        for number in 0..EVENTS {
            let data = format!("{name} {number}");
            proxy.request("POST", STREAM, &data).read_response().assert_status(200);
            assert_eq!(reader.data(), data);
        }
    }
}

#[test]
fn keep_alives_keep_a_quiet_stream_open_beyond_the_timeout_of_the_proxy() {
    // Together three times the proxy's two seconds, whatever the jitter.
    const KEEP_ALIVES: usize = 16;
    let hub = hub("500ms");
    for &(name, start, impatience) in CASES {
        let proxy = start(hub.authority(), impatience.unwrap_or_default());
        let mut reader = open(&proxy);
        let mut left = KEEP_ALIVES;
        while left > 0 {
            let item = reader.next_item().unwrap_or_else(|| panic!("{name} closed the stream"));
            left -= usize::from(matches!(item, StreamItem::Comment(_)));
        }
        hub.publish("a", name);
        assert_eq!(reader.data(), name);
    }
}

#[test]
fn silent_stream_is_closed_by_a_proxy_with_a_timeout() {
    let hub = hub("1h");
    for &(name, start, impatience) in CASES {
        let Some(changes) = impatience else { continue };
        let proxy = start(hub.authority(), changes);
        let mut reader = open(&proxy);
        let mut items = std::iter::from_fn(|| reader.next_item());
        assert!(items.all(|item| !matches!(item, StreamItem::Event(_))), "{name}");
    }
}

#[test]
fn channels_that_fit_no_url_pass_each_proxy_in_a_body() {
    const NAMES: usize = 256;
    let hub = hub("1h");
    // As long as a UUID.
    let names: Vec<String> =
        (0..NAMES).map(|number| format!("{number:08x}-0000-4000-8000-{number:012x}")).collect();
    let body = serde_json::json!({ "channels": names }).to_string();
    for &(name, start, _) in CASES {
        let proxy = start(hub.authority(), &[]);
        let mut reader = SseReader::open(proxy.request("POST", "/api/v1/stream", &body));
        assert!(matches!(reader.next_item(), Some(StreamItem::Retry(_))), "{name}");
        hub.publish(&names[NAMES - 1], name);
        assert_eq!(reader.data(), name);
    }
}
