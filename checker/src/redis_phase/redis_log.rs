//! The log in Redis, and commands of a redis-server.

use std::collections::BTreeSet;

use tidings_testkit::{RedisServer, RespReply};

use crate::history::{EventLabel, LogPosition};
use crate::oracle::LogRecord;

/// Entries of one reply.
const PAGE: usize = 2000;
/// The stream of nodes with the default prefix.
const STREAM: &str = "{tidings}:log";

/// Sends a command and returns its reply.
pub(super) fn command(server: &RedisServer, words: &[&str]) -> RespReply {
    match server.command(words) {
        RespReply::Error(error) => panic!("{}: {error}", words.join(" ")),
        reply => reply,
    }
}

/// Makes a server the replica of another, also if it is one already, and waits until it has the primary's data.
pub(super) fn follow(replica: &RedisServer, primary: &RedisServer) {
    command(replica, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    replica.wait_for_primary();
}

/// Reads all entries, oldest first.
pub(super) fn read(redis: &RedisServer) -> Vec<LogRecord> {
    let mut records: Vec<LogRecord> = Vec::new();
    loop {
        let from = records.last().map_or(1, |last| last.position.offset + 1).to_string();
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

/// Reads the positions of all entries.
pub(super) fn positions(redis: &RedisServer) -> BTreeSet<LogPosition> {
    read(redis).iter().map(|record| record.position).collect()
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
        position: LogPosition { generation: 0, offset, tag },
        channels: header.skip(2).map(str::to_owned).collect(),
        label: EventLabel::parse(field("d")?)?,
    })
}
