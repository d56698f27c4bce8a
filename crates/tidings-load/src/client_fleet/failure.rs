//! Reasons for which a stream did not open or a publish failed.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::response::MalformedResponse;

/// Failure of one request.
#[derive(Debug)]
pub enum RequestFailure {
    /// The connect failed, or the connection was reset.
    Connection(io::Error),
    /// A response that is no event stream, or no success, with the first bytes of its body.
    Status { status: u16, body: Vec<u8> },
    /// Bytes that are no HTTP response, or a truncated one.
    Malformed(&'static str),
    /// No response within this time.
    Late(Duration),
}

impl From<MalformedResponse> for RequestFailure {
    fn from(malformed: MalformedResponse) -> Self {
        Self::Malformed(malformed.0)
    }
}

impl fmt::Display for RequestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => error.fmt(f),
            Self::Status { status, .. } => write!(f, "status {status}"),
            Self::Malformed(reason) => f.write_str(reason),
            Self::Late(time) => write!(f, "no response within {} s", time.as_secs()),
        }
    }
}
