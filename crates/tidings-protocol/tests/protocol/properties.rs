//! Properties of every input.

use std::sync::LazyLock;

use proptest::prelude::*;
use tidings_protocol::body::{PublishBody, parse_publish};
use tidings_protocol::sse::{self, MessageEvent, Parser, StreamItem};
use tidings_protocol::{ChannelName, Epoch, EventId, EventName, Pattern, Skip, Subscription, Tag};

use crate::cases::parse;

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "\\PC{0,6}",
        2 => prop::sample::select(vec!["\r", "\n", "\r\n", "\n\n", ":", " ", "data: x", "id: 9", "event: y", "\0", "\u{feff}"])
            .prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn event_name() -> impl Strategy<Value = Option<EventName>> {
    prop::option::of(any::<String>().prop_filter_map("no event name", |name| EventName::parse(&name).ok()))
}

fn event_id() -> impl Strategy<Value = EventId> {
    let skips = prop::collection::btree_map(1..=EventId::DISTANCE_MAX, any::<u32>(), 0..=EventId::SKIPS_MAX);
    (any::<u64>(), any::<u64>(), any::<u32>(), skips).prop_map(|(epoch, offset, tag, skips)| {
        let offset = offset.min(u64::MAX - EventId::DISTANCE_MAX);
        let skips = skips
            .into_iter()
            .map(|(distance, tag)| Skip { offset: offset + distance, tag: Tag(tag) })
            .collect();
        EventId { epoch: Epoch(epoch), offset, tag: Tag(tag), skips }
    })
}

/// Cuts the bytes at these places, each taken modulo the length.
fn cut<'a>(bytes: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = places.iter().map(|place| place % (bytes.len() + 1)).collect();
    places.sort_unstable();
    let mut from = 0;
    let mut portions: Vec<_> =
        places.iter().map(|to| &bytes[std::mem::replace(&mut from, *to)..*to]).collect();
    portions.push(&bytes[from..]);
    portions
}

fn segments() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "*", "**"]);
    let separator = prop::sample::select(vec![".", ":"]);
    (prop::collection::vec((segment.clone(), separator), 0..4), segment).prop_map(|(pairs, last)| {
        pairs.iter().flat_map(|(segment, separator)| [*segment, *separator]).chain([last]).collect()
    })
}

/// Every name of one to five segments over a small alphabet; it has a segment that no pattern here spells.
static ALL_NAMES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut names: Vec<String> = Vec::new();
    let mut longest: Vec<String> = vec!["a".into(), "b".into(), "c".into()];
    for _ in 0..5 {
        names.extend(longest.iter().cloned());
        let longer = longest
            .iter()
            .flat_map(|name| [".a", ".b", ".c", ":a", ":b", ":c"].map(|segment| format!("{name}{segment}")));
        longest = longer.collect();
    }
    names
});

/// Matches by spelling out what the contract says, without the code under test.
fn matches_by_definition(pattern: &str, name: &str) -> bool {
    fn tokens(text: &str) -> Vec<&str> {
        text.split_inclusive(['.', ':'])
            .flat_map(|part| {
                let end = part.trim_end_matches(['.', ':']).len();
                [&part[..end], &part[end..]]
            })
            .filter(|token| !token.is_empty())
            .collect()
    }
    fn go(pattern: &[&str], name: &[&str]) -> bool {
        match (pattern, name) {
            (["**"], name) => !name.is_empty(),
            (["*", pattern @ ..], [_, name @ ..]) => go(pattern, name),
            ([wanted, pattern @ ..], [found, name @ ..]) => wanted == found && go(pattern, name),
            (pattern, name) => pattern.is_empty() && name.is_empty(),
        }
    }
    go(&tokens(pattern), &tokens(name))
}

