//! The one error type: a stable code, a fact for the caller, and what it came from.

use std::{borrow::Cow, convert::Infallible, fmt, time::Duration};

use tidings_protocol::CHANNEL_BYTES_MAX;
pub use tidings_protocol::Code;
use tidings_protocol::{ChannelNameError, EventNameError};

/// What went wrong, said for the one who asked.
///
/// [`Error::code`] is stable and is what `code` of a problem document shows; the text names the value, the
/// bound and the way out. What the operator should know besides is in [`source`](std::error::Error::source).
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
    /// An error with a stable code and a lowercase fact.
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

    /// Says which element of a batch is at fault, from 0.
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.0.index = Some(index);
        self
    }

    /// Says which of several channels is at fault. What is longer than any channel is cut.
    pub(crate) fn channel(mut self, name: &str) -> Self {
        let end = name.floor_char_boundary(CHANNEL_BYTES_MAX);
        self.0.channel = Some(name[..end].to_owned());
        self
    }

    /// Forgets the index: what is at fault was in no batch.
    pub(crate) fn alone(mut self) -> Self {
        self.0.index = None;
        self
    }

    /// Names the setting whose bound was met; it labels `tidings_limit_refused_total`.
    pub(crate) fn limit(mut self, setting: &'static str) -> Self {
        self.0.limit = Some(setting);
        self
    }

    /// Says when it is worth asking again.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Keeps the cause for the log.
    pub(crate) fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The element of a batch that is at fault, from 0.
    pub fn index(&self) -> Option<usize> {
        self.0.index
    }

    /// The channel or pattern that is at fault, where several were asked for.
    pub fn channel_name(&self) -> Option<&str> {
        self.0.channel.as_deref()
    }

    /// The setting whose bound was met.
    pub fn limit_name(&self) -> Option<&'static str> {
        self.0.limit
    }

    /// When it is worth asking again.
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
