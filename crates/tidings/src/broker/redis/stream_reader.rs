//! Reader that waits for new entries of the log.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout_at;

use super::{
    connection::RedisConnection,
    connector::{Connector, cluster},
    error::{RedisError, into_result},
    page_size::PageSize,
    record,
    resp::{RedisCommand, RedisReply, TEXT_BYTES_MAX},
};
use crate::{config::RedisHost, log::replica::ReplicatedEntry};

/// Reader with a connection of its own. After an error the next call opens another connection.
pub(crate) struct StreamReader {
    connector: Arc<Connector>,
    log: String,
    connection: Option<RedisConnection>,
    /// Connection to the cluster node that the slot of the log is moved to.
    named: Option<RedisConnection>,
    page_size: Arc<PageSize>,
}

impl StreamReader {
    pub(super) fn new(connector: Arc<Connector>, log: String, page_size: Arc<PageSize>) -> Self {
        Self { connector, log, connection: None, named: None, page_size }
    }

    /// Whether the next call uses the connection of the last one. If not, another server may answer: read the head first. Closes
    /// a connection to a host that holds the log no more.
    pub(crate) fn is_connected(&mut self) -> bool {
        self.connection = self.connection.take().filter(|connection| self.connector.is_current(connection));
        self.connection.is_some()
    }

    /// Waits up to `block` for entries after an offset. Returns them oldest first; none if none arrived. If entries after the
    /// offset were trimmed, the first one has a higher offset. A dropped call closes the connection.
    pub(crate) async fn next(
        &mut self,
        after: u64,
        block: Duration,
    ) -> Result<Vec<ReplicatedEntry>, RedisError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let opened = self.connector.open(self.connector.due(), TEXT_BYTES_MAX).await;
                opened.map_err(|broken| RedisError::NotApplied(broken.to_string()))?
            }
        };
        let count = self.page_size.entries();
        // `BLOCK 0` waits without a limit.
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

    /// Sends commands to the cluster node with the slot, and follows an `ASK` redirect.
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

    /// Sends commands to the cluster node that the slot is moved to, which has the log already.
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

/// Reads the answer to `XREAD` of one stream.
fn entries(reply: &RedisReply) -> Result<Vec<ReplicatedEntry>, RedisError> {
    match reply {
        RedisReply::Nil => Ok(Vec::new()),
        RedisReply::Array(streams) => {
            let stream = streams.first().and_then(RedisReply::array).and_then(|stream| stream.get(1));
            record::decode_all(stream.unwrap_or(&RedisReply::Nil))
        }
        _ => Err(RedisError::corrupt("the log is no stream")),
    }
}
