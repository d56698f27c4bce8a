//! Permits: proofs of authorization that later code must hold.

use std::sync::Arc;

use tidings_protocol::{ChannelName, Subscription};

use super::identity::Identity;

/// Permission to read these channels.
#[derive(Debug, Clone)]
pub(crate) struct SubscribePermit {
    identity: Arc<Identity>,
    subscriptions: Arc<[Subscription]>,
    /// The hook was asked, so nothing is known about other channels.
    is_narrowed: bool,
}

/// Permission to publish.
#[derive(Debug)]
pub(crate) struct PublishPermit {
    publisher: Arc<str>,
}

/// Permission to manage the hub.
#[derive(Debug)]
pub(crate) struct ManagePermit(());

impl SubscribePermit {
    pub(super) fn new(
        identity: Arc<Identity>,
        subscriptions: Arc<[Subscription]>,
        is_narrowed: bool,
    ) -> Self {
        Self { identity, subscriptions, is_narrowed }
    }

    /// Returns the permitted identity.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Returns the permitted subscriptions.
    pub(crate) fn subscriptions(&self) -> &Arc<[Subscription]> {
        &self.subscriptions
    }

    /// Whether the client may learn that an event is also on this channel.
    pub(crate) fn may_name(&self, channel: &ChannelName) -> bool {
        let is_subscribed = || self.subscriptions.iter().any(|held| held.matches(channel.as_str()));
        is_subscribed() || !self.is_narrowed && self.identity.permissions.subscribe.has(channel)
    }
}

impl PublishPermit {
    pub(super) fn new(publisher: Arc<str>) -> Self {
        Self { publisher }
    }

    /// Returns the name that the publisher's idempotency keys are kept under.
    pub(crate) fn publisher(&self) -> &Arc<str> {
        &self.publisher
    }
}

impl ManagePermit {
    pub(super) fn new() -> Self {
        Self(())
    }
}
