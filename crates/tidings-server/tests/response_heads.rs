//! Heads of requests as bytes of careless, odd or hostile clients. Both transports give the same response.

use std::io::Write as _;
use std::time::Duration;

use socket2::SockRef;

use crate::prelude::*;

const PATH: &str = "/api/v1/events/a";

/// Sends the same bytes over both transports, and asserts the same head, body and next event, and whether the connection
/// continues. Returns the status line.
#[track_caller]
fn assert_same_response(hub: &TestHub, name: &str, bytes: &[u8]) -> String {
    let mut transcripts = TRANSPORTS.map(|transport| {
        let mut connection = transport.connect(hub);
        // The hub may close a refused connection before everything is sent.
        let _is_cut = connection.socket.write_all(bytes);
        StreamTranscript::read(connection)
    });
    assert_eq!(transcripts[0].head, transcripts[1].head, "{name}");
    let first_line = transcripts[0].head.lines().next().unwrap().to_owned();
    if !bytes.starts_with(b"HEAD ") && !transcripts[0].is_stream() {
        assert_same_body(name, &mut transcripts);
    } else if !bytes.starts_with(b"HEAD ") {
        assert_same_next_event(hub, name, &mut transcripts);
        return first_line;
    }
    let is_last = transcripts.each_mut().map(|transcript| transcript.is_closed_after_response(hub));
    assert_eq!(is_last[0], is_last[1], "{name}: the connection goes on after one of them");
    first_line
}

/// Publishes an event, and asserts the same bytes on both streams through it.
#[track_caller]
fn assert_same_next_event(hub: &TestHub, data: &str, transcripts: &mut [StreamTranscript; 2]) {
    hub.publish("a", data);
    transcripts.iter_mut().for_each(|transcript| transcript.read_through(&format!("data: {data}\n")));
    assert_eq!(transcripts[0].body(), transcripts[1].body(), "{data}");
}

/// Header lines of a stream request, each with the expected status.
fn odd_headers() -> Vec<(String, u16)> {
    let long = |bytes: usize| format!("X: {}\r\n", "x".repeat(bytes));
    let many = |count: usize| "X: y\r\n".repeat(count);
    let all = [
        ("", 200),
        ("Connection: close\r\n", 200),
        ("Connection: Keep-Alive\r\n", 200),
        ("Connection: keep-alive, x\r\n", 200),
        ("Connection: upgrade\r\nUpgrade: websocket\r\n", 200),
        ("Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n", 200),
        ("TE: trailers\r\n", 200),
        ("Expect: 100-continue\r\n", 200),
        ("Keep-Alive: timeout=5\r\n", 200),
        ("Content-Length: 0\r\n", 200),
        ("Content-Length: 00\r\n", 200),
        ("X:\r\n", 200),
        ("X:no space\r\n", 200),
        ("X:  \t spaces around \t \r\n", 200),
        ("x-Mixed-CASE: 1\r\n", 200),
        ("Last-Event-ID: \r\n", 200),
        ("last-event-id: garbage\r\n", 200),
        ("Last-Event-ID: a\tb\r\n", 200),
        ("Cookie: a=1\r\nCookie: b=2\r\n", 200),
        ("Range: bytes=0-1\r\nIf-None-Match: *\r\nAccept-Encoding: gzip, br\r\n", 200),
        ("Last-Event-ID: a\r\nLast-Event-ID: a\r\n", 400),
        ("Authorization: Bearer a\r\nAuthorization: Bearer a\r\n", 400),
        ("Origin: http://evil.example\r\n", 403),
        ("Host: b\r\n", 400),
        ("X: a\nY: b\r\n", 400),
        ("X: a\r\n folded\r\n", 400),
        ("X : a\r\n", 400),
        (": a\r\n", 400),
        ("X\r\n", 400),
        ("X: \0\r\n", 400),
        ("X: a\rb\r\n", 400),
        ("Content-Length: x\r\n", 400),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", 400),
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", 400),
        ("Transfer-Encoding: gzip\r\n", 400),
    ];
    let mut all: Vec<_> = all.map(|(headers, status)| (headers.to_owned(), status)).into();
    // Beyond the limit of a shard, and beyond that of hyper: between 128 and 256 KiB it depends on the arrival of the
    // bytes whether hyper sees the end of the head before it counts them.
    all.extend([(long(15 << 10), 200), (long(17 << 10), 200), (long(100 << 10), 200), (long(1 << 20), 431)]);
    all.extend([(many(98), 200), (many(99), 200), (many(100), 431), (many(250), 431)]);
    all
}

