//! The log in Redis.

use std::collections::BTreeSet;

use tidings_testkit::{RedisServer, RespReply};

use super::history::TaggedOffset;
use super::redis_calls::command;
use crate::oracle::{EventLabel, label_of};

/// Entries of one reply.
const PAGE: usize = 2000;
/// The stream of nodes with the default prefix.
const STREAM: &str = "{tidings}:log";

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LogRecord {
    pub(super) place: TaggedOffset,
    pub(super) channels: Vec<String>,
    pub(super) label: EventLabel,
}

/// Reads all entries, oldest first.
///
/// # Panics
/// On an entry that is not the checker's.
pub(super) fn read(redis: &RedisServer) -> Vec<LogRecord> {
    let mut records: Vec<LogRecord> = Vec::new();
    loop {
        let from = records.last().map_or(1, |last| last.place.offset + 1).to_string();
        let page = command(redis, &["XRANGE", STREAM, &from, "+", "COUNT", &PAGE.to_string()]).list();
        let is_last = page.len() < PAGE;
        for entry in &page {
            records.push(decode(entry).unwrap_or_else(|| panic!("redis has the entry {entry:?}")));
        }
        if is_last {
            return records;
        }
    }
}

/// Deletes the stream, and returns the offset of its newest entry; 0 if it was empty.
pub(super) fn evict(redis: &RedisServer) -> u64 {
    const SCRIPT: &str = "local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
        redis.call('DEL', KEYS[1])
        return newest[1] and newest[1][1] or '0-0'";
    let newest = command(redis, &["EVAL", SCRIPT, "1", STREAM]).text();
    let offset = newest.split('-').next().and_then(|offset| offset.parse().ok());
    offset.unwrap_or_else(|| panic!("redis has the entry {newest:?}"))
}

/// Reads the offsets and tags of all entries.
pub(super) fn places(redis: &RedisServer) -> BTreeSet<TaggedOffset> {
    read(redis).iter().map(|record| record.place).collect()
}

fn decode(entry: &RespReply) -> Option<LogRecord> {
    let RespReply::List(parts) = entry else { return None };
    let [RespReply::Text(id), RespReply::List(fields)] = &parts[..] else { return None };
    let offset = id.strip_suffix("-0")?.parse().ok()?;
    let field = |name: &str| {
        fields.chunks(2).find_map(|pair| match pair {
            [RespReply::Text(key), RespReply::Text(value)] if key == name => Some(value),
            _ => None,
        })
    };
    // Epoch, tag, tag of the previous entry, time, channels.
    let mut header = field("m")?.split(' ').skip(1);
    let tag = u32::from_str_radix(header.next()?, 16).ok()?;
    Some(LogRecord {
        place: TaggedOffset { offset, tag },
        channels: header.skip(2).map(str::to_owned).collect(),
        label: label_of(field("d")?)?,
    })
}
