//! What must outlive the entries that it came from: epochs, losses, and idempotency keys of dropped entries.

use serde::{Deserialize, Serialize};
use tidings_protocol::{ChannelName, Epoch, Subscription};

use super::{
    entry::offset_within,
    subscriptions::{subscription_texts, wants},
};

/// Kept beside the entries, as one line of CRC-32 and one of JSON, replaced whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    /// Oldest first.
    pub(crate) epochs: Vec<EpochRow>,
    /// Per channel, the last entry that it lost, and the last that it let go, missed or not.
    pub(crate) trims: Vec<(String, u64, u64)>,
    /// Counts for every channel without a trim of its own.
    pub(crate) floor: u64,
    /// Keys whose entries are not kept any more.
    pub(crate) keys: Vec<KeyRow>,
    /// Offsets that no file stands for any more, as first and last.
    pub(crate) dropped: Vec<(u64, u64)>,
    /// One more than that of the checkpoint before.
    #[serde(default)]
    pub(crate) number: u64,
}

/// One incarnation of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EpochRow {
    pub(crate) epoch: u64,
    /// The head when it began: it ended the one before there.
    pub(crate) begins_after: u64,
    /// What whoever comes from an earlier epoch has missed.
    pub(crate) lost: LostChannels,
}

impl EpochRow {
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }
}

/// What an epoch began without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LostChannels {
    /// Nothing: ids of the one before are as good as new.
    None,
    /// Something of these channels.
    Channels(Vec<String>),
    /// Nobody knows what, so every channel.
    All,
}

impl LostChannels {
    /// The names that a reader of `subscriptions` has lost, or its subscriptions where names are not known.
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
    /// Encodes it with its checksum.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("a checkpoint is plain data");
        let mut out = format!("{:08x}\n", crc32fast::hash(&json)).into_bytes();
        out.extend_from_slice(&json);
        out
    }

    /// Reads it back; `None` if it is not what was written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (crc, json) = bytes.split_at_checked(9)?;
        let crc = u32::from_str_radix(std::str::from_utf8(&crc[..8]).ok()?, 16).ok()?;
        if crc32fast::hash(json) != crc {
            return None;
        }
        serde_json::from_slice(json).ok().filter(Self::is_within_bounds)
    }

    /// Whether one more than any of its numbers is a number, too. The checksum only tells that the file is as it was
    /// written.
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
