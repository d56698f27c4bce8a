//! A Redis that several nodes share: the log in a stream, appended to by one script, followed by each node.
//!
//! Nothing here runs by itself: each future belongs to whoever awaits it, and a connection breaks with the future that was
//! using it. A connection that failed is never used again; the next use opens another.

mod append_call;
mod appender;
mod capture;
mod commands;
mod connection;
mod connector;
mod epochs;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod live_events;
mod mirror;
mod node_messages;
mod page_size;
mod pubsub;
mod record;
mod replicator;
mod resp;
mod scripts;
mod server;
mod shared_table;
mod stream_reader;
mod sync_state;
mod transient;

use std::sync::Arc;

use self::capture::CaptureBuffer;
pub(crate) use self::{
    append_call::{Append, AppendError, AppendOutcome, Appended, LastSeen, NewEvent},
    appender::{Appender, RedisBroker},
    capture::Capturer,
    commands::{RedisLog, RedisOptions},
    epochs::{BeginOutcome, EpochLoss, NewEpoch, RedisEpoch, RedisHead},
    error::RedisError,
    live_events::LiveEventReceiver,
    pubsub::{PubsubConnection, PubsubEvent},
    record::RedisEntry,
    replicator::Replicator,
    server::TlsFiles,
    shared_table::{ConditionalPut, PutOutcome, RowVersion, TableChange, TableReplica, TableRow},
    stream_reader::StreamReader,
    sync_state::SyncState,
};
use crate::{
    broker::DeliverySink,
    config::{Secret, Settings},
    error::{Code, Error},
    log::Log,
    metrics::Metrics,
};

/// What a node has for Redis: each part runs until it is dropped.
pub(crate) struct RedisParts {
    pub(crate) redis_log: Arc<RedisLog>,
    pub(crate) broker: RedisBroker,
    pub(crate) appender: Appender,
    pub(crate) follower: Replicator,
    pub(crate) hearer: LiveEventReceiver,
    /// None where nothing is to be captured.
    pub(crate) capturer: Option<Capturer>,
    pub(crate) trimmer: Trimmer,
    pub(crate) sync_state: Arc<SyncState>,
    /// Whom all nodes refuse.
    pub(crate) revocations: Arc<TableReplica>,
}

/// Makes the parts of a node whose log is in Redis.
///
/// # Errors
/// When the settings do not name a Redis.
pub(crate) fn parts(
    settings: &Settings,
    log: &Arc<Log>,
    sink: &Arc<dyn DeliverySink>,
    metrics: &Arc<Metrics>,
    random: fn() -> u64,
) -> Result<RedisParts, Error> {
    let Some(redis) = settings.redis.clone() else {
        return Err(Error::new(Code::Internal, "no redis is set"));
    };
    let redis_log = Arc::new(RedisLog::new(&RedisOptions {
        url: Secret::new(redis.url.reveal()),
        tls_files: TlsFiles {
            ca: redis.ca_file.clone(),
            client: redis.cert_file.clone().zip(redis.key_file.clone()),
        },
        prefix: redis.prefix.clone(),
        deadline: redis.deadline,
        replicas_min: u32::try_from(redis.replicas_min).unwrap_or(u32::MAX),
        idempotency_window: settings.log.idempotency_window,
        mirror: redis.mirror.clone(),
        round_trips: metrics.broker_round_trips(),
    })?);
    let sync_state = Arc::new(SyncState::new());
    let revocations = shared_table::SharedTable::new(redis_log.clone(), "revocations", random);
    let revocations = Arc::new(TableReplica::new(revocations, sync_state.clone()));
    let (broker, appender) =
        appender::appender(redis_log.clone(), sync_state.clone(), metrics.clone(), redis.deadline, random);
    let follower = Replicator {
        redis_log: redis_log.clone(),
        log: log.clone(),
        sync_state: sync_state.clone(),
        sink: sink.clone(),
        metrics: metrics.clone(),
        random,
        shared: revocations.clone(),
    };
    let capturer = (!redis.capture.is_empty()).then(|| {
        sync_state.is_not_captured("no node is known to capture yet".to_owned());
        Capturer {
            buffer: Arc::new(CaptureBuffer::new(redis.of_captured())),
            redis_log: redis_log.clone(),
            sync_state: sync_state.clone(),
            metrics: metrics.clone(),
            random,
            lease: redis.lease,
        }
    });
    let hearer = LiveEventReceiver {
        buffer: capturer.as_ref().map(|capturer| capturer.buffer.clone()),
        random,
        redis_log: redis_log.clone(),
        log: log.clone(),
        sync_state: sync_state.clone(),
        sink: sink.clone(),
        metrics: metrics.clone(),
        settings: redis,
        shared: revocations.clone(),
        event_bytes_max: usize::try_from(settings.limits.event_bytes).unwrap_or(usize::MAX),
    };
    let retention_age_ms = u64::try_from(settings.log.retention_age.as_millis()).unwrap_or(u64::MAX);
    let retention = (retention_age_ms, settings.log.retention_bytes);
    let trimmer = Trimmer {
        redis_log: redis_log.clone(),
        log: log.clone(),
        sync_state: sync_state.clone(),
        retention,
        shared: revocations.clone(),
    };
    Ok(RedisParts {
        redis_log,
        broker,
        appender,
        follower,
        hearer,
        capturer,
        trimmer,
        sync_state,
        revocations,
    })
}

