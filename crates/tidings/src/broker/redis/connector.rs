//! Opens connections to the server that holds the log: the primary, or the cluster node with its slot.

pub(super) mod cluster;
mod sentinel;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tidings_sync::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use super::{
    connection::{ConnectionError, RedisConnection},
    error::{ErrorReply, refused},
    resp::{RedisCommand, RedisReply},
    server::RedisEndpoint,
};
use crate::{config::RedisHost, lock};

/// How many redirects of cluster nodes one attempt follows.
const MOVES_MAX: usize = 4;
/// Error codes of a server that cannot serve any client now.
const UNABLE: [&str; 3] = ["LOADING", "MASTERDOWN", "CLUSTERDOWN"];

/// Opens connections, and counts them.
#[derive(Debug)]
pub(super) struct Connector {
    server: RedisEndpoint,
    /// Key of the log, whose slot a cluster node has to hold.
    log: String,
    deadline: Duration,
    opened: AtomicU64,
    /// Host of the log when the newest connection was opened.
    found: watch::Sender<Option<RedisHost>>,
    /// Hosts besides those of the URL. In a cluster: its nodes, those with the slot of the log first. With Sentinels: other
    /// Sentinels, the last successful one first.
    learned: Mutex<Vec<RedisHost>>,
}

impl Connector {
    pub(super) fn new(server: RedisEndpoint, log: &str, deadline: Duration) -> Self {
        Self {
            server,
            log: log.to_owned(),
            deadline,
            opened: AtomicU64::new(0),
            found: watch::Sender::new(None),
            learned: Mutex::new(&lock::REDIS_HOSTS, Vec::new()),
        }
    }

    /// Returns the time limit of one call.
    pub(super) fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Returns the deadline of a call that begins now.
    pub(super) fn due(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// Returns the number of connections opened since the start.
    pub(super) fn connections_opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Host of the log, as far as known. The user of a connection to another host has to open a new one.
    pub(super) fn found(&self) -> watch::Receiver<Option<RedisHost>> {
        self.found.subscribe()
    }

    /// Whether a connection leads to the host of the log.
    pub(super) fn is_current(&self, connection: &RedisConnection) -> bool {
        self.found.borrow().as_ref() == Some(connection.host())
    }

    /// Returns the error for a server that took too long.
    pub(super) fn deadline_error(&self, what: &str) -> ConnectionError {
        let place = match &*self.found.borrow() {
            Some(host) => host.to_string(),
            None => self.server.address.to_string(),
        };
        ConnectionError(format!("redis at {place} {what} within {:?}", self.deadline))
    }

    /// Opens a connection that reads texts of at most `text_bytes_max`.
    pub(super) async fn open(
        &self,
        due: Instant,
        text_bytes_max: usize,
    ) -> Result<RedisConnection, ConnectionError> {
        let opening = async {
            match &self.server.address.sentinel {
                None => self.open_one_of(self.hosts(), due, text_bytes_max).await,
                Some(sentinel) => self.open_by_sentinel(sentinel, due, text_bytes_max).await,
            }
        };
        let opened = timeout_at(due, opening).await;
        let connection = opened.map_err(|_| self.deadline_error("could not be reached"))??;
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.found.send_if_modified(|found| {
            let host = Some(connection.host().clone());
            std::mem::replace(found, host) != Some(connection.host().clone())
        });
        Ok(connection)
    }

    /// Returns hosts in the order of attempts: the last host of the log, the hosts of the URL, other nodes of the cluster.
    fn hosts(&self) -> Vec<RedisHost> {
        let nodes = self.learned.lock();
        let found = self.found.borrow();
        let mut hosts: Vec<RedisHost> = Vec::new();
        for host in found.iter().chain(&self.server.address.hosts).chain(&*nodes) {
            if !hosts.contains(host) {
                hosts.push(host.clone());
            }
        }
        hosts
    }

    async fn open_one_of(
        &self,
        hosts: Vec<RedisHost>,
        due: Instant,
        text_bytes_max: usize,
    ) -> Result<RedisConnection, ConnectionError> {
        let mut faults = Vec::new();
        for (number, host) in hosts.iter().enumerate() {
            let share = share(due, hosts.len() - number);
            match timeout_at(share, self.open_from(host, text_bytes_max)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(ConnectionError(fault))) if hosts.len() == 1 => return Err(ConnectionError(fault)),
                Ok(Err(ConnectionError(fault))) => faults.push(format!("{host}: {fault}")),
                Err(_) => faults.push(format!("{host}: it does not answer")),
            }
        }
        Err(ConnectionError(format!("no redis with the log was found; {}", faults.join("; "))))
    }

