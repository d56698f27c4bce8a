//! `POST /api/v1/tickets`: issues a ticket that an `EventSource` puts into its URL.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use tidings_protocol::body::TicketAnswer;

use super::{body, credentials::Authenticated, error::ErrorResponse, parameters};
use crate::error::{Code, Error};
use crate::hub::{Hub, iso_8601};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TicketRequest {
    channels: Vec<String>,
}

/// Issues a ticket for a stream of the channels in the body.
pub(super) async fn make(
    State(hub): State<Hub>,
    mut authenticated: Authenticated,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ErrorResponse> {
    let credential = authenticated.take_credential();
    let identity = authenticated.for_writing()?;
    let request: TicketRequest =
        body::json(&headers, body, hub.settings(), "{\"channels\":[\"a\",\"b.*\"]}").await?;
    if request.channels.is_empty() {
        return Err(Error::new(Code::MalformedBody, "`channels` is empty; name one or more").into());
    }
    let subscriptions = parameters::subscriptions(request.channels.iter().map(String::as_str))?;
    let ticket = hub.authorizer().issue_ticket(&identity, credential.as_ref(), subscriptions).await?;
    let answer =
        TicketAnswer { ticket: ticket.text.reveal().to_owned(), expires_at: iso_8601(ticket.expires_at) };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}
