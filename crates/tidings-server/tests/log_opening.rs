//! A hub whose log opens slowly. The failpoint that delays the opening exists in builds with debug assertions only.

use std::thread;

use rustix::process::Signal;
use tidings_protocol::sse::StreamItem;

use crate::prelude::*;

const PATH: &str = "/api/v1/events/a";
/// While this file exists, the opening waits.
const FILE: &str = "hold";

/// A restarted hub with stored events. Its log opens when the test says so.
struct OpeningHub {
    directory: TempDirectory,
    hub: TestHub,
    /// Ids of the events `one`, `two` and `three`.
    ids: Vec<String>,
}

impl OpeningHub {
    fn start() -> Self {
        Self::start_after(|_| {})
    }

    /// As [`OpeningHub::start`], after a change to the directory.
    fn start_after(change: impl FnOnce(&TempDirectory)) -> Self {
        let directory = TempDirectory::create();
        let hub = TestHub::serve_in(&directory, &[]);
        let ids = ["one", "two", "three"].map(|data| hub.publish("a", data)).to_vec();
        hub.terminate();
        directory.write(FILE, "");
        change(&directory);
        let hub = TestHub::start_without_log(&directory, &[("TEST_HOLD", &format!("tidings-open@{FILE}"))]);
        Self { directory, hub, ids }
    }

    fn open(&self) {
        std::fs::remove_file(self.directory.path().join(FILE)).unwrap();
    }

    /// Publishes `four` and reads the history; meanwhile calls `act`.
    fn publish_and_read_while(&self, act: impl FnOnce()) -> (HttpResponse, HttpResponse) {
        thread::scope(|scope| {
            let publish = scope.spawn(|| self.hub.post(PATH, "four"));
            let history = scope.spawn(|| self.hub.get("/api/v1/channels/a/events"));
            act();
            (publish.join().unwrap(), history.join().unwrap())
        })
    }

    /// Opens a stream over each transport, and waits until it has begun without an id.
    fn streams(&self, query: &str, headers: &[(&str, &str)]) -> Vec<SseReader> {
        let path = with_position(&format!("{PATH}{query}"));
        let begun = TRANSPORTS.map(|transport| {
            let mut reader = SseReader::open(transport.ask(&self.hub, &path, headers));
            assert!(matches!(reader.next_item(), Some(StreamItem::Retry(_))));
            assert!(matches!(reader.next_item(), Some(StreamItem::Comment(_))));
            reader
        });
        begun.into()
    }
}

