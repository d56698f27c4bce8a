//! Parses a request, gets a permit, calls one noun, shapes the answer.

use axum::Router;

use crate::hub::Hub;

impl Hub {
    /// The hub's routes, to be served by [`serve`](crate::serve) or nested in a service of your own.
    pub fn router(&self) -> Router {
        Router::new()
    }
}
