//! The priority of an event on a connection that is behind.

use std::fmt;
use std::str::FromStr;

use crate::quote::{quoted, suggestion};
use crate::words::words;

words! {
    /// The priority of an event on a connection that is behind.
    #[derive(Default, PartialOrd, Ord)]
    pub enum Priority {
        /// The hub may skip the event.
        Low = "low",
        /// The event is sent in order.
        #[default]
        Normal = "normal",
        /// The event overtakes pending events.
        High = "high",
        /// The event overtakes pending events.
        Critical = "critical",
    }
}

/// Error of a word that names no priority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PriorityError {
    value: String,
    suggestion: String,
}

impl fmt::Display for PriorityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "priority {} is unknown; {}", self.value, self.suggestion)
    }
}

impl std::error::Error for PriorityError {}

impl FromStr for Priority {
    type Err = PriorityError;

    fn from_str(text: &str) -> Result<Self, PriorityError> {
        let found = Self::ALL.into_iter().find(|priority| priority.as_str() == text);
        found.ok_or_else(|| PriorityError { value: quoted(text), suggestion: suggestion(text, Self::WORDS) })
    }
}

impl TryFrom<&str> for Priority {
    type Error = PriorityError;

    fn try_from(text: &str) -> Result<Self, PriorityError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests;
