//! Brokers: the embedded one orders the log of a single node, the Redis one the log that several nodes share.

mod api;
mod batch;
pub(crate) mod embedded;
#[cfg(feature = "redis")]
pub(crate) mod redis;

pub use self::api::PublishOutcome;
pub(crate) use self::api::{DeliverySink, InterestChange, PendingEvent, opened_soon, shutting_down};
