//! Reads the settings again while the hub runs.

use tidings::Hub;
use tidings::config::Settings;
use tracing::{error, info, warn};

use super::error_chain::error_chain;
use crate::setting_flags::SettingFlags;
use crate::settings::{Diagnostic, Loaded, SETTINGS, Setting};

/// Reads the settings again, with the flags that the hub was started with.
pub(super) struct Reloader {
    flags: SettingFlags,
    /// Settings of the start.
    started: Settings,
    /// Settings in force.
    current: Settings,
}

impl Reloader {
    pub(super) fn new(flags: SettingFlags, started: Settings) -> Self {
        Self { flags, current: started.clone(), started }
    }

    /// Reads the settings again and gives them to the hub. Errors are logged, and change nothing.
    pub(super) async fn reload(&mut self, hub: &Hub) {
        let flags = self.flags.clone();
        // Not on a thread that serves: reading the file may block.
        let loaded = match tokio::task::spawn_blocking(move || flags.load()).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(diagnostics)) => return log_diagnostics(&diagnostics),
            Err(panic) => return error!(%panic, "settings not reloaded, nothing has changed"),
        };
        let next = match reloadable(&self.started, &loaded.settings) {
            Ok(next) => next,
            Err(error) => return error!(%error, "settings not reloaded, nothing has changed"),
        };
        if let Err(error) = hub.reload(next.clone()) {
            let error = error_chain(&error);
            return error!(%error, "settings not reloaded, nothing has changed");
        }
        self.log_changes(&loaded, &next);
        self.current = next;
    }

    /// Logs new values, values that wait for a restart, and warnings.
    fn log_changes(&self, loaded: &Loaded, applied: &Settings) {
        let changed = names(|setting| setting.is_reloadable() && (setting.differs)(&self.current, applied));
        let pending = names(|setting| {
            let in_force = if setting.is_reloadable() { applied } else { &self.started };
            (setting.differs)(in_force, &loaded.settings)
        });
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        let changed = if changed.is_empty() { "none" } else { &changed };
        info!(changed = %changed, "settings reloaded, with their files of keys and certificates");
        if !pending.is_empty() {
            warn!(settings = %pending, "changed settings wait for a restart");
        }
    }
}

fn names(is_wanted: impl Fn(&Setting) -> bool) -> String {
    let wanted = SETTINGS.iter().filter(|setting| is_wanted(setting));
    wanted.map(|setting| setting.name).collect::<Vec<_>>().join(", ")
}

/// Returns the new settings as a running hub may apply them.
///
/// # Errors
/// A running hub never loses `[auth]`: a missing line must not open it. Nor does it gain `[auth]`, because its open streams
/// have no credentials.
fn reloadable(started: &Settings, new: &Settings) -> Result<Settings, String> {
    match (&started.auth, &new.auth) {
        (Some(_), None) => {
            Err("[auth] is gone, which would open the hub to every client; restart the hub to do that"
                .to_owned())
        }
        (None, Some(_)) => {
            Err("[auth] is new, and the open streams have no credentials; restart the hub".to_owned())
        }
        (Some(_), Some(_)) | (None, None) => {
            let mut applied = new.clone();
            // Clients know the hub by http or by https. The other settings must not wait for that.
            if started.server.tls.is_some() != new.server.tls.is_some() {
                applied.server.tls.clone_from(&started.server.tls);
            }
            Ok(applied)
        }
    }
}

fn log_diagnostics(diagnostics: &[Diagnostic]) {
    error!(errors = diagnostics.len(), "settings have errors, nothing has changed");
    for diagnostic in diagnostics {
        error!("{diagnostic}");
    }
}
