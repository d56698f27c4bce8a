//! Why a stream did not open, or a publish was not taken.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::answer::Malformed;

/// Bytes of a refusal's body that are kept.
pub(super) const REFUSAL_BYTES_MAX: usize = 4096;

/// What went wrong with one request.
#[derive(Debug)]
pub enum Failure {
    /// No connection, or none any more.
    Connection(io::Error),
    /// Another answer than was asked for.
    Answer {
        /// Its status.
        status: u16,
        /// The beginning of its body.
        body: Vec<u8>,
    },
    /// Bytes that are no answer, or an end before its end.
    Malformed(&'static str),
    /// No answer within this time.
    Late(Duration),
}

impl From<Malformed> for Failure {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed.text())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => error.fmt(f),
            Self::Answer { status, .. } => write!(f, "status {status}"),
            Self::Malformed(what) => f.write_str(what),
            Self::Late(time) => write!(f, "no answer within {} s", time.as_secs()),
        }
    }
}
