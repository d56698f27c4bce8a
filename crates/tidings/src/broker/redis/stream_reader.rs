//! Follows the log: waits for what comes after an offset.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout_at;

use super::{
    connection::Connection,
    connector::{Door, cluster},
    error::{Fault, whole},
    page_size::PageSize,
    record::{self, Stored},
    resp::{Command, Reply, TEXT_BYTES_MAX},
};
use crate::config::RedisHost;

/// Waits for entries, on a connection of its own. After an error the next call opens another.
pub(crate) struct Tail {
    door: Arc<Door>,
    log: String,
    connection: Option<Connection>,
    /// One to the node of a cluster that the log's slot is on its way to.
    named: Option<Connection>,
    page_size: Arc<PageSize>,
}

impl Tail {
    pub(super) fn new(door: Arc<Door>, log: String, page_size: Arc<PageSize>) -> Self {
        Self { door, log, connection: None, named: None, page_size }
    }

    /// Whether the next call goes on where the last one ended, on its connection. Where it does not, another server may answer:
    /// look at the head first. A connection to where the log is no more is let go.
    pub(crate) fn is_connected(&mut self) -> bool {
        self.connection = self.connection.take().filter(|connection| self.door.leads(connection));
        self.connection.is_some()
    }

    /// Waits up to `block` for entries after an offset; oldest first, empty if none came. Says nothing of entries that are
    /// gone: the first may be further on. A dropped call costs the connection.
    pub(crate) async fn next(&mut self, after: u64, block: Duration) -> Result<Vec<Stored>, Fault> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let opened = self.door.open(self.door.due(), TEXT_BYTES_MAX).await;
                opened.map_err(|broken| Fault::NotDone(broken.to_string()))?
            }
        };
        let count = self.page_size.entries();
        // 0 would wait for ever.
        let block = block.max(Duration::from_millis(1));
        let command = Command::new("XREAD").arg("BLOCK").arg(block.as_millis().to_string());
        let command = command.arg("COUNT").arg(count.to_string()).arg("STREAMS").arg(&self.log);
        let command = command.arg(format!("{after}-0"));
        let answered = self.ask_where_it_is(&mut connection, &[command], block).await;
        let reply = answered.inspect_err(|fault| {
            if matches!(fault, Fault::Unknown(_)) {
                self.page_size.failed(count);
            }
        })?;
        let reply = whole(reply)?;
        self.connection = Some(connection);
        let stored = entries(&reply)?;
        self.page_size.answered(count, &stored, Duration::ZERO);
        Ok(stored)
    }

    /// Asks at the node that has the log's slot, or at the one that it sends to.
    async fn ask_where_it_is(
        &mut self,
        connection: &mut Connection,
        commands: &[Command],
        block: Duration,
    ) -> Result<Reply, Fault> {
        let reply = self.ask(connection, commands, block).await?;
        match &reply {
            Reply::Error(error) => match cluster::asked(error, connection.host()) {
                Some(named) => self.ask_named(&named, commands, block).await,
                None => Ok(reply),
            },
            _ => Ok(reply),
        }
    }

    async fn ask(
        &self,
        connection: &mut Connection,
        commands: &[Command],
        block: Duration,
    ) -> Result<Reply, Fault> {
        let due = self.door.due() + block;
        let answered = timeout_at(due, connection.ask(commands)).await;
        let mut replies = answered
            .unwrap_or_else(|_| Err(self.door.late("kept silent")))
            .map_err(|broken| Fault::Unknown(broken.to_string()))?;
        replies.pop().ok_or_else(|| Fault::damaged("a command has no reply"))
    }

    /// Asks the node that the log's slot is on its way to: the log is there, and the slot is not yet.
    async fn ask_named(
        &mut self,
        host: &RedisHost,
        commands: &[Command],
        block: Duration,
    ) -> Result<Reply, Fault> {
        let mut connection = match self.named.take().filter(|named| named.host() == host) {
            Some(connection) => connection,
            None => {
                let opened = self.door.open_named(host, self.door.due(), TEXT_BYTES_MAX).await;
                opened.map_err(|broken| Fault::NotDone(broken.to_string()))?
            }
        };
        let reply = self.ask(&mut connection, &cluster::asking(commands), block).await?;
        self.named = Some(connection);
        Ok(reply)
    }
}

/// What `XREAD` answers for its one stream.
fn entries(reply: &Reply) -> Result<Vec<Stored>, Fault> {
    match reply {
        Reply::Nil => Ok(Vec::new()),
        Reply::Array(streams) => {
            let stream = streams.first().and_then(Reply::array).and_then(|stream| stream.get(1));
            record::decode_all(stream.unwrap_or(&Reply::Nil))
        }
        _ => Err(Fault::damaged("the log is no stream")),
    }
}
