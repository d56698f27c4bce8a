//! The error type: a stable code, a detail for the client, and the cause for the operator.

use std::{borrow::Cow, convert::Infallible, fmt, time::Duration};

use tidings_protocol::CHANNEL_BYTES_MAX;
pub use tidings_protocol::Code;
use tidings_protocol::{ChannelNameError, EventNameError};

/// Error with a stable code and a detail for the client.
///
/// [`Error::code`] is stable, and is the `code` of a problem document. The text names the value, the limit and the
/// remedy. [`source`](std::error::Error::source) has the cause, for the operator.
pub struct Error(Box<ErrorParts>);

struct ErrorParts {
    code: Code,
    detail: Cow<'static, str>,
    index: Option<usize>,
    channel: Option<String>,
    limit: Option<&'static str>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Makes an error of a stable code and a lowercase detail.
    pub(crate) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Self(Box::new(ErrorParts {
            code,
            detail,
            index: None,
            channel: None,
            limit: None,
            retry_after: None,
            source: None,
        }))
    }

    /// Adds the index of the failed element of a batch, from 0.
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.0.index = Some(index);
        self
    }

    /// Adds the failed channel, cut to the length of the longest channel name.
    pub(crate) fn channel(mut self, name: &str) -> Self {
        let end = name.floor_char_boundary(CHANNEL_BYTES_MAX);
        self.0.channel = Some(name[..end].to_owned());
        self
    }

    /// Removes the index, for an event outside of a batch.
    pub(crate) fn alone(mut self) -> Self {
        self.0.index = None;
        self
    }

    /// Adds the setting whose limit is reached; it labels `tidings_limit_refused_total`.
    pub(crate) fn limit(mut self, setting: &'static str) -> Self {
        self.0.limit = Some(setting);
        self
    }

    /// Adds the time after which a retry can succeed.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds the cause, for the log.
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns the stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Returns the index of the failed element of a batch, from 0.
    pub fn index(&self) -> Option<usize> {
        self.0.index
    }

    /// Returns the failed channel or pattern, if the request named several.
    pub fn channel_name(&self) -> Option<&str> {
        self.0.channel.as_deref()
    }

    /// Returns the setting whose limit is reached.
    pub fn limit_name(&self) -> Option<&'static str> {
        self.0.limit
    }

    /// Returns the time after which a retry can succeed.
    pub fn retry_after_hint(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl From<ChannelNameError> for Error {
    fn from(fault: ChannelNameError) -> Self {
        let code = if fault.is_reserved() { Code::ReservedChannel } else { Code::BadChannel };
        Self::new(code, fault.to_string())
    }
}

impl From<EventNameError> for Error {
    fn from(fault: EventNameError) -> Self {
        Self::new(Code::BadEventName, fault.to_string())
    }
}

impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("code", &self.0.code)
            .field("detail", &self.0.detail)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}
