//! Opens connections to the server that holds a key: the primary, or the cluster node with its slot.

pub(crate) mod cluster;
mod sentinel;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tidings_sync::Mutex;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::connection::{ConnectionError, RedisConnection};
use crate::endpoint::RedisEndpoint;
use crate::error::refused;
use crate::lock;
use crate::resp::{RedisCommand, RedisReply};
use crate::url::RedisHost;

/// How many redirects of cluster nodes one attempt follows.
const MOVES_MAX: usize = 4;
/// Error codes of a server that cannot serve any client now.
const UNABLE: [&str; 3] = ["LOADING", "MASTERDOWN", "CLUSTERDOWN"];

/// Opens connections, and counts them.
#[derive(Debug)]
pub struct Connector {
    server: RedisEndpoint,
    /// Key whose slot a cluster node has to hold.
    key: String,
    deadline: Duration,
    opened: AtomicU64,
    /// Host of the key when the newest connection was opened.
    found: watch::Sender<Option<RedisHost>>,
    /// Hosts besides those of the URL. In a cluster: its nodes, those with the slot of the key first. With Sentinels: other
    /// Sentinels, the last successful one first.
    learned: Mutex<Vec<RedisHost>>,
}

impl Connector {
    /// Creates a connector for the server that holds `key`; `deadline` is the time limit of one call.
    pub fn new(server: RedisEndpoint, key: impl Into<String>, deadline: Duration) -> Self {
        Self {
            server,
            key: key.into(),
            deadline,
            opened: AtomicU64::new(0),
            found: watch::Sender::new(None),
            learned: Mutex::new(&lock::REDIS_HOSTS, Vec::new()),
        }
    }

    /// Returns the key whose host the connections lead to.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// Returns the time limit of one call.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// Returns the deadline of a call that begins now.
    pub(crate) fn due(&self) -> Instant {
        Instant::now() + self.deadline
    }

    /// Returns the number of connections opened since the start.
    pub fn connections_opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Host of the key, as far as known. The user of a connection to another host has to open a new one.
    pub(crate) fn found(&self) -> watch::Receiver<Option<RedisHost>> {
        self.found.subscribe()
    }

    /// Whether a connection leads to the host of the key.
    pub(crate) fn is_current(&self, connection: &RedisConnection) -> bool {
        self.found.borrow().as_ref() == Some(connection.host())
    }

    /// Returns the error for a server that took too long.
    pub(crate) fn deadline_error(&self, what: &str) -> ConnectionError {
        let place = match &*self.found.borrow() {
            Some(host) => host.to_string(),
            None => self.server.address.to_string(),
        };
        ConnectionError(format!("redis at {place} {what} within {:?}", self.deadline))
    }

    /// Opens a connection to the host of the key.
    pub(crate) async fn open(&self, due: Instant) -> Result<RedisConnection, ConnectionError> {
        let opening = async {
            match &self.server.address.sentinel {
                None => self.open_one_of(self.hosts(), due).await,
                Some(sentinel) => self.open_by_sentinel(sentinel, due).await,
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

    /// Returns hosts in the order of attempts: the last host of the key, the hosts of the URL, other nodes of the cluster.
    fn hosts(&self) -> Vec<RedisHost> {
        let nodes = self.learned.lock();
        let found = self.found.borrow();
        RedisHost::distinct(found.iter().chain(&self.server.address.hosts).chain(&*nodes), usize::MAX)
    }

    async fn open_one_of(
        &self,
        hosts: Vec<RedisHost>,
        due: Instant,
    ) -> Result<RedisConnection, ConnectionError> {
        let mut faults = Vec::new();
        for (number, host) in hosts.iter().enumerate() {
            let share = share(due, hosts.len() - number);
            match timeout_at(share, self.open_from(host)).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(ConnectionError(fault))) if hosts.len() == 1 => return Err(ConnectionError(fault)),
                Ok(Err(ConnectionError(fault))) => faults.push(format!("{host}: {fault}")),
                Err(_) => faults.push(format!("{host}: it does not answer")),
            }
        }
        Err(ConnectionError(format!("no redis with {} was found; {}", self.key, faults.join("; "))))
    }

    /// Connects to a host, and follows its redirects to the host of the key.
    async fn open_from(&self, host: &RedisHost) -> Result<RedisConnection, ConnectionError> {
        let mut host = host.clone();
        for _ in 0..MOVES_MAX {
            let mut connection = self.handshake(&host).await?;
            match self.find_host(&mut connection).await? {
                None => return Ok(connection),
                Some(other) => host = other,
            }
        }
        Err(ConnectionError(format!(
            "the nodes of the cluster do not agree on which has {}; the last named {host}",
            self.key
        )))
    }

    /// Opens a connection to the cluster node that an `ASK` redirect named: see [`cluster::ask_redirect`].
    pub(crate) async fn open_named(
        &self,
        host: &RedisHost,
        due: Instant,
    ) -> Result<RedisConnection, ConnectionError> {
        let opened = timeout_at(due, self.handshake(host)).await;
        let connection = opened.map_err(|_| self.deadline_error("could not be reached"))??;
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(connection)
    }

    /// Opens a connection to a host, names the client and selects the database.
    async fn handshake(&self, host: &RedisHost) -> Result<RedisConnection, ConnectionError> {
        let address = &self.server.address;
        let login = (address.user.as_deref(), address.password.as_ref());
        let mut connection = RedisConnection::open(&self.server, host, login).await?;
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

    /// Asks a server whether it holds the key. Returns the host that it names otherwise.
    async fn find_host(
        &self,
        connection: &mut RedisConnection,
    ) -> Result<Option<RedisHost>, ConnectionError> {
        let info = |section| RedisCommand::new("INFO").arg(section);
        let questions = [RedisCommand::new("EXISTS").arg(&self.key), info("replication"), info("cluster")];
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
        // Other errors for this key do not rule out that the server holds it.
        if replies[0].error_code().is_some_and(|code| UNABLE.contains(&code)) {
            return Err(ConnectionError(refused(error)));
        }
        let moved_to = cluster::moved_redirect(error, connection.host());
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

/// Returns the deadline of the first of `attempts` attempts that share the time until `due` equally.
fn share(due: Instant, attempts: usize) -> Instant {
    let now = Instant::now();
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX).max(1);
    now + due.saturating_duration_since(now) / attempts
}
