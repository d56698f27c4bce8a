//! Patterns over channel names, and subscriptions.

use std::sync::Arc;

use crate::channel::{CHANNEL_BYTES_MAX, ChannelName, ChannelNameError, Wildcards, check};
use crate::text::text_traits;

/// A set of channel names: `*` matches one segment; `**`, the last segment, matches one or more.
///
/// A separator matches itself only, but the segments of a `**` may have either separator. A text without a wildcard
/// matches the name that it spells. No pattern matches a name that begins with `$`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`ChannelNameError`] when the text is outside the grammar or begins with `$`.
    pub fn parse(text: &str) -> Result<Self, ChannelNameError> {
        check(text, Wildcards::Allowed)?;
        Ok(Self(text.into()))
    }

    /// Returns the pattern's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the common prefix of all matching names, at which a search in sorted names begins.
    pub fn literal_prefix(&self) -> &str {
        let end = memchr::memchr(b'*', self.0.as_bytes()).unwrap_or(self.0.len());
        &self.0[..end]
    }

    /// Returns whether the pattern matches this name.
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.0, name)
    }
}

text_traits!(Pattern, ChannelNameError);

/// A subscription: one channel or a pattern.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subscription {
    /// One channel.
    Channel(ChannelName),
    /// Every channel that the pattern matches, now or later.
    Pattern(Pattern),
}

impl Subscription {
    /// Parses a name, or a pattern if the text has a `*`.
    ///
    /// # Errors
    /// [`ChannelNameError`] when the text is outside the grammar or begins with `$`.
    pub fn parse(text: &str) -> Result<Self, ChannelNameError> {
        if text.contains('*') {
            Pattern::parse(text).map(Self::Pattern)
        } else {
            ChannelName::parse(text).map(Self::Channel)
        }
    }

    /// Returns the text of the channel or pattern.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Channel(name) => name.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Returns whether the subscription matches this channel.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Channel(channel) => channel.as_str() == name,
            Self::Pattern(pattern) => pattern.matches(name),
        }
    }

    /// Returns whether it matches every name that `other` matches.
    pub fn covers(&self, other: &Subscription) -> bool {
        covers(self.as_str(), other.as_str())
    }
}

text_traits!(Subscription, ChannelNameError);

impl From<ChannelName> for Subscription {
    fn from(name: ChannelName) -> Self {
        Self::Channel(name)
    }
}

impl From<&ChannelName> for Subscription {
    fn from(name: &ChannelName) -> Self {
        Self::Channel(name.clone())
    }
}

impl From<Pattern> for Subscription {
    fn from(pattern: Pattern) -> Self {
        Self::Pattern(pattern)
    }
}

fn matches(mut pattern: &str, mut name: &str) -> bool {
    if name.starts_with('$') {
        return false;
    }
    loop {
        if pattern == "**" {
            return !name.is_empty();
        }
        let (wanted, wanted_separator, pattern_rest) = first_segment(pattern);
        let (found, found_separator, name_rest) = first_segment(name);
        if found.is_empty() || wanted_separator != found_separator || !(wanted == "*" || wanted == found) {
            return false;
        }
        if wanted_separator.is_none() {
            return true;
        }
        (pattern, name) = (pattern_rest, name_rest);
    }
}

fn covers(mut wide: &str, narrow: &str) -> bool {
    let mut rest = narrow;
    loop {
        if wide == "**" {
            return true;
        }
        let (wanted, wanted_separator, wide_rest) = first_segment(wide);
        let (found, found_separator, narrow_rest) = first_segment(rest);
        if found == "**" {
            // Two segments take three bytes. If a name has no room for them, `**` matches one segment only.
            let room_bytes = CHANNEL_BYTES_MAX - (narrow.len() - found.len());
            return wanted == "*" && wanted_separator.is_none() && room_bytes < 3;
        }
        if wanted_separator != found_separator || !(wanted == "*" || wanted == found) {
            return false;
        }
        if wanted_separator.is_none() {
            return true;
        }
        (wide, rest) = (wide_rest, narrow_rest);
    }
}

/// Splits off the first segment and the separator after it.
fn first_segment(text: &str) -> (&str, Option<u8>, &str) {
    match memchr::memchr2(b'.', b':', text.as_bytes()) {
        Some(end) => (&text[..end], Some(text.as_bytes()[end]), &text[end + 1..]),
        None => (text, None, ""),
    }
}

#[cfg(test)]
mod tests;
