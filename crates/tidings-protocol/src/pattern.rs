//! Patterns over channel names, and what a subscriber asks for: one channel or a pattern.

use std::sync::Arc;

use crate::channel::{CHANNEL_BYTES_MAX, ChannelName, ChannelNameError, Wildcards, check};
use crate::text::text_traits;

/// A set of channel names: `*` stands for one segment, `**` as the last segment for one or more.
///
/// A separator matches itself only; what `**` covers may hold either. A text without a wildcard is the pattern of that
/// one name. No pattern matches a name that begins with `$`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Arc<str>);

impl Pattern {
    /// Reads a pattern.
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

    /// Returns the text that every matching name begins with, so that a sorted set of names is searched from there.
    pub fn literal_prefix(&self) -> &str {
        let end = memchr::memchr(b'*', self.0.as_bytes()).unwrap_or(self.0.len());
        &self.0[..end]
    }

    /// Returns whether the pattern stands for this name.
    pub fn matches(&self, name: &str) -> bool {
        matches(&self.0, name)
    }
}

text_traits!(Pattern, ChannelNameError);

/// What a subscriber asks for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subscription {
    /// One channel.
    Channel(ChannelName),
    /// Every channel that the pattern matches, now or later.
    Pattern(Pattern),
}

impl Subscription {
    /// Reads a name, or a pattern where the text has a `*`.
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

    /// Returns the text as it was asked.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Channel(name) => name.as_str(),
            Self::Pattern(pattern) => pattern.as_str(),
        }
    }

    /// Returns whether the subscription asks for this channel.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Channel(channel) => channel.as_str() == name,
            Self::Pattern(pattern) => pattern.matches(name),
        }
    }

    /// Returns whether every name that `other` can match is matched by this.
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
            // Two segments take three bytes. Where a name has no room for them, `**` is no more than one `*`.
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

/// Splits off the first segment, with the separator after it.
fn first_segment(text: &str) -> (&str, Option<u8>, &str) {
    match memchr::memchr2(b'.', b':', text.as_bytes()) {
        Some(end) => (&text[..end], Some(text.as_bytes()[end]), &text[end + 1..]),
        None => (text, None, ""),
    }
}

#[cfg(test)]
mod tests;
