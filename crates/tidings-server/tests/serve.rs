//! `tidings serve`: the banner, the address, the signals.

use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;

use crate::http2_frames::{END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, RawHttp2Client, frame, get};
use crate::prelude::*;

const FREE_PORT: [&str; 3] = ["--memory", "--listen", "127.0.0.1:0"];

#[test]
fn first_line_holds_the_bound_address_and_no_colour() {
    let directory = TempDirectory::create();
    let mut hub = TestHub::start(directory.command(&FREE_PORT));
    let authority =
        hub.url.strip_prefix("http://").and_then(|rest| rest.strip_suffix('/')).unwrap().to_owned();
    TcpStream::connect(authority).unwrap();
    let lines = [(); 3].map(|()| hub.read_output_line()).concat();
    assert!(lines.contains(&format!("curl -N {}api/v1/events/hello", hub.url)), "{lines}");
    assert!(lines.contains("curl -d"), "{lines}");
    assert!(!lines.contains('\x1b'), "{lines:?}");
}

#[test]
fn hub_exits_with_0_after_sigterm_and_after_sigint() {
    let directory = TempDirectory::create();
    for (signal, command) in [(Signal::TERM, None), (Signal::INT, Some("serve"))] {
        let arguments: Vec<&str> = command.into_iter().chain(FREE_PORT).collect();
        let hub = TestHub::start(directory.command(&arguments));
        hub.signal(signal);
        hub.assert_exit(0);
    }
}

#[test]
fn hub_logs_once_that_it_is_open() {
    let directory = TempDirectory::create();
    let log = TestHub::start(directory.command(&FREE_PORT)).terminate();
    assert_eq!(log.matches("open to every local program").count(), 1, "{log}");
}

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Writes a settings file with a secret and these further lines of `[auth]`.
fn write_settings(directory: &TempDirectory, lines: &str) {
    directory.write("tidings.toml", &format!("[auth]\nsecret = \"{SECRET}\"\n{lines}"));
}

/// A hub with these settings in its directory.
fn protected(directory: &TempDirectory, lines: &str) -> TestHub {
    write_settings(directory, lines);
    TestHub::start(directory.command(&FREE_PORT))
}

#[test]
fn protected_hub_prints_how_to_get_a_token_and_not_that_it_is_open() {
    let directory = TempDirectory::create();
    let mut hub = protected(&directory, "");
    let lines = [(); 4].map(|()| hub.read_output_line()).concat();
    assert_eq!(lines.matches("-H \"Authorization: Bearer $TOKEN\"").count(), 2, "{lines}");
    assert!(lines.contains("tidings token --sub me --publish hello --subscribe hello"), "{lines}");
    let log = hub.terminate();
    assert!(log.contains("credentials are asked for") && !log.contains("open to"), "{log}");
}

#[test]
fn sighup_reloads_the_settings() {
    let directory = TempDirectory::create();
    let mut hub = protected(&directory, "leeway = \"1s\"\n");
    write_settings(&directory, "leeway = \"2s\"\n");
    hub.signal(Signal::HUP);
    hub.read_log_through("settings reloaded, with their files of keys and certificates changed=auth.leeway");
    hub.signal(Signal::HUP);
    hub.read_log_through("changed=none");
    hub.terminate();
}

#[test]
fn invalid_settings_at_a_reload_change_nothing_and_are_all_logged() {
    let directory = TempDirectory::create();
    let mut hub = protected(&directory, "");
    directory.write("tidings.toml", "[auth]\nsecrt = \"s3cret\"\n[stream]\nkeep_alive = \"1ms\"\n");
    hub.signal(Signal::HUP);
    hub.read_log_through("settings have errors, nothing has changed");
    hub.read_log_through("tidings.toml:2:1: auth.secrt is not a setting; did you mean auth.secret?");
    hub.read_log_through("tidings.toml:4:14: stream.keep_alive is 1ms; at least 50ms");
    std::fs::remove_file(directory.path().join("tidings.toml")).unwrap();
    hub.signal(Signal::HUP);
    let error = "nothing has changed error=[auth] is gone, which would open the hub to every client";
    hub.read_log_through(error);
    hub.terminate();
}

