//! The hook: a backend that confirms or refuses what the patterns allow.

mod cache;
mod check;
mod client;
mod http;

use std::{error::Error as StdError, fmt, pin::Pin, sync::Arc};

use serde::Serialize;

pub(crate) use self::client::HookClient;

/// Request to the hook. Its JSON is the body that `auth.hook` gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct AccessRequest {
    /// User or session; `None` for a client without credentials.
    pub principal: Option<Subject>,
    /// Action on the channel.
    pub action: Action,
    /// Channel or pattern.
    pub channel: String,
    /// Whether `channel` is a pattern.
    #[serde(rename = "pattern", skip_serializing_if = "std::ops::Not::not")]
    pub is_pattern: bool,
}

/// Subject of credentials.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Subject {
    /// A user, by the name in the token.
    User(Arc<str>),
    /// A session, by its id.
    Session(Arc<str>),
}

/// Action on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Action {
    /// Read it: live, replayed or as history.
    Subscribe,
    /// Publish to it.
    Publish,
}

/// A hook in the host application.
///
/// A hook can only narrow what patterns allow. Tidings does not ask it about API keys. It has `auth.hook_timeout` for each
/// answer, and Tidings keeps answers for `auth.hook_ttl`. Closures that take an [`AccessRequest`] are hooks, too:
///
/// ```
/// use tidings::{AccessRequest, Action, Hook, HookError};
///
/// fn is_hook(_: impl Hook) {}
/// is_hook(|request: AccessRequest| async move { Ok::<_, HookError>(request.action == Action::Subscribe) });
///
/// struct Members;
///
/// impl Hook for Members {
///     async fn allow(&self, request: &AccessRequest) -> Result<bool, HookError> {
///         Ok(request.principal.is_some())
///     }
/// }
/// is_hook(Members);
/// ```
pub trait Hook: Send + Sync + 'static {
    /// Whether the request is allowed. Tidings drops the future when no client waits for the answer any more.
    ///
    /// # Errors
    /// An error means no answer: the client gets 503 and retries, and an open stream stays open. A panic counts as an error.
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

/// Reason why a hook has no answer. Its text goes to the log, never to the client.
pub struct HookError(Box<dyn StdError + Send + Sync>);

impl HookError {
    /// Makes an error from its cause.
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

/// Lets `?` turn any error into a missing answer.
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

/// Object-safe form of [`Hook`], whose method returns `impl Future`.
trait AnyHook: Send + Sync {
    fn allow<'a>(&'a self, request: &'a AccessRequest) -> HookFuture<'a>;
}

impl<H: Hook> AnyHook for H {
    fn allow<'a>(&'a self, request: &'a AccessRequest) -> HookFuture<'a> {
        // Called inside the future, so that a panic before the first await is a panic of the future.
        Box::pin(async move { Hook::allow(self, request).await })
    }
}
