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
pub struct ChannelNameError {
    message: String,
    is_reserved: bool,
}

impl ChannelNameError {
    fn new(message: String) -> Self {
        Self { message, is_reserved: false }
    }

    /// Returns whether the name is reserved for the hub: forbidden, not malformed.
    pub fn is_reserved(&self) -> bool {
        self.is_reserved
    }
}

impl fmt::Display for ChannelNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
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
        let message = format!("channel is empty; a name has 1 to {CHANNEL_BYTES_MAX} bytes");
        return Err(ChannelNameError::new(message));
    }
    if text.starts_with('$') {
        let name = quoted(text);
        let message = format!("channel {name} begins with \"$\"; such names are the hub's own, use another");
        return Err(ChannelNameError { message, is_reserved: true });
    }
    check_grammar(text, wildcards).map_err(ChannelNameError::new)
}

fn check_grammar(text: &str, wildcards: Wildcards) -> Result<(), String> {
    let refused = |kind: &str, problem: &str| Err(format!("{kind} {} {problem}", quoted(text)));
    if text.len() > CHANNEL_BYTES_MAX {
        return Err(format!("channel is {} bytes; limit is {CHANNEL_BYTES_MAX}", text.len()));
    }
    if let Some((at, character)) = text.char_indices().find(|(_, character)| !is_allowed(*character)) {
        let allowed = "allowed are A-Z a-z 0-9 _ - ~ @ and the separators . and :";
        return refused("channel", &format!("has {character:?} at byte {at}; {allowed}"));
    }
    if wildcards == Wildcards::Refused && text.contains('*') {
        return refused("channel", "is a pattern; name one channel without \"*\"");
    }
    let mut at = 0;
    for segment in text.split(['.', ':']) {
        let end = at + segment.len();
        match segment {
            "" => {
                let problem =
                    format!("has an empty segment at byte {at}; write one separator between two segments");
                return refused("channel", &problem);
            }
            "**" if end < text.len() => {
                let problem = "has \"**\" before its end; \"**\" is the last segment, use \"*\" within";
                return refused("pattern", problem);
            }
            "*" | "**" => {}
            _ if segment.contains('*') => {
                let segment = quoted(segment);
                let problem = format!("has {segment} as a segment; \"*\" and \"**\" are whole segments");
                return refused("pattern", &problem);
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
