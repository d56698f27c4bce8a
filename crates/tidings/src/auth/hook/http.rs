//! The hook behind a URL, `auth.hook`.

use http::StatusCode;
use serde::Deserialize;
use tidings_protocol::body::parse_object;
use tracing::warn;

use super::{AccessRequest, Hook, HookError};
use crate::config::AuthSettings;
use crate::outbound_http::{AddressPolicy, HttpClient, Target};

/// Sends a request by `POST`; only 200 with `{"allow":true}` allows it.
pub(super) struct HttpHook {
    backend: HttpClient,
}

/// Other members are ignored.
#[derive(Deserialize)]
struct HookResponse {
    allow: bool,
}

impl HttpHook {
    /// Returns the hook at `url`; the error is the reason why the setting is invalid.
    pub(super) fn new(url: &str, settings: &AuthSettings) -> Result<Self, String> {
        let policy = if settings.hook_private { AddressPolicy::Anywhere } else { AddressPolicy::Public };
        Ok(Self { backend: HttpClient::new(Target::parse(url)?, policy, settings.hook_timeout) })
    }
}

impl Hook for HttpHook {
    async fn allow(&self, request: &AccessRequest) -> Result<bool, HookError> {
        let body = serde_json::to_vec(request)?;
        let answer = self.backend.post(body).await?;
        let status = answer.status;
        if status.is_server_error() {
            return Err(HookError::new(format!("the hook answered {status}")));
        }
        match verdict(status, &answer.body) {
            Ok(allow) => Ok(allow),
            Err(reason) => {
                warn!(%reason, channel = %request.channel, "invalid hook answer; access denied");
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
    const EXPECTED: &str = "send 200 with {\"allow\":true} or {\"allow\":false}";
    match status {
        StatusCode::OK => parse_object(body)
            .map(|HookResponse { allow }| allow)
            .map_err(|_| format!("status 200 with another body; {EXPECTED}")),
        StatusCode::FORBIDDEN => Ok(false),
        other => Err(format!("status {}; {EXPECTED}", other.as_u16())),
    }
}

#[cfg(test)]
mod tests;
