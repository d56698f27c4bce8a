//! The checkpoint: epochs, losses, and idempotency keys of entries that are no longer stored.

use serde::{Deserialize, Serialize};
use tidings_protocol::{ChannelName, Epoch, Subscription};

use super::entry::offset_within;
use super::subscriptions::{subscription_texts, wants};

/// State beside the entries, stored as one line of CRC-32 and one of JSON, and replaced as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Oldest first.
    pub(crate) epochs: Vec<EpochRow>,
    /// Per channel: its name, the last entry that it lost, and the last entry that it removed.
    pub(crate) trims: Vec<(String, u64, u64)>,
    /// Trim of every channel without a row in `trims`.
    pub(crate) floor: u64,
    /// Keys whose entries are no longer stored.
    pub(crate) keys: Vec<KeyRow>,
    /// Ranges of offsets without a file, as first and last.
    pub(crate) dropped: Vec<(u64, u64)>,
    /// One more than the number of the previous checkpoint.
    #[serde(default)]
    pub(crate) number: u64,
}

/// One incarnation of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRow {
    pub epoch: u64,
    /// Head when the epoch began; the previous epoch ends there.
    pub begins_after: u64,
    /// Losses of a client whose id is of an earlier epoch.
    pub lost: LostChannels,
}

impl EpochRow {
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }
}

/// Channels whose events were lost when an epoch began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LostChannels {
    /// No channel: ids of the previous epoch are valid.
    None,
    /// These channels.
    Channels(Vec<String>),
    /// Any channel: the log does not know which.
    All,
}

impl LostChannels {
    /// The lost channels that `subscriptions` match, or the subscriptions if the channels are not known.
    pub(super) fn of(&self, subscriptions: &[Subscription]) -> Vec<String> {
        match self {
            Self::None => Vec::new(),
            Self::All => subscription_texts(subscriptions),
            Self::Channels(names) => {
                let mine = |name: &&String| {
                    ChannelName::parse(name).is_ok_and(|channel| wants(subscriptions, &channel))
                };
                names.iter().filter(mine).cloned().collect()
            }
        }
    }
}

/// An idempotency key and its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRow {
    pub(crate) publisher: String,
    pub(crate) key: String,
    pub(crate) fingerprint: [u8; 16],
    pub(crate) offset: u64,
    pub(crate) tag: u32,
    pub(crate) published_at: u64,
}

impl Checkpoint {
    /// Encodes the checkpoint with its checksum.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("a checkpoint is plain data");
        let mut out = format!("{:08x}\n", crc32fast::hash(&json)).into_bytes();
        out.extend_from_slice(&json);
        out
    }

    /// Decodes a checkpoint; `None` if the checksum or a number is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (crc, json) = bytes.split_at_checked(9)?;
        let crc = u32::from_str_radix(std::str::from_utf8(&crc[..8]).ok()?, 16).ok()?;
        if crc32fast::hash(json) != crc {
            return None;
        }
        serde_json::from_slice(json).ok().filter(Self::is_within_bounds)
    }

    /// Whether no number is above [`OFFSET_MAX`](super::entry::OFFSET_MAX). The checksum does not say so.
    fn is_within_bounds(&self) -> bool {
        let epochs = self.epochs.iter().map(|row| row.begins_after);
        let trims = self.trims.iter().flat_map(|(_, lost, gone)| [*lost, *gone]);
        let keys = self.keys.iter().map(|row| row.offset);
        let dropped = self.dropped.iter().flat_map(|(first, last)| [*first, *last]);
        let mut numbers =
            [self.floor, self.number].into_iter().chain(epochs).chain(trims).chain(keys).chain(dropped);
        numbers.all(|number| offset_within(number).is_some())
    }
}
