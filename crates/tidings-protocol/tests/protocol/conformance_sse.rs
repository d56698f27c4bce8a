//! `sse-parser.json` and `sse-encoder.json`.

use serde::Deserialize;
use tidings_protocol::EventId;
use tidings_protocol::sse::{self, MessageEvent, StreamItem};

use crate::cases::{load, parse, unhex};

#[derive(Deserialize)]
struct ParserCase {
    name: String,
    hex: String,
    events: Vec<(String, String, String)>,
    retry: Option<u64>,
    last: Option<String>,
    positions: Option<Vec<String>>,
    comments: Option<Vec<String>>,
}

impl ParserCase {
    fn check(&self, portions: &[&[u8]]) {
        let (items, last) = parse(portions);
        let name = format!("{} in {} portions", self.name, portions.len());
        let events: Vec<_> = items
            .iter()
            .filter_map(|item| match item {
                StreamItem::Event(MessageEvent { name, data, last_event_id }) => {
                    Some((name.clone(), data.clone(), last_event_id.clone()))
                }
                _ => None,
            })
            .collect();
        assert_eq!(events, self.events, "events of {name}");
        let retry = items.iter().rev().find_map(|item| match item {
            StreamItem::Retry(delay_ms) => Some(*delay_ms),
            _ => None,
        });
        assert_eq!(retry, self.retry, "retry of {name}");
        if let Some(wanted) = &self.last {
            assert_eq!(&last, wanted, "last id of {name}");
        }
        if let Some(wanted) = &self.positions {
            assert_eq!(&texts(&items, is_position), wanted, "positions of {name}");
        }
        if let Some(wanted) = &self.comments {
            assert_eq!(&texts(&items, |item| !is_position(item)), wanted, "comments of {name}");
        }
    }
}

fn is_position(item: &StreamItem) -> bool {
    matches!(item, StreamItem::Position(_))
}

fn texts(items: &[StreamItem], is_wanted: impl Fn(&StreamItem) -> bool) -> Vec<String> {
    let wanted = items.iter().filter(|item| is_wanted(item));
    wanted
        .filter_map(|item| match item {
            StreamItem::Position(text) | StreamItem::Comment(text) => Some(text.clone()),
            StreamItem::Event(_) | StreamItem::Retry(_) => None,
        })
        .collect()
}

#[test]
fn parser_reads_every_case_whole_and_split_at_every_byte() {
    let cases: Vec<ParserCase> = load("sse-parser.json");
    assert!(cases.len() >= 40);
    for case in cases {
        let bytes = unhex(&case.hex);
        case.check(&[&bytes]);
        case.check(&bytes.chunks(1).collect::<Vec<_>>());
        for at in 0..=bytes.len() {
            case.check(&[&bytes[..at], &[], &bytes[at..]]);
        }
    }
}

#[derive(Deserialize)]
struct EncoderCase {
    name: String,
    event: Option<String>,
    data: String,
    id: Option<String>,
    bytes: String,
}

#[test]
fn encoder_writes_every_case_to_the_byte() {
    let cases: Vec<EncoderCase> = load("sse-encoder.json");
    assert!(!cases.is_empty());
    for case in cases {
        let mut out = Vec::new();
        sse::write_event_lines(&mut out, case.event.as_deref(), &case.data);
        if let Some(id) = &case.id {
            sse::write_id_line(&mut out, &id.parse::<EventId>().unwrap());
        }
        sse::write_end(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), case.bytes, "{}", case.name);
    }
}
