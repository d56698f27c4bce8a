//! stub
use crate::{config::AuthSettings, error::Error};
use std::{future::Future, sync::Arc};
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    pub principal: Option<Who>,
    pub action: Action,
    pub channel: String,
    pub is_pattern: bool,
}
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    User(Arc<str>),
    Session(Arc<str>),
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Subscribe,
    Publish,
}
pub struct HookError(pub String);
pub trait Hook: Send + Sync + 'static {
    fn allow(&self, question: &Question) -> impl Future<Output = Result<bool, HookError>> + Send;
}
pub(crate) struct Asker;
impl Asker {
    pub(crate) fn http(_url: &str, _settings: &AuthSettings) -> Self {
        Self
    }
    pub(crate) fn of(_hook: impl Hook, _settings: &AuthSettings) -> Self {
        Self
    }
    pub(crate) async fn allow(&self, _question: &Question) -> Result<bool, Error> {
        Ok(true)
    }
    pub(crate) async fn ask_again(&self, _question: &Question) -> Result<bool, Error> {
        Ok(true)
    }
}
