//! Parses a request, gets a permit, calls one noun, shapes the answer.

mod body;
mod channels;
mod error;
mod guard;
mod openapi;
mod operating;
mod page;
mod parameters;
mod publish;
mod streams;

use axum::{
    Router, middleware,
    routing::{get, post},
};

use self::error::Refusal;
use crate::{
    error::{Code, Error},
    hub::Hub,
};

impl Hub {
    /// The hub's routes, to be served by [`serve`](crate::serve) or merged into a service of your own.
    pub fn router(&self) -> Router {
        let channel = get(streams::one).post(publish::one);
        Router::new()
            .route("/api/v1/events", get(streams::several))
            .route("/api/v1/events/", channel.clone())
            .route("/api/v1/events/{*channel}", channel)
            .route("/api/v1/publish", post(publish::messages))
            .route("/api/v1/channels", get(channels::list))
            .route("/api/v1/channels/{*rest}", get(channels::history))
            .route("/healthz", get(operating::alive))
            .route("/readyz", get(operating::ready))
            .route("/metrics", get(operating::metrics))
            .route("/openapi.json", get(openapi::document))
            .route("/", get(page::index))
            .route("/page.css", get(page::style))
            .route("/page.js", get(page::script))
            .fallback(nothing)
            .method_not_allowed_fallback(other_method)
            .layer(middleware::from_fn_with_state(self.clone(), guard::guard))
            .with_state(self.clone())
    }
}

async fn nothing(uri: http::Uri) -> Refusal {
    Refusal(Error::new(Code::NotFound, format!("nothing is at {}; the routes are in the manual", uri.path())))
}

async fn other_method(method: http::Method, uri: http::Uri) -> Refusal {
    let detail = format!("{} does not take {method}; the header `Allow` names what it does", uri.path());
    Refusal(Error::new(Code::MethodNotAllowed, detail))
}
