//! The log as Redis holds it.

use std::collections::BTreeSet;

use super::ledger::Place;
use super::redis::{Redis, Reply};
use crate::truth::{Label, label_of};

/// Entries in one answer.
const PAGE: usize = 2000;
/// The stream of nodes with the default prefix.
const STREAM: &str = "{tidings}:log";

/// An entry of the stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) place: Place,
    pub(super) channels: Vec<String>,
    pub(super) label: Label,
}

/// Reads all that Redis holds, oldest first.
///
/// # Errors
/// What is no entry of the checker's.
pub(super) async fn read(redis: &Redis) -> Result<Vec<Entry>, String> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let from = entries.last().map_or(1, |last| last.place.offset + 1).to_string();
        let page = redis.say(&["XRANGE", STREAM, &from, "+", "COUNT", &PAGE.to_string()]).await?;
        for entry in page.list() {
            entries.push(decode(entry).ok_or_else(|| format!("redis holds {entry:?}"))?);
        }
        if page.list().len() < PAGE {
            return Ok(entries);
        }
    }
}

/// Deletes the stream, and returns the offset of its newest entry; 0 where it had none.
pub(super) async fn evict(redis: &Redis) -> Result<u64, String> {
    const SCRIPT: &str = "local newest = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
        redis.call('DEL', KEYS[1])
        return newest[1] and newest[1][1] or '0-0'";
    let newest = redis.say(&["EVAL", SCRIPT, "1", STREAM]).await?;
    let offset = newest.text().split('-').next().and_then(|offset| offset.parse().ok());
    offset.ok_or_else(|| format!("redis holds {newest:?}"))
}

/// Where they stand.
pub(super) async fn places(redis: &Redis) -> Result<BTreeSet<Place>, String> {
    Ok(read(redis).await?.iter().map(|entry| entry.place).collect())
}

fn decode(entry: &Reply) -> Option<Entry> {
    let [id, fields] = entry.list() else { return None };
    let offset = id.text().strip_suffix("-0")?.parse().ok()?;
    let field = |name| {
        let mut pairs = fields.list().chunks(2);
        pairs.find_map(|pair| (pair[0].text() == name).then(|| pair.get(1).map(Reply::text)).flatten())
    };
    // Epoch, tag, the tag of the entry before, the time, channels.
    let mut header = field("m")?.split(' ').skip(1);
    let tag = u32::from_str_radix(header.next()?, 16).ok()?;
    Some(Entry {
        place: Place { offset, tag },
        channels: header.skip(2).map(str::to_owned).collect(),
        label: label_of(field("d")?)?,
    })
}
