//! The exact bytes of the frames that the hub writes itself.

use super::{super::*, connect, connect_at_head, memory_log, new_entry, subscriptions, write};

const RETRY: Duration = Duration::from_millis(1500);

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

const SILENT: KeepAliveDue = KeepAliveDue { comment: true, position: false };
const OLD_ID: KeepAliveDue = KeepAliveDue { comment: false, position: true };
const BOTH: KeepAliveDue = KeepAliveDue { comment: true, position: true };

fn with(positions: PositionStyle) -> StreamOptions {
    StreamOptions { positions, ..StreamOptions::default() }
}

/// The first bytes of a stream, and the newest id.
fn beginning(options: &StreamOptions) -> (String, String) {
    let log = memory_log();
    log.append(vec![new_entry("a", "1")]).unwrap();
    let mut connection = connect(&log, subscriptions(&["a", "b.*"]), options);
    let greeting = options.open_event.then(|| OpenEvent {
        now: "2026-01-02T03:04:05.006Z".into(),
        keep_alive: 15.into(),
        node: "00c0ffee".into(),
        expires_at: None,
    });
    let opening = connection.open_frames(RETRY, greeting);
    (text(&opening).to_owned(), log.head().to_string())
}

/// The frame of `tidings.open` without its id and its end.
fn open(position: &str) -> String {
    format!(
        "event: tidings.open\ndata: {{\"connectionId\":\"00000000000000000000000000000abc\",\"channels\":[\"a\",\"b.*\"],\
         \"position\":{position},\"now\":\"2026-01-02T03:04:05.006Z\",\"keepAlive\":15,\"node\":\"00c0ffee\"}}\n"
    )
}

#[test]
fn a_stream_without_positions_begins_with_lines_that_no_blank_line_ends() {
    assert_eq!(beginning(&StreamOptions::default()).0, "retry: 1500\n: tidings\n");
}

#[test]
fn a_stream_with_positions_begins_with_its_cursor() {
    let (by_id, id) = beginning(&with(PositionStyle::Id));
    assert_eq!(by_id, format!("retry: 1500\n: tidings\nid: {id}\n\n"));
    let (by_event, id) = beginning(&with(PositionStyle::Event));
    assert_eq!(by_event, format!("retry: 1500\n: tidings\nevent: tidings.position\ndata:\nid: {id}\n\n"));
}

#[test]
fn hello_comes_first_and_brings_the_only_id() {
    for positions in [PositionStyle::Id, PositionStyle::Event] {
        let (beginning, id) = beginning(&StreamOptions { open_event: true, ..with(positions) });
        let open = open(&format!("\"{id}\""));
        assert_eq!(beginning, format!("retry: 1500\n: tidings\n{open}id: {id}\n\n"));
    }
}

#[test]
fn hello_without_positions_tells_the_cursor_but_has_no_id() {
    let (beginning, id) = beginning(&StreamOptions { open_event: true, ..StreamOptions::default() });
    assert_eq!(beginning, format!("retry: 1500\n: tidings\n{}\n", open(&format!("\"{id}\""))));
}

#[test]
fn a_gap_comes_first_and_brings_the_only_id() {
    for positions in [PositionStyle::Id, PositionStyle::Event, PositionStyle::None] {
        for hello in [false, true] {
            let start = Start::After("nonsense".into());
            let (beginning, id) = beginning(&StreamOptions { start, positions, open_event: hello });
            let gap = format!(
                r#"{{"channels":["a","b.*"],"reason":"malformed","requested":null,"resumedAt":"{id}"}}"#
            );
            let open = if hello { open("null") + "\n" } else { String::new() };
            let gap = format!("event: tidings.gap\ndata: {gap}\nid: {id}\n\n");
            assert_eq!(beginning, format!("retry: 1500\n: tidings\n{open}{gap}"));
        }
    }
}

#[test]
fn a_keep_alive_is_a_comment_for_silence_and_a_position_for_an_old_id() {
    let log = memory_log();
    let id = log.head().to_string();
    let check = |positions, due, wanted: &str| {
        let connection = connect(&log, subscriptions(&["a"]), &with(positions));
        assert_eq!(text(&connection.keep_alive(due)), wanted, "{positions:?} {due:?}");
    };
    let position = format!("event: tidings.position\ndata:\nid: {id}\n\n");
    check(PositionStyle::Id, BOTH, &format!(": keep-alive\nid: {id}\n\n"));
    check(PositionStyle::Id, OLD_ID, &format!("id: {id}\n\n"));
    check(PositionStyle::Id, SILENT, ": keep-alive\n");
    check(PositionStyle::Event, BOTH, &format!(": keep-alive\n{position}"));
    check(PositionStyle::Event, OLD_ID, &position);
    check(PositionStyle::None, SILENT, ": keep-alive\n");
}

#[test]
fn the_last_frame_says_why_and_at_shutdown_when_to_come_back() {
    let log = memory_log();
    let connection = connect(&log, subscriptions(&["a"]), &StreamOptions::default());
    let shutdown = connection.end_frame(EndReason::Shutdown, true, Some(Duration::from_millis(3210)));
    let id = connection.position();
    assert_eq!(
        text(&shutdown),
        format!(
            "retry: 3210\nevent: tidings.end\ndata: {{\"reason\":\"shutdown\",\"reconnect\":true}}\nid: {id}\n\n"
        )
    );
    let old = connection.end_frame(EndReason::MaxAge, true, None);
    let expected =
        format!("event: tidings.end\ndata: {{\"reason\":\"max_age\",\"reconnect\":true}}\nid: {id}\n\n");
    assert_eq!(text(&old), expected);
}

#[test]
fn an_event_carries_the_id_that_resumes_after_it() {
    let log = memory_log();
    let mut connection = connect_at_head(&log, &["a"]);
    let named = tidings_log::NewEntry {
        event: Some(tidings_protocol::EventName::parse("news").unwrap()),
        ..new_entry("a", "1\r\n2\r\n")
    };
    log.append(vec![named]).unwrap();
    let frames = write(&mut connection, false).unwrap();
    let id = log.head();
    assert_eq!(text(&frames[0]), format!("event: news\ndata: 1\ndata: 2\ndata:\nid: {id}\n\n"));
}
