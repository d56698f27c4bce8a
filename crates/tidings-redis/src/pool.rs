//! Pool of connections, each used by one call at a time.

use std::sync::Arc;

use tidings_sync::{Histogram, Mutex};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::connection::{ConnectionError, RedisConnection};
use crate::connector::{Connector, cluster};
use crate::error::RedisError;
use crate::lock;
use crate::resp::{RedisCommand, RedisReply};
use crate::url::RedisHost;

/// Connections of the pool, so that one batch can be sent while another is answered.
const CONNECTIONS_MAX: usize = 4;
/// How often one call may be redirected to another cluster node.
const MOVES_MAX: usize = 4;
/// Error codes of a server that cannot serve the key, or not now.
const ELSEWHERE: &[&str] = &["MOVED", "READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN"];

/// Connections of one user, opened as needed.
#[derive(Debug)]
pub struct ConnectionPool {
    connector: Arc<Connector>,
    /// One permit for each connection.
    permits: Semaphore,
    idle: Mutex<IdleConnection>,
    round_trips: Histogram,
}

/// Idle connections.
#[derive(Debug, Default)]
struct IdleConnection {
    /// Connections to the server with the key; at most [`CONNECTIONS_MAX`].
    here: Vec<RedisConnection>,
    /// Connection to the cluster node that the slot of the key is moved to, if a call went there.
    named: Option<RedisConnection>,
}

impl ConnectionPool {
    /// Creates an empty pool. `round_trips` gets the duration of each call that was sent.
    pub fn new(connector: Arc<Connector>, round_trips: Histogram) -> Self {
        Self {
            connector,
            permits: Semaphore::new(CONNECTIONS_MAX),
            idle: Mutex::new(&lock::REDIS_IDLE, IdleConnection::default()),
            round_trips,
        }
    }

    /// Sends commands and waits for their replies. An error reply is a reply. If another cluster node has the key, all commands
    /// are sent there; so only one of them names keys, or they are one transaction, or each may run twice.
    ///
    /// The first `preparations` commands change no data.
    ///
    /// # Errors
    /// [`RedisError::NotApplied`] if the connection failed before it had sent the whole command after the preparations;
    /// [`RedisError::OutcomeUnknown`] if it failed later.
    pub async fn request(
        &self,
        commands: &[RedisCommand],
        preparations: usize,
    ) -> Result<Vec<RedisReply>, RedisError> {
        let due = self.connector.due();
        let permit = timeout_at(due, self.permits.acquire()).await;
        let _permit = permit
            .map_err(|_| self.connector.deadline_error("had no free connection").not_applied())?
            .expect("the semaphore is never closed");
        for _ in 0..MOVES_MAX {
            let replies = self.request_once(commands, preparations, due).await?;
            if !replies.iter().any(|reply| has_code(reply, &["MOVED"])) {
                return Ok(replies);
            }
        }
        self.request_once(commands, preparations, due).await
    }

    async fn request_once(
        &self,
        commands: &[RedisCommand],
        preparations: usize,
        due: Instant,
    ) -> Result<Vec<RedisReply>, RedisError> {
        let connection = match self.idle_connection() {
            Some(connection) => connection,
            None => self.connector.open(due).await.map_err(ConnectionError::not_applied)?,
        };
        let host = connection.host().clone();
        let answered = self.exchange(connection, commands, preparations, due).await;
        let replies = self.put_back(answered)?;
        let named = replies.iter().find_map(|reply| match reply {
            RedisReply::Error(error) => cluster::ask_redirect(error, &host),
            _ => None,
        });
        match named {
            Some(named) => self.request_at(&named, commands, preparations, due).await,
            None => Ok(replies),
        }
    }

