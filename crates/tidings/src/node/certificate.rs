//! Reads the files of `server.tls` again while the hub runs, so that a renewed certificate needs no signal.

use std::time::Duration;

use tokio::{task::spawn_blocking, time::sleep};
use tracing::{error, info, warn};

use super::{reauthorization::until_end, supervisor::Supervisor, tls};
use crate::hub::{Hub, WeakHub};

/// How often the files are read.
const INTERVAL: Duration = Duration::from_secs(5);

/// Starts the task, which ends with the hub. A hub without TLS needs none.
pub(super) fn start(hub: &Hub, supervisor: &Supervisor) {
    if hub.inner().tls.is_some() {
        tokio::spawn(supervisor.watch("tidings-certificate", until_end(hub, follow(hub.downgrade()))));
    }
}

async fn follow(weak: WeakHub) -> Option<()> {
    let mut told = None;
    loop {
        sleep(INTERVAL).await;
        let hub = weak.upgrade()?;
        match spawn_blocking(move || renew(&hub)).await {
            Ok(outcome) => {
                if let Some(fault) = news(outcome, &mut told) {
                    warn!(
                        fault,
                        "the certificate was not read again; the hub goes on with the one that it has"
                    );
                }
            }
            Err(error) => error!(%error, "reading the certificate panicked"),
        }
    }
}

/// A fault that was not told yet.
fn news(outcome: Result<(), String>, told: &mut Option<String>) -> Option<String> {
    let fault = outcome.err();
    let is_new = fault != *told;
    told.clone_from(&fault);
    fault.filter(|_| is_new)
}

/// Takes what the files hold, if it is something else than before.
fn renew(hub: &Hub) -> Result<(), String> {
    let Some(current) = &hub.inner().tls else { return Ok(()) };
    let files = current.read().files.clone();
    let new = tls::load(&files).map_err(|error| error.to_string())?;
    let mut held = current.write();
    // A reload may have named other files meanwhile.
    if held.files != new.files || held.digest == new.digest {
        return Ok(());
    }
    let before = std::mem::replace(&mut *held, new);
    drop(held);
    drop(before);
    info!("certificate read again");
    Ok(())
}

#[cfg(test)]
mod tests;
