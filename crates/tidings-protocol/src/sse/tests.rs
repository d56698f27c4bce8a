use std::time::Duration;

use super::*;

fn read(parser: &mut Parser, text: &str) -> (Vec<StreamItem>, Result<(), EventTooLarge>) {
    let mut items = Vec::new();
    let result = parser.feed(text.as_bytes(), &mut |item| items.push(item));
    (items, result)
}

fn event(name: &str, data: &str, last_event_id: &str) -> StreamItem {
    StreamItem::Event(MessageEvent {
        name: name.into(),
        data: data.into(),
        last_event_id: last_event_id.into(),
    })
}

#[test]
fn stream_begins_with_retry_comment_and_position() {
    let mut out = Vec::new();
    write_retry(&mut out, Duration::from_millis(2500));
    write_comment(&mut out, "tidings");
    write_id_line(&mut out, &crate::EventId::new(crate::Epoch(1), 2, crate::Tag(3)));
    write_end(&mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text, "retry: 2500\n: tidings\nid: 0000000000000001-2-00000003\n\n");
    let (items, result) = read(&mut Parser::new(), &text);
    assert_eq!(result, Ok(()));
    let id = "0000000000000001-2-00000003".to_owned();
    assert_eq!(
        items,
        [StreamItem::Retry(2500), StreamItem::Comment("tidings".into()), StreamItem::Position(id)]
    );
}

#[test]
fn a_comment_of_several_lines_stays_a_comment() {
    let mut out = Vec::new();
    write_comment(&mut out, "a\r\ndata: b\n\nc");
    write_comment(&mut out, "");
    assert_eq!(out, b": a\n: data: b\n:\n: c\n:\n");
}

#[test]
fn event_name_cannot_add_a_field() {
    let mut out = Vec::new();
    write_event_lines(&mut out, Some("a\r\ndata: b\0"), "c");
    assert_eq!(out, b"event: a  data: b \ndata: c\n");
}

#[test]
fn an_event_at_the_bound_is_read_and_one_above_it_fails_for_good() {
    let mut parser = Parser::with_event_bytes_max(10);
    assert_eq!(read(&mut parser, "data: 1234\n\n"), (vec![event("message", "1234", "")], Ok(())));
    let (items, result) = read(&mut parser, "data: ok\n\ndata: 12345\n\ndata: 6\n\n");
    assert_eq!(items, [event("message", "ok", "")]);
    assert_eq!(result, Err(EventTooLarge { event_bytes_max: 10 }));
    assert_eq!(read(&mut parser, "data: 6\n\n"), (vec![], Err(EventTooLarge { event_bytes_max: 10 })));
}

#[test]
fn the_bound_holds_for_lines_that_never_end_and_events_that_never_end() {
    let short_lines = "x\n".repeat(11);
    for (text, bytes_taken) in
        [("data: 12345", 10), (": 123456789", 10), ("unknown-field", 10), (&*short_lines, 20)]
    {
        let mut parser = Parser::with_event_bytes_max(10);
        let mut is_taken = |byte: u8| parser.feed(&[byte], &mut |_| {}).is_ok();
        assert_eq!(text.bytes().take_while(|byte| is_taken(*byte)).count(), bytes_taken, "{text:?}");
    }
}

#[test]
fn comments_without_end_are_no_event() {
    let mut parser = Parser::with_event_bytes_max(10);
    let (items, result) = read(&mut parser, &": ping\n".repeat(1000));
    assert_eq!((items.len(), result), (1000, Ok(())));
}

#[test]
fn a_reconnect_goes_on_from_the_id_it_asked_with() {
    let mut parser = Parser::new().with_last_event_id("7");
    assert_eq!(read(&mut parser, "data: x\n\n").0, [event("message", "x", "7")]);
    assert_eq!(read(&mut parser, "id: 8\ndata: y\n").0, []);
    assert_eq!(parser.last_event_id(), "7", "the event has not ended");
    assert_eq!(read(&mut parser, "\n").0, [event("message", "y", "8")]);
    assert_eq!(parser.last_event_id(), "8");
}
