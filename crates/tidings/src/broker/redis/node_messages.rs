//! What nodes say to one another past the log, on a Pub/Sub channel of the hub's own.

use serde::{Deserialize, Serialize};
use tidings_protocol::{ChannelName, EventName};

use super::record::hex;
use crate::log::entry::NewEntry;

/// One word of a node to all nodes. Each hears all of them, and the messages of other programs between them, in one order.
#[derive(Debug)]
pub(super) enum NodeMessage {
    /// An event that is in no log.
    Event(LiveEvent),
    /// A place to count messages from, of a random name.
    Mark(u64),
    /// The next message is a copy of what the hub has in its log, for other programs.
    Mirrored(String),
    /// Whoever captured does so no more.
    Free,
}

/// What a mirrored message's word begins with; its channel follows. Scripts say it, too.
pub(super) const MIRRORED: &str = "mirrored ";
const MARKER: &str = "mark ";
const FREE: &str = "free";

impl NodeMessage {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Event(live) => live.encode(),
            Self::Mark(mark) => format!("{MARKER}{mark:016x}").into_bytes(),
            Self::Mirrored(channel) => format!("{MIRRORED}{channel}").into_bytes(),
            Self::Free => FREE.into(),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        if let Some(channel) = text.strip_prefix(MIRRORED) {
            return Some(Self::Mirrored(channel.to_owned()));
        }
        if let Some(mark) = text.strip_prefix(MARKER) {
            return hex(mark, 16).map(Self::Mark);
        }
        match text {
            FREE => Some(Self::Free),
            _ => serde_json::from_str(text).ok().map(Self::Event),
        }
    }
}

/// An event with `store: false`, as it goes over Pub/Sub.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LiveEvent {
    /// The newest entry that the publisher's node knew: what is stored up to there comes first.
    pub(super) after: u64,
    pub(super) channels: Vec<ChannelName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<EventName>,
    pub(super) data: String,
}

impl LiveEvent {
    pub(super) fn new(draft: &NewEntry, after: u64) -> Self {
        Self {
            after,
            channels: draft.channels.to_vec(),
            event: draft.event.clone(),
            data: draft.data.to_string(),
        }
    }

    /// The word that tells of it.
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and text are JSON")
    }
}

#[cfg(test)]
mod tests;
