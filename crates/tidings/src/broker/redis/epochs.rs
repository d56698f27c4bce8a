//! The epochs of the log, and its head, as Redis keeps them.

use serde::{Deserialize, Serialize};
use tidings_protocol::{ChannelName, Epoch, Tag};

use super::{
    RedisKeys,
    error::RedisError,
    record,
    record::hex,
    resp::{RedisCommand, RedisReply},
    scripts::Script,
    shared_table::{self, RowVersion},
};
use crate::log::entry::offset_within;

/// Rows that are kept: ids of epochs before them are not known any more.
const ROWS_MAX: u64 = 1000;

/// One epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedisEpoch {
    pub(crate) epoch: Epoch,
    /// The head when it began: the one before ended there.
    pub(crate) after: u64,
    pub(crate) lost: EpochLoss,
    /// Of which epoch it tells that entries up to which offset were seen, and lost.
    pub(crate) of: Option<(Epoch, u64)>,
}

/// What whoever comes from an earlier epoch has missed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EpochLoss {
    None,
    /// Entries of these channels.
    Channels(Vec<ChannelName>),
    /// Too many to name, or unknown.
    All,
}

/// An epoch to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewEpoch {
    /// Random.
    pub(crate) epoch: Epoch,
    pub(crate) lost: EpochLoss,
    /// The server's replication id that it begins with.
    pub(crate) replid: String,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BeginOutcome {
    /// It is the newest.
    Now(RedisEpoch),
    /// A row tells of that loss already.
    Known,
    /// The newest was not the one that the caller knows; none where there is no log.
    Other { newest: Option<Epoch> },
}

/// Where the log stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedisHead {
    /// Oldest first; none where there is no log.
    pub(crate) epochs: Vec<RedisEpoch>,
    pub(crate) offset: u64,
    /// Of the entry there; 0 where none was ever appended.
    pub(crate) tag: Tag,
    /// None where nothing is kept.
    pub(crate) oldest: Option<u64>,
    /// The server's replication id, empty where it tells none: another means that another server's data is, or may be, here.
    pub(crate) replid: String,
    /// The one with which the newest epoch began.
    pub(crate) epoch_replid: String,
    /// The version of each table of small state.
    pub(crate) versions: Vec<(String, RowVersion)>,
    /// The part that is gone while others are there: a key was evicted or deleted, and nothing else of the head counts.
    pub(crate) lacks: Option<&'static str>,
    /// The server's time in milliseconds since 1970; none where an ACL hides it.
    pub(crate) now: Option<u64>,
}

impl RedisHead {
    pub(crate) fn newest(&self) -> Option<&RedisEpoch> {
        self.epochs.last()
    }
}

/// A row as JSON. Epochs are text: a script's numbers are too short for them.
#[derive(Serialize, Deserialize)]
struct EpochJson {
    epoch: String,
    lost: EpochLoss,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    of: Option<String>,
    /// The script adds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    after: Option<u64>,
}

impl EpochJson {
    fn row(self) -> Option<RedisEpoch> {
        let of = match self.of {
            None => None,
            Some(of) => {
                let (epoch, highest) = of.split_once('-')?;
                Some((Epoch(hex(epoch, 16)?), offset_within(highest.parse().ok()?)?))
            }
        };
        Some(RedisEpoch {
            epoch: Epoch(hex(&self.epoch, 16)?),
            after: offset_within(self.after?)?,
            lost: self.lost,
            of,
        })
    }
}

fn row(reply: &RedisReply) -> Result<RedisEpoch, RedisError> {
    let json = reply.text().and_then(|text| serde_json::from_slice::<EpochJson>(text).ok());
    json.and_then(EpochJson::row).ok_or_else(|| RedisError::corrupt("a row of the epochs cannot be read"))
}

/// Where an epoch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EpochStart {
    /// There is no log.
    Nothing,
    /// The log lacks a part: the rest of it goes.
    Remains,
    /// At the head of this epoch.
    HeadOf(Epoch),
}

