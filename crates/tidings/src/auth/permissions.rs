//! What somebody may read and publish, as patterns.

use tidings_protocol::{ChannelName, Subscription, user_segment};

/// What somebody may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Permissions {
    pub(super) subscribe: ChannelScope,
    pub(super) publish: ChannelScope,
    pub(super) manage: bool,
}

/// Which channels a right is good for; none are the hub's own, `$…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChannelScope {
    All,
    Patterns(Vec<Subscription>),
}

impl Permissions {
    /// Those of a program that nobody questions.
    pub(super) const EVERYTHING: Self =
        Self { subscribe: ChannelScope::All, publish: ChannelScope::All, manage: true };

    /// Those of somebody who may do nothing.
    pub(super) const NOTHING: Self = Self {
        subscribe: ChannelScope::Patterns(Vec::new()),
        publish: ChannelScope::Patterns(Vec::new()),
        manage: false,
    };
}

impl ChannelScope {
    /// Whether all that is asked for lies within one pattern.
    pub(super) fn covers(&self, asked: &Subscription) -> bool {
        match self {
            Self::All => true,
            Self::Patterns(patterns) => patterns.iter().any(|pattern| pattern.covers(asked)),
        }
    }

    /// Whether this channel lies within it.
    pub(super) fn has(&self, channel: &ChannelName) -> bool {
        match self {
            Self::All => true,
            Self::Patterns(patterns) => patterns.iter().any(|pattern| pattern.matches(channel.as_str())),
        }
    }
}

/// The patterns of settings, with the user's name in its place. What is no pattern then (a name can be too long for
/// one) grants nothing.
pub(super) fn of_user(templates: &[String], user: &str) -> Vec<Subscription> {
    let segment = user_segment(user);
    let filled = templates.iter().map(|template| template.replace("{sub}", &segment));
    filled.filter_map(|pattern| Subscription::parse(&pattern).ok()).collect()
}

/// The patterns of settings.
///
/// # Errors
/// Names the one that is none.
pub(super) fn patterns(texts: &[String]) -> Result<Vec<Subscription>, String> {
    texts.iter().map(|text| Subscription::parse(text).map_err(|error| error.to_string())).collect()
}
