//! The error of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// The kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument cannot be sent: a bad URL, channel, name, token or id. Nothing was sent.
    Input,
    /// The client could not connect to the hub. Nothing was sent.
    Connect,
    /// The connection broke, or the time ran out, before the answer was complete: a publish may have happened.
    Interrupted,
    /// The hub refused the request; see [`Error::status`] and [`Error::code`].
    Refused,
    /// The hub, or a proxy before it, cannot serve now (429 or 5xx). After `outcome_unknown` and answers of a
    /// proxy a publish may have happened.
    Unavailable,
    /// The answer is not that of a hub: another server answered, or a proxy changed it.
    Protocol,
    /// An event or an answer is larger than this client's limit.
    TooLarge,
}

/// An error, with the hub's problem document if there is one.
///
/// `Display` and `{:?}` show one line with the innermost cause, for a program whose `main` returns the error.
/// [`source`](StdError::source) has the other causes; `{:#?}` shows all members.
///
/// ```
/// let error = tidings_client::Client::builder("localhost:8000").build().unwrap_err();
/// assert_eq!(error.kind(), tidings_client::ErrorKind::Input);
/// assert_eq!(
///     format!("{error:?}"),
///     "url `localhost:8000` has no scheme http or https; write it like http://127.0.0.1:8000"
/// );
/// ```
pub struct Error {
    inner: Box<ErrorInner>,
}

#[derive(Debug)]
struct ErrorInner {
    kind: ErrorKind,
    message: String,
    status: Option<u16>,
    problem: ProblemText,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The members of a problem document that the client reads. Each may be missing, because a proxy may have written it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ProblemText {
    title: Option<String>,
    code: Option<String>,
    detail: Option<String>,
    index: Option<usize>,
    limit: Option<String>,
}

impl ProblemText {
    /// Returns an error text in plain text: its first line, at most 200 characters.
    pub(crate) fn plain(text: &str) -> Self {
        const SHOWN_MAX: usize = 200;
        let line = text.lines().next().unwrap_or_default().trim();
        let shown: String = line.chars().take(SHOWN_MAX).collect();
        Self { detail: Some(shown).filter(|shown| !shown.is_empty()), ..Self::default() }
    }

    /// Returns the text of a redirect. The client does not follow it, because a token must not reach another host.
    pub(crate) fn redirect(to: &str) -> Self {
        let detail = format!("redirected to {to}, which is not followed; give that address as the hub's URL");
        Self { detail: Some(detail), ..Self::default() }
    }
}

impl Error {
    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// Returns the HTTP status of the hub's answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.inner.status
    }

    /// Returns the hub's problem code, e.g. `event_too_large`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.inner.problem.code.as_deref()
    }

    /// Returns the hub's explanation.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.inner.problem.detail.as_deref()
    }

    /// Returns the index of the first bad message of a batch, from 0.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.inner.problem.index
    }

    /// Returns the hub's setting whose limit was reached, e.g. `event_bytes`.
    #[must_use]
    pub fn limit(&self) -> Option<&str> {
        self.inner.problem.limit.as_deref()
    }

    /// Returns the hub's `Retry-After` in seconds. A date is ignored.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            inner: Box::new(ErrorInner {
                kind,
                message: one_line(message.into()),
                status: None,
                problem: ProblemText::default(),
                retry_after: None,
                source: None,
            }),
        }
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// Returns the error of an invalid argument.
    pub(crate) fn invalid(source: impl StdError + Send + Sync + 'static) -> Self {
        Self::input(source.to_string()).with_source(source)
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Names the bad message of a batch.
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.inner.problem.index = Some(index);
        self
    }

    /// Returns the error of an unsuccessful status from the hub at `base`. The kind follows from the status.
    pub(crate) fn of_status(
        base: &str,
        status: u16,
        problem: ProblemText,
        retry_after: Option<Duration>,
    ) -> Self {
        let kind = if status == 429 || status >= 500 { ErrorKind::Unavailable } else { ErrorKind::Refused };
        let mut message = format!("{base} answered {status}");
        if let Some(code) = &problem.code {
            message.push(' ');
            message.push_str(code);
        }
        if let Some(text) = problem.detail.as_ref().or(problem.title.as_ref()) {
            message.push_str(": ");
            message.push_str(text);
        }
        let mut error = Self::new(kind, message);
        error.inner.status = Some(status);
        error.inner.problem = problem;
        error.inner.retry_after = retry_after;
        error
    }

    /// Returns whether the same request may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.kind(), ErrorKind::Connect | ErrorKind::Interrupted | ErrorKind::Unavailable)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate() { fmt::Debug::fmt(&self.inner, f) } else { fmt::Display::fmt(self, f) }
    }
}

/// Escapes control characters: a proxy may answer with a text of many lines.
fn one_line(message: String) -> String {
    if !message.contains(char::is_control) {
        return message;
    }
    let escaped = |character: char| character.escape_default().to_string();
    message.chars().map(|it| if it.is_control() { escaped(it) } else { it.to_string() }).collect()
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
