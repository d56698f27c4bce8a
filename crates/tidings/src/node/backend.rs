//! What gives the log of a node its order, and keeps it: the node itself, or a Redis that it shares with others.

use std::sync::Arc;

use crate::{
    auth::{RevocationStore, TicketStore},
    broker::{Broker, DeliverySink, embedded},
    config::Settings,
    error::{Code, Error},
    log::{Log, open::UnreadLog},
    metrics::Metrics,
};

use super::{maintenance::MaintenanceThreads, supervisor::Supervisor};

#[cfg(feature = "redis")]
mod redis_revocations;
#[cfg(feature = "redis")]
mod redis_tickets;

/// The way into the log, and what stands behind it.
pub(super) struct Backend {
    pub(super) broker: Broker,
    /// Whether the order can be had now: `Err` says why not.
    pub(super) health: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Where tickets are kept for all nodes, where there are others.
    pub(super) ticket_store: Option<Arc<dyn TicketStore>>,
    /// Where all nodes learn whom to refuse, where there are others.
    pub(super) revocation_store: Option<Arc<dyn RevocationStore>>,
    /// Ends what runs, once nothing more is published, and makes the log safe.
    pub(super) end: Box<dyn FnOnce() + Send>,
}

/// Starts what the settings ask for.
pub(super) fn start(
    settings: &Settings,
    log: &Arc<Log>,
    unread: Option<UnreadLog>,
    sink: Arc<dyn DeliverySink>,
    metrics: &Arc<Metrics>,
    supervisor: &Supervisor,
) -> Result<Backend, Error> {
    if settings.redis.is_some() {
        return shared(settings, log, &sink, metrics, supervisor);
    }
    let (broker, writer) = embedded::embedded(log.clone(), sink, metrics.clone());
    let maintenance = start_maintenance(log, unread, Some(writer), settings, supervisor)?;
    let kept = log.clone();
    Ok(Backend {
        broker: Broker::Embedded(broker),
        health: Box::new(|| Ok(())),
        ticket_store: None,
        revocation_store: None,
        end: Box::new(move || maintenance.end(&kept)),
    })
}

fn start_maintenance(
    log: &Arc<Log>,
    unread: Option<UnreadLog>,
    writer: Option<embedded::Writer>,
    settings: &Settings,
    supervisor: &Supervisor,
) -> Result<MaintenanceThreads, Error> {
    MaintenanceThreads::start(log, unread, writer, settings, supervisor)
        .map_err(|error| Error::new(Code::Internal, "a thread could not be started").caused_by(error))
}

#[cfg(feature = "redis")]
fn shared(
    settings: &Settings,
    log: &Arc<Log>,
    sink: &Arc<dyn DeliverySink>,
    metrics: &Arc<Metrics>,
    supervisor: &Supervisor,
) -> Result<Backend, Error> {
    use tokio::{runtime::Handle, sync::watch, task::JoinSet};

    let parts = crate::broker::redis::parts(settings, log, sink, metrics, rand::random)?;
    let maintenance = start_maintenance(log, None, None, settings, supervisor)?;
    let sync_state = parts.sync_state.clone();
    log.when_unsure(Box::new(move || sync_state.request_reconcile()));
    let appender = tokio::spawn(supervisor.watch("tidings-appender", parts.appender.run()));
    let mut followers = JoinSet::new();
    followers.spawn(supervisor.watch("tidings-replicator", parts.follower.run()));
    followers.spawn(supervisor.watch("tidings-live-events", parts.hearer.run()));
    followers.spawn(supervisor.watch("tidings-trimmer", parts.trimmer.run()));
    let (stop, stopped) = watch::channel(false);
    let capture = |capturer: crate::broker::redis::Capturer| {
        tokio::spawn(supervisor.watch("tidings-capturer", capturer.run(stopped)))
    };
    let capturer = parts.capturer.map(capture);
    let (kept, runtime, sync_state) = (log.clone(), Handle::current(), parts.sync_state);
    let revocations = parts.revocations.clone();
    Ok(Backend {
        broker: Broker::Redis(parts.broker),
        // Who is ready refuses whom the others refuse.
        health: Box::new(move || sync_state.health().and_then(|()| revocations.health())),
        ticket_store: Some(Arc::new(redis_tickets::RedisTickets(parts.redis_log))),
        revocation_store: Some(Arc::new(redis_revocations::RedisRevocations {
            view: parts.revocations,
            log: log.clone(),
        })),
        end: Box::new(move || {
            // They answer all that was published, append all that was heard, and end; what follows is dropped then.
            let _ = stop.send(true);
            let _ = runtime.block_on(appender);
            capturer.map(|capturer| runtime.block_on(capturer));
            drop(followers);
            maintenance.end(&kept);
        }),
    })
}

#[cfg(not(feature = "redis"))]
fn shared(
    _settings: &Settings,
    _log: &Arc<Log>,
    _audience: &Arc<dyn DeliverySink>,
    _metrics: &Arc<Metrics>,
    _supervisor: &Supervisor,
) -> Result<Backend, Error> {
    Err(Error::new(
        Code::BadRequest,
        "[redis] is set, and this build has no redis; build with the feature `redis`",
    ))
}
