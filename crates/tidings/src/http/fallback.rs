//! Answers to requests without a route.

use super::{error::ErrorResponse, openapi};
use crate::error::{Code, Error};

pub(super) async fn not_found(uri: http::Uri) -> ErrorResponse {
    let path = uri.path();
    let routes = if path.starts_with("/api") {
        format!("the routes are {}", openapi::api_routes())
    } else {
        "the routes for publishers and subscribers begin with /api/v1/, for example /api/v1/events/{channel}"
            .to_owned()
    };
    ErrorResponse(Error::new(
        Code::NotFound,
        format!("nothing is at {path}; {routes}; /openapi.json has them all"),
    ))
}

pub(super) async fn other_method(method: http::Method, uri: http::Uri) -> ErrorResponse {
    let detail = format!("{} does not take {method}; the header `Allow` names what it does", uri.path());
    ErrorResponse(Error::new(Code::MethodNotAllowed, detail))
}
