//! Reader that waits for new entries of the log.

use std::{sync::Arc, time::Duration};

use tidings_log::ReplicatedEntry;
use tidings_redis::{BlockingConnection, RedisCommand, RedisError, RedisReply};

use super::{error::corrupt, page_size::PageSize, record};

/// Reader with a connection of its own. After an error the next call opens another connection.
pub(crate) struct StreamReader {
    log: String,
    connection: BlockingConnection,
    page_size: Arc<PageSize>,
}

impl StreamReader {
    pub(super) fn new(connection: BlockingConnection, log: String, page_size: Arc<PageSize>) -> Self {
        Self { log, connection, page_size }
    }

    /// Whether the next call uses the connection of the last one. If not, another server may answer: read the head first. Closes
    /// a connection to a host that holds the log no more.
    pub(crate) fn is_connected(&mut self) -> bool {
        self.connection.is_connected()
    }

    /// Waits up to `block` for entries after an offset. Returns them oldest first; none if none arrived. If entries after the
    /// offset were trimmed, the first one has a higher offset. A dropped call closes the connection.
    pub(crate) async fn next(
        &mut self,
        after: u64,
        block: Duration,
    ) -> Result<Vec<ReplicatedEntry>, RedisError> {
        let count = self.page_size.entries();
        // `BLOCK 0` waits without a limit.
        let block = block.max(Duration::from_millis(1));
        let command = RedisCommand::new("XREAD").arg("BLOCK").arg(block.as_millis().to_string());
        let command = command.arg("COUNT").arg(count.to_string()).arg("STREAMS").arg(&self.log);
        let command = command.arg(format!("{after}-0"));
        let reply = self.connection.request(command, block).await.inspect_err(|fault| {
            if matches!(fault, RedisError::OutcomeUnknown(_)) {
                self.page_size.failed(count);
            }
        })?;
        let stored = entries(&reply.into_result()?)?;
        self.page_size.answered(count, &stored, Duration::ZERO);
        Ok(stored)
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
        _ => Err(corrupt("the log is no stream")),
    }
}
