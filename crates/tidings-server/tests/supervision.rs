//! A thread, task or request that panics. The failpoints are in builds with debug assertions only.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use serde_json::json;
use tidings_testkit::{RedisServer, SseReader, TempDirectory, eventually};

use crate::hub::TestHub;

const PATH: &str = "/api/v1/events/a";
/// The failpoint's file, in the directory of a hub.
const FILE: &str = "fail";
const SOON: (&str, &str) = ("TIDINGS_SHUTDOWN_WINDOW", "500ms");

/// A hub in a directory of its own, one of whose threads is to fail.
struct Failing {
    name: &'static str,
    directory: TempDirectory,
    hub: TestHub,
    /// It outlives the hub.
    _redis: Option<RedisServer>,
}

impl Failing {
    /// A hub with its log on disk.
    fn on_disk(name: &'static str, settings: &[(&str, &str)]) -> Self {
        let directory = TempDirectory::create();
        let hub = TestHub::serve(&directory, &variables(name, settings));
        Self { name, directory, hub, _redis: None }
    }

    /// A hub with its log in Redis.
    fn over_redis(name: &'static str, settings: &[(&str, &str)]) -> Self {
        let (directory, redis) = (TempDirectory::create(), RedisServer::start());
        let hub = TestHub::with_redis(&directory, &redis, &variables(name, settings));
        hub.wait_until_ready();
        Self { name, directory, hub, _redis: Some(redis) }
    }

    /// Has the thread fail, which `poke` wakes.
    fn fail(&self, mut poke: impl FnMut(&TestHub)) {
        self.directory.write(FILE, "");
        let file = self.directory.path().join(FILE);
        eventually("the failpoint is hit", || {
            poke(&self.hub);
            !file.exists()
        });
    }

    /// Has the thread fail while a stream is open. The stream must be told to come back, and the process must end.
    fn assert_end(self, poke: impl FnMut(&TestHub)) {
        let mut stream = self.hub.subscribe("/api/v1/events/told");
        stream.position();
        self.fail(poke);
        // A shard takes the sockets of its streams with it.
        let is_told = stream_is_told(&mut stream);
        assert!(is_told || self.name == "tidings-shard", "{}: the stream was not told", self.name);
        assert_eq!(stream.next_event(), None, "{}", self.name);
        self.until_over();
    }

    /// Waits until the process has ended, and looks at how.
    fn until_over(self) {
        let (status, log) = self.hub.wait_for_exit();
        assert_eq!(status.code(), Some(1), "{}: {log}", self.name);
        assert!(log.contains(&format!("thread {}", self.name)) && log.contains("panicked"), "{log}");
    }
}

/// The environment of a hub with a failpoint.
fn variables<'a>(name: &'static str, settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let failpoint: &'static str = format!("{name}@{FILE}").leak();
    [&[SOON, ("TEST_FAILPOINT", failpoint)], settings].concat()
}

/// Reads the next event, which must be that of a shutdown; false where the stream has ended without a word.
#[track_caller]
fn stream_is_told(stream: &mut SseReader) -> bool {
    let Some(end) = stream.next_event() else { return false };
    assert_eq!(end.name, "tidings.end", "{end:?}");
    let end: serde_json::Value = serde_json::from_str(&end.data).unwrap();
    assert_eq!(end, json!({"reason": "shutdown", "reconnect": true}));
    true
}

/// Sends a request on a connection of its own, and reads to its end; less where the hub has gone.
fn ask(hub: &TestHub, path: &str) -> String {
    let mut answer = String::new();
    let Ok(mut socket) = TcpStream::connect(hub.authority()) else { return answer };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let _ = socket.write_all(request.as_bytes()).and_then(|()| socket.read_to_string(&mut answer));
    answer
}

