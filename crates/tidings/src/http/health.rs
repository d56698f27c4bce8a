//! `/healthz`, `/readyz` and `/metrics`, for operators.

use axum::extract::{FromRequestParts, Request, State};
use axum::response::{IntoResponse, Response};
use http::header;

use super::{credentials::Authenticated, error::ErrorResponse};
use crate::hub::Hub;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: [(header::HeaderName, &str); 2] =
    [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];

/// Answers 200 while the process runs.
pub(super) async fn alive() -> Response {
    (JSON, "{\"status\":\"alive\"}").into_response()
}

/// Answers 200 while the hub can serve: its log is writable and it is not shutting down.
pub(super) async fn ready(State(hub): State<Hub>) -> Result<Response, ErrorResponse> {
    hub.readiness()?;
    Ok((JSON, "{\"status\":\"ready\"}").into_response())
}

/// Answers with all metrics. The request needs the right `manage` unless `metrics.public` is set.
pub(super) async fn metrics(State(hub): State<Hub>, request: Request) -> Result<Response, ErrorResponse> {
    if !hub.settings().metrics.public {
        let (mut parts, _) = request.into_parts();
        let identity = Authenticated::from_request_parts(&mut parts, &hub).await?.for_reading()?;
        hub.authorizer().manage(&identity)?;
    }
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], hub.metrics_text()).into_response())
}
