//! Redis broker: several nodes share the log, a Redis stream that one script appends to and every node replicates.
//!
//! No part starts a task: `node` runs their futures. A connection closes with the future that uses it.

mod append_call;
mod appender;
mod capture;
mod commands;
mod epochs;
mod error;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod keys;
mod live_events;
mod mirror;
mod node_messages;
mod page_size;
mod record;
mod replicator;
mod revocations;
mod scripts;
mod shared_table;
mod stream_reader;
mod sync_state;
mod tickets;
mod transient;
mod trimmer;

use std::sync::Arc;
use tidings_log::Log;

use tidings_redis::TlsFiles;

pub(crate) use self::appender::{Appender, RedisBroker};
pub(crate) use self::capture::Capturer;
use self::capture::buffer::CaptureBuffer;
use self::commands::{RedisLog, RedisLogOptions};
use self::live_events::LiveEventReceiver;
use self::replicator::Replicator;
use self::revocations::RedisRevocations;
use self::shared_table::SharedTable;
use self::shared_table::replica::TableReplica;
use self::sync_state::{SyncPart, SyncState};
use self::tickets::RedisTickets;
use self::trimmer::Trimmer;
use crate::broker::api::DeliverySink;
use crate::config::{RedisSettings, Settings};
use crate::error::{Code, Error};
use crate::metrics::Metrics;

/// Parts of a node for Redis. Each task runs until it is dropped.
pub(crate) struct RedisParts {
    pub(crate) broker: RedisBroker,
    pub(crate) appender: Appender,
    pub(crate) replicator: Replicator,
    pub(crate) live_events: LiveEventReceiver,
    /// None if `redis.capture` lists nothing.
    pub(crate) capturer: Option<Capturer>,
    pub(crate) trimmer: Trimmer,
    pub(crate) sync_state: Arc<SyncState>,
    pub(crate) tickets: RedisTickets,
    pub(crate) revocations: Arc<RedisRevocations>,
}

/// Builds the parts of a node whose log is in Redis.
///
/// # Errors
/// The settings name no Redis, or its URL or a TLS file cannot be used.
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
    let redis_log = Arc::new(RedisLog::new(&log_options(settings, &redis, metrics))?);
    let sync_state = Arc::new(SyncState::new());
    let table = SharedTable::new(redis_log.clone(), "revocations", random);
    let revocations = Arc::new(TableReplica::new(table, sync_state.clone()));
    let (broker, appender) =
        appender::appender(redis_log.clone(), sync_state.clone(), metrics.clone(), redis.deadline, random);
    let replicator = Replicator {
        redis_log: redis_log.clone(),
        log: log.clone(),
        sync_state: sync_state.clone(),
        sink: sink.clone(),
        metrics: metrics.clone(),
        random,
        shared: revocations.clone(),
    };
    let capturer = (!redis.capture.is_empty()).then(|| {
        sync_state.mark_unhealthy(SyncPart::Capture, "no node is known to capture yet".to_owned());
        Capturer {
            buffer: Arc::new(CaptureBuffer::new(redis.capture_digest())),
            redis_log: redis_log.clone(),
            sync_state: sync_state.clone(),
            metrics: metrics.clone(),
            random,
            lease: redis.lease,
        }
    });
    let live_events = LiveEventReceiver {
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
        tickets: RedisTickets(redis_log),
        revocations: Arc::new(RedisRevocations { replica: revocations, log: log.clone() }),
        broker,
        appender,
        replicator,
        live_events,
        capturer,
        trimmer,
        sync_state,
    })
}

/// Returns the options of the commands.
fn log_options(settings: &Settings, redis: &RedisSettings, metrics: &Metrics) -> RedisLogOptions {
    RedisLogOptions {
        url: redis.url.clone(),
        tls_files: TlsFiles {
            ca: redis.ca_file.clone(),
            client: redis.cert_file.clone().zip(redis.key_file.clone()),
        },
        prefix: redis.prefix.clone(),
        deadline: redis.deadline,
        replicas_min: u32::try_from(redis.replicas_min).unwrap_or(u32::MAX),
        idempotency_window: settings.log.idempotency_window,
        mirror: redis.mirror.clone(),
        round_trips: metrics.broker.round_trips.clone(),
    }
}

#[cfg(test)]
mod tests;
