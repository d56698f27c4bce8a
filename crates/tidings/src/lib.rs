//! An embeddable hub: publish events to channels, deliver them over Server-Sent Events, resume without a hole.
//!
//! A hub in your process serves the routes of the binary `tidings`, from the same kind of log, without its command line.
//!
//! ```
//! use std::net::TcpListener;
//!
//! use axum::{Router, extract::State, routing::post};
//! use tidings::{Delivery, Error, Hub, Publication, Start};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let hub = Hub::builder().memory().build().await?;
//!
//!     // Your routes and the hub's. Browsers subscribe with `new EventSource("/api/v1/events/orders.42")`.
//!     let service = Router::new().route("/ship", post(ship)).with_state(hub.clone()).merge(hub.router());
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let served = tokio::spawn(tidings::serve_with(hub.clone(), service, vec![listener]));
//!
//!     // Code in the process subscribes, too.
//!     let mut events = hub.subscribe(["orders.*"], Start::Now)?;
//!     ship(State(hub.clone())).await?;
//!     if let Some(Delivery::Event(event)) = events.next().await {
//!         println!("{}: {}", event.name, event.data);
//!         # assert_eq!((event.name.as_str(), event.data.as_str()), ("shipped", r#"{"order":42}"#));
//!     }
//!
//!     // Tells every stream to reconnect, makes the log safe, then closes the listeners.
//!     hub.shutdown().await;
//!     served.await??;
//!     Ok(())
//! }
//!
//! async fn ship(State(hub): State<Hub>) -> Result<(), Error> {
//!     let event = Publication::new("orders.42".parse()?, r#"{"order":42}"#).event("shipped".parse()?);
//!     hub.publish(event).await?;
//!     Ok(())
//! }
//! ```
//!
//! - [`Hub::builder`] takes a directory, nothing but memory, or all [`Settings`](config::Settings). Credentials are settings;
//!   a [`Hook`] of yours may have the last word. Calls through [`Hub`] skip authorization.
//! - [`serve_with`] serves your service, [`serve`] the hub alone. A service that runs on `axum::serve` may stay there; see
//!   [`Hub::router`].
//! - [`Hub::shutdown`] ends a hub, [`Hub::closed`] waits until it has ended and says whether by a fault.
//! - Every [`Error`] has a stable [code](Error::code), and is an answer that a handler may return.
//!
//! The feature `redis` (off by default) has several nodes share one log in Redis.

// Only the feature `redis` brings a broker; without it the code that follows one is unused. Builds with that feature find
// code that nothing uses.
#![cfg_attr(not(feature = "redis"), allow(dead_code))]
#![warn(missing_debug_implementations)]
// Tests start threads and use locks as they like.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_types))]

// In reading order; each module uses only those below it.
mod auth;
mod broker;
pub mod config;
mod connection;
mod deferred_wake;
mod error;
mod failpoint;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod hub;
mod limits;
mod lock;
mod metrics;
// Owns every task and thread.
#[allow(clippy::disallowed_methods)]
mod node;
mod outbound_http;
mod publish;
mod transport;

pub use tidings_protocol as protocol;
pub use tidings_protocol::body::{EndNotice, EndReason, GapNotice, GapReason, HistoryEvent, HistoryPage};
pub use tidings_protocol::sse::MessageEvent;
pub use tidings_protocol::{ChannelName, EventId, EventName, Pattern, Priority, Subscription};

pub use self::auth::{AccessRequest, Action, Hook, HookError, Subject};
pub use self::broker::PublishOutcome;
pub use self::connection::{ConnectionId, PositionStyle, Start, StreamOptions};
pub use self::error::{Code, Error};
pub use self::hub::{HistoryRequest, Hub, ThreadEnded};
pub use self::node::{HubBuilder, serve, serve_with};
pub use self::publish::Publication;
pub use self::transport::event_stream::EventBody;
pub use self::transport::local::{Delivery, EventStream};
