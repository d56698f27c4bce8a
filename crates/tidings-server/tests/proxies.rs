//! Each proxy of the manual forwards events at once, and keeps a quiet stream open. Module `restart` restarts the hub behind them.

use tidings_protocol::sse::StreamItem;
use tidings_testkit::{SseReader, TempDirectory};

use super::proxy::{Changes, Proxy};
use crate::hub::TestHub;

const STREAM: &str = "/api/v1/events/a";
const EVENTS: usize = 20;

type StartProxy = fn(&str, Changes<'_>) -> Proxy;

/// A proxy of the manual, and its setting for a timeout of two seconds on silent streams, if it has one.
struct ProxyCase {
    name: &'static str,
    start: StartProxy,
    impatience: Option<Changes<'static>>,
}

const CASES: &[ProxyCase] = &[
    ProxyCase {
        name: "nginx",
        start: Proxy::nginx,
        impatience: Some(&[("proxy_read_timeout 1h;", "proxy_read_timeout 2s;")]),
    },
    ProxyCase {
        name: "HAProxy",
        start: Proxy::haproxy,
        impatience: Some(&[("timeout server  1h", "timeout server  2s")]),
    },
    ProxyCase { name: "Caddy", start: Proxy::caddy, impatience: None },
    ProxyCase { name: "Apache", start: Proxy::apache, impatience: Some(&[("timeout=3600", "timeout=2")]) },
    ProxyCase {
        name: "Varnish",
        start: Proxy::varnish,
        impatience: Some(&[(".between_bytes_timeout = 60s;", ".between_bytes_timeout = 2s;")]),
    },
    ProxyCase { name: "Traefik", start: Proxy::traefik, impatience: None },
];

fn hub(directory: &TempDirectory, keep_alive: &str) -> TestHub {
    TestHub::in_memory_in(
        directory,
        &[("TIDINGS_STREAM_KEEP_ALIVE", keep_alive), ("TIDINGS_SHUTDOWN_WINDOW", "1s")],
    )
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
    let directory = TempDirectory::create();
    let hub = hub(&directory, "1h");
    for case in CASES {
        let proxy = (case.start)(hub.authority(), &[]);
        let mut reader = open(&proxy);
        for number in 0..EVENTS {
            let data = format!("{} {number}", case.name);
            proxy.request("POST", STREAM, &data).read_response().assert_status(200);
            assert_eq!(reader.data(), data);
        }
    }
}

#[test]
fn keep_alives_keep_a_quiet_stream_open_beyond_the_timeout_of_the_proxy() {
    // Together three times the proxy's two seconds, whatever the jitter.
    const KEEP_ALIVES: usize = 16;
    let directory = TempDirectory::create();
    let hub = hub(&directory, "500ms");
    for case in CASES {
        let proxy = (case.start)(hub.authority(), case.impatience.unwrap_or_default());
        let mut reader = open(&proxy);
        let mut left = KEEP_ALIVES;
        while left > 0 {
            let item = reader.next_item().unwrap_or_else(|| panic!("{} closed the stream", case.name));
            left -= usize::from(matches!(item, StreamItem::Comment(_)));
        }
        hub.publish("a", case.name);
        assert_eq!(reader.data(), case.name);
    }
}

#[test]
fn silent_stream_is_closed_by_a_proxy_with_a_timeout() {
    let directory = TempDirectory::create();
    let hub = hub(&directory, "1h");
    for (case, changes) in CASES.iter().filter_map(|case| Some((case, case.impatience?))) {
        let proxy = (case.start)(hub.authority(), changes);
        let mut reader = open(&proxy);
        let mut items = std::iter::from_fn(|| reader.next_item());
        assert!(items.all(|item| !matches!(item, StreamItem::Event(_))), "{}", case.name);
    }
}

#[test]
fn channels_that_fit_no_url_pass_each_proxy_in_a_body() {
    const NAMES: usize = 256;
    let directory = TempDirectory::create();
    let hub = hub(&directory, "1h");
    // As long as a UUID.
    let names: Vec<String> =
        (0..NAMES).map(|number| format!("{number:08x}-0000-4000-8000-{number:012x}")).collect();
    let body = serde_json::json!({ "channels": names }).to_string();
    for case in CASES {
        let proxy = (case.start)(hub.authority(), &[]);
        let mut reader = SseReader::open(proxy.request("POST", "/api/v1/stream", &body));
        assert!(matches!(reader.next_item(), Some(StreamItem::Retry(_))), "{}", case.name);
        hub.publish(&names[NAMES - 1], case.name);
        assert_eq!(reader.data(), case.name);
    }
}
