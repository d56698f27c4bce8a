//! The error of a body.

use std::fmt;

use crate::code::Code;

/// Error of a body, which is refused as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyError {
    /// The error, for programs.
    pub code: Code,
    /// The first bad message of a batch, from 0; `None` if the error is of the body.
    pub index: Option<usize>,
    /// The error, for people.
    pub detail: String,
}

impl BodyError {
    pub(super) fn new(code: Code, detail: impl fmt::Display) -> Self {
        Self { code, index: None, detail: detail.to_string() }
    }

    /// Names the message of a batch.
    pub(super) fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        self.index.map_or(Ok(()), |index| write!(f, " (message {index})"))
    }
}

impl std::error::Error for BodyError {}
