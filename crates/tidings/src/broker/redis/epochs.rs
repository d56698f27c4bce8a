//! Epoch rows and head of the log in Redis.

use serde::{Deserialize, Serialize};
use tidings_log::{EpochRow, LostChannels, offset_within};
use tidings_protocol::{ChannelName, Epoch, Tag};
use tidings_redis::{RedisCommand, RedisError, RedisReply};

use super::error::corrupt;
use super::keys::RedisKeys;
use super::record;
use super::record::hex;
use super::scripts::{BEGIN, HEAD};
use super::shared_table::row::{RowVersion, versions};

/// Rows that are kept. Ids of older epochs are unknown.
const ROWS_MAX: u64 = 1000;

/// An epoch row as Redis holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedisEpoch {
    pub(crate) row: EpochRow,
    /// Loss that the row reports: the epoch, and the newest of its offsets that a node had seen.
    pub(crate) of: Option<(Epoch, u64)>,
}

/// An epoch to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEpoch {
    /// Random.
    pub(crate) epoch: Epoch,
    pub(crate) lost: LostChannels,
    /// Replication id of the server at which the epoch begins.
    pub(crate) replid: String,
}

/// Result of an attempt to begin an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BeginOutcome {
    /// The epoch began.
    Now(RedisEpoch),
    /// A row reports the loss already.
    Known,
    /// Another epoch than the expected one is the newest; `None` if Redis holds no log.
    Other { newest: Option<Epoch> },
}

/// Head of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedisHead {
    /// Oldest first; empty if Redis holds no log.
    pub(crate) epochs: Vec<RedisEpoch>,
    pub(crate) offset: u64,
    /// Tag of the newest entry; 0 if the log never had one.
    pub(crate) tag: Tag,
    /// Oldest offset; `None` if Redis keeps no entry.
    pub(crate) oldest: Option<u64>,
    /// Replication id of the server, empty if it hides the id. A new id means that the data may be that of another server.
    pub(crate) replid: String,
    /// Replication id with which the newest epoch began.
    pub(crate) epoch_replid: String,
    /// Version of each shared table.
    pub(crate) versions: Vec<(String, RowVersion)>,
    /// Part that is missing while others exist: Redis evicted or lost a key. The other fields do not count then.
    pub(crate) lacks: Option<&'static str>,
    /// Time of the server in milliseconds since 1970; `None` if the ACL hides it.
    pub(crate) now: Option<u64>,
}

impl RedisHead {
    pub(crate) fn newest(&self) -> Option<&RedisEpoch> {
        self.epochs.last()
    }
}

/// A row as JSON. Epochs are text, because numbers of Lua have 53 bits.
#[derive(Serialize, Deserialize)]
struct EpochJson {
    epoch: String,
    lost: LostChannels,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    /// Added by the script.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
}

impl EpochJson {
    fn row(self) -> Option<RedisEpoch> {
        if let LostChannels::Channels(names) = &self.lost {
            names.iter().try_for_each(|name| ChannelName::parse(name).map(drop)).ok()?;
        }
        let of = match self.of {
            None => None,
            Some(of) => {
                let (epoch, highest) = of.split_once('-')?;
                Some((Epoch(hex(epoch, 16)?), offset_within(highest.parse().ok()?)?))
            }
        };
        let row = EpochRow {
            epoch: hex(&self.epoch, 16)?,
            begins_after: offset_within(self.after?)?,
            lost: self.lost,
        };
        Some(RedisEpoch { row, of })
    }
}

fn row(reply: &RedisReply) -> Result<RedisEpoch, RedisError> {
    let json = reply.text().and_then(|text| serde_json::from_slice::<EpochJson>(text).ok());
    json.and_then(EpochJson::row).ok_or_else(|| corrupt("a row of the epochs cannot be read"))
}

/// State of the log at which an epoch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EpochStart {
    /// Redis holds no log.
    Nothing,
    /// The log lacks a part, and the script deletes the rest.
    Remains,
    /// This epoch is the newest; the new one begins at its head.
    HeadOf(Epoch),
}

