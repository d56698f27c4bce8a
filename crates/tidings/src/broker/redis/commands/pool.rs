//! Connections for calls: a few, kept open, each used by one call at a time.

use std::sync::Arc;

use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};

use crate::{
    broker::redis::{
        connection::{Broken, Connection},
        connector::{Door, cluster},
        error::{ErrorReply, Fault},
        resp::{Command, Reply, TEXT_BYTES_MAX},
    },
    config::RedisHost,
    metrics::Histogram,
    sync::{Lock, Mutex},
};

/// Connections for calls: one batch may be on its way while another is being answered.
const CONNECTIONS_MAX: usize = 4;
/// How often one call may be sent to another node of a cluster.
const MOVES_MAX: usize = 4;
/// Codes of refusals of a server that is not, or not now, the one to ask.
const ELSEWHERE: &[&str] = &["MOVED", "READONLY", "MASTERDOWN", "LOADING", "CLUSTERDOWN"];

/// Opens connections as they are needed.
pub(super) struct Pool {
    pub(super) door: Arc<Door>,
    /// One for each connection that may be open.
    permits: Semaphore,
    idle: Mutex<Idle>,
    round_trips: Histogram,
}

/// Connections without a call.
#[derive(Default)]
struct Idle {
    /// To where the log is; [`CONNECTIONS_MAX`] at most.
    here: Vec<Connection>,
    /// To the node of a cluster that the log's slot is on its way to, if that was asked.
    named: Option<Connection>,
}

impl Pool {
    pub(super) fn new(door: Arc<Door>, round_trips: Histogram) -> Self {
        Self {
            door,
            permits: Semaphore::new(CONNECTIONS_MAX),
            idle: Mutex::new(Lock::RedisIdle, Idle::default()),
            round_trips,
        }
    }

    /// Sends commands and waits for their replies. An error reply is a reply. Of commands that are sent together, one names
    /// keys, or they are one transaction, or each may be done twice: where another node has the log, all are sent there.
    ///
    /// The first `preparations` commands change no data.
    ///
    /// # Errors
    /// [`Fault::NotDone`] when the connection failed before the command behind the preparations was handed over whole;
    /// [`Fault::Unknown`] when it failed later.
    pub(super) async fn ask(&self, commands: &[Command], preparations: usize) -> Result<Vec<Reply>, Fault> {
        let due = self.door.due();
        let permit = timeout_at(due, self.permits.acquire()).await;
        let _permit = permit
            .map_err(|_| not_done(&self.door.late("had no free connection")))?
            .expect("the semaphore is never closed");
        let mut moves = 0;
        loop {
            let replies = self.ask_once(commands, preparations, due).await?;
            let has_moved = replies.iter().any(|reply| has_code(reply, &["MOVED"]));
            if has_moved && moves < MOVES_MAX {
                moves += 1;
                continue;
            }
            return Ok(replies);
        }
    }

    async fn ask_once(
        &self,
        commands: &[Command],
        preparations: usize,
        due: Instant,
    ) -> Result<Vec<Reply>, Fault> {
        let connection = match self.idle_connection() {
            Some(connection) => connection,
            None => self.door.open(due, TEXT_BYTES_MAX).await.map_err(|broken| not_done(&broken))?,
        };
        let host = connection.host().clone();
        let answered = self.exchange(connection, commands, preparations, due).await;
        let replies = self.keep(answered)?;
        let named = replies.iter().find_map(|reply| match reply {
            Reply::Error(error) => cluster::asked(error, &host),
            _ => None,
        });
        match named {
            Some(named) => self.ask_named(&named, commands, preparations, due).await,
            None => Ok(replies),
        }
    }

    /// Keeps a connection that was asked, where it may be asked again.
    fn keep(&self, answered: Result<(Vec<Reply>, Connection), Fault>) -> Result<Vec<Reply>, Fault> {
        let here = &mut self.idle.lock().here;
        match answered {
            // Another server may be the one to ask; whoever opens the next connection finds it.
            Ok((replies, _)) if replies.iter().any(|reply| has_code(reply, ELSEWHERE)) => {
                here.clear();
                Ok(replies)
            }
            Ok((replies, connection)) => {
                here.push(connection);
                Ok(replies)
            }
            Err(fault) => {
                if matches!(fault, Fault::Unknown(_)) {
                    // The others go to the same server, and may be as dead without showing it.
                    here.clear();
                }
                Err(fault)
            }
        }
    }

    /// Asks the node that another has named for this once.
    async fn ask_named(
        &self,
        host: &RedisHost,
        commands: &[Command],
        preparations: usize,
        due: Instant,
    ) -> Result<Vec<Reply>, Fault> {
        let kept = self.idle.lock().named.take();
        let connection = match kept.filter(|kept| kept.host() == host).and_then(quiet) {
            Some(kept) => kept,
            None => {
                let opened = self.door.open_named(host, due, TEXT_BYTES_MAX).await;
                opened.map_err(|broken| not_done(&broken))?
            }
        };
        let sent = cluster::asking(commands);
        // The words change nothing, nor does that before the command behind the preparations.
        let preparations = 2 * preparations + 1;
        let (replies, connection) = self.exchange(connection, &sent, preparations, due).await?;
        self.idle.lock().named = Some(connection);
        Ok(cluster::without_asking(&sent, replies))
    }

    /// Sends commands and waits for their replies on a connection, which is of no more use if that fails.
    async fn exchange(
        &self,
        mut connection: Connection,
        commands: &[Command],
        preparations: usize,
        due: Instant,
    ) -> Result<(Vec<Reply>, Connection), Fault> {
        let begun = Instant::now();
        let sent = timeout_at(due, connection.send(commands)).await;
        if let Err(broken) = sent.unwrap_or_else(|_| Err(self.door.late("did not take the call"))) {
            // A failure means that the last command was not handed over whole.
            let behind: usize = commands.iter().skip(preparations + 1).map(Command::wire_bytes).sum();
            let may_be_done = behind > 0 && connection.unsent_bytes() <= behind;
            return Err(if may_be_done { Fault::Unknown(broken.to_string()) } else { not_done(&broken) });
        }
        let answered = timeout_at(due, connection.receive_all(commands.len())).await;
        self.round_trips.observe(begun.elapsed());
        let answered = answered.unwrap_or_else(|_| Err(self.door.late("did not answer")));
        let replies = answered.map_err(|broken| Fault::Unknown(broken.to_string()))?;
        Ok((replies, connection))
    }

    /// Lets go of connections that nobody is using: they may be dead without showing it.
    pub(super) fn distrust(&self) {
        self.idle.lock().here.clear();
    }

    /// A connection to where the log is that is open as far as can be seen; the others go.
    fn idle_connection(&self) -> Option<Connection> {
        let here = &mut self.idle.lock().here;
        while let Some(mut connection) = here.pop() {
            if self.door.leads(&connection) && connection.is_quiet() {
                return Some(connection);
            }
        }
        None
    }
}

/// A connection that is open as far as can be seen.
fn quiet(mut connection: Connection) -> Option<Connection> {
    connection.is_quiet().then_some(connection)
}

fn has_code(reply: &Reply, words: &[&str]) -> bool {
    matches!(reply, Reply::Error(error) if words.contains(&ErrorReply::parse(error).code))
}

fn not_done(broken: &Broken) -> Fault {
    Fault::NotDone(broken.to_string())
}

#[cfg(test)]
mod tests;
