//! Rows of a shared table, and versions of rows and tables, as Redis holds them.

use tidings_redis::{RedisError, RedisReply};

use crate::broker::redis::{error::corrupt, record::hex};

/// Version of a row or of a table: a random number, so that two states never share one.
///
/// The version of a table without rows is 0. A table whose rows Redis evicted has therefore another version than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RowVersion(pub(super) u64);

impl RowVersion {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.is_empty() { Some(Self(0)) } else { hex(text, 16).map(Self) }
    }
}

impl std::fmt::Display for RowVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, "{:016x}", self.0) }
    }
}

/// A row of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TableRow {
    pub(crate) key: String,
    pub(crate) version: RowVersion,
    pub(crate) value: String,
}

impl TableRow {
    pub(super) fn parse(key: &str, text: &str) -> Option<Self> {
        let (head, value) = text.split_once(' ')?;
        let version = head.split_once('@').map_or(head, |(version, _until)| version);
        Some(Self { key: key.to_owned(), version: RowVersion::parse(version)?, value: value.to_owned() })
    }
}

/// Reads the versions of all tables.
pub(in crate::broker::redis) fn versions(
    reply: &RedisReply,
) -> Result<Vec<(String, RowVersion)>, RedisError> {
    let versions = pairs(reply)?.filter_map(|(name, text)| Some((name.to_owned(), RowVersion::parse(text)?)));
    Ok(versions.collect())
}

/// Reads the version of one table.
pub(super) fn version_of(reply: &RedisReply) -> Result<RowVersion, RedisError> {
    match reply {
        RedisReply::Nil => Ok(RowVersion(0)),
        reply => {
            let version = reply.str().and_then(RowVersion::parse);
            version.ok_or_else(|| corrupt("the version of a table cannot be read"))
        }
    }
}

/// Returns the names and values of a hash. Values that are not UTF-8 come from other programs and are skipped.
pub(super) fn pairs(reply: &RedisReply) -> Result<impl Iterator<Item = (&str, &str)>, RedisError> {
    let texts = reply.array().ok_or_else(|| corrupt("a shared table is no hash"))?;
    Ok(texts.chunks(2).filter_map(|pair| Some((pair.first()?.str()?, pair.get(1)?.str()?))))
}
