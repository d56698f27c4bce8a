//! Permits: what later code must hold to do what was allowed.

use std::sync::Arc;

use tidings_protocol::{ChannelName, Subscription};

use super::Identity;

/// Leave to read these channels.
#[derive(Debug, Clone)]
pub(crate) struct SubscribePermit {
    identity: Arc<Identity>,
    subscriptions: Arc<[Subscription]>,
    /// A hook had a word: nothing is known of channels that it was not asked about.
    is_narrowed: bool,
}

/// Leave to publish.
#[derive(Debug)]
pub(crate) struct PublishPermit {
    publisher: Arc<str>,
}

/// Leave to look after the hub.
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

    /// Leave that nobody was asked for.
    #[cfg(test)]
    pub(crate) fn for_test(subscriptions: Arc<[Subscription]>) -> Self {
        Self::new(
            Arc::new(super::authorizer::local(super::identity::AuthMethod::Process)),
            subscriptions,
            false,
        )
    }

    /// Who was permitted.
    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// What may be read.
    pub(crate) fn subscriptions(&self) -> &Arc<[Subscription]> {
        &self.subscriptions
    }

    /// Whether the caller may know that an event was on this channel, too.
    pub(crate) fn may_name(&self, channel: &ChannelName) -> bool {
        let is_asked = || self.subscriptions.iter().any(|asked| asked.matches(channel.as_str()));
        is_asked() || !self.is_narrowed && self.identity.permissions.subscribe.has(channel)
    }
}

impl PublishPermit {
    pub(super) fn new(publisher: Arc<str>) -> Self {
        Self { publisher }
    }

    /// Whose idempotency keys these are.
    pub(crate) fn publisher(&self) -> &Arc<str> {
        &self.publisher
    }
}

impl ManagePermit {
    pub(super) fn new() -> Self {
        Self(())
    }
}
