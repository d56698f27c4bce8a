//! Settings that are read again while the hub runs.

use tidings::Hub;
use tidings::config::Settings;
use tracing::{error, info, warn};

use super::with_causes;
use crate::SettingFlags;
use crate::settings::{Diagnostic, Loaded, SETTINGS, Setting};

/// What reads the settings again, with the flags that the hub was started with.
pub(super) struct Reloader {
    flags: SettingFlags,
    /// What the hub was started with.
    started: Settings,
    /// What the hub took last.
    current: Settings,
}

impl Reloader {
    pub(super) fn new(flags: SettingFlags, started: Settings) -> Self {
        Self { flags, current: started.clone(), started }
    }

    /// Reads the settings again and gives them to the hub. What is wrong with them is said, and changes nothing.
    pub(super) async fn reload(&mut self, hub: &Hub) {
        let flags = self.flags.clone();
        // Off the threads that serve: the file may be a slow one.
        let loaded = match tokio::task::spawn_blocking(move || flags.load()).await {
            Ok(Ok(loaded)) => loaded,
            Ok(Err(problems)) => return refuse(&problems),
            Err(panic) => return error!(%panic, "settings could not be read again; nothing has changed"),
        };
        let next = match takeable(&self.started, &loaded.settings) {
            Ok(next) => next,
            Err(fault) => return error!("settings were not taken, and nothing has changed: {fault}"),
        };
        if let Err(fault) = hub.reload(next.clone()) {
            let fault = with_causes(&fault);
            return error!("settings were not taken, and nothing has changed: {fault}");
        }
        self.say(&loaded, &next);
        self.current = next;
    }

    /// Says what is new, what waits for a restart, and what the new settings warn of.
    fn say(&self, loaded: &Loaded, taken: &Settings) {
        let now = names(|setting| setting.is_reloadable() && (setting.differs)(&self.current, taken));
        let later = names(|setting| match setting.is_reloadable() {
            true => (setting.differs)(taken, &loaded.settings),
            false => (setting.differs)(&self.started, &loaded.settings),
        });
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        let changed = if now.is_empty() { "none of them" } else { &now };
        info!(
            "settings were read again, and the files of keys and certificates that they name; changed: {changed}"
        );
        if !later.is_empty() {
            warn!("settings that take effect when the hub is started again: {later}");
        }
    }
}

fn names(wanted: impl Fn(&Setting) -> bool) -> String {
    SETTINGS
        .iter()
        .filter(|setting| wanted(setting))
        .map(|setting| setting.name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The new settings as a running hub may take them.
///
/// # Errors
/// A hub never loses its `[auth]` while it runs, since a line too few in a file must not open it; nor does it get one,
/// since streams are open that nobody was asked for.
fn takeable(started: &Settings, new: &Settings) -> Result<Settings, String> {
    match (&started.auth, &new.auth) {
        (Some(_), None) => {
            Err("[auth] is gone, which would let everyone in; start the hub again if that is meant"
                .to_owned())
        }
        (None, Some(_)) => {
            Err("[auth] is new, and streams are open that nobody was asked for; start the hub again"
                .to_owned())
        }
        (Some(_), Some(_)) | (None, None) => {
            let mut taken = new.clone();
            // Clients know the hub by http or by https; the rest must not wait for that.
            if started.server.tls.is_some() != new.server.tls.is_some() {
                taken.server.tls.clone_from(&started.server.tls);
            }
            Ok(taken)
        }
    }
}

fn refuse(problems: &[Diagnostic]) {
    error!(faults = problems.len(), "settings have faults, and nothing has changed");
    for problem in problems {
        error!("{problem}");
    }
}
