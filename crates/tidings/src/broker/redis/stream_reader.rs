//! Follows the log: waits for what comes after an offset.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout_at;

use super::{
    connection::RedisConnection,
    connector::{Connector, cluster},
    error::{RedisError, into_result},
    page_size::PageSize,
    record::{self, RedisEntry},
    resp::{RedisCommand, RedisReply, TEXT_BYTES_MAX},
};
use crate::config::RedisHost;

/// Waits for entries, on a connection of its own. After an error the next call opens another.
pub(crate) struct StreamReader {
    connector: Arc<Connector>,
    log: String,
    connection: Option<RedisConnection>,
    /// One to the node of a cluster that the log's slot is on its way to.
    named: Option<RedisConnection>,
    page_size: Arc<PageSize>,
}

impl StreamReader {
    pub(super) fn new(connector: Arc<Connector>, log: String, page_size: Arc<PageSize>) -> Self {
        Self { connector, log, connection: None, named: None, page_size }
    }

    /// Whether the next call goes on where the last one ended, on its connection. Where it does not, another server may answer:
    /// look at the head first. A connection to where the log is no more is let go.
    pub(crate) fn is_connected(&mut self) -> bool {
        self.connection = self.connection.take().filter(|connection| self.connector.is_current(connection));
        self.connection.is_some()
    }

    /// Waits up to `block` for entries after an offset; oldest first, empty if none came. Says nothing of entries that are
    /// gone: the first may be further on. A dropped call costs the connection.
    pub(crate) async fn next(&mut self, after: u64, block: Duration) -> Result<Vec<RedisEntry>, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let opened = self.connector.open(self.connector.due(), TEXT_BYTES_MAX).await;
                opened.map_err(|broken| RedisError::NotApplied(broken.to_string()))?
            }
        };
        let count = self.page_size.entries();
        // 0 would wait for ever.
        let block = block.max(Duration::from_millis(1));
        let command = RedisCommand::new("XREAD").arg("BLOCK").arg(block.as_millis().to_string());
        let command = command.arg("COUNT").arg(count.to_string()).arg("STREAMS").arg(&self.log);
        let command = command.arg(format!("{after}-0"));
        let answered = self.request_and_follow(&mut connection, &[command], block).await;
        let reply = answered.inspect_err(|fault| {
            if matches!(fault, RedisError::OutcomeUnknown(_)) {
                self.page_size.failed(count);
            }
        })?;
        let reply = into_result(reply)?;
        self.connection = Some(connection);
        let stored = entries(&reply)?;
        self.page_size.answered(count, &stored, Duration::ZERO);
        Ok(stored)
    }

    /// Asks at the node that has the log's slot, or at the one that it sends to.
    async fn request_and_follow(
        &mut self,
        connection: &mut RedisConnection,
        commands: &[RedisCommand],
        block: Duration,
    ) -> Result<RedisReply, RedisError> {
        let reply = self.request(connection, commands, block).await?;
        match &reply {
            RedisReply::Error(error) => match cluster::asked(error, connection.host()) {
                Some(named) => self.request_at(&named, commands, block).await,
                None => Ok(reply),
            },
            _ => Ok(reply),
        }
    }

    async fn request(
        &self,
        connection: &mut RedisConnection,
        commands: &[RedisCommand],
        block: Duration,
    ) -> Result<RedisReply, RedisError> {
        let due = self.connector.due() + block;
        let answered = timeout_at(due, connection.request(commands)).await;
        let mut replies = answered
            .unwrap_or_else(|_| Err(self.connector.deadline_error("kept silent")))
            .map_err(|broken| RedisError::OutcomeUnknown(broken.to_string()))?;
        replies.pop().ok_or_else(|| RedisError::corrupt("a command has no reply"))
    }

    /// Asks the node that the log's slot is on its way to: the log is there, and the slot is not yet.
    async fn request_at(
        &mut self,
        host: &RedisHost,
        commands: &[RedisCommand],
        block: Duration,
    ) -> Result<RedisReply, RedisError> {
        let mut connection = match self.named.take().filter(|named| named.host() == host) {
            Some(connection) => connection,
            None => {
                let opened = self.connector.open_named(host, self.connector.due(), TEXT_BYTES_MAX).await;
                opened.map_err(|broken| RedisError::NotApplied(broken.to_string()))?
            }
        };
        let reply = self.request(&mut connection, &cluster::asking(commands), block).await?;
        self.named = Some(connection);
        Ok(reply)
    }
}

/// What `XREAD` answers for its one stream.
fn entries(reply: &RedisReply) -> Result<Vec<RedisEntry>, RedisError> {
    match reply {
        RedisReply::Nil => Ok(Vec::new()),
        RedisReply::Array(streams) => {
            let stream = streams.first().and_then(RedisReply::array).and_then(|stream| stream.get(1));
            record::decode_all(stream.unwrap_or(&RedisReply::Nil))
        }
        _ => Err(RedisError::corrupt("the log is no stream")),
    }
}
