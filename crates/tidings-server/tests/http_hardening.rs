//! HTTP hardening: malformed, oversized and slow requests, and peers that vanish.

use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::prelude::*;

const CHANNEL: &str = "/api/v1/events/a";
/// A request that an attacker tries to smuggle in.
const SMUGGLED: &str =
    "POST /api/v1/events/smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\nx";

/// Sends bytes, reads to the end of the connection, and returns the statuses of the responses and their text.
#[track_caller]
fn statuses(hub: &TestHub, bytes: impl AsRef<[u8]>) -> (Vec<u16>, String) {
    let mut connection = hub.connect();
    // The hub may have closed the connection before everything is sent.
    let _sent = connection.socket.write_all(bytes.as_ref());
    let text = String::from_utf8(connection.read_to_end()).unwrap();
    let statuses = text.split("HTTP/1.1 ").skip(1).map(|response| response[..3].parse().unwrap());
    (statuses.collect(), text)
}

/// Asserts that the hub answers the first of two requests with 400, and closes the connection before the second.
#[track_caller]
fn assert_not_smuggled(hub: &TestHub, request: &str) -> String {
    let (statuses, text) = statuses(hub, format!("{request}{SMUGGLED}"));
    assert_eq!(statuses, [400], "{request:?}: {text}");
    text
}

#[track_caller]
fn assert_nothing_stored(hub: &TestHub) {
    for channel in ["a", "smuggled"] {
        assert!(hub.stored(channel).is_empty(), "{channel}");
    }
    hub.assert_healthy();
}

/// Headers of a `POST` that two HTTP parsers may read differently.
const MALFORMED: &[&str] = &[
    "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
    "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx",
    "Content-Length: 1, 1\r\n\r\nx",
    "Content-Length: +1\r\n\r\nx",
    "Content-Length: -1\r\n\r\nx",
    "Content-Length: 0x1\r\n\r\nx",
    "Content-Length: 1 1\r\n\r\nx",
    "Content-Length:\r\n\r\n",
    "Content-Length: 99999999999999999999\r\n\r\nx",
    "Content-Length: 18446744073709551615\r\n\r\nx",
    "Content-Length : 1\r\n\r\nx",
    "Content-Length\t: 1\r\n\r\nx",
    "Transfer-Encoding: identity\r\n\r\n",
    "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: \u{b}chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "X: a\r\n b\r\n\r\n",
    "X: a\r\n\tContent-Length: 3\r\n\r\n",
    "X: a\nContent-Length: 0\r\n\r\n",
    "X: a\rContent-Length: 0\r\n\r\n",
    "X: a\r\n\n",
    "Content-Length: 0\n\n",
    "Content-Length: 0\r\n\n",
    "Content-Length: 0\r\n\r\r\n",
    "X: \0\r\n\r\n",
    "X\0: a\r\n\r\n",
    "X: \x1b[31m\r\n\r\n",
    "X: \x7f\r\n\r\n",
    "X(a): b\r\n\r\n",
    ": a\r\n\r\n",
    "X\r\n\r\n",
    "Host: localhost\r\n\r\n",
];

#[test]
fn malformed_heads_get_400_and_the_connection_closes() {
    let hub = TestHub::in_memory(&[]);
    let host = format!("Host: {}\r\n", hub.authority());
    for headers in MALFORMED {
        assert_not_smuggled(&hub, &format!("POST {CHANNEL} HTTP/1.1\r\n{host}{headers}"));
    }
    for request in [
        format!("POST {CHANNEL} HTTP/1.1\r\n{host}Content-Length: 1\r\nContent-Length: 2\r\n\r\nx"),
        "nonsense\r\n\r\n".to_owned(),
        "\0\0\0\r\n\r\n".to_owned(),
        format!("POST {CHANNEL} HTTP/1.1\n{host}Content-Length: 1\r\n\r\nx"),
        format!("POST {CHANNEL} HTTP/1.1\r{host}Content-Length: 1\r\n\r\nx"),
        format!("POST {CHANNEL}\0 HTTP/1.1\r\n{host}Content-Length: 1\r\n\r\nx"),
        format!("POST {CHANNEL} HTTP/1.0\r\n{host}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"),
        format!("POST {CHANNEL} HTTP/1.1\r\n {host}Content-Length: 1\r\n\r\nx"),
        format!("\nPOST {CHANNEL} HTTP/1.1\r\n{host}Content-Length: 1\r\n\r\nx"),
        format!("POST {CHANNEL} HTTP/2.0\r\n{host}Content-Length: 1\r\n\r\nx"),
        format!("POST {CHANNEL} HTTP/1.1 \r\n{host}Content-Length: 1\r\n\r\nx"),
    ] {
        let (statuses, text) = statuses(&hub, &request);
        assert_eq!(statuses, [400], "{request:?}: {text}");
    }
    assert_nothing_stored(&hub);
}

