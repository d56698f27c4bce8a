//! Reload of `[auth]` in a running hub.

use std::sync::Arc;

use super::{policy::Policy, state::Authorizer};
use crate::config::AuthSettings;
use crate::error::{Code, Error};

/// Policy that was read and is not in force yet.
pub(crate) struct PreparedPolicy(Option<Arc<Policy>>);

impl Authorizer {
    /// Reads new settings. They take effect with [`Authorizer::install`].
    ///
    /// # Errors
    /// For an unusable key file, and for settings that would open a closed hub or close an open one.
    pub(crate) fn prepare(&self, settings: Option<&AuthSettings>) -> Result<PreparedPolicy, Error> {
        match (self.policy(), settings) {
            (None, None) => Ok(PreparedPolicy(None)),
            (Some(before), Some(settings)) => {
                Ok(PreparedPolicy(Some(Arc::new(Policy::read(settings, Some(&before), &self.metrics)?))))
            }
            _ => Err(Error::new(
                Code::BadRequest,
                "[auth] cannot be turned on or off in a running hub; restart it",
            )),
        }
    }

    /// Puts a policy into force, and has every open stream reauthorized.
    pub(crate) fn install(&self, prepared: PreparedPolicy) {
        if let (Some(policy), PreparedPolicy(Some(new))) = (&self.policy, prepared) {
            policy.replace(new);
            self.notify_change();
        }
    }
}