#[test]
fn odd_headers_get_the_same_response() {
    let hub = TestHub::in_memory(&[]);
    for (headers, status) in odd_headers() {
        let request = format!("GET {PATH} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", hub.authority());
        let name = format!("{} bytes of {:.60}", headers.len(), headers.escape_debug().to_string());
        let line = assert_same_response(&hub, &name, request.as_bytes());
        assert!(line.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {line}");
    }
    hub.assert_healthy();
}

#[test]
fn odd_request_lines_get_the_same_response() {
    let hub = TestHub::in_memory(&[]);
    let host = format!("Host: {}\r\n", hub.authority());
    let absolute = format!("GET http://{}{PATH} HTTP/1.1\r\n{host}\r\n", hub.authority());
    let lines = [
        ("GET /api/v1/events/a?x=1#fragment HTTP/1.1\r\n", "200"),
        ("GET /api/v1/events/%61 HTTP/1.1\r\n", "200"),
        ("GET /api/v1/events?channel=%61&channel=b HTTP/1.1\r\n", "200"),
        ("GET /api/v1/events/%00 HTTP/1.1\r\n", "400"),
        ("GET /api/v1/events/%ff HTTP/1.1\r\n", "400"),
        ("GET /api/v1/events/%zz HTTP/1.1\r\n", "400"),
        ("GET /api/v1/events/a/ HTTP/1.1\r\n", ""),
        ("GET //api/v1/events/a HTTP/1.1\r\n", ""),
        ("GET /api/v1/../v1/events/a HTTP/1.1\r\n", ""),
        ("GET * HTTP/1.1\r\n", ""),
        ("OPTIONS * HTTP/1.1\r\n", ""),
        ("GET api/v1/events/a HTTP/1.1\r\n", ""),
        ("HEAD /api/v1/events/a HTTP/1.1\r\n", "200"),
        ("HEAD /api/v1/events/a..b HTTP/1.1\r\n", "400"),
        ("get /api/v1/events/a HTTP/1.1\r\n", ""),
        ("GETS /api/v1/events/a HTTP/1.1\r\n", ""),
        ("DELETE /api/v1/events/a HTTP/1.1\r\n", ""),
        ("GET  /api/v1/events/a HTTP/1.1\r\n", "400"),
        ("GET /api/v1/events/a\tHTTP/1.1\r\n", "400"),
        ("GET /api/v1/events/a b HTTP/1.1\r\n", "400"),
        ("GET /api/v1/events/a HTTP/1.1 \r\n", "400"),
        ("GET /api/v1/events/a HTTP/1.1\n", "400"),
        ("GET /api/v1/events/a HTTP/1.2\r\n", "400"),
        ("GET /api/v1/events/a HTTP/2.0\r\n", "400"),
        ("GET /api/v1/events/a http/1.1\r\n", "400"),
        ("GET /api/v1/events/a\r\n", "400"),
        ("GET /api/v1/events/é HTTP/1.1\r\n", ""),
        ("\r\nGET /api/v1/events/a HTTP/1.1\r\n", ""),
        ("\nGET /api/v1/events/a HTTP/1.1\r\n", "400"),
        ("GET /api/v1/events/a HTTP/1.0\r\n", "200"),
        ("GET /api/v1/events/a HTTP/1.0\r\nConnection: keep-alive\r\n", "200"),
        ("GET /api/v1/events/a..b HTTP/1.0\r\n", "400"),
        ("HEAD /api/v1/events/a HTTP/1.0\r\n", "200"),
    ];
    let requests = lines.iter().map(|(line, status)| (format!("{line}{host}\r\n"), *status));
    let without_host = format!("GET {PATH} HTTP/1.1\r\n\r\n");
    let long = format!("GET {PATH}?{} HTTP/1.1\r\n{host}\r\n", "x".repeat(70 << 10));
    let medium = format!("GET {PATH}?x={} HTTP/1.1\r\n{host}\r\n", "x".repeat(20 << 10));
    let special = [(absolute, "200"), (without_host, "400"), (long, "414"), (medium, "200")];
    for (request, status) in requests.chain(special) {
        let name: String = request.escape_debug().take(60).collect();
        let line = assert_same_response(&hub, &name, request.as_bytes());
        assert!(line.contains(&format!(" {status}")), "{name}: {line}");
    }
    hub.assert_healthy();
}

#[test]
fn bytes_after_the_head_of_a_get_get_the_same_response() {
    let hub = TestHub::in_memory(&[]);
    let head = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n", hub.authority())
    };
    let next = head("/healthz", "");
    for (name, request) in [
        ("a body", head(PATH, "Content-Length: 3\r\n") + "abc"),
        ("a body of chunks", head(PATH, "Transfer-Encoding: chunked\r\n") + "3\r\nabc\r\n0\r\n\r\n"),
        ("a body that never comes", head(PATH, "Content-Length: 3\r\n")),
        ("a broken body", head(PATH, "Transfer-Encoding: chunked\r\n") + "x\r\n"),
        ("another request", head(PATH, "") + &next),
        ("half of another request", head(PATH, "") + "GET /healthz HT"),
        ("another request behind a body", head(PATH, "Content-Length: 3\r\n") + "abc" + &next),
        ("no request at all", head(PATH, "") + "\0\0\0"),
        ("a line end", head(PATH, "") + "\r\n"),
        ("a body of a refused one", head("/api/v1/events/a..b", "Content-Length: 3\r\n") + "abc"),
        ("a request behind a refused one", head("/api/v1/events/a..b", "") + &next),
    ] {
        assert_same_response(&hub, name, request.as_bytes());
    }
    hub.assert_healthy();
}