#[test]
fn malformed_head_is_refused_before_it_is_complete() {
    let hub = TestHub::in_memory(&[]);
    for part in
        ["GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: a\r\nX: \0", "GET / HTTP/1.1\r\nX: a\r\n ", "\n"]
    {
        let mut connection = hub.connect();
        // The hub does not wait for the rest. The head arrives byte by byte.
        for byte in part.bytes() {
            connection.send([byte]);
        }
        let begun = Instant::now();
        connection.read_response().assert_problem(400, "bad_request");
        assert!(connection.read_to_end().is_empty() && begun.elapsed() < Duration::from_secs(5), "{part:?}");
    }
}

#[test]
fn request_without_a_host_is_refused() {
    let hub = TestHub::in_memory(&[]);
    let request = format!("POST {CHANNEL} HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
    hub.send_raw(request).assert_problem(400, "bad_header");
    assert_nothing_stored(&hub);
}

#[test]
fn requests_before_a_malformed_one_are_answered_first() {
    let hub = TestHub::in_memory(&[]);
    let good = hub.encode_request("POST", CHANNEL, &[], b"good");
    let chunked = format!(
        "POST {CHANNEL} HTTP/1.1\r\nHost: {}\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\n\r\n\r\n0\r\nX: y\r\n\r\n",
        hub.authority()
    );
    let bad = b"POST / HTTP/1.1\r\nX: a\nHost: localhost\r\n\r\n".to_vec();
    let requests = [good.clone(), chunked.into_bytes(), b"\r\n".to_vec(), good.clone(), bad, good];
    let (statuses, text) = statuses(&hub, requests.concat());
    assert_eq!(statuses, [200, 200, 200, 400], "{text}");
    assert_eq!(hub.stored("a"), ["good", "\r\n", "good"]);
}

#[test]
fn malformed_chunks_get_400_and_the_connection_closes() {
    let hub = TestHub::in_memory(&[]);
    let host = format!("Host: {}\r\nTransfer-Encoding: chunked\r\n\r\n", hub.authority());
    for body in [
        "ZZ\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\n\n",
        "3\r\nabc\r\n0\r\n\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;\0\r\nabc\r\n0\r\n\r\n",
        "ffffffffffffffff1\r\nabc\r\n0\r\n\r\n",
        "10000000000000003\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: a\nb: c\r\n\r\n",
        "3\r\nabc\r\n0\r\nContent-Length: 3\r\n\r\n",
        "3\r\nabc\r\n0\r\n X: a\r\n\r\n",
        "3\r\nabc\r\n0\r\nX: \0\r\n\r\n",
    ] {
        for path in [CHANNEL, "/api/v1/publish"] {
            let text = assert_not_smuggled(&hub, &format!("POST {path} HTTP/1.1\r\n{host}{body}"));
            assert!(text.contains("\"code\":\"bad_request\""), "{body:?}: {text}");
        }
        // A route that reads no body is answered; the bytes after the body are still no request.
        let (statuses, text) = statuses(&hub, format!("GET /healthz HTTP/1.1\r\n{host}{body}{SMUGGLED}"));
        assert_eq!(statuses.len(), 1, "{body:?}: {text}");
    }
    assert_nothing_stored(&hub);
}

#[test]
fn heads_beyond_their_limits_are_refused_and_the_connection_closes() {
    let hub = TestHub::in_memory(&[]);
    let host = format!("Host: {}\r\n", hub.authority());
    let large = format!("GET /healthz HTTP/1.1\r\n{host}X: {}\r\n\r\n", "x".repeat(1 << 20));
    let many = |count| format!("GET /healthz HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(count));
    let long = format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(70 << 10));
    for (request, status) in [(large, 431), (many(199), 431), (many(100), 431), (long, 414)] {
        let (statuses, text) = statuses(&hub, &request);
        assert_eq!(statuses, [status], "{text}");
    }
    hub.send_raw(many(99)).assert_status(200);
    hub.assert_healthy();
}

#[test]
fn refused_client_that_is_still_sending_is_not_reset() {
    let hub = TestHub::in_memory(&[]);
    for _ in 0..20 {
        let mut connection = hub.connect();
        connection.send(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1 << 20)));
        connection.read_response().assert_problem(431, "head_too_large");
        // A reset may destroy the response in transit; the hub shuts down its side first.
        connection.socket.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(connection.socket.read(&mut [0; 100]).unwrap(), 0);
    }
}