proptest! {
    #[test]
    fn what_is_encoded_is_parsed_back(
        events in prop::collection::vec((event_name(), text(), prop::option::of(event_id())), 1..4),
        comment in text(),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
    ) {
        let mut bytes = Vec::new();
        let mut wanted = Vec::new();
        let mut last_event_id = String::new();
        for (name, data, id) in &events {
            sse::write_comment(&mut bytes, &comment);
            sse::write_event_lines(&mut bytes, name.as_ref().map(EventName::as_str), data);
            if let Some(id) = id {
                sse::write_id_line(&mut bytes, id);
                last_event_id = id.to_string();
            }
            sse::write_end(&mut bytes);
            wanted.push(MessageEvent {
                name: name.as_ref().map_or("message", EventName::as_str).to_owned(),
                data: data.replace("\r\n", "\n").replace('\r', "\n"),
                last_event_id: last_event_id.clone(),
            });
        }
        let (items, last) = parse(&cut(&bytes, &cuts));
        let events_of = |item: &StreamItem| if let StreamItem::Event(event) = item { Some(event.clone()) } else { None };
        let found: Vec<_> = items.iter().filter_map(events_of).collect();
        prop_assert_eq!(found, wanted);
        prop_assert_eq!(last, last_event_id);
        let lines = items.iter().filter(|item| matches!(item, StreamItem::Comment(_))).count();
        let comment_lines = comment.replace("\r\n", "\n").replace('\r', "\n").split('\n').count();
        prop_assert_eq!(lines, comment_lines * events.len());
        let is_expected = items.iter().all(|item| matches!(item, StreamItem::Event(_) | StreamItem::Comment(_)));
        prop_assert!(is_expected, "nothing was smuggled in");
    }

    #[test]
    fn portions_do_not_change_what_is_parsed(
        bytes in prop::collection::vec(prop_oneof![
            any::<u8>(), prop::sample::select(b"\r\n:\n\r \xef\xbb\xbfdataeventidretry0".to_vec())
        ], 0..200),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
        event_bytes_max in 0_usize..100,
    ) {
        let read = |portions: &[&[u8]]| {
            let mut parser = Parser::with_event_bytes_max(event_bytes_max);
            let mut items = Vec::new();
            let failed = portions.iter().any(|portion| parser.feed(portion, &mut |item| items.push(item)).is_err());
            (items, failed, parser.last_event_id().to_owned())
        };
        prop_assert_eq!(read(&[&bytes]), read(&cut(&bytes, &cuts)));
        prop_assert_eq!(read(&[&bytes]), read(&bytes.chunks(1).collect::<Vec<_>>()));
    }

    #[test]
    fn ids_are_read_back_and_fit(id in event_id()) {
        let text = id.to_string();
        prop_assert!(text.len() <= EventId::BYTES_MAX);
        prop_assert_eq!(text.parse(), Ok(id));
    }

    #[test]
    fn what_is_read_as_an_id_is_written_the_same(text in "[0-9a-f]{16}-[0-9]{1,20}-[0-9a-f]{8}(\\.[0-9]{1,10}-[0-9a-f]{8}){0,3}") {
        if let Ok(id) = text.parse::<EventId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }

    #[test]
    fn names_and_patterns_never_panic(text in any::<String>()) {
        let name = ChannelName::parse(&text);
        prop_assert!(name.is_err() || Pattern::parse(&text).is_ok());
        prop_assert_eq!(Subscription::parse(&text).is_ok(), Pattern::parse(&text).is_ok());
    }

    #[test]
    fn matching_is_as_defined(pattern in segments()) {
        if let Ok(pattern) = Pattern::parse(&pattern) {
            for name in ALL_NAMES.iter() {
                prop_assert_eq!(pattern.matches(name), matches_by_definition(pattern.as_str(), name), "{} and {}", pattern, name);
            }
        }
    }

    #[test]
    fn covering_is_matching_every_name_of_the_other(wide in segments(), narrow in segments()) {
        if let (Ok(wide), Ok(narrow)) = (Subscription::parse(&wide), Subscription::parse(&narrow)) {
            let covers = ALL_NAMES.iter().all(|name| !narrow.matches(name) || wide.matches(name));
            prop_assert_eq!(wide.covers(&narrow), covers, "{} over {}", wide, narrow);
        }
    }

    #[test]
    fn publish_bodies_never_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
        let _ = parse_publish(None, &body);
        let listed = [b"[".as_slice(), &body].concat();
        prop_assert!(parse_publish(None, &listed).is_err());
    }

    #[test]
    fn string_data_arrives_verbatim(data in text()) {
        let body = serde_json::json!([{"channels": ["a"], "data": data}]).to_string();
        let Ok(PublishBody::Batch(messages)) = parse_publish(None, body.as_bytes()) else {
            return Err(TestCaseError::fail(body));
        };
        prop_assert_eq!(&messages[0].data, &data);
    }

    #[test]
    fn other_data_arrives_compact(data in json(), indented in any::<bool>()) {
        let value = serde_json::json!({"channels": ["a"], "data": data});
        let body = if indented { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let Ok(PublishBody::One(message)) = parse_publish(Some("application/json"), body.as_bytes()) else {
            return Err(TestCaseError::fail(body));
        };
        prop_assert_eq!(message.data, data.to_string());
    }
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    });
    tree.prop_filter("strings are verbatim", |value| !value.is_string())
}
