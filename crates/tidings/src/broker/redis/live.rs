//! Events that are in no log, on their way from one node to all.

use serde::{Deserialize, Serialize};
use tidings_protocol::{ChannelName, EventName};

use crate::log::entry::Draft;

/// An event with `store: false`, as it goes over Pub/Sub.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Live {
    /// The newest entry that the publisher's node knew: what is stored up to there comes first.
    pub(super) after: u64,
    pub(super) channels: Vec<ChannelName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) event: Option<EventName>,
    pub(super) data: String,
}

impl Live {
    pub(super) fn new(draft: &Draft, after: u64) -> Self {
        Self {
            after,
            channels: draft.channels.to_vec(),
            event: draft.event.clone(),
            data: draft.data.to_string(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and text are JSON")
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