#[track_caller]
fn assert_retry_soon(answer: &HttpResponse, code: &str) {
    answer.assert_problem(503, code);
    assert_eq!(answer.head.header("retry-after"), Some("1"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("the log is being opened: 0 of 1 files are read"), "{detail}");
}

#[test]
fn hub_that_opens_its_log_is_alive_and_not_ready() {
    let held = OpeningHub::start();
    assert_eq!(held.hub.get("/healthz").assert_status(200).json(), json!({"status": "alive"}));
    eventually("the hub reports its progress", || held.hub.get("/readyz").text().contains("0 of 1"));
    assert_retry_soon(&held.hub.get("/readyz"), "unavailable");
    held.hub.get("/metrics").assert_status(200);
    held.open();
    held.hub.wait_until_ready();
    assert_eq!(held.hub.get("/readyz").assert_status(200).json(), json!({"status": "ready"}));
    held.hub.terminate();
}

#[test]
fn stream_requested_before_the_log_is_open_begins_where_its_client_asked() {
    let held = OpeningHub::start();
    let foreign = "0123456789abcdef-1-00000001";
    let mut from_now = held.streams("", &[]);
    let mut resumed = held.streams("", &[("Last-Event-ID", &held.ids[0])]);
    let mut with_history = held.streams("?history=all", &[]);
    let mut with_gap = held.streams("", &[("Last-Event-ID", foreign)]);
    assert_eq!(held.hub.connections("a"), 8);
    held.open();
    held.hub.publish("a", "four");
    for reader in &mut from_now {
        // Its position is the head at the opening, so it misses no later event.
        assert_eq!((reader.position().split('-').nth(1), reader.data().as_str()), (Some("3"), "four"));
    }
    for reader in &mut resumed {
        assert_eq!(reader.data_of_next(3), ["two", "three", "four"]);
    }
    for reader in &mut with_history {
        assert_eq!(reader.data_of_next(4), ["one", "two", "three", "four"]);
    }
    for reader in &mut with_gap {
        let (_, gap) = reader.control_event("tidings.gap");
        assert_eq!((&gap["reason"], &gap["requested"]), (&json!("epoch"), &json!(foreign)));
        assert_eq!(reader.data_of_next(4), ["one", "two", "three", "four"]);
    }
    held.hub.publish("a", "five");
    for reader in from_now.iter_mut().chain(&mut resumed).chain(&mut with_history).chain(&mut with_gap) {
        assert_eq!(reader.data(), "five");
    }
    held.hub.terminate();
}

#[test]
fn publish_and_history_wait_for_the_log() {
    let held = OpeningHub::start();
    // Each request comes before the log opens, or waits for nothing.
    let (publish, history) = held.publish_and_read_while(|| {
        held.streams("", &[]);
        held.open();
    });
    publish.assert_status(200);
    assert!(history.event_data().len() >= 3, "{history:?}");
    held.hub.terminate();
}

#[test]
fn publish_and_history_that_waited_too_long_are_refused() {
    let held = OpeningHub::start();
    let (publish, history) = held.publish_and_read_while(|| {});
    assert_retry_soon(&publish, "not_stored");
    assert_retry_soon(&history, "unavailable");
    held.open();
    assert_eq!(held.hub.stored("a").len(), 3);
    held.hub.terminate();
}

#[test]
fn signal_ends_a_hub_that_opens_its_log() {
    let held = OpeningHub::start();
    let streams = held.streams("", &[]);
    let refused = thread::scope(|scope| {
        let publish = scope.spawn(|| held.hub.post(PATH, "four"));
        held.hub.signal(Signal::TERM);
        for mut reader in streams {
            let (_, end) = reader.control_event("tidings.end");
            assert_eq!(end, json!({"reason": "shutdown", "reconnect": true}));
        }
        publish.join().unwrap()
    });
    refused.assert_problem(503, "not_stored");
    held.hub.assert_exit(0);
    // The opening has changed nothing.
    let hub = TestHub::serve_in(&held.directory, &[]);
    let mut reader = hub.resume(PATH, &held.ids[0]);
    assert_eq!(reader.data_of_next(2), ["two", "three"]);
    hub.terminate();
}

#[test]
fn unreadable_log_ends_the_process() {
    let held = OpeningHub::start_after(|directory| {
        // A directory in place of the file: root may read any file.
        std::fs::create_dir(directory.path().join("data/segments/00000000000000000002.log")).unwrap();
    });
    let mut streams = held.streams("", &[]);
    held.open();
    for reader in &mut streams {
        assert_eq!(reader.next_event(), None);
    }
    let log = held.hub.assert_exit(1);
    assert!(log.contains("tidings: data directory data cannot be used: "), "{log}");
}

#[test]
fn directory_of_another_process_ends_the_process_before_it_serves() {
    let directory = TempDirectory::create();
    let hub = TestHub::serve_in(&directory, &[]);
    hub.publish("a", "1");
    let outcome = directory.run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "data"], &[]);
    outcome.assert(1, &["data directory data is in use by another process"]);
    assert_eq!(outcome.stdout, "");
    assert!(!outcome.stderr.contains("listening"), "{}", outcome.stderr);
    hub.publish("a", "2");
    assert_eq!(hub.stored("a"), ["1", "2"]);
    hub.terminate();
}
