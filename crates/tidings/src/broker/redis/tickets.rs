//! Tickets in Redis: one key for each, which expires with its ticket.

use std::{pin::Pin, sync::Arc, time::Duration};

use tidings_redis::RedisError;
use tracing::warn;

use super::commands::RedisLog;
use crate::{
    auth::TicketStore,
    error::{Code, Error},
};

/// Tickets of all nodes of one Redis.
pub(crate) struct RedisTickets(pub(super) Arc<RedisLog>);

impl TicketStore for RedisTickets {
    fn put(
        &self,
        name: String,
        sealed: Vec<u8>,
        life: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + '_>> {
        Box::pin(async move { self.0.set(&name, &sealed, life).await.map_err(|fault| unavailable(&fault)) })
    }

    fn look(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, Error>> + Send + '_>> {
        Box::pin(async move {
            let found = self.0.get(&name).await.map_err(|fault| unavailable(&fault))?;
            Ok(found.map(|sealed| sealed.to_vec()))
        })
    }

    fn take(
        &self,
        name: String,
    ) -> Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, Error>> + Send + '_>> {
        Box::pin(async move {
            let taken = self.0.take(&name).await.map_err(|fault| unavailable(&fault))?;
            Ok(taken.map(|sealed| sealed.to_vec()))
        })
    }
}

fn unavailable(fault: &RedisError) -> Error {
    warn!(%fault, "a ticket could not be kept or looked up");
    Error::new(Code::Unavailable, "tickets are kept in redis, which does not answer; make a new one, later")
        .retry_after(Duration::from_secs(1))
}
