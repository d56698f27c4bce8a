//! The hook that is a URL of the user's backend.

use http::StatusCode;
use serde::{Deserialize, Serialize};
use tidings_protocol::body::parse_object;
use tracing::warn;

use super::{AccessRequest, Action, Hook, HookError, Subject};
use crate::{
    config::AuthSettings,
    outbound_http::{AddressPolicy, HttpClient, Target},
};

/// Asks by `POST`; only 200 with `{"allow":true}` is yes.
pub(super) struct HttpHook {
    backend: HttpClient,
}

#[derive(Serialize)]
struct HookRequest<'a> {
    principal: Option<HookPrincipal<'a>>,
    action: &'static str,
    channel: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pattern: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum HookPrincipal<'a> {
    User(&'a str),
    Session(&'a str),
}

/// Other members are the backend's own affair.
#[derive(Deserialize)]
struct HookResponse {
    allow: bool,
}

impl HttpHook {
    /// The error says what is wrong with the URL, as the fault of a setting.
    pub(super) fn new(url: &str, settings: &AuthSettings) -> Result<Self, String> {
        let reach = if settings.hook_private { AddressPolicy::Anywhere } else { AddressPolicy::Public };
        Ok(Self::over(HttpClient::new(Target::parse(url)?, reach, settings.hook_timeout)))
    }

    fn over(backend: HttpClient) -> Self {
        Self { backend }
    }
}

impl Hook for HttpHook {
    async fn allow(&self, request: &AccessRequest) -> Result<bool, HookError> {
        let asked = serde_json::to_vec(&HookRequest::from(request))?;
        let answer = self.backend.post(asked).await?;
        let status = answer.status;
        if status.is_server_error() {
            return Err(HookError::new(format!("the hook answered {status}")));
        }
        match verdict(status, &answer.body) {
            Ok(allow) => Ok(allow),
            // A yes is never guessed. A backend that means yes and says it wrong hears of it here.
            Err(reason) => {
                warn!(%reason, channel = %request.channel, "the hook's answer is no verdict and counts as no");
                Ok(false)
            }
        }
    }
}

/// Returns the backend's verdict.
///
/// # Errors
/// The reason why the answer is no verdict. The body stays out of it, since it may hold secrets.
fn verdict(status: StatusCode, body: &[u8]) -> Result<bool, String> {
    const WANTED: &str = "send 200 with {\"allow\":true} or {\"allow\":false}";
    match status {
        StatusCode::OK => parse_object(body)
            .map(|HookResponse { allow }| allow)
            .map_err(|_| format!("status 200, and a body of another shape; {WANTED}")),
        StatusCode::FORBIDDEN => Ok(false),
        other => Err(format!("status {}; {WANTED}", other.as_u16())),
    }
}

impl<'a> From<&'a AccessRequest> for HookRequest<'a> {
    fn from(request: &'a AccessRequest) -> Self {
        Self {
            principal: request.principal.as_ref().map(|who| match who {
                Subject::User(name) => HookPrincipal::User(name),
                Subject::Session(id) => HookPrincipal::Session(id),
            }),
            action: match request.action {
                Action::Subscribe => "subscribe",
                Action::Publish => "publish",
            },
            channel: &request.channel,
            pattern: request.is_pattern,
        }
    }
}

#[cfg(test)]
mod tests;