    /// Connects to a host, and follows its redirects to the host of the log.
    async fn open_from(
        &self,
        host: &RedisHost,
        text_bytes_max: usize,
    ) -> Result<RedisConnection, ConnectionError> {
        let mut host = host.clone();
        for _ in 0..MOVES_MAX {
            match self.open_at(&host, text_bytes_max).await? {
                OpenAttempt::Here(connection) => return Ok(connection),
                OpenAttempt::Elsewhere(other) => host = other,
            }
        }
        Err(ConnectionError(format!(
            "the nodes of the cluster do not agree on which has the log; the last named {host}"
        )))
    }

    /// Opens a connection to the cluster node that an `ASK` redirect named: see [`cluster::asked`].
    pub(super) async fn open_named(
        &self,
        host: &RedisHost,
        due: Instant,
        text_bytes_max: usize,
    ) -> Result<RedisConnection, ConnectionError> {
        let opened = timeout_at(due, self.handshake(host, text_bytes_max)).await;
        let connection = opened.map_err(|_| self.deadline_error("could not be reached"))??;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }

    async fn open_at(&self, host: &RedisHost, text_bytes_max: usize) -> Result<OpenAttempt, ConnectionError> {
        let mut connection = self.handshake(host, text_bytes_max).await?;
        if let Some(other) = self.find_log_host(&mut connection).await? {
            return Ok(OpenAttempt::Elsewhere(other));
        }
        Ok(OpenAttempt::Here(connection))
    }

    /// Opens a connection to a host, names the client and selects the database.
    async fn handshake(
        &self,
        host: &RedisHost,
        text_bytes_max: usize,
    ) -> Result<RedisConnection, ConnectionError> {
        let address = &self.server.address;
        let login = (address.user.as_deref(), address.password.as_ref());
        let mut connection = RedisConnection::open(&self.server, host, login, text_bytes_max).await?;
        let mut introduction = vec![RedisCommand::new("CLIENT").arg("SETNAME").arg("tidings")];
        if address.database != 0 {
            introduction.push(RedisCommand::new("SELECT").arg(address.database.to_string()));
        }
        for reply in connection.request(&introduction).await? {
            if let RedisReply::Error(error) = reply {
                let hint = if error.contains("cluster") {
                    "; a cluster has only database 0, name no other"
                } else if error.contains("out of range") {
                    // Valkey 9 may give a cluster more than one.
                    "; name a smaller number: a cluster has only database 0, unless it was given more"
                } else {
                    ""
                };
                return Err(ConnectionError(format!("{}{hint}", refused(&error))));
            }
        }
        Ok(connection)
    }

    /// Asks a server whether it holds the log. Returns the host that it names otherwise.
    async fn find_log_host(
        &self,
        connection: &mut RedisConnection,
    ) -> Result<Option<RedisHost>, ConnectionError> {
        let info = |section| RedisCommand::new("INFO").arg(section);
        let questions = [RedisCommand::new("EXISTS").arg(&self.log), info("replication"), info("cluster")];
        let replies = connection.request(&questions).await?;
        let says = |at: usize, line| replies[at].str().is_some_and(|text| text.lines().any(|it| it == line));
        let is_in_cluster = says(2, "cluster_enabled:1");
        // A replica in a cluster redirects to its primary. A replica without other hosts may be promoted in place.
        if says(1, "role:slave") && !is_in_cluster && self.server.has_others() {
            return Err(ConnectionError(format!("redis at {} is a replica now", connection.host())));
        }
        // Without this information a failover would stay unnoticed.
        if let RedisReply::Error(error) = &replies[1] {
            return Err(ConnectionError(refused(error)));
        }
        let error = if let RedisReply::Error(error) = &replies[0] { error } else { "" };
        // Other errors for this key do not rule out that the server holds the log.
        if UNABLE.contains(&ErrorReply::parse(error).code) {
            return Err(ConnectionError(refused(error)));
        }
        let moved_to = cluster::moved(error, connection.host());
        if is_in_cluster {
            // The other nodes are used when this node fails.
            let here = moved_to.clone().unwrap_or_else(|| connection.host().clone());
            if let Some(nodes) = cluster::nodes(connection, &here).await? {
                *self.learned.lock() = nodes;
            }
        }
        Ok(moved_to)
    }
}

/// End of an attempt.
enum OpenAttempt {
    Here(RedisConnection),
    Elsewhere(RedisHost),
}

/// Returns the deadline of the first of `attempts` attempts that share the time until `due` equally.
fn share(due: Instant, attempts: usize) -> Instant {
    let now = Instant::now();
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX).max(1);
    now + due.saturating_duration_since(now) / attempts
}
