//! Floods of HTTP/2 frames as bytes on a socket: each ends its own connection and affects no other client.

use std::time::{Duration, Instant};

use crate::http2_frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PROTOCOL_ERROR,
    RawHttp2Client, SETTINGS, WINDOW_UPDATE, frame, get, request, reset, stream_id,
};
use crate::prelude::*;

const STREAM: &str = "/api/v1/events/a";

/// A stream of another client, and the hub's memory before the flood.
struct OtherClient {
    reader: SseReader,
    memory: u64,
    count: usize,
}

impl OtherClient {
    fn new(hub: &TestHub) -> Self {
        let reader = hub.subscribe("/api/v1/events/bystander");
        let mut client = Self { reader, memory: 0, count: 0 };
        client.assert_served(hub);
        client.memory = hub.resident_bytes();
        client
    }

    #[track_caller]
    fn assert_served(&mut self, hub: &TestHub) {
        let begun = Instant::now();
        self.count += 1;
        hub.publish("bystander", self.count.to_string());
        assert_eq!(self.reader.data(), self.count.to_string());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    /// Asserts that the flood left no streams and no memory behind.
    #[track_caller]
    fn assert_unaffected(mut self, hub: &TestHub) {
        const GROWTH_MAX: u64 = 48 << 20;
        self.assert_served(hub);
        eventually("only this stream is open", || hub.metric("tidings_streams_open") == 1.0);
        let grown = hub.resident_bytes().saturating_sub(self.memory);
        assert!(grown < GROWTH_MAX, "the hub grew by {grown} bytes");
    }
}

#[test]
fn rapid_reset_ends_the_connection_and_affects_no_other_client() {
    const CONNECTIONS: usize = 20;
    const STREAMS: usize = 5000;
    let hub = TestHub::in_memory(&[]);
    let mut bystander = OtherClient::new(&hub);
    for path in [STREAM, "/healthz"].into_iter().cycle().take(CONNECTIONS) {
        let burst: Vec<u8> = (0..STREAMS)
            .flat_map(|nth| [request(&hub, stream_id(nth), path), reset(stream_id(nth))].concat())
            .collect();
        let mut rude = RawHttp2Client::connect(&hub);
        let go_away_code = rude.go_away_code();
        rude.send(&burst);
        bystander.assert_served(&hub);
        // The hub closes the connection although the client would continue, and sends the reason in `GOAWAY`.
        assert_eq!(go_away_code.join().unwrap(), Some(ENHANCE_YOUR_CALM));
    }
    let cut = || hub.metric("tidings_connections_aborted_total{reason=\"http2\"}");
    eventually("every connection is counted", || cut() == CONNECTIONS as f64);
    bystander.assert_unaffected(&hub);
}

#[test]
fn streams_that_are_opened_and_reset_repeatedly_leave_nothing_behind() {
    let hub = TestHub::in_memory(&[("TIDINGS_LIMITS_CONNECTIONS", "500")]);
    let bystander = OtherClient::new(&hub);
    let mut rude = RawHttp2Client::connect(&hub);
    let before = hub.metric("tidings_streams_opened_total");
    let mut numbers = (0..).map(stream_id);
    for round in 0..200 {
        let streams: Vec<u32> = numbers.by_ref().take(10).collect();
        let opening: Vec<u8> = streams.iter().flat_map(|stream| request(&hub, *stream, STREAM)).collect();
        let resets: Vec<u8> = streams.iter().flat_map(|stream| reset(*stream)).collect();
        if round % 2 == 0 {
            // They are served before they are reset.
            assert!(rude.send(&opening));
            rude.wait_for_response(&hub, numbers.next().unwrap());
            assert!(rude.send(&resets));
        } else {
            assert!(rude.send(&[opening, resets].concat()));
        }
        rude.wait_for_response(&hub, numbers.next().unwrap());
    }
    let opened = hub.metric("tidings_streams_opened_total") - before;
    assert!(opened >= 1000.0, "{opened} streams were opened");
    assert_eq!(hub.metric("tidings_limit_refused_total{limit=\"connections\"}"), 0.0);
    eventually("every stream is closed", || hub.connections("a") == 0);
    // The connection itself still works.
    assert!(rude.send(&request(&hub, numbers.next().unwrap(), STREAM)));
    eventually("the connection opens a further stream", || hub.connections("a") == 1);
    drop(rude);
    bystander.assert_unaffected(&hub);
}

#[test]
fn client_that_makes_the_hub_reset_its_streams_is_disconnected() {
    const STREAMS: usize = 300;
    let hub = TestHub::in_memory(&[]);
    let mut bystander = OtherClient::new(&hub);
    type FrameFn = fn(u32) -> Vec<u8>;
    let faults: [(&str, u32, FrameFn); 4] = [
        ("no increment", PROTOCOL_ERROR, |stream| frame(WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes())),
        // This frame ends a single stream, each time another one.
        ("overflow", ENHANCE_YOUR_CALM, |stream| {
            frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())
        }),
        ("data behind the end", PROTOCOL_ERROR, |stream| frame(DATA, 0, stream, b"x")),
        ("headers behind the end", PROTOCOL_ERROR, |stream| {
            frame(HEADERS, END_HEADERS | END_STREAM, stream, &[0x82])
        }),
    ];
    for (name, expected, fault) in faults {
        let mut rude = RawHttp2Client::connect(&hub);
        let go_away_code = rude.go_away_code();
        for stream in (0..STREAMS).map(stream_id) {
            if !rude.send(&[request(&hub, stream, STREAM), fault(stream)].concat()) {
                break;
            }
        }
        let code = go_away_code.join().unwrap();
        assert_eq!(code, Some(expected), "{name}");
        bystander.assert_served(&hub);
    }
    bystander.assert_unaffected(&hub);
}

