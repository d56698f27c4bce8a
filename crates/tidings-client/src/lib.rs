//! Publishes events to a Tidings hub and subscribes to them; a subscription resumes by itself.
//!
//! ```
//! use tidings_client::{Client, Notification};
//!
//! async fn follow(url: &str) -> Result<(), tidings_client::Error> {
//!     let client = Client::builder(url).build()?;
//!     client.publish("project.42").event("file").data("report.pdf").send().await?;
//!
//!     let mut subscriber = client.subscribe(["project.*"]).history(10).start();
//!     while let Some(notification) = subscriber.next().await {
//!         match notification? {
//!             Notification::Event(event) => {
//!                 println!("{}: {}", event.name, event.data);
//!                 # assert_eq!((event.name.as_str(), event.data.as_str()), ("file", "report.pdf"));
//!                 # return Ok(());
//!             }
//!             Notification::Gap(gap) => println!("events of {:?} were lost", gap.channels),
//!             // Other notifications report reconnects and positions.
//!             _ => {}
//!         }
//!     }
//!     Ok(())
//! }
//! #
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     let hub = tidings::Hub::builder().memory().build().await?;
//! #     let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
//! #     let url = format!("http://{}", listener.local_addr()?);
//! #     let served = tokio::spawn(tidings::serve(hub.clone(), vec![listener]));
//! #     follow(&url).await?;
//! #     hub.shutdown().await;
//! #     Ok(served.await??)
//! # }
//! ```
//!
//! - A [`PublishRequest`] with an idempotency key is retried; [`PublishRequest::send`] explains its errors.
//! - A [`Subscriber`] resumes after a broken connection, is cancel safe, and is a [`Stream`](futures_core::Stream). Store
//!   [`Event::id`] with the result of the event, and pass it to [`SubscribeRequest::last_event_id`] after a restart.
//! - Every [`Error`] has a [kind](Error::kind) to branch on, and the hub's [code](Error::code).

#![warn(missing_debug_implementations)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod backoff;
mod client;
mod error;
mod message;
mod notification;
mod publish;
mod stream_request;
mod subscribe;
mod transport;

pub use client::{Client, ClientBuilder};
pub use error::{Error, ErrorKind};
pub use message::Message;
pub use notification::{Event, Notification, Reconnecting};
pub use publish::PublishRequest;
pub use subscribe::{SubscribeRequest, Subscriber};
pub use transport::Exchange;

pub use tidings_protocol::Priority;
pub use tidings_protocol::body::{EndNotice, EndReason, GapNotice, GapReason, PublishAnswer};
