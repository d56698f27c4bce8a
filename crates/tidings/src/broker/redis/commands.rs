//! Redis commands of the hub.

mod append;
mod lease;
mod live;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_log::ReplicatedEntry;
use tidings_protocol::{Epoch, Pattern};
use tidings_redis::{
    BlockingConnection, ConnectionPool, Connector, PubsubConnection, PubsubTarget, RedisCommand,
    RedisEndpoint, RedisError, RedisReply, RedisUrl, TlsFiles,
};
use tidings_sync::Histogram;
use tokio::time::{Instant, timeout};

use super::epochs::{self, BeginOutcome, EpochStart, NewEpoch, RedisHead};
use super::error::{corrupt, endpoint_error};
use super::keys::RedisKeys;
use super::mirror::Mirror;
use super::page_size::PageSize;
use super::record;
use super::scripts::{BEGIN, HEAD, Script, TRIM};
use super::stream_reader::StreamReader;
use crate::error::Error;

/// Silence after which the node counts as disconnected, even if a call may take longer.
pub(super) const SILENCE: Duration = Duration::from_secs(5);

/// Options of the commands.
#[derive(Debug, Clone)]
pub(crate) struct RedisLogOptions {
    pub(crate) url: RedisUrl,
    /// Used if the URL asks for TLS.
    pub(crate) tls_files: TlsFiles,
    /// Prefix of all keys.
    pub(crate) prefix: String,
    /// Time limit of one call.
    pub(crate) deadline: Duration,
    /// Replicas that have to hold a batch before its publishes are answered.
    pub(crate) replicas_min: u32,
    /// How long an idempotency key is kept.
    pub(crate) idempotency_window: Duration,
    /// Channels whose events are also published for other programs.
    pub(crate) mirror: Vec<Pattern>,
    /// Durations of calls.
    pub(crate) round_trips: Histogram,
}

/// Result of a trim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// Oldest offset; `None` if the log is empty.
    pub(crate) oldest: Option<u64>,
    /// Bytes of the log before the trim, as Redis estimates them.
    pub(crate) bytes: u64,
    pub(crate) dropped: u64,
}

/// Client of the log in one Redis. Opens connections as needed.
pub(crate) struct RedisLog {
    pub(super) keys: RedisKeys,
    replicas_min: u32,
    window_ms: u64,
    mirror: Mirror,
    /// Page size that earlier answers suggest.
    pub(super) page_size: Arc<PageSize>,
    pool: ConnectionPool,
}

impl RedisLog {
    /// Reads the options. The first call connects.
    ///
    /// # Errors
    /// The URL or a TLS file cannot be used.
    pub(crate) fn new(options: &RedisLogOptions) -> Result<Self, Error> {
        let server = RedisEndpoint::read(&options.url, &options.tls_files).map_err(endpoint_error)?;
        let keys = RedisKeys::new(&options.prefix, server.database());
        Ok(Self {
            pool: ConnectionPool::new(
                Arc::new(Connector::new(server, keys.log.as_str(), options.deadline)),
                options.round_trips.clone(),
            ),
            keys,
            replicas_min: options.replicas_min,
            window_ms: u64::try_from(options.idempotency_window.as_millis()).unwrap_or(u64::MAX),
            page_size: Arc::new(PageSize::new()),
            mirror: Mirror::new(options.mirror.clone()),
        })
    }

    /// Returns a reader of the log with a connection of its own.
    pub(crate) fn stream_reader(&self) -> StreamReader {
        let connection = BlockingConnection::new(self.pool.connector().clone());
        StreamReader::new(connection, self.keys.log.clone(), self.page_size.clone())
    }

    /// Returns a Pub/Sub connection that subscribes to `first` before other targets, and skips larger payloads.
    pub(crate) fn pubsub(&self, first: PubsubTarget, payload_bytes_max: usize) -> PubsubConnection {
        PubsubConnection::new(self.pool.connector().clone(), first, payload_bytes_max)
    }

    /// Returns the number of connections opened since the start, with those of stream readers and Pub/Sub.
    pub(crate) fn connections_opened(&self) -> u64 {
        self.pool.connector().connections_opened()
    }

    /// Reads the head of the log, and the server that holds it.
    pub(crate) async fn head(&self) -> Result<RedisHead, RedisError> {
        epochs::head(&self.run_one(&HEAD, epochs::head_command(&self.keys)).await?)
    }

    /// Begins an epoch if the log is in the state `at`. With `lost`, the row reports a loss: the node had seen entries of the
    /// epoch `lost.0` up to the offset `lost.1`. One epoch begins for each value of `lost`.
    pub(super) async fn begin(
        &self,
        at: EpochStart,
        new: NewEpoch,
        lost: Option<(Epoch, u64)>,
    ) -> Result<BeginOutcome, RedisError> {
        epochs::begun(&self.run_one(&BEGIN, epochs::begin(&self.keys, at, new, lost)).await?)
    }

