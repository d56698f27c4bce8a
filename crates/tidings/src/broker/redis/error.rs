//! Errors of calls to Redis, by the effect that the call had.

mod error_reply;

use std::fmt;

pub(super) use self::error_reply::ErrorReply;
use super::resp::RedisReply;
use crate::error::{Code, Error};

/// Error of a call, by its effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RedisError {
    /// Redis did not get the call, or refused it: the call had no effect.
    NotApplied(String),
    /// Redis refused the call because the slot of the log is moved to another cluster node: the call had no effect.
    Moving(String),
    /// Redis got the call and did not answer: the effect is unknown.
    OutcomeUnknown(String),
    /// Redis holds data that no hub writes; `offset` names the entry if it is known.
    Corrupt { offset: Option<u64>, fault: String },
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
    pub(super) fn of_reply(text: &str) -> Self {
        let error = ErrorReply::parse(text);
        let fact = error.text.strip_prefix("ERR ").unwrap_or(error.text);
        let begins = |refusal: &&str| fact.starts_with(*refusal);
        let is_refusal = REFUSALS.contains(&error.code)
            || begins(&KILLED)
            || !error.ended_script && REFUSALS_OF_WRITES.iter().any(begins);
        if matches!(error.code, "ASK" | "TRYAGAIN") {
            Self::Moving(format!(
                "redis refused: {text}; the log is being moved to another node of the cluster"
            ))
        } else if is_refusal {
            let why = match error.code {
                "MOVED" => "; the nodes of the cluster do not agree on which has the log",
                "READONLY" => "; it is a replica",
                _ => "",
            };
            Self::NotApplied(format!("{}{why}", refused(text)))
        } else {
            Self::OutcomeUnknown(format!("redis failed: {text}"))
        }
    }

    pub(super) fn corrupt(fault: impl Into<String>) -> Self {
        Self::Corrupt { offset: None, fault: fault.into() }
    }

    pub(super) fn corrupt_at(offset: u64, fault: impl Into<String>) -> Self {
        Self::Corrupt { offset: Some(offset), fault: fault.into() }
    }

    /// Converts to the error that a publisher gets.
    pub(crate) fn into_error(self) -> Error {
        let (code, detail) = match &self {
            Self::NotApplied(_) | Self::Moving(_) | Self::Corrupt { .. } => (
                Code::NotStored,
                "Redis, which has the log, takes no events now; nothing was stored; try again",
            ),
            Self::OutcomeUnknown(_) => (
                Code::OutcomeUnknown,
                "Redis, which has the log, did not answer; the event may be stored; a retry with the same Idempotency-Key is safe",
            ),
        };
        Error::new(code, detail).retry_after(std::time::Duration::from_secs(1)).caused_by(self)
    }
}

impl fmt::Display for RedisError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotApplied(fact) | Self::Moving(fact) | Self::OutcomeUnknown(fact) => f.write_str(fact),
            Self::Corrupt { offset: Some(offset), fault } => {
                write!(f, "event {offset} in redis cannot be read: {fault}")
            }
            Self::Corrupt { offset: None, fault } => {
                write!(f, "redis holds data that no hub writes: {fault}")
            }
        }
    }
}

impl std::error::Error for RedisError {}

/// Returns the text for a refused command, with the missing ACL rule if Redis names the command.
pub(super) fn refused(error: &str) -> String {
    match ErrorReply::parse(error).denied_command() {
        Some(command) => {
            format!("redis refused: {error}; give the user of redis.url the ACL rule +{command}")
        }
        None => format!("redis refused: {error}"),
    }
}

/// Converts an error reply to an error.
pub(super) fn into_result(reply: RedisReply) -> Result<RedisReply, RedisError> {
    match reply {
        RedisReply::Error(error) => Err(RedisError::of_reply(&error)),
        other => Ok(other),
    }
}

#[cfg(test)]
mod tests;
