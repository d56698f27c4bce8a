//! Follows the log: waits for what comes after an offset.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout_at;

use super::{
    connection::Connection,
    door::Door,
    fault::{Fault, whole},
    page_size::PageSize,
    record::{self, Stored},
    wire::{Command, Reply, TEXT_BYTES_MAX},
};

/// Waits for entries, on a connection of its own. After an error the next call opens another.
pub(crate) struct Tail {
    door: Arc<Door>,
    log: String,
    connection: Option<Connection>,
    page_size: Arc<PageSize>,
}

impl Tail {
    pub(super) fn new(door: Arc<Door>, log: String, page_size: Arc<PageSize>) -> Self {
        Self { door, log, connection: None, page_size }
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
        let due = self.door.due() + block;
        let asked = timeout_at(due, async {
            connection.send(&[command]).await?;
            connection.receive().await
        });
        let reply = asked.await.unwrap_or_else(|_| Err(self.door.late("kept silent")));
        let reply = reply.map_err(|broken| {
            self.page_size.failed(count);
            Fault::Unknown(broken.to_string())
        })?;
        let reply = whole(reply)?;
        self.connection = Some(connection);
        let stored = entries(&reply)?;
        self.page_size.answered(count, &stored, Duration::ZERO);
        Ok(stored)
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
