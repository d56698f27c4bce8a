//! `POST /api/v1/revocations`: revokes a user, a session or a token.

use axum::{body::Body, extract::State};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{body, credentials::Authenticated, error::ErrorResponse};
use crate::auth::RevokedSubject;
use crate::error::{Code, Error};
use crate::hub::Hub;

const SHAPE: &str = "{\"user\":\"…\"}, {\"session\":\"…\"} or {\"jti\":\"…\"}, with \"until\" or without";
/// Longest name of a user, session or token, in bytes.
const NAME_BYTES_MAX: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeRequest {
    user: Option<String>,
    session: Option<String>,
    jti: Option<String>,
    until: Option<String>,
}

/// Revokes the subject of the body.
pub(super) async fn revoke(
    State(hub): State<Hub>,
    authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, ErrorResponse> {
    let identity = authenticated.for_writing()?;
    hub.authorizer().manage(&identity)?;
    let request: RevokeRequest = body::json(&headers, body, hub.settings(), SHAPE).await?;
    let until = request.until.as_deref().map(seconds).transpose()?;
    let subject = subject(request)?;
    // Checked again: the right may have ended while the body arrived.
    let permit = hub.authorizer().manage(&identity)?;
    let hub = hub.clone();
    // The response waits for the disk, and for the store of all nodes.
    let revoking = tokio::task::spawn_blocking(move || hub.authorizer().revoke(&permit, subject, until));
    let revoked = revoking.await;
    let replication = revoked
        .map_err(|error| Error::new(Code::Internal, "keeping the revocation panicked").caused_by(error))??;
    replication.run().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn subject(request: RevokeRequest) -> Result<RevokedSubject, Error> {
    let subject = match (request.user, request.session, request.jti) {
        (Some(name), None, None) => RevokedSubject::User(name),
        (None, Some(id), None) => RevokedSubject::Session(id),
        (None, None, Some(id)) => RevokedSubject::Token(id),
        _ => return Err(Error::new(Code::MalformedBody, format!("exactly one subject is revoked: {SHAPE}"))),
    };
    let (RevokedSubject::User(name) | RevokedSubject::Session(name) | RevokedSubject::Token(name)) = &subject;
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let length = name.len();
        let detail =
            format!("the name of what is revoked is {length} bytes; it may be 1 to {NAME_BYTES_MAX}");
        return Err(Error::new(Code::MalformedBody, detail));
    }
    Ok(subject)
}

fn seconds(until: &str) -> Result<f64, Error> {
    let at = until.parse::<jiff::Timestamp>().map_err(|_| {
        Error::new(
            Code::MalformedBody,
            format!("`until` {until:?} is not a time as in 2026-11-21T12:00:00Z (ISO 8601, with its offset)"),
        )
    })?;
    if at <= jiff::Timestamp::now() {
        return Err(Error::new(Code::MalformedBody, format!("`until` {until:?} has passed")));
    }
    Ok(at.as_millisecond() as f64 / 1000.0)
}