/// Lets go of what is too old or too much in Redis. Every node does; it is done once.
pub(crate) struct Trimmer {
    redis_log: Arc<RedisLog>,
    log: Arc<Log>,
    sync_state: Arc<SyncState>,
    /// Age in milliseconds, and bytes.
    retention: (u64, u64),
    shared: Arc<TableReplica>,
}

/// How often Redis is trimmed.
const TRIM_INTERVAL: std::time::Duration = std::time::Duration::from_secs(1);

impl Trimmer {
    /// Trims until it is dropped.
    pub(crate) async fn run(self) {
        loop {
            tokio::time::sleep(TRIM_INTERVAL).await;
            if let Err(fault) = self.trim().await {
                tracing::debug!(%fault, "redis was not trimmed");
            }
            if let Err(fault) = self.shared.sweep(self.log.now()).await {
                tracing::debug!(%fault, "what is over was not taken away");
            }
        }
    }

    /// Trims once. Two clocks must agree before anything goes by its age: a wrong one would empty the log.
    async fn trim(&self) -> Result<(), RedisError> {
        let age_ms = self.sync_state.is_in_time().then_some(self.retention.0);
        self.redis_log.trim(age_ms, self.retention.1).await.map(drop)
    }
}

/// The names of the hub's keys: the prefix in braces puts them all into one slot of a cluster. Those of Pub/Sub channels name
/// the database, too, unless it is 0: Redis has one set of channels for all databases.
#[derive(Debug, Clone)]
struct RedisKeys {
    log: String,
    meta: String,
    epochs: String,
    live: String,
    /// Who captures.
    lease: String,
    /// The place up to which messages are in the log.
    captured: String,
    /// Who asked to capture in vain since nobody does.
    free: String,
    /// The channel of changes to small state.
    changes: String,
    /// The versions of its tables.
    versions: String,
    prefix: String,
}

impl RedisKeys {
    fn new(prefix: &str, database: u32) -> Self {
        let of_database = if database == 0 { String::new() } else { format!(":{database}") };
        Self {
            log: format!("{{{prefix}}}:log"),
            meta: format!("{{{prefix}}}:meta"),
            epochs: format!("{{{prefix}}}:epochs"),
            live: format!("{{{prefix}}}:live{of_database}"),
            lease: format!("{{{prefix}}}:capture:lease"),
            captured: format!("{{{prefix}}}:capture:place"),
            free: format!("{{{prefix}}}:capture:free"),
            changes: format!("{{{prefix}}}:changes{of_database}"),
            versions: format!("{{{prefix}}}:state"),
            prefix: prefix.to_owned(),
        }
    }

    /// Where the answer to an idempotency key is kept. A colon of the publisher's is written otherwise: no two pairs share
    /// a name.
    fn idempotency(&self, publisher: &str, key: &str) -> String {
        let publisher = publisher.replace('%', "%25").replace(':', "%3A");
        format!("{{{}}}:key:{publisher}:{key}", self.prefix)
    }

    /// A key of small state that is no part of the log.
    fn shared_table(&self, key: &str) -> String {
        format!("{{{}}}:state:{key}", self.prefix)
    }

    /// When the rows of a table end.
    fn ends(&self, table: &str) -> String {
        self.shared_table(&format!("{table}:ends"))
    }
}

#[cfg(test)]
use self::append_call::AppendRefusal;
#[cfg(test)]
mod tests;
