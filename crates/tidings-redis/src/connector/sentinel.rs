//! Finds the primary, and other Sentinels, by asking Sentinels.

use tokio::time::{Instant, timeout_at};

use super::{Connector, share};
use crate::connection::{ConnectionError, RedisConnection};
use crate::resp::{RedisCommand, RedisReply};
use crate::url::{RedisHost, RedisSentinel};

/// Sentinels that are tried, with those of the URL. Each gets a share of the time to open a connection.
const SENTINELS_MAX: usize = 16;

impl Connector {
    /// Asks the Sentinels in turn: the last successful one, those of the URL, then those that other Sentinels named.
    pub(super) async fn open_by_sentinel(
        &self,
        sentinel: &RedisSentinel,
        due: Instant,
    ) -> Result<RedisConnection, ConnectionError> {
        let sentinels = self.sentinels();
        let mut faults = Vec::new();
        for (number, at) in sentinels.iter().enumerate() {
            let opening = async {
                let (primary, others) = self.ask_sentinel(sentinel, at).await?;
                let connection = self.open_from(&primary).await?;
                Ok((connection, others))
            };
            match timeout_at(share(due, sentinels.len() - number), opening).await {
                Ok(Ok((connection, others))) => {
                    *self.learned.lock() = [vec![at.clone()], others].concat();
                    return Ok(connection);
                }
                Ok(Err(ConnectionError(fault))) => faults.push(format!("{at}: {fault}")),
                Err(_) => faults.push(format!("{at}: no answer")),
            }
        }
        Err(ConnectionError(format!(
            "no sentinel led to the primary of {}; {}",
            sentinel.service,
            faults.join("; ")
        )))
    }

    fn sentinels(&self) -> Vec<RedisHost> {
        let learned = self.learned.lock().clone();
        let sentinels = learned.iter().take(1).chain(&self.server.address.hosts).chain(&learned);
        RedisHost::distinct(sentinels, SENTINELS_MAX)
    }

    /// Asks a Sentinel for the primary and the other Sentinels. Its answer may be older than a failover.
    async fn ask_sentinel(
        &self,
        sentinel: &RedisSentinel,
        at: &RedisHost,
    ) -> Result<(RedisHost, Vec<RedisHost>), ConnectionError> {
        let login = (sentinel.user.as_deref(), sentinel.password.as_ref());
        let mut connection = RedisConnection::open(&self.server, at, login).await?;
        let questions = ["get-master-addr-by-name", "sentinels"]
            .map(|question| RedisCommand::new("SENTINEL").arg(question).arg(&sentinel.service));
        let replies = connection.request(&questions).await?;
        let [primary, others] = &replies[..] else {
            return Err(ConnectionError("the sentinel did not answer".into()));
        };
        if let RedisReply::Error(error) = primary {
            return Err(ConnectionError(format!("the sentinel refused: {error}")));
        }
        let host = match primary.array() {
            Some([name, port]) => read(name, port),
            _ => None,
        };
        let host =
            host.ok_or_else(|| ConnectionError("the sentinel knows no primary of this name".into()))?;
        Ok((host, others.array().unwrap_or_default().iter().filter_map(described).collect()))
    }
}

/// Reads the description of a Sentinel: names and values in turn.
fn described(sentinel: &RedisReply) -> Option<RedisHost> {
    let fields = sentinel.array()?;
    let field =
        |name: &str| fields.chunks_exact(2).find(|pair| pair[0].str() == Some(name)).map(|pair| &pair[1]);
    read(field("ip")?, field("port")?)
}

fn read(name: &RedisReply, port: &RedisReply) -> Option<RedisHost> {
    let name = name.str().filter(|name| !name.is_empty())?;
    Some(RedisHost { name: name.to_owned(), port: port.number()?.try_into().ok()? })
}