/// Runs cases side by side: each mostly waits.
fn side_by_side(cases: &[&(dyn Fn() + Sync)]) {
    thread::scope(|scope| {
        let running: Vec<_> = cases.iter().map(|case| scope.spawn(case)).collect();
        for case in running {
            if let Err(panic) = case.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

#[test]
fn each_thread_ends_the_process_after_the_streams_were_told() {
    let connect = |hub: &TestHub| drop(ask(hub, "/healthz"));
    side_by_side(&[
        &|| {
            let failing = Failing::on_disk("tidings-writer", &[("TIDINGS_LOG_DURABILITY", "fsync")]);
            failing.assert_end(|hub| drop(hub.post(PATH, "x")));
        },
        &|| Failing::on_disk("tidings-sync", &[]).assert_end(|_| {}),
        &|| Failing::on_disk("tidings-trim", &[("TIDINGS_LOG_RETENTION_AGE", "1s")]).assert_end(|_| {}),
        &|| Failing::on_disk("tidings-accept", &[]).assert_end(connect),
        &|| Failing::on_disk("tidings-shard", &[]).assert_end(connect),
        &|| {
            let failing = Failing::on_disk("tidings-reader", &[("TIDINGS_LOG_CACHE_BYTES", "4KiB")]);
            let first = failing.hub.publish("a", "first");
            (0..20).for_each(|_| drop(failing.hub.publish("a", "x".repeat(1000))));
            failing.assert_end(|hub| {
                let mut connection = hub.connect();
                connection.send(hub.encode_request("GET", PATH, &[("Last-Event-ID", &first)], b""));
                connection.read_some();
            });
        },
    ]);
}

#[test]
fn each_task_ends_the_process_after_the_streams_were_told() {
    let nothing = |_: &TestHub| {};
    side_by_side(&[
        &|| Failing::on_disk("tidings-review", &[]).assert_end(nothing),
        &|| Failing::on_disk("tidings-keys", &[]).assert_end(nothing),
        &|| Failing::on_disk("tidings-hook", &[]).assert_end(nothing),
        &|| Failing::over_redis("tidings-appender", &[]).assert_end(nothing),
        &|| Failing::over_redis("tidings-follower", &[]).assert_end(nothing),
        &|| Failing::over_redis("tidings-hearer", &[]).assert_end(nothing),
        &|| Failing::over_redis("tidings-trimmer", &[]).assert_end(nothing),
        &|| {
            Failing::over_redis("tidings-capturer", &[("TIDINGS_REDIS_CAPTURE", "old.*")])
                .assert_end(nothing);
        },
        &|| Failing::over_redis("tidings-revocations", &[]).assert_end(nothing),
    ]);
}

#[test]
fn thread_that_fails_at_the_start_ends_the_process() {
    let directory = TempDirectory::create();
    directory.write(FILE, "");
    let hub = TestHub::start_without_log(&directory, &variables("tidings-open", &[]));
    Failing { name: "tidings-open", directory, hub, _redis: None }.until_over();
}

#[test]
fn hub_whose_thread_failed_is_not_ready_and_says_which() {
    let failing = Failing::on_disk("tidings-review", &[("TIDINGS_SHUTDOWN_WINDOW", "60s")]);
    // A client that reads nothing keeps the window open, which is 2 s at most after a failure.
    let mut stuck = failing.hub.connect();
    stuck.send(failing.hub.encode_request("GET", PATH, &[], b""));
    stuck.read_head();
    let large = "x".repeat(250_000);
    (0..40).for_each(|_| drop(failing.hub.publish("a", &large)));
    failing.fail(|_| {});
    eventually("the hub says which thread", || {
        let answer = ask(&failing.hub, "/readyz");
        answer.starts_with("HTTP/1.1 503 ") && answer.contains("thread tidings-review ended")
    });
    let metrics = ask(&failing.hub, "/metrics");
    assert!(metrics.contains("tidings_thread_panics_total{thread=\"tidings-review\"} 1\n"), "{metrics}");
    // A stream that comes now is told to come back.
    let stream = ask(&failing.hub, PATH);
    assert!(stream.starts_with("HTTP/1.1 200 ") && stream.contains("\nevent: tidings.end\n"), "{stream}");
    failing.until_over();
}

#[test]
fn request_that_panics_is_answered_with_500_and_harms_no_other() {
    let directory = TempDirectory::create();
    let hub = TestHub::serve(&directory, &variables("request", &[]));
    let mut stream = hub.subscribe(PATH);
    stream.position();
    directory.write(FILE, "");
    hub.post(PATH, "lost").assert_problem(500, "internal");
    hub.publish("a", "kept");
    assert_eq!(stream.data(), "kept");
    assert_eq!(hub.metric("tidings_request_panics_total") as u64, 1);
    assert_eq!(hub.metric("tidings_thread_panics_total") as u64, 0);
    hub.get("/readyz").assert_status(200);
    hub.terminate();
}
