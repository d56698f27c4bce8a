//! Fuzzing hooks: replies of Redis, and entries of its log.

use bytes::Bytes;
use tidings_log::ReplicatedEntry;
use tidings_protocol::Tag;
use tidings_redis::{ProtocolError, RedisReply, ReplyDecoder};

use super::append_call::{self, Append, NewEvent};
use super::node_messages::NodeMessage;
use super::{epochs, record};

/// Small, so that the decoder also skips texts.
const TEXT_BYTES_MAX: usize = 96;

/// Decodes bytes as replies, at once and in portions, and passes each reply to every function that reads one.
///
/// # Panics
/// If portions change the result, or a reply exceeds a bound.
pub fn resp(bytes: &[u8]) {
    let whole = replies(&[bytes]);
    let portion = usize::from(bytes.last().copied().unwrap_or_default()).max(1);
    assert_eq!(replies(&bytes.chunks(portion).collect::<Vec<_>>()), whole);
    assert_eq!(replies(&bytes.chunks(1).collect::<Vec<_>>()), whole);
    for reply in &whole.0 {
        is_bounded(reply);
        understand(reply);
    }
}

fn replies(portions: &[&[u8]]) -> (Vec<RedisReply>, Option<ProtocolError>) {
    let mut decoder = ReplyDecoder::new(TEXT_BYTES_MAX);
    let mut replies = Vec::new();
    for portion in portions {
        decoder.buffer().extend_from_slice(portion);
        loop {
            match decoder.next_reply() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(fault) => return (replies, Some(fault)),
            }
        }
    }
    (replies, None)
}

fn is_bounded(reply: &RedisReply) {
    match reply {
        RedisReply::Text(text) => assert!(text.len() <= TEXT_BYTES_MAX),
        RedisReply::TooLarge(bytes) => assert!(*bytes > TEXT_BYTES_MAX as u64),
        RedisReply::Array(replies) => replies.iter().for_each(is_bounded),
        RedisReply::Word(_) | RedisReply::Error(_) | RedisReply::Number(_) | RedisReply::Nil => {}
    }
}

fn understand(reply: &RedisReply) {
    if let Ok(stored) = record::decode_all(reply) {
        stored.iter().for_each(survives_its_fields);
        if let Some(first) = stored.first() {
            let events = vec![NewEvent { entry: first.entry.clone(), tag: Tag(1) }];
            let _ = append_call::outcomes(reply, &[Append { events }]);
        }
    }
    let _ = append_call::outcomes(reply, &[]);
    let _ = epochs::head(reply);
    let _ = epochs::begun(reply);
    if let Some(word) = reply.text().and_then(NodeMessage::decode) {
        let again = NodeMessage::decode(&word.encode());
        assert_eq!(format!("{again:?}"), format!("{:?}", Some(word)));
    }
    reply.array().unwrap_or_default().iter().for_each(understand);
}

/// Reads texts as the id and the fields of an entry of the log.
///
/// # Panics
/// If an entry changes when it is written and read again.
pub fn redis_entry(id: &[u8], fields: &[(&[u8], &[u8])]) {
    let texts = fields.iter().flat_map(|(name, value)| [*name, *value]);
    if let Ok(stored) = record::decode_all(&entry(id, texts)) {
        stored.iter().for_each(survives_its_fields);
    }
}

fn entry<'a>(id: &[u8], texts: impl Iterator<Item = &'a [u8]>) -> RedisReply {
    let text = |bytes: &[u8]| RedisReply::Text(Bytes::copy_from_slice(bytes));
    RedisReply::Array(vec![RedisReply::Array(vec![text(id), RedisReply::Array(texts.map(text).collect())])])
}

fn survives_its_fields(stored: &ReplicatedEntry) {
    let new_entry = &stored.entry;
    assert!(!new_entry.channels.is_empty() && stored.tag != Tag(0));
    let header = record::header(stored.epoch, stored.tag, stored.before, new_entry);
    let further = record::further_fields(new_entry);
    let mut texts = vec!["m", header.as_str(), "d", &new_entry.data];
    further.iter().for_each(|(name, value)| texts.extend([*name, value.as_str()]));
    let id = format!("{}-0", stored.offset);
    let again = record::decode_all(&entry(id.as_bytes(), texts.into_iter().map(str::as_bytes)));
    let again = again.expect("an entry that was read can be written");
    assert_eq!(format!("{again:?}"), format!("{:?}", [stored]));
}
