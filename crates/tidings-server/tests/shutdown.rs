//! Shutdown of a hub: every stream gets its end, the hub keeps to the window, and the exit code is 0.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
use rustix::process::Signal;
use tidings_protocol::sse::StreamItem;

use crate::prelude::*;

/// Reads a stream through its end by a shutdown, and returns its `retry`.
#[track_caller]
fn read_shutdown(reader: &mut SseReader) -> u64 {
    let mut retry = None;
    loop {
        match reader.next_item().expect("the stream ended without an event") {
            StreamItem::Retry(delay_ms) => retry = Some(delay_ms),
            StreamItem::Event(event) if event.name == "tidings.end" => {
                let end: serde_json::Value = serde_json::from_str(&event.data).unwrap();
                assert_eq!(end, json!({"reason": "shutdown", "reconnect": true}));
                assert_eq!(reader.next_item(), None, "nothing follows the end");
                return retry.expect("retry comes before the end");
            }
            _ => retry = None,
        }
    }
}

#[test]
fn thousand_streams_end_within_the_window() {
    const STREAMS: usize = 1000;
    let hub = TestHub::serve(&[("TIDINGS_SHUTDOWN_WINDOW", "3s")]);
    let path = "/api/v1/events?channel=a&channel=b.*";
    let mut readers: Vec<SseReader> = (0..STREAMS).map(|_| hub.subscribe(path)).collect();
    let id = hub.publish("a", "last");
    for reader in &mut readers {
        assert_eq!(reader.data(), "last");
        assert_eq!(reader.last_event_id(), id);
    }
    let begun = Instant::now();
    hub.signal(Signal::TERM);
    let mut retries: Vec<u64> = Vec::with_capacity(STREAMS);
    retries.extend(readers.iter_mut().map(read_shutdown));
    hub.assert_exit(0);
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
    retries.sort_unstable();
    retries.dedup();
    assert!(retries.len() > 100, "{} different delays are drawn", retries.len());
}

