//! Looks over open streams when rights may have changed, and ends those that may no longer be.

use std::{collections::HashMap, future::Future, sync::Arc, time::Duration};

use rand::RngExt;
use tidings_protocol::body::EndReason;
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep},
};
use tracing::{error, info};

use crate::{
    auth::{RevocationStore, retry_unreplicated},
    connection::{ConnectionId, Termination},
    hub::{Hub, Lifecycle, WeakHub},
};

use super::supervisor::Supervisor;

/// How often the identity provider's keys are fetched anew, about.
const KEYS_INTERVAL: Duration = Duration::from_secs(60);
/// How often it is looked which streams the hook is to be asked about, at most and at least.
const LOOK_INTERVALS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(5));
/// Streams that the hook is asked about at once.
const RECHECKS_MAX: usize = 16;

/// Starts the tasks, which end with the hub.
pub(super) fn start(hub: &Hub, supervisor: &Supervisor) {
    tokio::spawn(
        supervisor.watch("tidings-reauthorization", until_end(hub, reauthorize_streams(hub.downgrade()))),
    );
    tokio::spawn(supervisor.watch("tidings-jwks", until_end(hub, refresh_jwks(hub.downgrade()))));
    tokio::spawn(supervisor.watch("tidings-hook", until_end(hub, recheck_hook(hub.downgrade()))));
    if let Some(revocation_store) = hub.authorizer().revocation_store() {
        tokio::spawn(supervisor.watch(
            "tidings-revocations",
            until_end(hub, apply_remote_revocations(hub.downgrade(), revocation_store)),
        ));
    }
}

/// The work of a task until the hub has ended or goes.
pub(super) fn until_end<Work>(hub: &Hub, work: Work) -> impl Future<Output = ()> + use<Work>
where
    Work: Future<Output = Option<()>>,
{
    let (weak, mut stage) = (hub.downgrade(), hub.lifecycle());
    async move {
        tokio::select! {
            _ = work => {}
            // An error says that the hub was dropped.
            _ = stage.wait_for(|stage| *stage == Lifecycle::Ended) => return,
        }
        if weak.upgrade().is_none() {
            // The work saw that the hub goes; here it has gone.
            let _ = stage.wait_for(|_| false).await;
        }
    }
}

/// Judges every open stream whenever something may have taken rights.
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
            info!(streams = ended, "streams ended, for their rights have");
        }
    }
}

/// Refuses whom other nodes refuse, and tells them of those that they do not know.
async fn apply_remote_revocations(weak: WeakHub, revocation_store: Arc<dyn RevocationStore>) -> Option<()> {
    loop {
        let news = revocation_store.next_change().await;
        let hub = weak.upgrade()?;
        // They are written to disk here, too.
        let hearing = spawn_blocking(move || hub.authorizer().apply_remote(news)).await;
        match hearing {
            Ok(untold) => retry_unreplicated(&revocation_store, untold).await,
            Err(error) => error!(%error, "hearing of a revocation panicked"),
        }
    }
}

async fn refresh_jwks(weak: WeakHub) -> Option<()> {
    loop {
        weak.upgrade()?.authorizer().keep_fresh().await;
        sleep(jittered(KEYS_INTERVAL)).await;
    }
}

/// Asks the hook about each open stream once in `auth.hook_recheck`.
async fn recheck_hook(weak: WeakHub) -> Option<()> {
    let mut changes = weak.upgrade()?.authorizer().changes();
    let mut due: HashMap<ConnectionId, Instant> = HashMap::new();
    loop {
        let hub = weak.upgrade()?;
        let Some(interval) = hub.authorizer().recheck_interval() else {
            drop(hub);
            // There may be a hook after the settings were read again.
            changes.changed().await.ok()?;
            continue;
        };
        recheck_due(&hub, &mut due, interval).await;
        drop(hub);
        sleep((interval / 10).clamp(LOOK_INTERVALS.0, LOOK_INTERVALS.1)).await;
    }
}

async fn recheck_due(hub: &Hub, due: &mut HashMap<ConnectionId, Instant>, interval: Duration) {
    let now = Instant::now();
    let subscribers = hub.inner().subscribers.all();
    let mut next = HashMap::with_capacity(subscribers.len());
    let mut asking = JoinSet::new();
    for handle in subscribers {
        let at = due.get(&handle.id()).copied().unwrap_or_else(|| now + jittered(interval));
        if at > now {
            next.insert(handle.id(), at);
            continue;
        }
        next.insert(handle.id(), now + jittered(interval));
        if asking.len() >= RECHECKS_MAX {
            asking.join_next().await;
        }
        let hub = hub.clone();
        asking.spawn(async move {
            if hub.authorizer().is_refused_by_hook(handle.identity(), handle.subscriptions()).await {
                handle.end(Termination::of_rights(EndReason::Revoked));
            }
        });
    }
    *due = next;
    while asking.join_next().await.is_some() {}
}

/// Shortened, so that nobody waits longer than was promised.
fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.7..0.9))
}
