//! Brokers: the embedded one orders the log of a single node, the Redis one the log that several nodes share.

mod api;
mod batch;
pub(crate) mod embedded;
#[cfg(feature = "redis")]
pub(crate) mod redis;

pub use self::api::PublishOutcome;
pub(crate) use self::api::{DeliverySink, InterestChange, PendingEvent, shutting_down};
use crate::error::Error;

/// Broker of this node.
pub(crate) enum Broker {
    Embedded(embedded::EmbeddedBroker),
    #[cfg(feature = "redis")]
    Redis(redis::RedisBroker),
}

impl Broker {
    /// Appends events and waits until they are stored. Dropping the future does not cancel the publish.
    ///
    /// # Errors
    /// `not_stored` if the events are certainly not stored, `outcome_unknown` if the broker does not know in time.
    pub(crate) async fn append(&self, items: Vec<PendingEvent>) -> Result<Vec<PublishOutcome>, Error> {
        match self {
            Self::Embedded(broker) => broker.append(items).await,
            #[cfg(feature = "redis")]
            Self::Redis(broker) => broker.append(items).await,
        }
    }
}
