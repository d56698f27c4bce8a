//! Connection for commands that wait in Redis, such as `XREAD BLOCK`.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout_at;

use crate::connection::{ConnectionError, RedisConnection};
use crate::connector::{Connector, cluster};
use crate::error::RedisError;
use crate::resp::{RedisCommand, RedisReply};
use crate::url::RedisHost;

/// A connection of its own for one call at a time. After an error the next call opens another connection.
#[derive(Debug)]
pub struct BlockingConnection {
    connector: Arc<Connector>,
    connection: Option<RedisConnection>,
    /// Connection to the cluster node that the slot of the key is moved to.
    named: Option<RedisConnection>,
}

impl BlockingConnection {
    /// Creates a connection, which the first call opens.
    pub fn new(connector: Arc<Connector>) -> Self {
        Self { connector, connection: None, named: None }
    }

    /// Whether the next call uses the connection of the last one. If not, another server may answer. Closes a connection to a
    /// host that holds the key no more.
    pub fn is_connected(&mut self) -> bool {
        self.connection = self.connection.take().filter(|connection| self.connector.is_current(connection));
        self.connection.is_some()
    }

    /// Sends a command that Redis answers within `block`, and waits for its reply. An error reply is a reply, and closes the
    /// connection. A dropped call closes it, too.
    ///
    /// # Errors
    /// [`RedisError::NotApplied`] if no connection was opened; [`RedisError::OutcomeUnknown`] if it failed later.
    pub async fn request(
        &mut self,
        command: RedisCommand,
        block: Duration,
    ) -> Result<RedisReply, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let opened = self.connector.open(self.connector.due()).await;
                opened.map_err(ConnectionError::not_applied)?
            }
        };
        let commands = [command];
        let mut reply = self.exchange(&mut connection, &commands, block).await?;
        if let RedisReply::Error(error) = &reply
            && let Some(named) = cluster::ask_redirect(error, connection.host())
        {
            reply = self.request_at(&named, &commands, block).await?;
        }
        if !matches!(reply, RedisReply::Error(_)) {
            self.connection = Some(connection);
        }
        Ok(reply)
    }

    /// Returns the reply to the last command.
    async fn exchange(
        &self,
        connection: &mut RedisConnection,
        commands: &[RedisCommand],
        block: Duration,
    ) -> Result<RedisReply, RedisError> {
        let due = self.connector.due() + block;
        let answered = timeout_at(due, connection.request(commands)).await;
        let mut replies = answered
            .unwrap_or_else(|_| Err(self.connector.deadline_error("kept silent")))
            .map_err(ConnectionError::outcome_unknown)?;
        Ok(replies.pop().expect("each command has its reply"))
    }

    /// Sends commands to the cluster node that the slot is moved to, which has the key already.
    async fn request_at(
        &mut self,
        host: &RedisHost,
        commands: &[RedisCommand],
        block: Duration,
    ) -> Result<RedisReply, RedisError> {
        let mut connection = match self.named.take().filter(|named| named.host() == host) {
            Some(connection) => connection,
            None => {
                let opened = self.connector.open_named(host, self.connector.due()).await;
                opened.map_err(ConnectionError::not_applied)?
            }
        };
        let reply = self.exchange(&mut connection, &cluster::asking(commands), block).await?;
        self.named = Some(connection);
        Ok(reply)
    }
}
