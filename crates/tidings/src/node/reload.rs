//! New settings for a running hub. Everything is prepared first, then installed.

use tracing::info;

use super::tls;
use crate::config::Settings;
use crate::error::{Code, Error};
use crate::hub::Hub;

impl Hub {
    /// Installs the settings that can change while the hub runs:
    ///
    /// - `server.tls`: the hub reads the files again, also if their names are the same. New connections get the new certificate;
    ///   open connections keep theirs.
    /// - `auth`: keys, patterns and the hook. The hub authorizes open streams anew; a stream that fails ends as `revoked`.
    ///
    /// Other settings are checked and take effect at the next start. [`Hub::settings`] shows the settings of the start. The call
    /// reads files, so it may block for a moment.
    ///
    /// # Errors
    /// If a setting is out of its bounds, if a file cannot be used, or if TLS or credentials are turned on or off, which takes a
    /// restart. Nothing has changed then.
    pub fn reload(&self, settings: Settings) -> Result<(), Error> {
        if let Some(fault) = settings.validate().first() {
            return Err(Error::new(Code::BadRequest, fault.to_string()));
        }
        let inner = self.inner();
        let auth = inner.authorizer.prepare(settings.auth.as_ref())?;
        let tls = match (&inner.tls, settings.server.tls) {
            (Some(current), Some(files)) => Some((current, tls::load(&files)?)),
            (None, None) => None,
            (Some(_), None) => return Err(restart("off")),
            (None, Some(_)) => return Err(restart("on")),
        };
        // Nothing below fails.
        if let Some((current, new)) = tls {
            current.replace(new);
            info!("certificate reloaded");
        }
        inner.authorizer.install(auth);
        Ok(())
    }
}

fn restart(way: &str) -> Error {
    Error::new(
        Code::BadRequest,
        format!("server.tls cannot be turned {way} while the hub runs; restart it to do so"),
    )
}
