//! A thread, task or request that panics. The failpoints exist in builds with debug assertions only.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::prelude::*;

const PATH: &str = "/api/v1/events/a";
/// Name of the failpoint's file in the directory of a hub.
const FILE: &str = "fail";
const SOON: (&str, &str) = ("TIDINGS_SHUTDOWN_WINDOW", "500ms");

/// A hub with a failpoint in one of its threads or tasks.
struct FailingHub {
    name: &'static str,
    directory: TempDirectory,
    hub: TestHub,
    /// Dropped after the hub.
    _redis: Option<RedisServer>,
}

impl FailingHub {
    fn on_disk(name: &'static str, settings: &[(&str, &str)]) -> Self {
        let directory = TempDirectory::create();
        let hub = TestHub::serve_in(&directory, &variables(name, &directory, settings));
        Self { name, directory, hub, _redis: None }
    }

    fn over_redis(name: &'static str, settings: &[(&str, &str)]) -> Self {
        let (directory, redis) = (TempDirectory::create(), RedisServer::start());
        let hub = TestHub::with_redis(&redis, &variables(name, &directory, settings));
        hub.wait_until_ready();
        Self { name, directory, hub, _redis: Some(redis) }
    }

    /// Makes the thread panic; `poke` wakes it.
    fn fail(&self, mut poke: impl FnMut(&TestHub)) {
        self.directory.write(FILE, "");
        let file = self.directory.path().join(FILE);
        eventually("the failpoint is hit", || {
            poke(&self.hub);
            !file.exists()
        });
    }

    /// Makes the thread panic while a stream is open. The stream must end with `reconnect`, and the process must exit.
    fn assert_end(self, poke: impl FnMut(&TestHub)) {
        let mut stream = self.hub.open_stream("/api/v1/events/bystander");
        self.fail(poke);
        // A shard closes the sockets of its streams when it panics.
        let has_end = has_shutdown_event(&mut stream);
        assert!(has_end || self.name == "tidings-shard", "{}: the stream got no end", self.name);
        assert_eq!(stream.next_event(), None, "{}", self.name);
        self.assert_exit();
    }

    fn assert_exit(self) {
        let (status, log) = self.hub.wait_for_exit();
        assert_eq!(status.code(), Some(1), "{}: {log}", self.name);
        assert!(log.contains(&format!("thread {}", self.name)) && log.contains("panicked"), "{log}");
    }
}

/// Environment of a hub with a failpoint, whose file is in the directory.
fn variables<'a>(
    name: &str,
    directory: &TempDirectory,
    settings: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let file = directory.path().join(FILE);
    let failpoint: &'static str = format!("{name}@{}", file.display()).leak();
    [&[SOON, ("TEST_FAILPOINT", failpoint)], settings].concat()
}

/// Reads the next event, which must be the end by a shutdown; false if the stream has ended without an event.
#[track_caller]
fn has_shutdown_event(stream: &mut SseReader) -> bool {
    let Some(end) = stream.next_event() else { return false };
    assert_eq!(end.name, "tidings.end", "{end:?}");
    let end: serde_json::Value = serde_json::from_str(&end.data).unwrap();
    assert_eq!(end, json!({"reason": "shutdown", "reconnect": true}));
    true
}

/// Sends a request, and reads to the end of the connection or of the hub.
fn ask(hub: &TestHub, path: &str) -> String {
    let mut answer = String::new();
    let Ok(mut socket) = TcpStream::connect(hub.authority()) else { return answer };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let _ = socket.write_all(request.as_bytes()).and_then(|()| socket.read_to_string(&mut answer));
    answer
}

/// A thread or task, settings of its hub, and a call that wakes it.
type FailingCase = (&'static str, &'static [(&'static str, &'static str)], fn(&TestHub));

