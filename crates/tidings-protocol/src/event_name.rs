//! Names of events.

use std::sync::Arc;

use crate::quote::quoted;
use crate::text::{message_error, text_traits};

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
    /// [`EventNameError`] if the text is empty, too long, reserved, or has CR, LF or NUL, which a stream cannot carry.
    pub fn parse(text: &str) -> Result<Self, EventNameError> {
        let problem = if text.is_empty() {
            "is empty; leave it out for an unnamed event".to_owned()
        } else if text.len() > Self::BYTES_MAX {
            format!("is {} bytes; limit is {}", text.len(), Self::BYTES_MAX)
        } else if memchr::memchr3(b'\r', b'\n', 0, text.as_bytes()).is_some() {
            format!("{} has CR, LF or NUL; it must fit one line of the stream", quoted(text))
        } else if text.starts_with(Self::RESERVED_PREFIX) {
            let name = quoted(text);
            format!("{name} begins with \"tidings.\"; such names are the hub's own, use another")
        } else {
            return Ok(Self(text.into()));
        };
        Err(EventNameError(format!("event name {problem}")))
    }

    /// Returns the name's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_traits!(EventName, EventNameError);

message_error! {
    /// Error of a text that is no event name.
    EventNameError
}

#[cfg(test)]
mod tests;
