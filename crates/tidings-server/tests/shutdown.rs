//! How a hub ends: every stream is told, the window is kept, the exit code says so.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tidings_protocol::sse::Item;

use super::process::{Directory, Hub};
use super::reader::Reader;
use super::wire::Wire;

/// Reads to the end of a stream that is being shut down, and answers its `retry`.
#[track_caller]
fn is_told(reader: &mut Reader) -> u64 {
    let mut retry = None;
    loop {
        match reader.item().expect("the stream ended without a word") {
            Item::Retry(delay_ms) => retry = Some(delay_ms),
            Item::Event(event) if event.name == "tidings.end" => {
                let end: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!(end, json!({"reason": "shutdown", "reconnect": true}));
                assert_eq!(reader.item(), None, "nothing follows");
                return retry.expect("retry comes before the end");
            }
            _ => retry = None,
        }
    }
}

#[test]
fn thousand_streams_are_told_and_gone_within_the_window() {
    const STREAMS: usize = 1000;
    let directory = Directory::new();
    let hub = Hub::serve(&directory, &[("TIDINGS_SHUTDOWN_WINDOW", "3s")]);
    let path = "/api/v1/events?channel=a&channel=b.*";
    let mut readers: Vec<Reader> = (0..STREAMS).map(|_| hub.subscribe(path)).collect();
    let id = hub.publish("a", "last");
    for reader in &mut readers {
        assert_eq!(reader.data(), "last");
        assert_eq!(reader.last_id(), id);
    }
    let begun = Instant::now();
    hub.signal(Signal::TERM);
    let mut retries: Vec<u64> = Vec::with_capacity(STREAMS);
    retries.extend(readers.iter_mut().map(is_told));
    let (status, log) = hub.wait();
    let took = begun.elapsed();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(took < Duration::from_secs(4), "{took:?}");
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > 100, "{} different delays are drawn", retries.len());
}

#[test]
fn reader_that_never_reads_does_not_hold_up_the_end() {
    let directory = Directory::new();
    let hub = Hub::in_memory(&directory, &[("TIDINGS_SHUTDOWN_WINDOW", "1s")]);
    let mut stuck = Wire::connect(&hub);
    stuck.send(hub.head_of("GET", "/api/v1/events/a", &[], b""));
    stuck.head();
    let large = "x".repeat(250_000);
    for _ in 0..40 {
        hub.publish("a", &large);
    }
    let mut idle = Wire::connect(&hub);
    idle.send("GET /healthz HTT");
    let begun = Instant::now();
    hub.signal(Signal::TERM);
    let (status, log) = hub.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn hub_without_streams_ends_at_once() {
    let directory = Directory::new();
    let hub = Hub::serve(&directory, &[]);
    hub.publish("a", "x");
    let begun = Instant::now();
    hub.stop();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn draining_hub_takes_no_stream_and_says_that_it_is_not_ready() {
    let directory = Directory::new();
    let mut hub = Hub::in_memory(&directory, &[("TIDINGS_SHUTDOWN_WINDOW", "3s")]);
    let mut streams: Vec<Reader> = (0..50).map(|_| hub.subscribe("/api/v1/events/a")).collect();
    // Connections that are open already; no new one is accepted.
    let mut wires: Vec<Wire> = (0..2).map(|_| Wire::connect(&hub)).collect();
    for wire in &mut wires {
        wire.send(hub.head_of("GET", "/healthz", &[], b""));
        wire.answer().is(200);
    }
    hub.signal(Signal::TERM);
    hub.wait_for_log("shutting down connections");
    let requests = ["/readyz", "/api/v1/events/a"].map(|path| hub.head_of("GET", path, &[], b""));
    for (wire, request) in wires.iter_mut().zip(requests) {
        // It may have been closed already, which says as much.
        let _closed = std::io::Write::write_all(&mut wire.socket, &request);
        if let Some(answer) = wire.some() {
            let answer = String::from_utf8_lossy(&answer).into_owned();
            assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        }
    }
    for stream in &mut streams {
        is_told(stream);
    }
    assert_eq!(hub.wait().0.code(), Some(0));
}

#[test]
fn second_signal_ends_the_hub_at_once() {
    let directory = Directory::new();
    let mut hub = Hub::in_memory(&directory, &[("TIDINGS_SHUTDOWN_WINDOW", "60s")]);
    let _streams: Vec<Reader> = (0..20).map(|_| hub.subscribe("/api/v1/events/a")).collect();
    hub.signal(Signal::TERM);
    hub.wait_for_log("shutting down connections");
    let begun = Instant::now();
    hub.signal(Signal::TERM);
    let (status, log) = hub.wait();
    assert_eq!(status.code(), Some(130), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}
