//! The hook: a backend that has the last word about who may do what, after the patterns have allowed it.

mod cache;
mod client;
mod http;

use std::{error::Error as StdError, fmt, pin::Pin, sync::Arc};

pub(crate) use self::client::HookClient;

/// What the hook is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AccessRequest {
    /// Who wants it; `None` is somebody without credentials.
    pub principal: Option<Subject>,
    /// What is wanted.
    pub action: Action,
    /// The channel it is wanted of, or the pattern.
    pub channel: String,
    /// Whether `channel` is a pattern.
    pub is_pattern: bool,
}

/// Whom credentials name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Subject {
    /// A user, by the name in the token.
    User(Arc<str>),
    /// A session, by its id.
    Session(Arc<str>),
}

/// What somebody wants to do with a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Action {
    /// Read it: live, replayed or its history.
    Subscribe,
    /// Publish to it.
    Publish,
}

/// A backend in the same process that has the last word.
///
/// It can only narrow what patterns allow, and API keys are not asked about. Its answers, but not their absence, are
/// kept for `auth.hook_ttl`; it has `auth.hook_timeout` for each. Closures that take a [`AccessRequest`] are hooks too:
///
/// ```
/// use tidings::{Action, Hook, HookError, Question};
///
/// fn is_hook(_: impl Hook) {}
/// is_hook(|question: Question| async move { Ok::<_, HookError>(question.action == Action::Subscribe) });
///
/// struct Members;
///
/// impl Hook for Members {
///     async fn allow(&self, question: &Question) -> Result<bool, HookError> {
///         Ok(question.principal.is_some())
///     }
/// }
/// is_hook(Members);
/// ```
pub trait Hook: Send + Sync + 'static {
    /// Whether it is allowed. The future may be dropped at any await, when nobody waits for the answer any more.
    ///
    /// # Errors
    /// Any error means that there is no answer: the one who wanted it is told to ask again (503), and an open stream
    /// stays open. A panic counts as one.
    fn allow(&self, request: &AccessRequest) -> impl Future<Output = Result<bool, HookError>> + Send;
}

impl<F, Fut> Hook for F
where
    F: Fn(AccessRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<bool, HookError>> + Send,
{
    fn allow(&self, request: &AccessRequest) -> impl Future<Output = Result<bool, HookError>> + Send {
        self(request.clone())
    }
}

/// Why a hook has no answer. Its text goes to the log, never to the one who asked.
pub struct HookError(Box<dyn StdError + Send + Sync>);

impl HookError {
    /// Says why there is no answer.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// So that `?` turns any error into the absence of an answer.
impl<E: StdError + Send + Sync + 'static> From<E> for HookError {
    fn from(cause: E) -> Self {
        Self(Box::new(cause))
    }
}

impl fmt::Display for HookError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for HookError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("HookError").field(&self.0).finish()
    }
}

type HookFuture<'a> = Pin<Box<dyn Future<Output = Result<bool, HookError>> + Send + 'a>>;

/// A hook whose type is forgotten: methods that return `impl Future` make no trait object.
trait AnyHook: Send + Sync {
    fn allow<'a>(&'a self, request: &'a AccessRequest) -> HookFuture<'a>;
}

impl<H: Hook> AnyHook for H {
    fn allow<'a>(&'a self, request: &'a AccessRequest) -> HookFuture<'a> {
        // Inside the future, so that a panic before the first await is one of the future.
        Box::pin(async move { Hook::allow(self, request).await })
    }
}