#[test]
fn settings_that_need_a_restart_are_named_in_one_line() {
    let directory = TempDirectory::create();
    let mut hub = protected(&directory, "");
    let lines = "cookie = \"session\"\n[stream]\nkeep_alive = \"1s\"\n[limits]\nconnections = 7\n";
    write_settings(&directory, lines);
    hub.signal(Signal::HUP);
    hub.read_log_through("changed=auth.cookie\n");
    let pending = "changed settings wait for a restart settings=stream.keep_alive, limits.connections\n";
    hub.read_log_through(pending);
    hub.terminate();
}

#[test]
fn no_token_is_ever_logged() {
    let directory = TempDirectory::create();
    let token = "eyJhbGciOiJub25lIn0.t0ken";
    write_settings(&directory, "cookie = \"session\"\nquery_token = true\n");
    let good = directory.run(&["token", "--sub", "u", "--subscribe", "a"], &[]).stdout;
    let signature = good.trim().rsplit('.').next().unwrap();
    let mut command = directory.command(&FREE_PORT);
    command.env("RUST_LOG", "trace,h2::server=trace");
    let hub = TestHub::start(command);
    let stream = "/api/v1/events/a";
    for carried in [token, good.trim()] {
        for (path, header) in [
            (stream.to_owned(), format!("Authorization: Bearer {carried}")),
            (stream.to_owned(), format!("Cookie: session={carried}")),
            (stream.to_owned(), format!("X-Session-Id: {carried}")),
            (format!("{stream}?access_token={carried}"), "X-Other: 1".to_owned()),
            (format!("{stream}?ticket={carried}"), "X-Other: 1".to_owned()),
            (format!("{stream}?sessionId={carried}"), "X-Other: 1".to_owned()),
            // Requests that are refused before they are parsed.
            (format!("{stream}?ticket={carried}"), format!("Authorization {carried}")),
            (format!("{stream}?ticket={carried} x"), format!("Authorization: Bearer {carried}")),
        ] {
            let mut connection = hub.connect();
            connection.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{header}\r\n\r\n"));
            connection.read_head();
            let mut client = RawHttp2Client::connect(&hub);
            let headers = [("authorization", &*format!("Bearer {carried}")), ("cookie", carried)];
            client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &get(&hub, &path, &headers)));
            // A frame answers or resets the stream, or ends the connection.
            while client.read().is_some_and(|frame| ![HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind)) {}
        }
    }
    let log = hub.terminate();
    // The hub logs requests at this level: without them, the test would prove nothing.
    assert!(log.contains("DEBUG") && log.contains("h2 is logged at info at most"), "{log}");
    assert!(!log.contains("t0ken") && !log.contains(signature) && !log.contains(SECRET), "{log}");
}

#[test]
fn address_in_use_is_named_with_a_remedy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let outcome = TempDirectory::create().run(&["--memory", "--listen", &address], &[]);
    outcome.assert(1, &[&format!("cannot listen on {address}: "), "--listen"]);
    assert_eq!(outcome.stdout, "");
}

#[test]
fn unusable_data_directory_is_named_with_a_remedy() {
    let directory = TempDirectory::create();
    directory.write("file", "");
    for (path, advice) in [
        ("file", "a file stands in its path; name a directory with --data-dir"),
        ("file/below", "a file stands in its path; name a directory with --data-dir"),
        ("/proc/tidings", "name another directory with --data-dir, or keep the log in memory with --memory"),
    ] {
        let outcome = directory.run(&["--listen", "127.0.0.1:0", "--data-dir", path], &[]);
        let line = outcome.assert(1, &[]).stderr.lines().last().unwrap_or_default();
        assert!(line.starts_with(&format!("tidings: data directory {path} cannot be used: ")), "{line}");
        assert!(line.ends_with(advice), "{line}");
    }
}

#[test]
fn node_started_without_its_redis_logs_it() {
    // The port is closed once the listener is dropped.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut hub = TestHub::with_redis_at(&format!("redis://{address}"), &[]);
    let warning = "redis does not answer; streams stay open, publishes fail, and the hub tries again";
    let log = hub.read_log_through(warning);
    assert!(log.contains("Connection refused"), "{log}");
    let refused = hub.post("/api/v1/events/a", "x");
    assert!(refused.assert_problem(503, "not_stored").text().contains("Redis"), "{refused:?}");
}

#[test]
fn broken_log_filter_is_refused() {
    let outcome = TempDirectory::create().run(&FREE_PORT, &[("RUST_LOG", "tidings=loud")]);
    outcome.assert(2, &["RUST_LOG: \"tidings=loud\""]);
}