    /// Returns a connection to the pool if another call may use it.
    fn put_back(
        &self,
        answered: Result<(Vec<RedisReply>, RedisConnection), RedisError>,
    ) -> Result<Vec<RedisReply>, RedisError> {
        let here = &mut self.idle.lock().here;
        match answered {
            // Another server may have the key now; the next connection leads there.
            Ok((replies, _)) if replies.iter().any(|reply| has_code(reply, ELSEWHERE)) => {
                here.clear();
                Ok(replies)
            }
            Ok((replies, connection)) => {
                here.push(connection);
                Ok(replies)
            }
            Err(fault) => {
                if matches!(fault, RedisError::OutcomeUnknown(_)) {
                    // The other connections lead to the same server, and may be broken too.
                    here.clear();
                }
                Err(fault)
            }
        }
    }

    /// Sends one call to the cluster node that an `ASK` redirect named.
    async fn request_at(
        &self,
        host: &RedisHost,
        commands: &[RedisCommand],
        preparations: usize,
        due: Instant,
    ) -> Result<Vec<RedisReply>, RedisError> {
        let kept = self.idle.lock().named.take();
        let connection = match kept.filter(|kept| kept.host() == host).and_then(if_quiet) {
            Some(kept) => kept,
            None => {
                let opened = self.connector.open_named(host, due).await;
                opened.map_err(ConnectionError::not_applied)?
            }
        };
        let sent = cluster::asking(commands);
        // `ASKING` before each command changes no data either.
        let preparations = 2 * preparations + 1;
        let (replies, connection) = self.exchange(connection, &sent, preparations, due).await?;
        self.idle.lock().named = Some(connection);
        Ok(cluster::without_asking(&sent, replies))
    }

    /// Sends commands and waits for their replies. Drops the connection if that fails.
    async fn exchange(
        &self,
        mut connection: RedisConnection,
        commands: &[RedisCommand],
        preparations: usize,
        due: Instant,
    ) -> Result<(Vec<RedisReply>, RedisConnection), RedisError> {
        let begun = Instant::now();
        let sent = timeout_at(due, connection.send(commands)).await;
        if let Err(broken) =
            sent.unwrap_or_else(|_| Err(self.connector.deadline_error("did not take the call")))
        {
            // The failure proves that the last command was not sent whole.
            let behind: usize = commands.iter().skip(preparations + 1).map(RedisCommand::wire_bytes).sum();
            let may_be_done = behind > 0 && connection.unsent_bytes() <= behind;
            return Err(if may_be_done { broken.outcome_unknown() } else { broken.not_applied() });
        }
        let answered = timeout_at(due, connection.receive_all(commands.len())).await;
        self.round_trips.observe(begun.elapsed());
        let answered = answered.unwrap_or_else(|_| Err(self.connector.deadline_error("did not answer")));
        let replies = answered.map_err(ConnectionError::outcome_unknown)?;
        Ok((replies, connection))
    }

    /// Returns the connector that opens the connections.
    pub fn connector(&self) -> &Arc<Connector> {
        &self.connector
    }

    /// Closes idle connections: they may be broken without a visible error.
    pub fn drop_idle(&self) {
        self.idle.lock().here.clear();
    }

    /// Replaces the idle connections by one that fails after the next call has sent this many bytes.
    #[cfg(any(test, feature = "faults"))]
    #[doc(hidden)]
    pub async fn cut_next_call_after(&self, bytes: usize) -> Result<(), RedisError> {
        let opened = self.connector.open(self.connector.due()).await;
        let connection = opened.map_err(ConnectionError::not_applied)?;
        self.idle.lock().here = vec![connection.cut_after(bytes)];
        Ok(())
    }

    /// Returns an idle connection to the server with the key that shows no end; closes the others.
    fn idle_connection(&self) -> Option<RedisConnection> {
        let here = &mut self.idle.lock().here;
        while let Some(mut connection) = here.pop() {
            if self.connector.is_current(&connection) && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }
}

/// Returns the connection if it shows no end.
fn if_quiet(mut connection: RedisConnection) -> Option<RedisConnection> {
    connection.is_quiet().then_some(connection)
}

fn has_code(reply: &RedisReply, words: &[&str]) -> bool {
    reply.error_code().is_some_and(|code| words.contains(&code))
}

#[cfg(test)]
mod tests;
