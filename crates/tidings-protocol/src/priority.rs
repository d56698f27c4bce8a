//! How urgent an event is to a connection that is behind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::quote::{quoted, suggestion};

/// What may happen to an event on a connection that is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// May be skipped.
    Low,
    /// Waits its turn.
    #[default]
    Normal,
    /// Overtakes what is pending.
    High,
    /// Overtakes what is pending.
    Critical,
}

const WORDS: [&str; 4] = ["low", "normal", "high", "critical"];

impl Priority {
    /// Returns the word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        WORDS[self as usize]
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no priority.
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
        match text {
            "low" => Ok(Self::Low),
            "normal" => Ok(Self::Normal),
            "high" => Ok(Self::High),
            "critical" => Ok(Self::Critical),
            _ => Err(PriorityError { value: quoted(text), suggestion: suggestion(text, &WORDS) }),
        }
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
