//! New settings for a running hub: all that can be replaced is prepared first, then put in place.

use tracing::info;

use super::tls;
use crate::{
    config::Settings,
    error::{Code, Error},
    hub::Hub,
};

impl Hub {
    /// Puts new settings in place of those that can be replaced while the hub runs:
    ///
    /// - `server.tls`: the files are read again, whether their names changed or not. New connections get the new
    ///   certificate; those that are open keep what they have.
    ///
    /// - `auth`: keys, patterns and the hook. Open streams are judged anew: those that may no longer be end as `revoked`.
    ///
    /// Other settings are checked, and take effect with the next start; [`Hub::settings`] shows those the hub began
    /// with. It reads files, so call it where that may block for a moment.
    ///
    /// # Errors
    /// When a setting is out of its bounds, a file cannot be used, or TLS or credentials are to be turned on or
    /// off, which takes a restart. Nothing has changed then.
    pub fn reload(&self, settings: Settings) -> Result<(), Error> {
        if let Some(fault) = settings.validate().first() {
            return Err(Error::new(Code::BadRequest, fault.to_string()));
        }
        let parts = self.inner();
        let auth = parts.authorizer.prepare(settings.auth.as_ref())?;
        let tls = match (&parts.tls, settings.server.tls) {
            (Some(current), Some(files)) => Some((current, tls::load(&files)?)),
            (None, None) => None,
            (Some(_), None) => return Err(restart("off")),
            (None, Some(_)) => return Err(restart("on")),
        };
        // All is prepared: from here on nothing fails.
        if let Some((current, new)) = tls {
            current.replace(new);
            info!("certificate read again");
        }
        parts.authorizer.install(auth);
        Ok(())
    }
}

fn restart(way: &str) -> Error {
    Error::new(
        Code::BadRequest,
        format!("server.tls cannot be turned {way} while the hub runs; restart it to do so"),
    )
}
