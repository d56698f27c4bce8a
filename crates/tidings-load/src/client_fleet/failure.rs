//! Reasons for which a stream did not open or a publish failed.

use std::fmt;
use std::io;
use std::time::Duration;

use crate::response::MalformedResponse;

/// Bytes kept of the body of an error response.
pub(super) const REFUSAL_BYTES_MAX: usize = 4096;

/// Failure of one request.
#[derive(Debug)]
pub enum RequestFailure {
    /// The connect failed, or the connection was reset.
    Connection(io::Error),
    /// A response that is no event stream, or no success.
    Status {
        /// The status code.
        status: u16,
        /// The first bytes of the body.
        body: Vec<u8>,
    },
    /// Bytes that are no HTTP response, or a truncated one.
    Malformed(&'static str),
    /// No response within this time.
    Late(Duration),
}

impl From<MalformedResponse> for RequestFailure {
    fn from(malformed: MalformedResponse) -> Self {
        Self::Malformed(malformed.text())
    }
}

impl fmt::Display for RequestFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => error.fmt(f),
            Self::Status { status, .. } => write!(f, "status {status}"),
            Self::Malformed(what) => f.write_str(what),
            Self::Late(time) => write!(f, "no response within {} s", time.as_secs()),
        }
    }
}
