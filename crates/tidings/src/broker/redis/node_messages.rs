//! Messages between nodes outside the log, on the live channel of the hub.

use serde::{Deserialize, Serialize};
use tidings_log::NewEntry;
use tidings_protocol::{ChannelName, EventName};

use super::record::hex;

/// Message of a node to all nodes. Every node receives them, and the messages of other programs, in the same order.
#[derive(Debug)]
pub(super) enum NodeMessage {
    /// A transient event.
    Event(LiveEvent),
    /// Marker from which captured messages are counted: a random number.
    Marker(u64),
    /// The next message on this channel is a mirrored event, which nodes have from the log.
    Mirrored(String),
    /// The holder of the capture lease released it.
    LeaseReleased,
}

/// Prefix of [`NodeMessage::Mirrored`], before the channel. `scripts/mirror.lua` has it too.
pub(super) const MIRRORED: &str = "mirrored ";
const MARKER: &str = "mark ";
const FREE: &str = "free";

impl NodeMessage {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Event(live) => live.encode(),
            Self::Marker(mark) => format!("{MARKER}{mark:016x}").into_bytes(),
            Self::Mirrored(channel) => format!("{MIRRORED}{channel}").into_bytes(),
            Self::LeaseReleased => FREE.into(),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        if let Some(channel) = text.strip_prefix(MIRRORED) {
            return Some(Self::Mirrored(channel.to_owned()));
        }
        if let Some(mark) = text.strip_prefix(MARKER) {
            return hex(mark, 16).map(Self::Marker);
        }
        match text {
            FREE => Some(Self::LeaseReleased),
            _ => serde_json::from_str(text).ok().map(Self::Event),
        }
    }
}

/// A transient event (`store: false`) as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LiveEvent {
    /// Newest offset that the publisher's node knew. Subscribers get the entries up to it first.
    pub(super) after: u64,
    pub(super) channels: Vec<ChannelName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<EventName>,
    pub(super) data: String,
}

impl LiveEvent {
    pub(super) fn new(entry: &NewEntry, after: u64) -> Self {
        Self {
            after,
            channels: entry.channels.to_vec(),
            event: entry.event.clone(),
            data: entry.data.to_string(),
        }
    }

    /// Encodes the event as a node message.
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and text are JSON")
    }
}

#[cfg(test)]
mod tests;
