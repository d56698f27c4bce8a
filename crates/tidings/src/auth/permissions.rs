//! Permissions: the channels that an identity may read and publish to, as patterns.

use tidings_protocol::{ChannelName, Subscription, user_segment};

/// Permissions of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub(super) subscribe: ChannelScope,
    pub(super) publish: ChannelScope,
    pub(super) manage: bool,
}

/// Channels that a permission covers. No scope covers the hub's own channels, `$…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChannelScope {
    All,
    Patterns(Vec<Subscription>),
}

impl Permissions {
    /// Permissions of the host application, and of clients of an open hub.
    pub(super) const EVERYTHING: Self =
        Self { subscribe: ChannelScope::All, publish: ChannelScope::All, manage: true };

    /// No permission.
    pub(super) const NOTHING: Self = Self {
        subscribe: ChannelScope::Patterns(Vec::new()),
        publish: ChannelScope::Patterns(Vec::new()),
        manage: false,
    };
}

impl ChannelScope {
    /// Whether one pattern covers the whole subscription.
    pub(super) fn covers(&self, subscription: &Subscription) -> bool {
        match self {
            Self::All => true,
            Self::Patterns(patterns) => patterns.iter().any(|pattern| pattern.covers(subscription)),
        }
    }

    /// Whether the scope has this channel.
    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        match self {
            Self::All => true,
            Self::Patterns(patterns) => patterns.iter().any(|pattern| pattern.matches(channel.as_str())),
        }
    }
}

/// Returns the patterns of settings with the user's name for `{sub}`. A pattern that is too long then grants nothing.
pub(super) fn of_user(templates: &[String], user: &str) -> Vec<Subscription> {
    let segment = user_segment(user);
    let filled = templates.iter().map(|template| template.replace("{sub}", &segment));
    filled.filter_map(|pattern| Subscription::parse(&pattern).ok()).collect()
}

/// Parses the patterns of settings.
///
/// # Errors
/// The first text that is no pattern.
pub(super) fn patterns(texts: &[String]) -> Result<Vec<Subscription>, String> {
    texts.iter().map(|text| Subscription::parse(text).map_err(|error| error.to_string())).collect()
}