/// Waits until the hub has read all bytes.
fn wait_until_read(connection: &HttpConnection) {
    let client = connection.socket.local_addr().unwrap().port();
    let suffix = format!(":{client:04X}");
    eventually("the hub reads all bytes", || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut mine = rows.filter(|row| row[1].ends_with(&suffix) || row[2].ends_with(&suffix));
        mine.all(|row| row[4] == "00000000:00000000" || row[1].ends_with(&suffix))
    });
}

#[test]
fn head_in_two_parts_gets_the_same_response_wherever_it_is_cut() {
    let hub = TestHub::in_memory(&[]);
    let request =
        hub.encode_request("GET", PATH, &[("Last-Event-ID", "x"), ("Connection", "keep-alive")], b"");
    for at in 1..request.len() {
        let mut transcripts = TRANSPORTS.map(|transport| {
            let mut connection = transport.connect(&hub);
            connection.send(&request[..at]);
            wait_until_read(&connection);
            connection.send(&request[at..]);
            StreamTranscript::read(connection)
        });
        assert_eq!(transcripts[0].head, transcripts[1].head, "cut at {at}");
        assert_same_next_event(&hub, &format!("cut at {at}"), &mut transcripts);
    }
}

#[test]
fn stream_of_a_shard_closes_its_connection_and_one_of_hyper_does_not() {
    let hub = TestHub::in_memory(&[("TIDINGS_STREAM_MAX_AGE", "500ms")]);
    // Other tests rely on this difference between the transports.
    for (transport, is_last) in [(Transport::Shard, true), (Transport::Hyper, false)] {
        let mut transcripts = StreamTranscript::read(transport.ask(&hub, PATH, &[]));
        assert!(transcripts.read_to_end().contains("\"reason\":\"max_age\""));
        assert_eq!(transcripts.is_closed_after_response(&hub), is_last, "{transport:?}");
    }
}

#[test]
fn clients_that_leave_at_any_byte_leave_no_stream_or_socket() {
    let hub = TestHub::in_memory(&[]);
    let sockets = || {
        let files = std::fs::read_dir(format!("/proc/{}/fd", hub.id())).unwrap();
        let names = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
        names.filter(|name| name.to_string_lossy().starts_with("socket:")).count()
    };
    hub.assert_healthy();
    eventually("all earlier streams are closed", || hub.metric("tidings_streams_open") == 0.0);
    let before = sockets();
    let request = hub.encode_request("GET", PATH, &[], b"");
    let mut open = Vec::new();
    for at in 0..=request.len() {
        for (index, transport) in TRANSPORTS.into_iter().enumerate() {
            let mut connection = transport.connect(&hub);
            connection.send(&request[..at]);
            match (at + index) % 3 {
                // A reset, a half-close, and a close.
                0 => SockRef::from(&connection.socket).set_linger(Some(Duration::ZERO)).unwrap(),
                1 => {
                    connection.socket.shutdown(std::net::Shutdown::Write).unwrap();
                    open.push(connection);
                }
                _ => {}
            }
        }
    }
    for mut connection in open {
        let response = String::from_utf8(connection.read_to_end()).unwrap();
        let status_line = response.lines().next().unwrap_or_default();
        assert!(!status_line.contains(" 500 "), "{status_line}");
    }
    eventually("every stream is closed", || hub.metric("tidings_streams_open") == 0.0);
    eventually("every socket is closed", || sockets() <= before);
    hub.assert_healthy();
}
