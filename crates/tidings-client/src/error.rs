//! The one error of this crate.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

/// What kind of fault an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument cannot be sent: a bad URL, channel, name, token or id. Nothing was sent.
    Input,
    /// No connection to the hub came about. Nothing was sent.
    Connect,
    /// The connection broke, or the time ran out, before the answer was complete: a publish may have happened.
    Interrupted,
    /// The hub refused the request; see [`Error::status`] and [`Error::code`].
    Refused,
    /// The hub, or a proxy before it, cannot serve now (429 or 5xx). After `outcome_unknown` and answers of a
    /// proxy a publish may have happened.
    Unavailable,
    /// The answer is not what a hub sends, so something else answered, or changed it on the way.
    Protocol,
    /// An event or an answer is larger than this client's bound.
    TooLarge,
}

/// A fault, with what the hub said about it where it said anything.
///
/// It is shown as one line that names the innermost cause, also by `{:?}`, so that a program whose `main` returns it ends
/// with that line. Those around the innermost are in [`source`](StdError::source); `{:#?}` shows all members.
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

/// The members of a problem document that the client reads; each may be missing, as a proxy may have written it.
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
    /// Text of a refusal in plain text: its first line, shortened.
    pub(crate) fn plain(text: &str) -> Self {
        const SHOWN_MAX: usize = 200;
        let line = text.lines().next().unwrap_or_default().trim();
        let shown: String = line.chars().take(SHOWN_MAX).collect();
        Self { detail: Some(shown).filter(|shown| !shown.is_empty()), ..Self::default() }
    }

    /// What a redirect says; it is not followed, because a token must not travel to a host that nobody named.
    pub(crate) fn redirect(to: &str) -> Self {
        let detail = format!("redirected to {to}, which is not followed; give that address as the hub's URL");
        Self { detail: Some(detail), ..Self::default() }
    }
}

impl Error {
    /// The kind of fault.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The HTTP status of a refusal.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.inner.status
    }

    /// The stable problem code that the hub gave, e.g. `event_too_large`.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.inner.problem.code.as_deref()
    }

    /// The hub's own explanation.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        self.inner.problem.detail.as_deref()
    }

    /// Which message of a batch was at fault, from 0.
    #[must_use]
    pub fn index(&self) -> Option<usize> {
        self.inner.problem.index
    }

    /// The hub's setting that was reached, e.g. `event_bytes`.
    #[must_use]
    pub fn limit(&self) -> Option<&str> {
        self.inner.problem.limit.as_deref()
    }

    /// How long the hub asked to wait, by `Retry-After` in seconds. The form with a date is not read.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.inner.retry_after
    }

    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let problem = ProblemText::default();
        Self {
            inner: Box::new(ErrorInner {
                kind,
                message: one_line(message.into()),
                status: None,
                problem,
                retry_after: None,
                source: None,
            }),
        }
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    pub(crate) fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.inner.source = Some(source.into());
        self
    }

    /// Names the message of a batch that is at fault.
    pub(crate) fn at(mut self, index: usize) -> Self {
        self.inner.problem.index = Some(index);
        self
    }

    /// A status of the hub at `base` that is no success; the kind follows from it.
    pub(crate) fn status_refused(
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

    /// Whether the same request may do better later.
    pub(crate) fn is_passing(&self) -> bool {
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

/// A proxy may answer with a text of many lines: control characters are shown escaped.
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