/// Returns the command that begins an epoch.
pub(super) fn begin(
    keys: &RedisKeys,
    at: EpochStart,
    new: NewEpoch,
    of: Option<(Epoch, u64)>,
) -> RedisCommand {
    let epoch = new.epoch.to_string();
    let of = of.map(|(epoch, highest)| format!("{epoch}-{highest}"));
    let json = EpochJson { epoch: epoch.clone(), lost: new.lost, of: of.clone(), after: None };
    let json = serde_json::to_string(&json).expect("a row is names and numbers");
    let expected = if let EpochStart::HeadOf(expected) = at { expected.to_string() } else { String::new() };
    let json = json.strip_suffix('}').expect("a row is an object");
    let anew = if at == EpochStart::Remains { "anew" } else { "" };
    let of = of.unwrap_or_default();
    let command = BEGIN.call(&[&keys.log, &keys.meta, &keys.epochs, &keys.versions]);
    command.args([expected.as_str(), &epoch, json, &new.replid, &ROWS_MAX.to_string(), &of, anew])
}

/// Reads the answer of [`begin`].
pub(super) fn begun(reply: &RedisReply) -> Result<BeginOutcome, RedisError> {
    let parts = reply.array().unwrap_or_default();
    match (parts.first().and_then(RedisReply::str), parts.get(1)) {
        (Some("begun"), Some(reply)) => Ok(BeginOutcome::Now(row(reply)?)),
        (Some("known"), _) => Ok(BeginOutcome::Known),
        (Some("other"), Some(newest)) => {
            Ok(BeginOutcome::Other { newest: newest.str().and_then(|text| hex(text, 16)).map(Epoch) })
        }
        _ => Err(corrupt("the epoch script gave an unexpected answer")),
    }
}

/// Returns the command that reads the head.
pub(super) fn head_command(keys: &RedisKeys) -> RedisCommand {
    HEAD.call(&[&keys.log, &keys.meta, &keys.epochs, &keys.versions]).arg(keys.shared_table(""))
}

/// Reads the answer of [`head_command`].
pub(super) fn head(reply: &RedisReply) -> Result<RedisHead, RedisError> {
    let Some([rows, meta, oldest, replid, table_versions, now]) = reply.array() else {
        return Err(corrupt("the head script gave an unexpected answer"));
    };
    let epochs = rows.array().unwrap_or_default().iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let oldest = oldest.str().map(record::offset_of).transpose()?;
    let Some([head, tag, _, epoch_replid]) = meta.array() else {
        return Err(corrupt("meta is no hash"));
    };
    let versions = versions(table_versions)?;
    let now = now.number();
    let replid = replid.str().unwrap_or_default().to_owned();
    let lacks = missing_part(&epochs, meta.array().unwrap_or_default(), oldest);
    let found = if lacks.is_some() || epochs.is_empty() {
        (Some(0), Some(0), Some(""))
    } else {
        let tag = tag.str().and_then(|text| hex(text, 8)).and_then(|tag| u32::try_from(tag).ok());
        (head.number().and_then(offset_within), tag, epoch_replid.str())
    };
    let (Some(offset), Some(tag), Some(epoch_replid)) = found else {
        return Err(corrupt("a part of meta cannot be read"));
    };
    let (tag, epoch_replid) = (Tag(tag), epoch_replid.to_owned());
    Ok(RedisHead { epochs, offset, tag, oldest, replid, epoch_replid, versions, lacks, now })
}

/// Returns the part that is missing while others exist. A missing stream counts as a log with all entries trimmed.
fn missing_part(epochs: &[RedisEpoch], meta: &[RedisReply], oldest: Option<u64>) -> Option<&'static str> {
    let Some(newest) = epochs.last() else {
        let is_there = oldest.is_some() || meta.iter().any(|part| *part != RedisReply::Nil);
        return is_there.then_some("the list of epochs");
    };
    if meta.contains(&RedisReply::Nil) {
        return Some("the head, or a part of it");
    }
    let [head, _, epoch, _] = meta else { return None };
    if epoch.str() != Some(newest.row.epoch().to_string().as_str()) {
        return Some("the newest epoch");
    }
    let is_above = head.number().is_some_and(|head| oldest.is_some_and(|oldest| oldest > head));
    is_above.then_some("the head of its entries")
}
