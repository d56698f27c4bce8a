//! Parses a request, gets a permit, calls one noun, shapes the answer.

mod body;
mod channels;
mod credentials;
mod demo_page;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod health;
mod openapi;
mod origin_check;
mod parameters;
mod peer;
mod publish;
mod revocations;
mod subscribe;
mod tickets;

use axum::{
    Router, middleware,
    response::Response,
    routing::{get, post},
};

use self::error::ErrorResponse;
use crate::{
    error::{Code, Error},
    hub::Hub,
};

/// Answers a request that was refused before a route was reached.
pub(crate) fn refuse(hub: &Hub, error: Error) -> Response {
    origin_check::refused(hub, error)
}

impl Hub {
    /// The hub's routes for publishers and subscribers, all below `/api/v1/`, to be merged into a service of your own.
    ///
    /// Where `axum::serve` serves them, a stream knows less of its socket than under [`serve_with`](crate::serve_with): it
    /// is behind once its reader has taken nothing for a second. The hub ends its streams, and axum then the connections:
    ///
    /// ```
    /// # async fn stopped() {}
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let hub = tidings::Hub::builder().memory().build().await?;
    /// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    /// axum::serve(listener, hub.router())
    ///     .with_graceful_shutdown(async move {
    ///         stopped().await;
    ///         hub.shutdown().await;
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Its page, health and metrics are not among them: your service has its own. See [`Hub::readiness`] and
    /// [`Hub::metrics_text`]; [`serve`](crate::serve) has everything.
    pub fn router(&self) -> Router {
        self.guarded(channel_routes())
    }

    /// Every route of a hub that has a port of its own.
    pub(crate) fn whole_router(&self) -> Router {
        self.guarded(channel_routes().merge(own_routes()).fallback(not_found))
    }

    fn guarded(&self, routes: Router<Hub>) -> Router {
        routes
            .method_not_allowed_fallback(other_method)
            .layer(middleware::from_fn_with_state(self.clone(), origin_check::guard))
            .with_state(self.clone())
    }
}

fn channel_routes() -> Router<Hub> {
    let channel = get(subscribe::one).post(publish::one);
    Router::new()
        .route("/api/v1/events", get(subscribe::several))
        .route("/api/v1/events/", channel.clone())
        .route("/api/v1/events/{*channel}", channel)
        .route("/api/v1/stream", post(subscribe::posted))
        .route("/api/v1/publish", post(publish::messages))
        .route("/api/v1/tickets", post(tickets::make))
        .route("/api/v1/revocations", post(revocations::revoke))
        .route("/api/v1/channels", get(channels::list))
        .route("/api/v1/channels/{*rest}", get(channels::history))
}

fn own_routes() -> Router<Hub> {
    Router::new()
        // Load balancers probe with OPTIONS, too.
        .route("/healthz", get(health::alive).options(health::alive))
        .route("/readyz", get(health::ready).options(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/openapi.json", get(openapi::document))
        .merge(demo_page::routes())
}

async fn not_found(uri: http::Uri) -> ErrorResponse {
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

async fn other_method(method: http::Method, uri: http::Uri) -> ErrorResponse {
    let detail = format!("{} does not take {method}; the header `Allow` names what it does", uri.path());
    ErrorResponse(Error::new(Code::MethodNotAllowed, detail))
}