/// The call that begins an epoch.
pub(super) fn begin(
    script: &Script,
    keys: &RedisKeys,
    at: EpochStart,
    new: NewEpoch,
    of: Option<(Epoch, u64)>,
) -> RedisCommand {
    let epoch = new.epoch.to_string();
    let of = of.map(|(epoch, highest)| format!("{epoch}-{highest}"));
    let json = EpochJson { epoch: epoch.clone(), lost: new.lost, of: of.clone(), after: None };
    let json = serde_json::to_string(&json).expect("a row is names and numbers");
    let mut command = script.call(4);
    for key in [&keys.log, &keys.meta, &keys.epochs, &keys.versions] {
        command.push(key);
    }
    command.push(if let EpochStart::HeadOf(expected) = at { expected.to_string() } else { String::new() });
    command.push(epoch);
    command.push(json.strip_suffix('}').expect("a row is an object"));
    command.push(new.replid);
    command.push_number(ROWS_MAX);
    command.push(of.unwrap_or_default());
    command.push(if at == EpochStart::Remains { "anew" } else { "" });
    command
}

/// Reads the answer to it.
pub(super) fn begun(reply: &RedisReply) -> Result<BeginOutcome, RedisError> {
    let parts = reply.array().unwrap_or_default();
    match (parts.first().and_then(RedisReply::str), parts.get(1)) {
        (Some("begun"), Some(reply)) => Ok(BeginOutcome::Now(row(reply)?)),
        (Some("known"), _) => Ok(BeginOutcome::Known),
        (Some("other"), Some(newest)) => {
            Ok(BeginOutcome::Other { newest: newest.str().and_then(|text| hex(text, 16)).map(Epoch) })
        }
        _ => Err(RedisError::corrupt("the script that begins an epoch answered something else")),
    }
}

/// The call that reads where the log stands.
pub(super) fn head_command(script: &Script, keys: &RedisKeys) -> RedisCommand {
    let mut command = script.call(4);
    for key in [&keys.log, &keys.meta, &keys.epochs, &keys.versions] {
        command.push(key);
    }
    command.push(keys.shared_table(""));
    command
}

/// Reads the answer to it.
pub(super) fn head(reply: &RedisReply) -> Result<RedisHead, RedisError> {
    let Some([rows, meta, oldest, replid, versions, now]) = reply.array() else {
        return Err(RedisError::corrupt("the script that reads the head answered something else"));
    };
    let epochs = rows.array().unwrap_or_default().iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let oldest = oldest.str().map(record::offset_of).transpose()?;
    let Some([head, tag, _, epoch_replid]) = meta.array() else {
        return Err(RedisError::corrupt("meta is no hash"));
    };
    let versions = shared_table::versions(versions)?;
    let now = now.number();
    let replid = replid.str().unwrap_or_default().to_owned();
    let lacks = missing_part(&epochs, meta.array().unwrap_or_default(), oldest);
    if lacks.is_some() || epochs.is_empty() {
        let (offset, tag, epoch_replid) = (0, Tag(0), String::new());
        return Ok(RedisHead { epochs, offset, tag, oldest, replid, epoch_replid, versions, lacks, now });
    }
    let tag = tag.str().and_then(|text| hex(text, 8)).and_then(|tag| u32::try_from(tag).ok());
    let offset = head.number().and_then(offset_within);
    let (Some(offset), Some(tag), Some(epoch_replid)) = (offset, tag, epoch_replid.str()) else {
        return Err(RedisError::corrupt("a part of meta cannot be read"));
    };
    let epoch_replid = epoch_replid.to_owned();
    Ok(RedisHead { epochs, offset, tag: Tag(tag), oldest, replid, epoch_replid, versions, lacks, now })
}

/// The part that a log lacks though others are there. A log without a stream lacks nothing: all of its entries are gone as if
/// they had been trimmed.
fn missing_part(epochs: &[RedisEpoch], meta: &[RedisReply], oldest: Option<u64>) -> Option<&'static str> {
    let Some(row) = epochs.last() else {
        let is_there = oldest.is_some() || meta.iter().any(|part| *part != RedisReply::Nil);
        return is_there.then_some("the list of epochs");
    };
    if meta.contains(&RedisReply::Nil) {
        return Some("the head, or a part of it");
    }
    let [head, _, epoch, _] = meta else { return None };
    if epoch.str() != Some(row.epoch.to_string().as_str()) {
        return Some("the newest epoch");
    }
    let is_above = head.number().is_some_and(|head| oldest.is_some_and(|oldest| oldest > head));
    is_above.then_some("the head of its entries")
}
