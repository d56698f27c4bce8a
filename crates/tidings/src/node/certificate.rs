//! Reload of the `server.tls` files in a running hub: a renewed certificate needs no signal.

use std::time::Duration;

use tokio::{task::spawn_blocking, time::sleep};
use tracing::{error, info, warn};

use super::{supervisor::Supervisor, tls};
use crate::hub::{Hub, WeakHub};

/// Interval between two reads of the files.
const INTERVAL: Duration = Duration::from_secs(5);

/// Starts the task, if the hub has TLS. The task ends with the hub.
pub(super) fn start(hub: &Hub, supervisor: &Supervisor) {
    if hub.inner().tls.is_some() {
        supervisor.spawn_until_end(hub, "tidings-certificate", reload_periodically);
    }
}

async fn reload_periodically(weak: WeakHub) -> Option<()> {
    let mut reported = None;
    loop {
        sleep(INTERVAL).await;
        let hub = weak.upgrade()?;
        match spawn_blocking(move || reload(&hub)).await {
            Ok(outcome) => {
                if let Some(fault) = new_fault(outcome, &mut reported) {
                    warn!(fault, "certificate not reloaded; the previous one stays in use");
                }
            }
            Err(error) => error!(%error, "reading the certificate panicked"),
        }
    }
}

/// Returns the fault if it differs from the last reported one.
fn new_fault(outcome: Result<(), String>, reported: &mut Option<String>) -> Option<String> {
    let fault = outcome.err();
    let is_new = fault != *reported;
    reported.clone_from(&fault);
    fault.filter(|_| is_new)
}

/// Reads the files, and replaces the certificate if they changed.
fn reload(hub: &Hub) -> Result<(), String> {
    let Some(current) = &hub.inner().tls else { return Ok(()) };
    let files = current.read().files.clone();
    let new = tls::load(&files).map_err(|error| error.to_string())?;
    let mut held = current.write();
    // A reload of the settings may have named other files meanwhile.
    if held.files != new.files || held.digest == new.digest {
        return Ok(());
    }
    let before = std::mem::replace(&mut *held, new);
    drop(held);
    drop(before);
    info!("certificate reloaded");
    Ok(())
}

#[cfg(test)]
mod tests;
