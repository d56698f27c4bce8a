//! Tasks that check open streams again after changes of permissions, and end those without permission.

use std::{collections::HashMap, sync::Arc, time::Duration};

use rand::RngExt;
use tidings_protocol::body::EndReason;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use crate::auth::{RevocationStore, retry_unreplicated};
use crate::connection::{ConnectionId, Termination};
use crate::hub::{Hub, WeakHub};

use super::supervisor::Supervisor;

/// Interval at which the keys of the identity provider are fetched, before jitter.
const JWKS_INTERVAL: Duration = Duration::from_secs(60);
/// Bounds of the interval between two scans for streams whose hook recheck is due.
const SCAN_INTERVALS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// Streams that are rechecked at the same time.
const RECHECKS_MAX: usize = 16;

/// Starts the tasks, which end with the hub.
pub(super) fn start(hub: &Hub, supervisor: &Supervisor) {
    supervisor.spawn_until_end(hub, "tidings-reauthorization", reauthorize_streams);
    supervisor.spawn_until_end(hub, "tidings-jwks", refresh_jwks);
    supervisor.spawn_until_end(hub, "tidings-hook", recheck_hook);
    if let Some(revocation_store) = hub.authorizer().revocation_store() {
        let apply = |hub| apply_remote_revocations(hub, revocation_store);
        supervisor.spawn_until_end(hub, "tidings-revocations", apply);
    }
}

/// Reauthorizes every open stream after each change.
async fn reauthorize_streams(weak: WeakHub) -> Option<()> {
    let mut changes = weak.upgrade()?.authorizer().changes();
    loop {
        changes.changed().await.ok()?;
        let hub = weak.upgrade()?;
        let mut ended = 0;
        for handle in hub.inner().subscribers.all() {
            if let Err(reason) = hub.authorizer().reauthorize(handle.identity(), handle.subscriptions()) {
                handle.end(Termination::of_rights(reason));
                ended += 1;
            }
        }
        if ended > 0 {
            info!(streams = ended, "streams closed: authorization ended");
        }
    }
}

/// Applies revocations of other nodes, and replicates those that the store lacks.
async fn apply_remote_revocations(weak: WeakHub, revocation_store: Arc<dyn RevocationStore>) -> Option<()> {
    loop {
        let change = revocation_store.next_change().await;
        let hub = weak.upgrade()?;
        // Blocking, since revocations are written to the disk.
        match spawn_blocking(move || hub.authorizer().apply_remote(change)).await {
            Ok(unreplicated) => retry_unreplicated(&revocation_store, unreplicated).await,
            Err(error) => error!(%error, "applying a revocation panicked"),
        }
    }
}

async fn refresh_jwks(weak: WeakHub) -> Option<()> {
    loop {
        weak.upgrade()?.authorizer().refresh_jwks().await;
        sleep(jittered(JWKS_INTERVAL)).await;
    }
}

/// Asks the hook about each open stream once per `auth.hook_recheck`.
async fn recheck_hook(weak: WeakHub) -> Option<()> {
    let mut changes = weak.upgrade()?.authorizer().changes();
    let mut due: HashMap<ConnectionId, Instant> = HashMap::new();
    loop {
        let hub = weak.upgrade()?;
        let Some(interval) = hub.authorizer().recheck_interval() else {
            drop(hub);
            // A reload may add a hook.
            changes.changed().await.ok()?;
            continue;
        };
        recheck_due(&hub, &mut due, interval).await;
        drop(hub);
        sleep((interval / 10).clamp(SCAN_INTERVALS.0, SCAN_INTERVALS.1)).await;
    }
}

async fn recheck_due(hub: &Hub, due: &mut HashMap<ConnectionId, Instant>, interval: Duration) {
    let now = Instant::now();
    let subscribers = hub.inner().subscribers.all();
    let mut next = HashMap::with_capacity(subscribers.len());
    let mut rechecks = JoinSet::new();
    for handle in subscribers {
        let at = due.get(&handle.id()).copied().unwrap_or_else(|| now + jittered(interval));
        if at > now {
            next.insert(handle.id(), at);
            continue;
        }
        next.insert(handle.id(), now + jittered(interval));
        if rechecks.len() >= RECHECKS_MAX {
            rechecks.join_next().await;
        }
        let hub = hub.clone();
        rechecks.spawn(async move {
            if hub.authorizer().is_refused_by_hook(handle.identity(), handle.subscriptions()).await {
                handle.end(Termination::of_rights(EndReason::Revoked));
            }
        });
    }
    *due = next;
    while rechecks.join_next().await.is_some() {}
}

/// Shortens an interval at random, so that it stays within its bound.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.7..0.9))
}
