//! Our parser and that of `sse-stream`, on streams that both read by the standard.
//!
//! `sse-stream` differs by design for bad UTF-8 (it ends the stream; the standard decodes U+FFFD), for ids
//! with NUL, and for numbers above 64 bits. It yields raw blocks, so this test carries the last id on.

use futures_util::{FutureExt, StreamExt, stream};
use proptest::prelude::*;
use sse_stream::SseByteStream;
use tidings_protocol::sse::{MessageEvent, StreamItem};

use crate::cases::{load, parse, unhex};

/// Reads with `sse-stream`, and makes of its raw blocks what the standard makes of them.
fn parse_with_other(bytes: &[u8]) -> Option<Vec<MessageEvent>> {
    let portions = stream::iter([Ok::<_, std::convert::Infallible>(bytes)]);
    let blocks: Vec<_> = SseByteStream::new(portions).collect().now_or_never().unwrap();
    let mut last_event_id = String::new();
    let mut events = Vec::new();
    for block in blocks {
        let block = block.ok()?;
        if let Some(id) = block.id {
            last_event_id = id;
        }
        if let Some(data) = block.data {
            let name = block.event.filter(|name| !name.is_empty()).unwrap_or_else(|| "message".into());
            events.push(MessageEvent { name, data, last_event_id: last_event_id.clone() });
        }
    }
    Some(events)
}

fn events(bytes: &[u8]) -> Vec<MessageEvent> {
    let (items, _) = parse(&[bytes]);
    let events = items
        .into_iter()
        .filter_map(|item| if let StreamItem::Event(event) = item { Some(event) } else { None });
    events.collect()
}

/// The cases that `sse-stream` is known to read otherwise, by the name they have in `sse-parser.json`.
const DIFFERS: &[&str] = &["invalid utf8 -> FFFD", "a cut character ends with its line"];

#[test]
fn another_parser_agrees_on_the_conformance_cases() {
    #[derive(serde::Deserialize)]
    struct ParserCaseBytes {
        name: String,
        hex: String,
    }
    let cases: Vec<ParserCaseBytes> = load("sse-parser.json");
    let differing: Vec<_> = cases
        .iter()
        .filter(|case| {
            let bytes = unhex(&case.hex);
            parse_with_other(&bytes) != Some(events(&bytes))
        })
        .map(|case| case.name.as_str())
        .collect();
    assert_eq!(differing, DIFFERS);
}

fn field_lines() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["data", "event", "id", "retry", "", "Data", "foo", "\u{feff}data"]);
    let separator = prop::sample::select(vec!["", ":", ": ", ":  "]);
    let value = "[a-z0-9: €\t\u{2028}]{0,8}";
    let end = prop::sample::select(vec!["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n"]);
    let line = (name, separator, value, end)
        .prop_map(|(name, separator, value, end)| format!("{name}{separator}{value}{end}"));
    prop::collection::vec(line, 0..24).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn another_parser_agrees_on_random_fields(text in field_lines()) {
        prop_assert_eq!(parse_with_other(text.as_bytes()), Some(events(text.as_bytes())));
    }
}
