//! Backend of the log: the embedded broker of this node, or a Redis that several nodes share.

use std::sync::Arc;
use tidings_log::{Log, UnreadLog};

use crate::auth::{RevocationStore, TicketStore};
use crate::broker::{DeliverySink, embedded};
use crate::config::Settings;
use crate::error::{Code, Error};
use crate::metrics::Metrics;
use crate::publish::Broker;

use super::{maintenance::MaintenanceThreads, supervisor::Supervisor};

/// Broker of the node, its stores, and its shutdown.
pub(super) struct Backend {
    pub(super) broker: Broker,
    /// Whether the backend works now: `Err` says why not.
    pub(super) health: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Tickets of all nodes, if nodes share a log.
    pub(super) ticket_store: Option<Arc<dyn TicketStore>>,
    /// Revocations of all nodes, if nodes share a log.
    pub(super) revocation_store: Option<Arc<dyn RevocationStore>>,
    /// Ends the tasks after the last publish, and makes the log durable.
    pub(super) end: Box<dyn FnOnce() + Send>,
}

/// Starts the backend that the settings name.
pub(super) fn start(
    settings: &Settings,
    log: &Arc<Log>,
    unread: Option<UnreadLog>,
    sink: Arc<dyn DeliverySink>,
    metrics: &Arc<Metrics>,
    supervisor: &Supervisor,
) -> Result<Backend, Error> {
    #[cfg(feature = "redis")]
    if settings.redis.is_some() {
        return start_redis(settings, log, &sink, metrics, supervisor);
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
fn start_redis(
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
    log.barriers().on_request(Box::new(move || sync_state.request_reconcile()));
    let appender = tokio::spawn(supervisor.watch("tidings-appender", parts.appender.run()));
    let mut followers = JoinSet::new();
    followers.spawn(supervisor.watch("tidings-replicator", parts.replicator.run()));
    followers.spawn(supervisor.watch("tidings-live-events", parts.live_events.run()));
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
        // A node is ready only if it knows the revocations of all nodes.
        health: Box::new(move || sync_state.health().and_then(|()| revocations.health())),
        ticket_store: Some(Arc::new(parts.tickets)),
        revocation_store: Some(parts.revocations),
        end: Box::new(move || {
            // Both tasks end after every publish is answered and every received message is appended.
            let _ = stop.send(true);
            let _ = runtime.block_on(appender);
            capturer.map(|capturer| runtime.block_on(capturer));
            drop(followers);
            maintenance.end(&kept);
        }),
    })
}
