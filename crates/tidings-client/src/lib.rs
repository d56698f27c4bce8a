//! Publishes events to a Tidings hub and subscribes to them; a subscription resumes by itself.
//!
//! ```no_run
//! # async fn example() -> Result<(), tidings_client::Error> {
//! use tidings_client::{Client, Delivery};
//!
//! let client = Client::builder("http://127.0.0.1:8000").build()?;
//! client.publish("project.42").event("file").data("report.pdf").send().await?;
//!
//! let mut subscription = client.subscribe(["project.*"]).history(10).start();
//! while let Some(delivery) = subscription.next().await {
//!     match delivery? {
//!         Delivery::Event(event) => println!("{}: {}", event.name, event.data),
//!         Delivery::Gap(gap) => println!("events were lost: {gap:?}"),
//!         _ => {}
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod client;
mod delivery;
mod error;
mod message;
mod publish;
mod subscribe;
mod wire;

pub use client::{Client, ClientBuilder};
pub use delivery::{Delivery, Event, Reconnecting};
pub use error::{Error, ErrorKind};
pub use message::Message;
pub use publish::Publish;
pub use subscribe::{Subscribe, Subscription};
pub use wire::Exchange;

pub use tidings_protocol::Priority;
pub use tidings_protocol::body::{EndNotice, EndReason, GapNotice, GapReason, PublishAnswer};
