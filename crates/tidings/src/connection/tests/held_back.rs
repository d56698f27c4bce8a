//! A client whose socket refused bytes, and takes bytes again.
use tidings_log::NewEntry;

use super::{super::*, connect, memory_log, new_entry, read, subscriptions, write};

const PENDING: usize = 10_000;

fn critical(channel: &str, data: &str) -> NewEntry {
    NewEntry { priority: Priority::Critical, ..new_entry(channel, data) }
}

/// Returns a connection at the head, and appends events that it has not read.
fn held_back(log: &Arc<Log>, data: &str) -> Connection {
    let mut connection = connect(log, subscriptions(&["a", "b.*"]), &StreamOptions::default());
    assert!(write(&mut connection, false).is_none());
    log.append((0..PENDING).map(|_| new_entry("a", data)).collect()).unwrap();
    connection
}

#[test]
fn a_critical_event_arrives_within_the_first_write_after_reading_again() {
    let log = memory_log();
    let mut connection = held_back(&log, "pending");
    log.append(vec![critical("b.c", "now")]).unwrap();
    let frames = write(&mut connection, true).unwrap();
    assert!(frames[0].starts_with(b"data: now\nid: "), "{:?}", frames[0]);
    assert!(frames.len() > 100);
}

#[test]
fn what_becomes_urgent_between_two_writes_is_in_the_second() {
    let log = memory_log();
    let mut connection = held_back(&log, &"x".repeat(1000));
    let first = write(&mut connection, true).unwrap();
    assert!(first.iter().map(Bytes::len).sum::<usize>() <= WRITE_BYTES_MAX);
    log.append(vec![critical("b.c", "now")]).unwrap();
    let second = write(&mut connection, true).unwrap();
    assert!(second[0].starts_with(b"data: now\n"), "{:?}", second[0]);
}

#[test]
fn critical_events_go_before_high_ones() {
    let log = memory_log();
    let mut connection = held_back(&log, "pending");
    let high = NewEntry { priority: Priority::High, ..new_entry("a", "soon") };
    log.append(vec![high; 10]).unwrap();
    log.append(vec![critical("b.c", "now")]).unwrap();
    let frames = write(&mut connection, true).unwrap();
    assert!(frames[0].starts_with(b"data: now\n"));
    let soon = frames.iter().filter(|frame| frame.starts_with(b"data: soon\n")).count();
    assert_eq!(soon, EventId::SKIPS_MAX - 1, "an id holds no more");
}

#[test]
fn critical_events_that_are_superseded_leave_room_for_the_newest() {
    let log = memory_log();
    let mut connection = held_back(&log, "pending");
    let state = |number: usize| NewEntry { key: Some("state".into()), ..critical("a", &number.to_string()) };
    log.append((0..20).map(state).collect()).unwrap();
    let frames = write(&mut connection, true).unwrap();
    assert!(frames[0].starts_with(b"data: 19\n"), "{:?}", frames[0]);
}

#[test]
fn critical_events_that_have_expired_leave_room_for_others() {
    let log = memory_log();
    let mut connection = held_back(&log, "pending");
    log.append(vec![NewEntry { expires_at: Some(1), ..critical("a", "over") }; 20]).unwrap();
    log.append(vec![critical("a", "now")]).unwrap();
    let frames = write(&mut connection, true).unwrap();
    assert!(frames[0].starts_with(b"data: now\n"), "{:?}", frames[0]);
}

#[test]
fn a_connection_that_is_not_behind_gets_everything_in_order() {
    let log = memory_log();
    let mut connection = held_back(&log, "pending");
    log.append(vec![critical("a", "now"), new_entry("a", "last")]).unwrap();
    let mut frames = Vec::new();
    while let Some(more) = write(&mut connection, false) {
        frames.extend(more);
    }
    assert_eq!(frames.len(), PENDING + 2);
    assert!(frames[PENDING].starts_with(b"data: now\n"));
    assert!(frames[PENDING + 1].starts_with(b"data: last\n"));
}

