//! Tickets in Redis: one key for each, which expires with its ticket.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tidings_redis::RedisError;
use tracing::warn;

use super::commands::RedisLog;
use crate::auth::TicketStore;
use crate::error::{Code, Error};

/// Tickets of all nodes of one Redis.
pub(crate) struct RedisTickets(pub(super) Arc<RedisLog>);

impl TicketStore for RedisTickets {
    fn put(&self, name: String, sealed: Vec<u8>, life: Duration) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async move { self.0.set(&name, &sealed, life).await.map_err(|fault| unavailable(&fault)) })
    }

    fn look(&self, name: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>> {
        Box::pin(async move { found(self.0.get(&name).await) })
    }

    fn take(&self, name: String) -> BoxFuture<'_, Result<Option<Vec<u8>>, Error>> {
        Box::pin(async move { found(self.0.take(&name).await) })
    }
}

fn found(sealed: Result<Option<Bytes>, RedisError>) -> Result<Option<Vec<u8>>, Error> {
    let sealed = sealed.map_err(|fault| unavailable(&fault))?;
    Ok(sealed.map(|sealed| sealed.to_vec()))
}

fn unavailable(fault: &RedisError) -> Error {
    warn!(%fault, "a ticket could not be kept or looked up");
    Error::new(Code::Unavailable, "tickets are kept in redis, which does not answer; make a new one, later")
        .retry_after(Duration::from_secs(1))
}
