//! The error of a store.

use std::{fmt, io, sync::Arc};

/// Reason why an operation of a store failed.
#[derive(Debug)]
pub enum StoreError {
    /// Nothing of the batch is stored; it may be tried again.
    NotStored(io::Error),
    /// The batch may or may not be stored; nothing may be appended until a restart.
    Unknown(io::Error),
    /// The log is not open yet.
    Unopened,
    /// An earlier error made the store read-only.
    ReadOnly(Arc<str>),
    /// A stored entry cannot be read.
    Damaged { offset: u64, fault: String },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotStored(error) => write!(f, "the log could not be written: {error}"),
            Self::Unknown(error) => write!(f, "the log could not be made safe: {error}"),
            Self::Unopened => f.write_str("the log is not open yet"),
            Self::ReadOnly(why) => write!(f, "the log is read-only until a restart, after: {why}"),
            Self::Damaged { offset, fault } => write!(f, "stored event {offset} cannot be read: {fault}"),
        }
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotStored(error) | Self::Unknown(error) => Some(error),
            Self::Unopened | Self::ReadOnly(_) | Self::Damaged { .. } => None,
        }
    }
}
