//! Credentials in, a permit out: subscribing and publishing take a permit, so code that forgot to ask has nothing to
//! pass. For now every hub is open: whoever reaches it is anonymous and may do everything but touch the hub's own names.

#[allow(dead_code, unused_imports, reason = "the gate fetches and asks when it knows tokens")]
pub(crate) mod fetch;
#[allow(dead_code, unused_imports, reason = "the gate fetches and asks when it knows tokens")]
pub(crate) mod hook;
#[allow(dead_code, unused_imports, reason = "the gate fetches and asks when it knows tokens")]
pub(crate) mod jwks;

use std::{collections::HashSet, sync::Arc};

use tidings_protocol::{ChannelName, Subscription};

/// Who is on the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub(crate) enum Principal {
    /// Somebody whom nobody vouches for.
    Anonymous,
}

/// Leave to read these channels.
#[derive(Debug)]
pub(crate) struct SubscribePermit {
    subscriptions: Arc<[Subscription]>,
}

/// Leave to publish to these channels.
#[derive(Debug)]
pub(crate) struct PublishPermit {
    publisher: Arc<str>,
}

/// Decides who may do what.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(());

impl Gate {
    /// The gate of a hub without credentials.
    pub(crate) fn open() -> Self {
        Self(())
    }

    /// Leave to read what all of `subscriptions` match. Each counts once.
    pub(crate) fn subscribe(
        &self,
        _principal: &Principal,
        subscriptions: Vec<Subscription>,
    ) -> SubscribePermit {
        // A set beside the list: this comes before the bound on their number.
        let mut seen = HashSet::with_capacity(subscriptions.len());
        let once = subscriptions.into_iter().filter(|subscription| seen.insert(subscription.clone()));
        SubscribePermit { subscriptions: once.collect() }
    }

    /// Leave to publish to every one of `channels`.
    pub(crate) fn publish<'a>(
        &self,
        _principal: &Principal,
        _channels: impl IntoIterator<Item = &'a ChannelName>,
    ) -> PublishPermit {
        PublishPermit { publisher: "".into() }
    }
}

impl SubscribePermit {
    /// What may be read.
    pub(crate) fn subscriptions(&self) -> &Arc<[Subscription]> {
        &self.subscriptions
    }
}

impl PublishPermit {
    /// Whose idempotency keys these are.
    pub(crate) fn publisher(&self) -> &Arc<str> {
        &self.publisher
    }
}