#[test]
fn low_events_are_skipped_only_under_pressure_and_never_in_an_asked_for_replay() {
    let log = memory_log();
    let low = NewEntry { priority: Priority::Low, ..new_entry("a", "low") };
    let mut live = connect(&log, subscriptions(&["a"]), &StreamOptions::default());
    assert!(write(&mut live, false).is_none());
    log.append(vec![low, new_entry("a", "normal")]).unwrap();
    let frames = write(&mut live, true).unwrap();
    assert_eq!(frames.len(), 1);
    assert!(frames[0].starts_with(b"data: normal\n"));
    let options = StreamOptions { start: Start::WholeHistory, ..StreamOptions::default() };
    let mut replay = connect(&log, subscriptions(&["a"]), &options);
    assert_eq!(write(&mut replay, true).unwrap().len(), 2);
}

#[test]
fn one_event_larger_than_a_write_goes_alone() {
    let log = memory_log();
    let mut connection = connect(&log, subscriptions(&["a"]), &StreamOptions::default());
    assert!(write(&mut connection, false).is_none());
    let large = "x".repeat(WRITE_BYTES_MAX);
    log.append(vec![new_entry("a", "1"), new_entry("a", &large), new_entry("a", "2")]).unwrap();
    let sizes: Vec<usize> =
        std::iter::from_fn(|| write(&mut connection, true)).map(|frames| frames.len()).collect();
    assert_eq!(sizes, [1, 1, 1]);
}

#[test]
fn trims_while_a_transient_event_is_awaited_are_told_afterwards() {
    let settings = crate::config::LogSettings {
        durability: crate::config::Durability::Memory,
        retention_events: 2,
        ..Default::default()
    };
    let log = super::open_log(&settings, None, &super::Toy::new(1));
    let mut connection = connect(&log, subscriptions(&["a"]), &StreamOptions::default());
    assert!(write(&mut connection, false).is_none());
    let transient = tidings_log::TransientEvent { after: 0, frame: "data: u\n\n".into() };
    assert!(connection.handle().push_transient(&transient));
    log.append((0..5).map(|_| new_entry("a", "x")).collect()).unwrap();
    assert_eq!(write(&mut connection, false).unwrap(), ["data: u\n\n"]);
    let frames = write(&mut connection, false).unwrap();
    assert!(frames[0].starts_with(b"event: tidings.gap\n"), "{frames:?}");
}

#[test]
fn transient_events_are_bounded_by_the_write() {
    let log = memory_log();
    let mut connection = connect(&log, subscriptions(&["a"]), &StreamOptions::default());
    assert!(write(&mut connection, false).is_none());
    let frame = Bytes::from(vec![b'x'; 40 << 10]);
    for _ in 0..3 {
        let transient = tidings_log::TransientEvent { after: 0, frame: frame.clone() };
        assert!(connection.handle().push_transient(&transient));
    }
    for _ in 0..3 {
        assert_eq!(write(&mut connection, false).unwrap().len(), 1);
    }
    assert!(write(&mut connection, false).is_none());
}

#[test]
fn a_page_from_the_disk_is_delivered_like_one_from_memory() {
    let settings = crate::config::LogSettings {
        durability: crate::config::Durability::Memory,
        cache_bytes: 0,
        retention_events: 20_000,
        ..Default::default()
    };
    let log = super::open_log(&settings, None, &super::Toy::new(1));
    let mut connection = held_back(&log, "pending");
    let ConnectionStep::Read(page) = connection.next_step(true) else { panic!("the ring holds one event") };
    let frames = connection.deliver(read(&log, page), true);
    let text = String::from_utf8(frames.concat()).unwrap();
    assert!(text.matches("data: pending\n").count() > 64, "{text}");
    let after = connection.position().to_string();
    assert!(text.ends_with(&format!("id: {after}\n\n")), "{text}");
}
