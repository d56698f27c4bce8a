//! Channel names: 1 to 200 bytes of `A-Za-z0-9_-.:~@`, in segments separated by `.` or `:`, none empty.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::quote::quoted;
use crate::text::text_traits;

/// Bytes of a channel name or a pattern, at most.
pub const CHANNEL_BYTES_MAX: usize = 200;

/// The name of a channel: within the grammar, and not reserved for the hub.
///
/// ```
/// use tidings_protocol::ChannelName;
///
/// let channel: ChannelName = "user:7:messages".parse()?;
/// assert_eq!(channel, "user:7:messages");
/// assert_eq!(
///     "user::7".parse::<ChannelName>().unwrap_err().to_string(),
///     "channel \"user::7\" has an empty segment at byte 5; write one separator between two segments"
/// );
/// # Ok::<(), tidings_protocol::ChannelNameError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelName(Arc<str>);

impl ChannelName {
    /// Parses a name.
    ///
    /// # Errors
    /// [`ChannelNameError`] when the text is outside the grammar, holds a `*`, or begins with `$`.
    pub fn parse(text: &str) -> Result<Self, ChannelNameError> {
        check(text, Wildcards::Refused)?;
        Ok(Self(text.into()))
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_traits!(ChannelName, ChannelNameError);

impl Borrow<str> for ChannelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Error of a text that is no channel name, or no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChannelNameError {
    /// The text is empty.
    Empty,
    /// The text is longer than [`CHANNEL_BYTES_MAX`].
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// The text begins with `$`: such names are reserved for the hub.
    Reserved {
        /// The text, as messages show it.
        name: String,
    },
    /// A character outside the grammar.
    Character {
        /// The text, as messages show it.
        name: String,
        /// The first such character.
        character: char,
        /// Its offset in bytes.
        at: usize,
    },
    /// Two separators meet, or one begins or ends the text.
    EmptySegment {
        /// The text, as messages show it.
        name: String,
        /// Offset of the empty segment in bytes.
        at: usize,
    },
    /// A pattern in place of a channel name.
    NotOneChannel {
        /// The text, as messages show it.
        name: String,
    },
    /// A `*` that is part of a segment, or three or more of them.
    PartialWildcard {
        /// The text, as messages show it.
        name: String,
        /// The segment that holds it, as messages show it.
        segment: String,
    },
    /// A `**` before the last segment.
    WildcardNotLast {
        /// The text, as messages show it.
        name: String,
    },
}

impl ChannelNameError {
    /// Returns whether the name is reserved for the hub: forbidden, not malformed.
    pub fn is_reserved(&self) -> bool {
        matches!(self, Self::Reserved { .. })
    }
}

impl fmt::Display for ChannelNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "channel is empty; a name has 1 to {CHANNEL_BYTES_MAX} bytes"),
            Self::TooLong { bytes } => write!(f, "channel is {bytes} bytes; limit is {CHANNEL_BYTES_MAX}"),
            Self::Reserved { name } => {
                write!(f, "channel {name} begins with \"$\"; such names are the hub's own, use another")
            }
            Self::Character { name, character, at } => write!(
                f,
                "channel {name} has {character:?} at byte {at}; allowed are A-Z a-z 0-9 _ - ~ @ and the separators . and :"
            ),
            Self::EmptySegment { name, at } => write!(
                f,
                "channel {name} has an empty segment at byte {at}; write one separator between two segments"
            ),
            Self::NotOneChannel { name } => {
                write!(f, "channel {name} is a pattern; name one channel without \"*\"")
            }
            Self::PartialWildcard { name, segment } => {
                write!(f, "pattern {name} has {segment} as a segment; \"*\" and \"**\" are whole segments")
            }
            Self::WildcardNotLast { name } => {
                write!(
                    f,
                    "pattern {name} has \"**\" before its end; \"**\" is the last segment, use \"*\" within"
                )
            }
        }
    }
}

impl std::error::Error for ChannelNameError {}

/// Whether `*` and `**` may be segments.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wildcards {
    Refused,
    Allowed,
}

/// Checks a name, or a pattern if wildcards are allowed.
pub(crate) fn check(text: &str, wildcards: Wildcards) -> Result<(), ChannelNameError> {
    if text.is_empty() {
        return Err(ChannelNameError::Empty);
    }
    if text.starts_with('$') {
        return Err(ChannelNameError::Reserved { name: quoted(text) });
    }
    if text.len() > CHANNEL_BYTES_MAX {
        return Err(ChannelNameError::TooLong { bytes: text.len() });
    }
    if let Some((at, character)) = text.char_indices().find(|(_, character)| !is_allowed(*character)) {
        return Err(ChannelNameError::Character { name: quoted(text), character, at });
    }
    if wildcards == Wildcards::Refused && text.contains('*') {
        return Err(ChannelNameError::NotOneChannel { name: quoted(text) });
    }
    let mut at = 0;
    for segment in text.split(['.', ':']) {
        let end = at + segment.len();
        match segment {
            "" => return Err(ChannelNameError::EmptySegment { name: quoted(text), at }),
            "**" if end < text.len() => return Err(ChannelNameError::WildcardNotLast { name: quoted(text) }),
            "*" | "**" => {}
            _ if segment.contains('*') => {
                return Err(ChannelNameError::PartialWildcard {
                    name: quoted(text),
                    segment: quoted(segment),
                });
            }
            _ => {}
        }
        at = end + 1;
    }
    Ok(())
}

fn is_allowed(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | ':' | '~' | '@' | '*')
}

#[cfg(test)]
mod tests;
