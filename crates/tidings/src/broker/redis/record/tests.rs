use bytes::Bytes;

use super::*;

const WHOLE: &[(&str, &str)] = &[
    ("m", "00000000000000ab 0000beef 0000f00d 1700000000000 a.b user:1"),
    ("d", "text"),
    ("v", "0000cafe"),
    ("n", "created"),
    ("p", "high"),
    ("k", "row 7"),
    ("x", "1700000001000"),
    ("later", "unknown"),
];

fn text(text: &str) -> RedisReply {
    RedisReply::Text(Bytes::copy_from_slice(text.as_bytes()))
}

fn entry(id: &str, fields: &[(&str, &str)]) -> RedisReply {
    let texts = fields.iter().flat_map(|(name, value)| [text(name), text(value)]).collect();
    RedisReply::Array(vec![text(id), RedisReply::Array(texts)])
}

#[test]
fn an_entry_is_read_whole() {
    let stored = decode(&entry("42-0", WHOLE)).unwrap();
    assert_eq!((stored.offset, stored.epoch, stored.tag), (42, Epoch(0xab), Tag(0xbeef)));
    assert_eq!(stored.before, Tag(0xcafe));
    let entry = stored.entry;
    let channels: Vec<_> = entry.channels.iter().map(ChannelName::as_str).collect();
    assert_eq!(channels, ["a.b", "user:1"]);
    assert_eq!(entry.event.as_ref().map(EventName::as_str), Some("created"));
    assert_eq!((entry.priority, entry.key.as_deref()), (Priority::High, Some("row 7")));
    assert_eq!((entry.published_at, entry.expires_at), (1_700_000_000_000, Some(1_700_000_001_000)));
    assert_eq!(&*entry.data, "text");
}

#[test]
fn a_field_that_does_not_parse_names_the_offset() {
    for (name, value) in [
        ("m", ""),
        ("m", "00000000000000AB 0000beef 0000f00d 1700000000000 a.b"),
        ("m", "ab 0000beef 0000f00d 1700000000000 a.b"),
        ("m", "00000000000000ab 00000000 0000f00d 1700000000000 a.b"),
        ("m", "00000000000000ab beef 0000f00d 1700000000000 a.b"),
        ("m", "00000000000000ab 0000beef 0000f00d soon a.b"),
        ("m", "00000000000000ab 0000beef 0000f00d 1700000000000"),
        ("m", "00000000000000ab 0000beef 0000f00d 1700000000000 a  b"),
        ("m", "00000000000000ab 0000beef 0000f00d 1700000000000 $hidden"),
        ("m", "00000000000000ab 0000beef f00d 1700000000000 a.b"),
        ("v", "cafe"),
        ("n", "two\nlines"),
        ("p", "urgent"),
        ("x", "-1"),
    ] {
        let fields: Vec<_> =
            WHOLE.iter().map(|field| if field.0 == name { (name, value) } else { *field }).collect();
        let fault = decode(&entry("42-0", &fields)).expect_err(name);
        let is_named = fault.to_string().starts_with("event 42 in redis cannot be read: ");
        assert!(is_named, "{name}={value:?}: {fault}");
    }
}

#[test]
fn a_field_that_is_missing_or_occurs_twice_is_refused() {
    for name in ["m", "d"] {
        let without: Vec<_> = WHOLE.iter().copied().filter(|field| field.0 != name).collect();
        decode(&entry("1-0", &without)).expect_err(name);
        let twice: Vec<_> = WHOLE.iter().copied().chain([(name, "again")]).collect();
        decode(&entry("1-0", &twice)).expect_err(name);
    }
}

#[test]
fn an_id_that_no_hub_gives_is_refused() {
    for id in ["1700000000000-1", "x-0", "7", ""] {
        let fault = decode(&entry(id, WHOLE)).expect_err(id);
        assert!(fault.to_string().starts_with("redis holds data that no hub writes: "), "{fault}");
    }
}

#[test]
fn what_is_written_is_what_is_read() {
    let new_entry = decode(&entry("42-0", WHOLE)).unwrap().entry;
    let header = header(Epoch(0xab), Tag(0xbeef), Tag(0xf00d), &new_entry);
    let further = further_fields(&new_entry);
    let further = further.iter().map(|(name, value)| (*name, value.as_str()));
    let written: Vec<_> =
        [("m", header.as_str()), ("d", "text"), ("v", "0000cafe")].into_iter().chain(further).collect();
    assert_eq!(written, WHOLE[..WHOLE.len() - 1]);
}

#[test]
fn an_offset_that_nothing_may_follow_is_refused() {
    assert_eq!(offset_of("9007199254740991-0"), Ok((1 << 53) - 1));
    for id in ["9007199254740992-0", "18446744073709551615-0"] {
        assert!(decode(&entry(id, WHOLE)).is_err(), "{id}");
    }
}

#[test]
fn an_entry_names_as_many_channels_as_a_message_may_and_no_more() {
    let with_channels = |count: usize| {
        let names: Vec<String> = (0..count).map(|number| format!("c.{number}")).collect();
        let header = format!("00000000000000ab 0000beef 0000f00d 1700000000000 {}", names.join(" "));
        decode(&entry("42-0", &[("m", &header), ("d", "text")]))
    };
    assert_eq!(with_channels(MESSAGE_CHANNELS_MAX).unwrap().entry.channels.len(), MESSAGE_CHANNELS_MAX);
    for count in [MESSAGE_CHANNELS_MAX + 1, usize::from(u16::MAX) + 1] {
        let fault = with_channels(count).unwrap_err().to_string();
        assert!(
            fault.contains(&format!("field m names more than {MESSAGE_CHANNELS_MAX} channels")),
            "{fault}"
        );
    }
}