#[test]
fn client_that_never_reads_does_not_delay_the_shutdown() {
    let hub = TestHub::in_memory(&[("TIDINGS_SHUTDOWN_WINDOW", "1s")]);
    let mut stuck = hub.send_request("GET", "/api/v1/events/a", &[], b"");
    stuck.read_head();
    let large = "x".repeat(250_000);
    for _ in 0..40 {
        hub.publish("a", &large);
    }
    let mut idle = hub.connect();
    idle.send("GET /healthz HTT");
    let begun = Instant::now();
    hub.terminate();
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn hub_without_streams_exits_at_once() {
    let hub = TestHub::serve(&[]);
    hub.publish("a", "x");
    let begun = Instant::now();
    hub.terminate();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// A hub with a shutdown window longer than the test.
struct DrainingHub {
    hub: TestHub,
    begun: Instant,
    _streams: Vec<SseReader>,
}

const WINDOW_MS: u64 = 60_000;

impl DrainingHub {
    /// Connects by `connect`, begins the shutdown, and returns the hub and the connections.
    fn hub<Made>(connect: impl FnOnce(&TestHub) -> Made) -> (Self, Made) {
        let window = format!("{WINDOW_MS}ms");
        let origins = ("TIDINGS_CORS_ORIGINS", "http://page.example");
        let mut hub = TestHub::in_memory(&[("TIDINGS_SHUTDOWN_WINDOW", &window), origins]);
        // Their ends are spread over more than half of the window.
        let streams = (0..20).map(|_| hub.subscribe("/api/v1/events/open")).collect();
        let made = connect(&hub);
        let begun = Instant::now();
        hub.signal(Signal::TERM);
        hub.read_log_through("shutting down connections");
        (Self { hub, begun, _streams: streams }, made)
    }

    /// Asserts that the client reconnects after the window.
    #[track_caller]
    fn assert_after_the_window(&self, retry_ms: u64) {
        let left = WINDOW_MS.saturating_sub(self.begun.elapsed().as_millis() as u64);
        assert!((left..=WINDOW_MS + 4000).contains(&retry_ms), "retry {retry_ms}, left {left}");
    }
}

const STREAMS: [&str; 3] =
    ["/api/v1/events/a", "/api/v1/events?channel=a&channel=b.*", "/api/v1/events/a?history=all"];

#[test]
fn stream_request_during_shutdown_opens_a_stream_with_its_end() {
    let connect = |hub: &TestHub| TRANSPORTS.map(|transport| STREAMS.map(|_| transport.connect(hub)));
    let (draining, connections) = DrainingHub::hub(connect);
    let fresh = STREAMS.map(|_| draining.hub.connect());
    let mut retries = Vec::new();
    for connections in connections.into_iter().chain([fresh]) {
        for (mut connection, path) in connections.into_iter().zip(STREAMS) {
            let origin = [("Origin", "http://page.example")];
            connection.send(draining.hub.encode_request("GET", path, &origin, b""));
            let mut reader = SseReader::open(connection);
            let header = reader.head.header("content-type");
            assert_eq!(header, Some("text/event-stream; charset=utf-8"));
            let allowed = reader.head.header("access-control-allow-origin");
            assert_eq!(allowed, Some("http://page.example"), "{:?}", reader.head);
            retries.push(read_shutdown(&mut reader));
            draining.assert_after_the_window(*retries.last().unwrap());
        }
    }
    retries.dedup();
    assert!(retries.len() > 1, "clients get different delays: {retries:?}");
}

#[test]
fn stream_request_over_http_2_during_shutdown_opens_a_stream_with_its_end() {
    let (draining, ()) = DrainingHub::hub(|_| ());
    Http2::connect(&draining.hub).open(STREAMS[0], "", None).unwrap().assert_end("shutdown", true);
}

#[test]
fn draining_hub_is_not_ready_and_stores_nothing() {
    let (draining, mut kept) = DrainingHub::hub(|hub| {
        let mut connection = hub.connect();
        let publish = hub.encode_request("POST", "/api/v1/events/a", &[], b"before");
        connection.exchange(publish).assert_status(200);
        connection
    });
    let hub = &draining.hub;
    hub.get("/healthz").assert_status(200);
    hub.get("/readyz").assert_problem(503, "shutting_down");
    hub.request("HEAD", STREAMS[0], &[], b"").assert_status(200);
    hub.post("/api/v1/events/a", "late").assert_problem(503, "not_stored");
    hub.post("/api/v1/publish", r#"[{"channels":["a"],"data":1}]"#).assert_problem(503, "not_stored");
    assert_eq!(hub.stored("a"), ["before"]);
    // A request on a kept connection gets a response with `Connection: close`.
    let answer = kept.exchange(hub.encode_request("POST", "/api/v1/events/a", &[], b"late"));
    answer.assert_problem(503, "not_stored");
    assert_eq!(answer.head.header("connection"), Some("close"));
    assert!(answer.head.header("retry-after").is_some());
    assert_eq!(kept.read_some(), None);
}

/// Sends a request over a connection of its own, and returns the whole response. `None` if the connection was refused, or reset
/// before the hub can have read a byte.
fn response(address: &str, request: &[u8]) -> Option<String> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut response = Vec::new();
    let outcome = socket.write_all(request).and_then(|()| socket.read_to_end(&mut response));
    let response = String::from_utf8(response).unwrap();
    assert!(outcome.is_ok() || response.is_empty(), "{outcome:?} after {response}");
    Some(response).filter(|response| !response.is_empty())
}

/// Sends requests until the hub has exited; returns the number of responses. The kernel may reset a single connection between
/// the hub's last accept and the close of the listener: then the next connection must be refused.
fn request_until_exit(address: &str, request: &[u8], judge: impl Fn(&str)) -> usize {
    let mut answered = 0;
    while let Some(response) = response(address, request) {
        judge(&response);
        answered += 1;
    }
    assert!(TcpStream::connect(address).is_err(), "a running hub refused a connection");
    answered
}

#[test]
fn every_request_during_a_shutdown_is_answered_until_the_exit() {
    let mut hub = TestHub::serve(&[("TIDINGS_SHUTDOWN_WINDOW", "2s")]);
    let _open: Vec<SseReader> = (0..20).map(|_| hub.subscribe("/api/v1/events/open")).collect();
    let (address, request) = (hub.authority().to_owned(), hub.encode_request("GET", STREAMS[0], &[], b""));
    let close = [("Connection", "close")];
    let head = hub.encode_request("HEAD", STREAMS[0], &close, b"");
    let publish = hub.encode_request("POST", "/api/v1/events/b", &close, b"x");
    let is_end = |answer: &str| {
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("\nretry: ") && answer.contains("\nevent: tidings.end\n"), "{answer}");
        assert!(answer.ends_with("\r\n0\r\n\r\n"), "{answer}");
    };
    let answered = std::thread::scope(|scope| {
        // Streams requested around the signal: some are open when the ends begin.
        let racers = [(); 2].map(|()| scope.spawn(|| request_until_exit(&address, &request, is_end)));
        let heads = scope.spawn(|| {
            request_until_exit(&address, &head, |answer| {
                assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            })
        });
        let publishes = scope.spawn(|| {
            request_until_exit(&address, &publish, |answer| {
                let is_refused = answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"not_stored\"");
                assert!(is_refused || answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
            })
        });
        hub.signal(Signal::TERM);
        hub.read_log_through("shutting down connections");
        let later = scope.spawn(|| request_until_exit(&address, &request, is_end));
        let [one, other] = racers.map(|racer| racer.join().unwrap());
        [one, other, heads.join().unwrap(), publishes.join().unwrap(), later.join().unwrap()]
    });
    assert!(answered.iter().all(|count| *count > 10), "{answered:?}");
    hub.assert_exit(0);
}

#[test]
fn second_signal_ends_the_hub_at_once() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut hub = TestHub::in_memory(&[("TIDINGS_SHUTDOWN_WINDOW", "60s")]);
        let _streams: Vec<SseReader> = (0..20).map(|_| hub.subscribe("/api/v1/events/a")).collect();
        hub.signal(signal);
        let log = hub.read_log_through("shutting down connections");
        let expected = "streams end within shutdown.window, then the log is synced; a second signal ends at once window=60s";
        assert!(log.contains(expected), "{log}");
        let begun = Instant::now();
        hub.signal(signal);
        hub.assert_exit(130);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[test]
fn signal_ends_a_hub_that_is_still_starting() {
    let directory = TempDirectory::create();
    // The start waits for a writer of this pipe.
    let key = directory.path().join("key.pem");
    mkfifoat(CWD, &key, Mode::RUSR | Mode::WUSR).unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut command = directory.command(&["--memory", "--listen", "127.0.0.1:0"]);
        command.env("TIDINGS_AUTH_KEY_FILE", &key).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = ChildProcess::spawn(&mut command);
        let log = read_lines(child.take_stderr());
        let writer = OFlags::WRONLY | OFlags::NONBLOCK;
        let mut held = None;
        eventually("the key is read", || {
            held = open(&key, writer, Mode::empty()).ok();
            held.is_some()
        });
        child.signal(signal);
        assert_eq!(child.wait().code(), Some(0));
        let log: String = log.iter().collect();
        assert!(log.contains("stopped before the hub had started"), "{log}");
        drop(held);
    }
}

#[test]
fn client_without_positions_continues_from_the_end_of_a_stream_without_events() {
    let directory = TempDirectory::create();
    let hub = TestHub::serve_in(&directory, &[("TIDINGS_SHUTDOWN_WINDOW", "1s")]);
    hub.publish("a", "before");
    let mut reader = hub.subscribe("/api/v1/events/a?position=none");
    hub.signal(Signal::TERM);
    read_shutdown(&mut reader);
    let id = reader.last_event_id().to_owned();
    hub.assert_exit(0);
    let hub = TestHub::serve_in(&directory, &[]);
    hub.publish("a", "meanwhile");
    assert_eq!(hub.resume("/api/v1/events/a", &id).data(), "meanwhile");
}
