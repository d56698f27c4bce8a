//! The priority of an event on a connection that is behind.

use crate::quote::{quoted, suggestion};
use crate::text::{message_error, parse_traits};
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

message_error! {
    /// Error of a word that names no priority.
    PriorityError
}

parse_traits!(Priority, PriorityError);

impl Priority {
    fn parse(text: &str) -> Result<Self, PriorityError> {
        let found = Self::ALL.into_iter().find(|priority| priority.as_str() == text);
        found.ok_or_else(|| {
            let (value, advice) = (quoted(text), suggestion(text, Self::WORDS));
            PriorityError(format!("priority {value} is unknown; {advice}"))
        })
    }
}

#[cfg(test)]
mod tests;
