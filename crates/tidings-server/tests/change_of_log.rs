//! A data directory that serves from one log, then from another, then from the first again: clients get a gap for the events
//! of the second.

use crate::prelude::*;

const CHANNEL: &str = "/api/v1/events/a";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogKind {
    Disk(&'static str),
    Memory,
    /// A log in Redis with this key prefix.
    Redis(&'static str),
}

fn serve(directory: &TempDirectory, redis: &RedisServer, kind: LogKind) -> TestHub {
    let url = redis.url();
    let hub = match kind {
        LogKind::Disk(durability) => TestHub::serve_in(directory, &[("TIDINGS_LOG_DURABILITY", durability)]),
        LogKind::Memory => TestHub::serve_in(directory, &[("TIDINGS_LOG_DURABILITY", "memory")]),
        LogKind::Redis(prefix) => {
            TestHub::serve_in(directory, &[("REDIS_URL", &*url), ("TIDINGS_REDIS_PREFIX", prefix)])
        }
    };
    hub.wait_until_ready();
    hub
}

/// Resumes after an id; returns the reason of the gap, or `None` if the event that is published then comes without a gap.
fn gap_after(hub: &TestHub, id: &str) -> Option<String> {
    let mut reader = hub.resume(CHANNEL, id);
    hub.publish("a", "mark");
    loop {
        let event = reader.event();
        if event.name == "tidings.gap" {
            let gap: Value = serde_json::from_str(&event.data).unwrap();
            return Some(gap["reason"].as_str().unwrap().to_owned());
        }
        if event.data == "mark" {
            return None;
        }
    }
}

fn check(redis: &RedisServer, first: LogKind, second: LogKind, expected: Option<&str>) {
    let what = format!("{first:?}, {second:?}, {first:?}");
    let directory = TempDirectory::create();
    let hub = serve(&directory, redis, first);
    let before = hub.publish("a", "before");
    hub.terminate();
    let hub = serve(&directory, redis, second);
    let meanwhile = hub.publish("a", "meanwhile");
    hub.terminate();

    let hub = serve(&directory, redis, first);
    assert_eq!(gap_after(&hub, &before).as_deref(), expected, "{what}: an id of the first");
    assert_eq!(gap_after(&hub, &meanwhile).as_deref(), expected, "{what}: an id of the second");
    let after = hub.publish("a", "after");
    assert_eq!(gap_after(&hub, &after), None, "{what}: it is told once");
    hub.terminate();
    let hub = serve(&directory, redis, first);
    let again = if first == LogKind::Memory { Some("epoch") } else { None };
    assert_eq!(gap_after(&hub, &after).as_deref(), again, "{what}: after another start");
    hub.terminate();
}

#[test]
fn log_that_served_before_reports_a_gap_for_events_of_another_log() {
    let redis = RedisServer::start();
    let disk = LogKind::Disk("interval");
    for (first, second) in [
        (disk, LogKind::Memory),
        (disk, LogKind::Redis("one")),
        (LogKind::Memory, disk),
        (LogKind::Redis("two"), disk),
        (LogKind::Redis("three"), LogKind::Memory),
        (LogKind::Redis("four"), LogKind::Redis("five")),
    ] {
        check(&redis, first, second, Some("epoch"));
    }
    check(&redis, disk, LogKind::Disk("fsync"), None);
}