#[test]
fn endless_head_is_cut_off() {
    let hub = TestHub::in_memory(&[]);
    let mut bystander = OtherClient::new(&hub);
    let literal = [&[0, 1, b'x', 100][..], &[b'y'; 100]].concat();
    for payload in [literal, Vec::new()] {
        let mut rude = RawHttp2Client::connect(&hub);
        let go_away_code = rude.go_away_code();
        rude.send(&frame(HEADERS, END_STREAM, 1, &get(&hub, "/healthz", &[])));
        let portion = frame(CONTINUATION, 0, 1, &payload).repeat(100);
        let _is_cut = (0..1000).any(|_| !rude.send(&portion));
        assert_eq!(go_away_code.join().unwrap(), Some(ENHANCE_YOUR_CALM));
        bystander.assert_served(&hub);
    }
    bystander.assert_unaffected(&hub);
}

#[test]
fn responses_to_control_frames_are_bounded_for_a_client_that_reads_none() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_WRITE_TIMEOUT", "1s")]);
    let mut bystander = OtherClient::new(&hub);
    for frame in [frame(PING, 0, 0, b"are you?"), frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])] {
        let mut rude = RawHttp2Client::connect(&hub);
        let portion = frame.repeat(1000);
        let begun = Instant::now();
        let is_cut = (0..100_000).any(|_| !rude.send(&portion));
        assert!(is_cut && begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
        bystander.assert_served(&hub);
    }
    bystander.assert_unaffected(&hub);
}

#[test]
fn large_head_over_http_2_gets_431_and_the_connection_continues() {
    let hub = TestHub::in_memory(&[]);
    let mut client = Http2::connect(&hub);
    // Beyond 64 KiB the HTTP/2 layer answers, without a problem document.
    for (bytes, status) in [(8 << 10, 200), (40 << 10, 431), (70 << 10, 431), (24 << 10, 200)] {
        let response = client.get("/healthz", &[("x", &"y".repeat(bytes))]);
        assert_eq!(response.status(), status, "{bytes} bytes");
        let mut reader = client.reader(response);
        let body: Vec<u8> = std::iter::from_fn(|| reader.frame()).flat_map(Result::unwrap).collect();
        if bytes == 40 << 10 {
            let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(problem["code"], "head_too_large");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("32768") && detail.contains("POST /api/v1/stream"), "{detail}");
        }
    }
}