#[test]
fn connection_without_a_complete_head_is_closed_at_its_deadline() {
    let hub = TestHub::in_memory(&[("TIDINGS_SERVER_HEAD_TIMEOUT", "500ms")]);
    let beginnings = [
        ("", "408"),
        ("\r\n\r\n", "4"),
        ("G", "408"),
        ("GET / HTTP/1.1", "408"),
        ("GET / HTTP/1.1\r\nHost: local", "408"),
        ("P", "408"),
        ("PRI * HTTP/2.0\r\n\r\n", "4"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r", "4"),
    ];
    let begun = Instant::now();
    let connections = beginnings.map(|(beginning, _)| {
        let mut connection = hub.connect();
        connection.send(beginning);
        connection
    });
    for (mut connection, (beginning, status)) in connections.into_iter().zip(beginnings) {
        let text = String::from_utf8(connection.read_to_end()).unwrap();
        let is_expected = text.is_empty() || text.starts_with(&format!("HTTP/1.1 {status}"));
        assert!(is_expected, "{beginning:?}: {text}");
    }
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    assert!(begun.elapsed() >= Duration::from_millis(450), "{:?}", begun.elapsed());
    hub.assert_healthy();
}

/// Asserts that the hub neither closes the connection nor sends bytes during this time.
fn assert_stays_open(connection: &mut HttpConnection, time: Duration) {
    connection.socket.set_read_timeout(Some(time)).unwrap();
    let kind = connection.socket.read(&mut [0]).map_err(|error| error.kind());
    assert!(matches!(kind, Err(ErrorKind::WouldBlock)), "{kind:?}");
    connection.socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
}

#[test]
fn idle_connection_is_kept_beyond_its_keep_alive_hint_and_its_end_is_not_counted() {
    let settings = [("TIDINGS_SERVER_HEAD_TIMEOUT", "300ms"), ("TIDINGS_SERVER_IDLE_TIMEOUT", "1s")];
    let hub = TestHub::in_memory(&settings);
    let cuts = || hub.metric("tidings_connections_aborted_total{reason=\"head_timeout\"}");
    let publish = |connection: &mut HttpConnection| {
        let answer = connection.exchange(hub.encode_request("POST", CHANNEL, &[], b"text"));
        assert_eq!(answer.assert_status(200).head.header("keep-alive"), Some("timeout=1"));
    };
    for transport in TRANSPORTS {
        let mut connection = transport.connect(&hub);
        publish(&mut connection);
        // A client that follows the hint sends requests until then.
        assert_stays_open(&mut connection, Duration::from_secs(1));
        publish(&mut connection);
        assert_eq!((connection.read_to_end(), cuts()), (Vec::new(), 0.0), "{transport:?}");
    }
    for (transport, count) in TRANSPORTS.into_iter().zip([1.0, 2.0]) {
        let mut connection = transport.connect(&hub);
        publish(&mut connection);
        connection.send("POST /api");
        assert!(connection.read_to_end().is_empty());
        eventually("the unfinished head is counted", || cuts() == count);
    }
}

#[test]
fn client_that_closes_after_its_response_gets_no_timeout_response() {
    let hub = TestHub::in_memory(&[]);
    for transport in TRANSPORTS {
        let mut connection = transport.connect(&hub);
        let publish = hub.encode_request("POST", CHANNEL, &[("Connection", "close")], b"text");
        assert_eq!(connection.exchange(publish).assert_status(200).head.header("keep-alive"), None);
        let mut stream = transport.ask(&hub, CHANNEL, &[]);
        assert_eq!(stream.read_head().header("keep-alive"), None, "no request can follow a stream");
    }
}

#[test]
fn head_that_trickles_in_is_cut_off_at_its_deadline() {
    let hub = TestHub::in_memory(&[("TIDINGS_SERVER_HEAD_TIMEOUT", "500ms")]);
    let mut connection = hub.connect();
    let begun = Instant::now();
    // The whole head would take 15 s.
    let head = hub.encode_request("GET", "/healthz", &[("X", &"x".repeat(300))], b"");
    let is_cut = head.iter().any(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        connection.socket.write_all(&[*byte]).is_err()
    });
    assert!(is_cut && begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    hub.assert_healthy();
}

#[test]
fn body_that_trickles_in_gets_408() {
    let hub = TestHub::in_memory(&[("TIDINGS_SERVER_BODY_TIMEOUT", "500ms")]);
    let head = format!("POST {CHANNEL} HTTP/1.1\r\nHost: {}\r\n", hub.authority());
    // Headers with the beginning of a body, and bytes that follow every 50 ms.
    for (beginning, byte) in [
        ("Content-Length: 1000\r\n\r\n", "x"),
        ("Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        ("Content-Length: 10\r\n\r\nfive!", ""),
    ] {
        let mut connection = hub.connect();
        connection.send(format!("{head}{beginning}"));
        let begun = Instant::now();
        let mut socket = connection.socket.try_clone().unwrap();
        let trickle = std::thread::spawn(move || {
            while begun.elapsed() < Duration::from_secs(10) && socket.write_all(byte.as_bytes()).is_ok() {
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        connection.read_response().assert_problem(408, "body_timeout");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(connection.read_to_end().is_empty());
        trickle.join().unwrap();
    }
    assert_nothing_stored(&hub);
}

#[test]
fn large_bodies_are_delivered_unchanged() {
    let hub = TestHub::in_memory(&[("TIDINGS_LIMITS_EVENT_BYTES", "4MiB")]);
    let body: String = (0..4 << 20).map(|n: u32| char::from(b'a' + (n % 23) as u8)).collect();
    let mut reader = hub.subscribe(CHANNEL);
    hub.publish("a", &body);
    assert!(reader.data() == body, "the body is unchanged");
    let head = format!("POST {CHANNEL} HTTP/1.1\r\nHost: {}\r\n", hub.authority());
    let mut connection = hub.connect();
    connection.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    for chunk in body.as_bytes().chunks(100_003) {
        connection.send(format!("{:X};n=1\r\n", chunk.len()));
        connection.send(chunk);
        connection.send("\r\n");
    }
    connection.exchange("0\r\nX-Sum: 1\r\n\r\n").assert_status(200);
    assert!(reader.data() == body, "the chunked body is unchanged");
    // A client that sends `Expect: 100-continue` gets the interim response.
    connection.send(format!("{head}Expect: 100-continue\r\nContent-Length: 7\r\n\r\n"));
    assert_eq!(connection.read_head().status, 100);
    connection.exchange("awaited").assert_status(200);
    assert_eq!(reader.data(), "awaited");
    connection.exchange(hub.encode_request("GET", "/healthz", &[], b"")).assert_status(200);
}

#[test]
fn malformed_last_event_id_gives_a_gap_and_a_huge_one_gets_431() {
    let hub = TestHub::in_memory(&[]);
    let id = hub.publish("a", "1");
    let (epoch, rest) = id.split_once('-').unwrap();
    let (offset, tag) = rest.split_once('-').unwrap();
    for bad in [
        "garbage".to_owned(),
        format!("{epoch}-18446744073709551616-{tag}"),
        format!("{epoch}-99999999999999999999999999-{tag}"),
        format!("{epoch}--{offset}-{tag}"),
        format!("{epoch}-{offset}-{tag}-{tag}"),
        "x".repeat(64 << 10),
    ] {
        let mut reader = hub.resume(CHANNEL, &bad);
        let (_, gap) = reader.control_event("tidings.gap");
        assert_eq!(gap["reason"], "malformed", "{bad:.50}");
    }
    hub.resume(CHANNEL, &hub.publish("other", "an id of another channel is one of the same log")).position();
    hub.request("GET", CHANNEL, &[("Last-Event-ID", &"x".repeat(200 << 10))], b"").assert_status(431);
    hub.assert_healthy();
}

#[test]
fn clients_that_never_read_cost_little_memory_are_disconnected_and_resume() {
    const READERS: usize = 100;
    const EVENTS: usize = 20_000;
    const GROWTH_MAX: u64 = 64 << 20;
    let hub = TestHub::serve(&[
        ("TIDINGS_STREAM_WRITE_TIMEOUT", "2s"),
        ("TIDINGS_LOG_CACHE_BYTES", "1MiB"),
        ("TIDINGS_LOG_RETENTION_EVENTS", "1000000"),
    ]);
    let readers: Vec<SseReader> = (0..READERS).map(|_| hub.open_slow_stream(CHANNEL)).collect();
    let before = hub.resident_bytes();
    let padding = "x".repeat(1000);
    for first in (0..EVENTS).step_by(2000) {
        let batch = first..first + 2000;
        hub.publish_batch(batch.map(|n| json!({"channels": ["a"], "data": format!("{n} {padding}")})));
    }
    let grown = hub.resident_bytes().saturating_sub(before);
    assert!(grown < GROWTH_MAX, "the hub grew by {grown} bytes for {READERS} clients that read nothing");
    eventually("all of them are disconnected", || hub.connections("a") == 0);
    assert_eq!(hub.metric("tidings_write_timeouts_total"), READERS as f64);
    let mut resumed = hub.resume(CHANNEL, readers[0].last_event_id());
    for n in 0..EVENTS {
        let data = resumed.data();
        assert_eq!(data.split(' ').next(), Some(n.to_string().as_str()));
    }
}

/// Number of connections in the network namespace that are established at this port.
fn established(hub: &TestHub, port: u16) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", hub.id())).unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let local = format!(":{port:04X}");
    rows.filter(|row| row[1].ends_with(&local) && row[3] == "01").count()
}

#[test]
fn peer_that_vanished_is_noticed() {
    let directory = TempDirectory::create();
    // A network namespace whose only link can be cut.
    let script = "ip link set lo up && exec \"$0\" serve --listen 127.0.0.1:0 --memory";
    let program = directory.command(&[]);
    let path = ("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    if !can_unshare(&["-n", "ip", "link", "set", "lo", "up"]) {
        println!("skipped: this kernel or user may not make a network of its own, or there is no `ip`");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", script]).arg(program.get_program());
    command.current_dir(directory.path()).env_clear().stdin(Stdio::null()).envs([
        path,
        ("TIDINGS_STREAM_KEEP_ALIVE", "500ms"),
        ("TIDINGS_STREAM_WRITE_TIMEOUT", "1s"),
    ]);
    let hub = TestHub::start(command);
    let port: u16 = hub.authority().rsplit(':').next().unwrap().parse().unwrap();
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["-t", &hub.id().to_string(), "-n"]).args(arguments);
        command.env_clear().envs([path]).stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let tidings = program.get_program().to_str().unwrap();
    let mut client = inside(&[tidings, "subscribe", "a", "--url", &hub.url]).spawn().unwrap();
    eventually("the stream is open", || established(&hub, port) == 1);
    assert!(inside(&["ip", "link", "set", "lo", "down"]).status().unwrap().success());
    let begun = Instant::now();
    eventually("the stream is closed", || established(&hub, port) == 0);
    // The kernel's deadline for unacknowledged bytes is 10 s at least.
    assert!(begun.elapsed() < Duration::from_secs(18), "{:?}", begun.elapsed());
    client.kill().unwrap();
    client.wait().unwrap();
}

#[test]
fn disconnects_are_counted_by_their_reason() {
    let hub = TestHub::in_memory(&[("TIDINGS_SERVER_HEAD_TIMEOUT", "300ms")]);
    let cut = |reason: &str| hub.metric(&format!("tidings_connections_aborted_total{{reason=\"{reason}\"}}"));
    let mut silent = hub.connect();
    silent.send("GET / HT");
    assert_eq!(hub.send_raw("GET / HTTP/1.1\nHost: localhost\r\n\r\n").head.status, 400);
    let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    assert_eq!(hub.send_raw(large).head.status, 431);
    assert!(silent.read_to_end().is_empty());
    for reason in ["malformed", "head_too_large", "head_timeout"] {
        eventually(reason, || cut(reason) >= 1.0);
    }
    hub.get("/nowhere").assert_problem(404, "not_found");
    assert_eq!(hub.metric("tidings_http_errors_total{code=\"not_found\"}"), 1.0);
}
