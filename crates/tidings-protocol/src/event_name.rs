//! Names of events.

use std::fmt;
use std::sync::Arc;

use crate::quote::quoted;
use crate::text::text_traits;

/// The name of an event: 1 to 255 bytes on one line, and not reserved for the hub.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventName(Arc<str>);

impl EventName {
    /// Bytes of a name, at most.
    pub const BYTES_MAX: usize = 255;

    /// Prefix of the names that are reserved for the hub.
    pub const RESERVED_PREFIX: &str = "tidings.";

    /// Parses a name.
    ///
    /// # Errors
    /// [`EventNameError`] when the text is empty, too long, reserved, or has CR, LF or NUL, which a stream cannot carry.
    pub fn parse(text: &str) -> Result<Self, EventNameError> {
        if text.is_empty() {
            return Err(EventNameError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(EventNameError::TooLong { bytes: text.len() });
        }
        if memchr::memchr3(b'\r', b'\n', 0, text.as_bytes()).is_some() {
            return Err(EventNameError::Character { name: quoted(text) });
        }
        if text.starts_with(Self::RESERVED_PREFIX) {
            return Err(EventNameError::Reserved { name: quoted(text) });
        }
        Ok(Self(text.into()))
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_traits!(EventName, EventNameError);

/// Error of a text that is no event name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventNameError {
    /// The text is empty.
    Empty,
    /// The text is longer than [`EventName::BYTES_MAX`].
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// The text has CR, LF or NUL.
    Character {
        /// The text, as messages show it.
        name: String,
    },
    /// The text begins with [`EventName::RESERVED_PREFIX`].
    Reserved {
        /// The text, as messages show it.
        name: String,
    },
}

impl fmt::Display for EventNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("event name is empty; leave it out for an unnamed event"),
            Self::TooLong { bytes } => {
                write!(f, "event name is {bytes} bytes; limit is {}", EventName::BYTES_MAX)
            }
            Self::Character { name } => {
                write!(f, "event name {name} has CR, LF or NUL; it must fit one line of the stream")
            }
            Self::Reserved { name } => {
                write!(
                    f,
                    "event name {name} begins with \"tidings.\"; such names are the hub's own, use another"
                )
            }
        }
    }
}

impl std::error::Error for EventNameError {}

#[cfg(test)]
mod tests;
