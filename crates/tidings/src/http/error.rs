//! Errors as problem documents (RFC 9457). Only this file picks status codes.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use tidings_protocol::Problem;

use crate::error::{Code, Error};

/// An error on its way to the client.
#[derive(Debug)]
pub(super) struct ErrorResponse(pub(super) Error);

/// Labels by which `origin_check` counts an error: its code, and the setting of an exceeded limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorCounted {
    pub(super) code: Code,
    pub(super) limit: Option<&'static str>,
}

impl From<Error> for ErrorResponse {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

/// Returns the status and the title of a code.
fn status(code: Code) -> (StatusCode, &'static str) {
    match code {
        Code::ReservedChannel | Code::AccessDenied | Code::ForbiddenHost | Code::ForbiddenOrigin => {
            (StatusCode::FORBIDDEN, "Forbidden")
        }
        Code::CredentialsMissing | Code::BadCredentials | Code::TokenExpired | Code::Revoked => {
            (StatusCode::UNAUTHORIZED, "Unauthorized")
        }
        Code::NotFound => (StatusCode::NOT_FOUND, "Not found"),
        Code::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed"),
        Code::BodyTimeout => (StatusCode::REQUEST_TIMEOUT, "Request timeout"),
        Code::IdempotencyConflict => (StatusCode::CONFLICT, "Conflict"),
        Code::EventTooLarge | Code::BodyTooLarge | Code::BatchTooLarge => {
            (StatusCode::PAYLOAD_TOO_LARGE, "Too large")
        }
        Code::UriTooLong => (StatusCode::URI_TOO_LONG, "URI too long"),
        Code::HeadTooLarge => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "Request header fields too large")
        }
        Code::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported media type"),
        Code::Envelope | Code::UnknownType => (StatusCode::UNPROCESSABLE_ENTITY, "Not the agreed envelope"),
        Code::IdempotencyKeysFull
        | Code::UserConnectionsFull
        | Code::AddressConnectionsFull
        | Code::TooManyPublishes
        | Code::TooManyStreams
        | Code::TooMany => (StatusCode::TOO_MANY_REQUESTS, "Too many requests"),
        Code::NotStored
        | Code::OutcomeUnknown
        | Code::ConnectionsFull
        | Code::HookUnavailable
        | Code::KeysUnavailable
        | Code::ShuttingDown
        | Code::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Service unavailable"),
        Code::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "Internal error"),
        _ => (StatusCode::BAD_REQUEST, "Bad request"),
    }
}

/// A handler of the host application may return errors of the hub. The response has the status of their code and a problem
/// document, as on the hub's routes.
impl IntoResponse for Error {
    fn into_response(self) -> Response {
        ErrorResponse(self).into_response()
    }
}

impl IntoResponse for ErrorResponse {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let (status, title) = status(error.code());
        if status.is_server_error() {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::warn!(code = %error.code(), detail = %error, cause, "request failed");
        }
        let mut problem = Problem::new(status.as_u16(), title, error.code(), error.to_string());
        problem.index = error.index();
        problem.channel = error.channel_name().map(str::to_owned);
        problem.limit = error.limit_name().map(str::to_owned);
        let body = serde_json::to_vec(&problem).expect("a problem is plain data");
        let mut response = (status, [(header::CONTENT_TYPE, Problem::CONTENT_TYPE)], body).into_response();
        let is_for_a_while =
            matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        if let Some(wait) = error.retry_after_hint().or(is_for_a_while.then_some(Duration::from_secs(1))) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(ErrorCounted { code: error.code(), limit: error.limit_name() });
        response
    }
}
