//! HTTP routes. A route parses the request, gets a permit, calls the hub and shapes the response.

mod body;
mod channels;
mod credentials;
mod demo_page;
mod error;
mod fallback;
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

use axum::response::Response;
use axum::routing::{get, post};
use axum::{Router, middleware};

use crate::{error::Error, hub::Hub};

/// Answers a request that is refused before its route.
pub(crate) fn refuse(hub: &Hub, error: Error) -> Response {
    origin_check::refused(hub, error)
}

impl Hub {
    /// Returns the routes for publishers and subscribers, all below `/api/v1/`, to merge into the router of the host application.
    ///
    /// Under `axum::serve` a stream counts as behind once its client has read nothing for a second;
    /// [`serve_with`](crate::serve_with) sees the socket itself. The hub ends its streams, and axum then the connections:
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
    /// The page, health and metrics are not included; see [`Hub::readiness`] and [`Hub::metrics_text`].
    /// [`serve`](crate::serve) has every route.
    pub fn router(&self) -> Router {
        self.guarded(channel_routes())
    }

    /// Returns every route, for a hub with a port of its own.
    pub(crate) fn whole_router(&self) -> Router {
        self.guarded(channel_routes().merge(own_routes()).fallback(fallback::not_found))
    }

    fn guarded(&self, routes: Router<Hub>) -> Router {
        routes
            .method_not_allowed_fallback(fallback::other_method)
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
