//! Errors of calls to Redis, by the effect that the call had.

use std::fmt;

use crate::{error_reply::ErrorReply, resp::RedisReply};

/// Error of a call, by its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisError {
    /// Redis did not get the call, or refused it: the call had no effect.
    NotApplied(String),
    /// Redis refused the call because the slot is being moved to another cluster node: the call had no effect.
    Moving(String),
    /// Redis got the call and did not answer: the effect is unknown.
    OutcomeUnknown(String),
    /// Redis holds data that the caller cannot read.
    Corrupt(String),
}

/// Error codes of calls without effect. A script gets the codes that refuse writes at its first write.
const REFUSALS: &[&str] = &[
    "NOSCRIPT",
    "OOM",
    "READONLY",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "BUSY",
    "NOREPLICAS",
    "NOAUTH",
    "NOPERM",
    "WRONGPASS",
    "WRONGTYPE",
    "MOVED",
    "CLUSTERDOWN",
    "EXECABORT",
];
/// Error texts without a code, which a script returns from its first write.
const REFUSALS_OF_WRITES: &[&str] = &[
    "The user executing the script can't",
    "ACL failure in script",
    "The ID specified in XADD is equal or smaller",
];
/// A script that has written cannot be killed.
const KILLED: &str = "Script killed by user";

impl RedisError {
    /// Classifies the text of an error reply.
    pub(crate) fn of_reply(text: &str) -> Self {
        let error = ErrorReply::parse(text);
        let fact = error.text.strip_prefix("ERR ").unwrap_or(error.text);
        let begins = |refusal: &&str| fact.starts_with(*refusal);
        let is_refusal = REFUSALS.contains(&error.code)
            || begins(&KILLED)
            || !error.ended_script && REFUSALS_OF_WRITES.iter().any(begins);
        if matches!(error.code, "ASK" | "TRYAGAIN") {
            Self::Moving(format!(
                "redis refused: {text}; the slot is being moved to another node of the cluster"
            ))
        } else if is_refusal {
            let why = match error.code {
                "MOVED" => "; the nodes of the cluster do not agree on which has the slot",
                "READONLY" => "; it is a replica",
                _ => "",
            };
            Self::NotApplied(format!("{}{why}", refused(text)))
        } else {
            Self::OutcomeUnknown(format!("redis failed: {text}"))
        }
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::NotApplied(fact) | Self::Moving(fact) | Self::OutcomeUnknown(fact) | Self::Corrupt(fact)) =
            self;
        f.write_str(fact)
    }
}

impl std::error::Error for RedisError {}

/// Returns the text for a refused command, with the missing ACL rule if Redis names the command.
pub(crate) fn refused(error: &str) -> String {
    match ErrorReply::parse(error).denied_command() {
        Some(command) => {
            format!("redis refused: {error}; give the user of redis.url the ACL rule +{command}")
        }
        None => format!("redis refused: {error}"),
    }
}

impl RedisReply {
    /// Converts an error reply to an error.
    ///
    /// # Errors
    /// The class that the error code has; [`RedisError::OutcomeUnknown`] for an unknown code.
    pub fn into_result(self) -> Result<Self, RedisError> {
        match self {
            Self::Error(error) => Err(RedisError::of_reply(&error)),
            other => Ok(other),
        }
    }
}

#[cfg(test)]
mod tests;