    /// Returns the policy by which Redis evicts keys when its memory is full; `None` if it hides the policy.
    pub(crate) async fn eviction_policy(&self) -> Result<Option<String>, RedisError> {
        let info = self.request_one(RedisCommand::new("INFO").arg("memory")).await?;
        let policy = info.str().and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim)
        });
        Ok(policy.map(str::to_owned))
    }

    /// Reads at most `count` entries from an offset on, oldest first.
    pub(crate) async fn range(&self, from: u64, count: usize) -> Result<Vec<ReplicatedEntry>, RedisError> {
        let command = RedisCommand::new("XRANGE").arg(&self.keys.log).arg(format!("{from}-0")).arg("+");
        let reply = self.request_one(command.arg("COUNT").arg(count.to_string())).await?;
        record::decode_all(&reply)
    }

    /// Reads at most `entries_max` entries from an offset on, oldest first, in a page that suits the connection. After a failure
    /// the next page is smaller.
    pub(super) async fn page(
        &self,
        from: u64,
        entries_max: usize,
    ) -> Result<Vec<ReplicatedEntry>, RedisError> {
        let (entries, begun) = (self.page_size.entries().min(entries_max), Instant::now());
        let read = within_silence(self.range(from, entries)).await;
        let stored = read.inspect_err(|_| self.page_size.failed(entries))?;
        self.page_size.answered(entries, &stored, begun.elapsed());
        Ok(stored)
    }

    /// Deletes entries older than `age_ms` by the clock of Redis, and the oldest entries of a log above `bytes_max`:
    /// approximately, and at most 100,000 entries.
    pub(crate) async fn trim(&self, age_ms: Option<u64>, bytes_max: u64) -> Result<Trimmed, RedisError> {
        let mut command = TRIM.call(&[&self.keys.log, &self.keys.meta]);
        command.push(age_ms.map(|age| age.to_string()).unwrap_or_default());
        command.push_number(bytes_max);
        let reply = self.run_one(&TRIM, command).await?;
        let numbers: Vec<_> =
            reply.array().unwrap_or_default().iter().filter_map(RedisReply::number).collect();
        let [oldest, bytes, dropped] = numbers[..] else {
            return Err(corrupt("the trim script gave an unexpected answer"));
        };
        Ok(Trimmed { oldest: Some(oldest).filter(|oldest| *oldest > 0), bytes, dropped })
    }

    pub(crate) async fn set(&self, key: &str, value: &[u8], ttl: Duration) -> Result<(), RedisError> {
        let command = RedisCommand::new("SET").arg(self.keys.shared_table(key)).arg(value);
        self.request_one(command.arg("PX").arg(ttl.as_millis().max(1).to_string())).await?;
        Ok(())
    }

    pub(crate) async fn get(&self, key: &str) -> Result<Option<Bytes>, RedisError> {
        Ok(value(self.request_one(RedisCommand::new("GET").arg(self.keys.shared_table(key))).await?))
    }

    /// Reads a value and deletes it: only one of concurrent calls gets the value.
    pub(crate) async fn take(&self, key: &str) -> Result<Option<Bytes>, RedisError> {
        Ok(value(self.request_one(RedisCommand::new("GETDEL").arg(self.keys.shared_table(key))).await?))
    }

    pub(super) async fn run_one(
        &self,
        script: &Script,
        command: RedisCommand,
    ) -> Result<RedisReply, RedisError> {
        first(&mut self.run(script, vec![command]).await?.into_iter())
    }

    /// Runs commands of which the first calls `script`. Loads the script if the server does not know it.
    pub(super) async fn run(
        &self,
        script: &Script,
        mut commands: Vec<RedisCommand>,
    ) -> Result<Vec<RedisReply>, RedisError> {
        let replies = self.pool.request(&commands, 0).await?;
        if replies[0].error_code() != Some("NOSCRIPT") {
            return Ok(replies);
        }
        commands.insert(0, script.load());
        let mut replies = self.pool.request(&commands, 1).await?;
        replies.remove(0);
        Ok(replies)
    }

    async fn request_one(&self, command: RedisCommand) -> Result<RedisReply, RedisError> {
        first(&mut self.request(&[command]).await?.into_iter())
    }

    /// Sends commands and waits for their replies, see [`ConnectionPool::request`].
    pub(super) async fn request(&self, commands: &[RedisCommand]) -> Result<Vec<RedisReply>, RedisError> {
        self.pool.request(commands, 0).await
    }

    /// Closes idle connections: they may be broken without a visible error.
    pub(crate) fn drop_idle(&self) {
        self.pool.drop_idle();
    }
}

/// Limits a call to [`SILENCE`].
pub(super) async fn within_silence<T>(
    call: impl Future<Output = Result<T, RedisError>>,
) -> Result<T, RedisError> {
    timeout(SILENCE, call).await.map_err(|_| silence_error())?
}

pub(super) fn silence_error() -> RedisError {
    RedisError::OutcomeUnknown(format!("redis is silent for {SILENCE:?}"))
}

fn first(replies: &mut impl Iterator<Item = RedisReply>) -> Result<RedisReply, RedisError> {
    replies.next().expect("each command has its reply").into_result()
}

fn value(reply: RedisReply) -> Option<Bytes> {
    match reply {
        RedisReply::Text(bytes) => Some(bytes),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
