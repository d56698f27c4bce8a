//! A client whose socket refused bytes, and takes bytes again.

use super::{super::*, *};

const PENDING: usize = 10_000;

fn critical(channel: &str, data: &str) -> NewEntry {
    urgent(Priority::Critical, channel, data)
}

/// Returns a connection at the head, and appends events that it has not read.
fn held_back(log: &Arc<Log>, data: &str) -> Connection {
    let connection = connect_at_head(log, &["a", "b.*"]);
    log.append(vec![new_entry("a", data); PENDING]).unwrap();
    connection
}

#[test]
fn an_urgent_event_arrives_within_the_first_write_after_reading_again() {
    let state = |number: usize| NewEntry { key: Some("state".into()), ..critical("a", &number.to_string()) };
    let over = NewEntry { expires_at: Some(1), ..critical("a", "over") };
    let soon = urgent(Priority::High, "a", "soon");
    for (case, entries, first, soon_count) in [
        ("a critical event", vec![critical("b.c", "now")], "data: now\nid: ", 0),
        // An id holds no more skips.
        (
            "critical before high",
            [vec![soon; 10], vec![critical("b.c", "now")]].concat(),
            "data: now\n",
            EventId::SKIPS_MAX - 1,
        ),
        ("superseded events leave room for the newest", (0..20).map(state).collect(), "data: 19\n", 0),
        (
            "expired events leave room for others",
            [vec![over; 20], vec![critical("a", "now")]].concat(),
            "data: now\n",
            0,
        ),
    ] {
        let log = memory_log();
        let mut connection = held_back(&log, "pending");
        log.append(entries).unwrap();
        let frames = write(&mut connection, true).unwrap();
        assert!(frames[0].starts_with(first.as_bytes()), "{case}: {:?}", frames[0]);
        assert!(frames.len() > 100, "{case}: {} frames", frames.len());
        assert_eq!(frames.iter().filter(|it| it.starts_with(b"data: soon\n")).count(), soon_count, "{case}");
    }
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
fn a_connection_that_is_not_behind_gets_everything_in_order() {
    let log = memory_log();
    let mut connection = held_back(&log, "pending");
    log.append(vec![critical("a", "now"), new_entry("a", "last")]).unwrap();
    let frames = write_all(&mut connection);
    assert_eq!(frames.len(), PENDING + 2);
    assert!(frames[PENDING].starts_with(b"data: now\n"));
    assert!(frames[PENDING + 1].starts_with(b"data: last\n"));
}

#[test]
fn low_events_are_skipped_only_under_pressure_and_never_in_an_asked_for_replay() {
    let log = memory_log();
    let mut live = connect_at_head(&log, &["a"]);
    log.append(vec![urgent(Priority::Low, "a", "low"), new_entry("a", "normal")]).unwrap();
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
    let mut connection = connect_at_head(&log, &["a"]);
    let large = "x".repeat(WRITE_BYTES_MAX);
    log.append(vec![new_entry("a", "1"), new_entry("a", &large), new_entry("a", "2")]).unwrap();
    let sizes: Vec<usize> =
        std::iter::from_fn(|| write(&mut connection, true)).map(|frames| frames.len()).collect();
    assert_eq!(sizes, [1, 1, 1]);
}

#[test]
fn trims_while_a_transient_event_is_awaited_are_told_afterwards() {
    let log = small_log(64 << 20, 2);
    let mut connection = connect_at_head(&log, &["a"]);
    assert!(connection.handle().push_transient(&transient(0)));
    log.append((0..5).map(|_| new_entry("a", "x")).collect()).unwrap();
    assert_eq!(write(&mut connection, false).unwrap(), ["data: u\n\n"]);
    let frames = write(&mut connection, false).unwrap();
    assert!(frames[0].starts_with(b"event: tidings.gap\n"), "{frames:?}");
}

#[test]
fn transient_events_are_bounded_by_the_write() {
    let log = memory_log();
    let mut connection = connect_at_head(&log, &["a"]);
    let frame = Bytes::from(vec![b'x'; 40 << 10]);
    for _ in 0..3 {
        let transient = TransientEvent { after: 0, frame: frame.clone() };
        assert!(connection.handle().push_transient(&transient));
    }
    for _ in 0..3 {
        assert_eq!(write(&mut connection, false).unwrap().len(), 1);
    }
    assert!(write(&mut connection, false).is_none());
}

#[test]
fn a_page_from_the_disk_is_delivered_like_one_from_memory() {
    let log = small_log(0, 20_000);
    let mut connection = held_back(&log, "pending");
    let ConnectionStep::Read(page) = connection.next_step(true) else { panic!("the ring holds one event") };
    let frames = connection.deliver(read(&log, page), true);
    let text = String::from_utf8(frames.concat()).unwrap();
    assert!(text.matches("data: pending\n").count() > 64, "{text}");
    let after = connection.position().to_string();
    assert!(text.ends_with(&format!("id: {after}\n\n")), "{text}");
}