#[test]
fn panic_of_a_thread_ends_the_process_after_the_streams() {
    fn connect(hub: &TestHub) {
        drop(ask(hub, "/healthz"));
    }
    let cases: [FailingCase; 5] = [
        ("tidings-writer", &[("TIDINGS_LOG_DURABILITY", "fsync")], |hub| drop(hub.post(PATH, "x"))),
        ("tidings-sync", &[], |_| {}),
        ("tidings-trim", &[("TIDINGS_LOG_RETENTION_AGE", "1s")], |_| {}),
        ("tidings-accept", &[], connect),
        ("tidings-shard", &[], connect),
    ];
    in_parallel(cases, |(name, settings, poke)| FailingHub::on_disk(name, settings).assert_end(poke));
}

#[test]
fn panic_of_a_reader_of_the_disk_ends_the_process_after_the_streams() {
    let failing = FailingHub::on_disk("tidings-reader", &[("TIDINGS_LOG_CACHE_BYTES", "4KiB")]);
    let first = failing.hub.publish("a", "first");
    (0..20).for_each(|_| drop(failing.hub.publish("a", "x".repeat(1000))));
    failing.assert_end(|hub| {
        hub.send_request("GET", PATH, &[("Last-Event-ID", &first)], b"").read_some();
    });
}

#[test]
fn panic_of_a_task_ends_the_process_after_the_streams() {
    let tasks = ["tidings-reauthorization", "tidings-jwks", "tidings-hook"];
    in_parallel(tasks, |name| FailingHub::on_disk(name, &[]).assert_end(|_| {}));
    let over_redis: [FailingCase; 6] = [
        ("tidings-appender", &[], |_| {}),
        ("tidings-replicator", &[], |_| {}),
        ("tidings-live-events", &[], |_| {}),
        ("tidings-trimmer", &[], |_| {}),
        ("tidings-capturer", &[("TIDINGS_REDIS_CAPTURE", "old.*")], |_| {}),
        ("tidings-revocations", &[], |_| {}),
    ];
    in_parallel(over_redis, |(name, settings, poke)| FailingHub::over_redis(name, settings).assert_end(poke));
}

#[test]
fn panic_of_a_thread_at_the_start_ends_the_process() {
    let directory = TempDirectory::create();
    directory.write(FILE, "");
    let hub = TestHub::start_without_log(&directory, &variables("tidings-open", &directory, &[]));
    FailingHub { name: "tidings-open", directory, hub, _redis: None }.assert_exit();
}

#[test]
fn hub_with_a_panicked_thread_is_not_ready_and_names_it() {
    let failing = FailingHub::on_disk("tidings-reauthorization", &[("TIDINGS_SHUTDOWN_WINDOW", "60s")]);
    // A client that reads nothing keeps the window open, which is 2 s at most after a panic.
    let mut stuck = failing.hub.send_request("GET", PATH, &[], b"");
    stuck.read_head();
    let large = "x".repeat(250_000);
    (0..40).for_each(|_| drop(failing.hub.publish("a", &large)));
    failing.fail(|_| {});
    eventually("the hub names the thread", || {
        let answer = ask(&failing.hub, "/readyz");
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("thread tidings-reauthorization ended")
    });
    let metrics = ask(&failing.hub, "/metrics");
    let count = "tidings_thread_panics_total{thread=\"tidings-reauthorization\"} 1\n";
    assert!(metrics.contains(count), "{metrics}");
    // A stream opened now ends with `reconnect`.
    let stream = ask(&failing.hub, PATH);
    assert!(stream.starts_with("HTTP/1.1 200 ") && stream.contains("\nevent: tidings.end\n"), "{stream}");
    failing.assert_exit();
}

#[test]
fn panic_in_a_request_gives_500_and_affects_no_other() {
    let directory = TempDirectory::create();
    let hub = TestHub::serve_in(&directory, &variables("request", &directory, &[]));
    let mut stream = hub.open_stream(PATH);
    directory.write(FILE, "");
    hub.post(PATH, "lost").assert_problem(500, "internal");
    hub.publish("a", "kept");
    assert_eq!(stream.data(), "kept");
    assert_eq!(hub.metric("tidings_request_panics_total") as u64, 1);
    assert_eq!(hub.metric("tidings_thread_panics_total") as u64, 0);
    hub.get("/readyz").assert_status(200);
    hub.terminate();
}
