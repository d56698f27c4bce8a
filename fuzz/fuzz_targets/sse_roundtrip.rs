//! Feeds a stream whole and in portions, and encodes a text and parses it back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidings_protocol::EventName;
use tidings_protocol::sse::{self, Parser, StreamItem};

fn parse(portions: &[&[u8]], event_bytes_max: usize) -> (Vec<StreamItem>, bool, String) {
    let mut parser = Parser::with_event_bytes_max(event_bytes_max);
    let mut items = Vec::new();
    let failed = portions.iter().any(|portion| parser.feed(portion, &mut |item| items.push(item)).is_err());
    (items, failed, parser.last_event_id().to_owned())
}

fuzz_target!(|input: (usize, u8, &[u8], &str, &str)| {
    let (at, event_bytes_max, stream, name, data) = input;
    let (head, tail) = stream.split_at(at % (stream.len() + 1));
    for bound in [event_bytes_max.into(), Parser::EVENT_BYTES_MAX] {
        let whole = parse(&[stream], bound);
        assert_eq!(whole, parse(&[head, tail], bound));
        assert_eq!(whole, parse(&stream.chunks(1).collect::<Vec<_>>(), bound));
    }

    let name = EventName::parse(name).ok();
    let mut frame = Vec::new();
    sse::write_comment(&mut frame, data);
    sse::write_event_lines(&mut frame, name.as_ref().map(EventName::as_str), data);
    sse::write_end(&mut frame);
    let (head, tail) = frame.split_at(at % (frame.len() + 1));
    let (mut items, failed, last_event_id) = parse(&[head, tail], Parser::EVENT_BYTES_MAX);
    assert!(!failed && last_event_id.is_empty());
    let Some(StreamItem::Event(event)) = items.pop() else { panic!("no event at the end of {frame:?}") };
    assert_eq!(event.data, data.replace("\r\n", "\n").replace('\r', "\n"));
    assert_eq!(event.name, name.as_ref().map_or("message", EventName::as_str));
    assert!(items.iter().all(|item| matches!(item, StreamItem::Comment(_))));
});
