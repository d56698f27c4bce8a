//! The exact bytes of the frames that the hub writes of its own.

use super::{super::*, connect, draft, memory_log, subscriptions, write};

const RETRY: Duration = Duration::from_millis(1500);

fn text(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn first_block(options: &StreamOptions) -> (String, String) {
    let log = memory_log();
    log.append(vec![draft("a", "1")]).unwrap();
    let mut connection = connect(&log, subscriptions(&["a", "b.*"]), options);
    let opening = connection.opening(RETRY);
    (text(&opening).to_owned(), log.head().to_string())
}

#[test]
fn the_first_block_carries_the_cursor() {
    let (block, id) = first_block(&StreamOptions::default());
    assert_eq!(block, format!("retry: 1500\n: tidings\nid: {id}\n\n"));
}

#[test]
fn the_first_block_of_a_browser_is_a_named_event_without_data() {
    let options = StreamOptions { positions: PositionStyle::Event, ..StreamOptions::default() };
    let (block, id) = first_block(&options);
    assert_eq!(block, format!("retry: 1500\n: tidings\nevent: tidings.position\ndata:\nid: {id}\n\n"));
}

#[test]
fn the_first_block_without_positions_has_no_id() {
    let options = StreamOptions { positions: PositionStyle::None, ..StreamOptions::default() };
    assert_eq!(first_block(&options).0, "retry: 1500\n: tidings\n\n");
}

#[test]
fn hello_comes_first_and_brings_the_cursor() {
    for positions in [PositionStyle::Block, PositionStyle::Event] {
        let options = StreamOptions { hello: true, positions, ..StreamOptions::default() };
        let (block, id) = first_block(&options);
        let open = format!(
            r#"{{"connectionId":"00000000000000000000000000000abc","channels":["a","b.*"],"position":"{id}"}}"#
        );
        assert_eq!(block, format!("retry: 1500\n: tidings\nevent: tidings.open\ndata: {open}\nid: {id}\n\n"));
    }
}

#[test]
fn hello_without_positions_tells_the_cursor_but_is_no_id() {
    let options = StreamOptions { hello: true, positions: PositionStyle::None, ..StreamOptions::default() };
    let (block, id) = first_block(&options);
    assert!(block.contains(&format!(r#""position":"{id}"}}"#)), "{block}");
    assert!(!block.contains("\nid: "), "{block}");
}

#[test]
fn a_gap_comes_first_and_brings_the_only_id() {
    let start = Start::After("nonsense".into());
    let (block, id) = first_block(&StreamOptions { start: start.clone(), ..StreamOptions::default() });
    let gap =
        format!(r#"{{"channels":["a","b.*"],"reason":"malformed","requested":null,"resumedAt":"{id}"}}"#);
    let gap = format!("event: tidings.gap\ndata: {gap}\nid: {id}\n\n");
    assert_eq!(block, format!("retry: 1500\n: tidings\n\n{gap}"));
    for positions in [PositionStyle::Event, PositionStyle::None] {
        let options = StreamOptions { start: start.clone(), positions, hello: false };
        let (block, id) = first_block(&options);
        assert_eq!(block.matches("id: ").count(), 1, "{block}");
        assert!(block.ends_with(&format!("id: {id}\n\n")), "{block}");
    }
    let (block, _) = first_block(&StreamOptions { start, hello: true, ..StreamOptions::default() });
    assert!(block.contains(r#""position":null}"#), "{block}");
    assert_eq!(block.matches("id: ").count(), 1, "{block}");
}

#[test]
fn a_keep_alive_is_a_comment_and_renews_the_position() {
    let log = memory_log();
    let id = log.head().to_string();
    let keep_alive = |positions| {
        let options = StreamOptions { positions, ..StreamOptions::default() };
        let connection = connect(&log, subscriptions(&["a"]), &options);
        text(&connection.keep_alive()).to_owned()
    };
    assert_eq!(keep_alive(PositionStyle::Block), format!(": keep-alive\nid: {id}\n\n"));
    assert_eq!(
        keep_alive(PositionStyle::Event),
        format!(": keep-alive\nevent: tidings.position\ndata:\nid: {id}\n\n")
    );
    assert_eq!(keep_alive(PositionStyle::None), ": keep-alive\n\n");
}

#[test]
fn the_last_frame_says_why_and_at_shutdown_when_to_come_back() {
    let log = memory_log();
    let connection = connect(&log, subscriptions(&["a"]), &StreamOptions::default());
    let shutdown = connection.ending(EndReason::Shutdown, true, Some(Duration::from_millis(3210)));
    let id = connection.position();
    assert_eq!(
        text(&shutdown),
        format!(
            "retry: 3210\nevent: tidings.end\ndata: {{\"reason\":\"shutdown\",\"reconnect\":true}}\nid: {id}\n\n"
        )
    );
    let old = connection.ending(EndReason::MaxAge, true, None);
    let expected =
        format!("event: tidings.end\ndata: {{\"reason\":\"max_age\",\"reconnect\":true}}\nid: {id}\n\n");
    assert_eq!(text(&old), expected);
}

#[test]
fn an_event_carries_the_id_that_resumes_after_it() {
    let log = memory_log();
    let mut connection = connect(&log, subscriptions(&["a"]), &StreamOptions::default());
    assert!(write(&mut connection, false).is_none());
    let named = crate::log::entry::Draft {
        event: Some(tidings_protocol::EventName::parse("news").unwrap()),
        ..draft("a", "1\r\n2\r\n")
    };
    log.append(vec![named]).unwrap();
    let frames = write(&mut connection, false).unwrap();
    let id = log.head();
    assert_eq!(text(&frames[0]), format!("event: news\ndata: 1\ndata: 2\ndata:\nid: {id}\n\n"));
}
