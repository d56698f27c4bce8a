//! Revocations that take effect: of this node's managers, and of other nodes.

use std::collections::HashMap;

use tracing::warn;

use super::{
    Revocation, RevokedSubject,
    replication::{self, Replication, RevocationChange, Unreplicated},
};
use crate::{
    auth::{authorizer::Authorizer, permit::ManagePermit},
    config::AuthSettings,
    error::Error,
};

impl Authorizer {
    /// Revokes a subject and ends its streams; [`Replication::run`] tells the other nodes. Blocks on the disk.
    ///
    /// Without `until` the revocation lasts as long as a token can: `auth.token_max_age`.
    ///
    /// # Errors
    /// For too many revocations.
    pub(crate) fn revoke(
        &self,
        _: &ManagePermit,
        subject: RevokedSubject,
        until: Option<f64>,
    ) -> Result<Replication, Error> {
        let now = self.now();
        let settings = self.settings();
        let age_max = settings.map_or(AuthSettings::default().token_max_age, |auth| auth.token_max_age);
        let until = until.unwrap_or(now + age_max.as_secs_f64());
        let revocation = Revocation { subject, at: now as u64, until };
        self.revocations.add(&revocation, now)?;
        self.notify_change();
        let kept = self.revocations.keep(std::slice::from_ref(&revocation), now);
        Ok(Replication::new(self.revocation_store.get(), revocation, kept))
    }

    /// Applies revocations of other nodes and ends the streams of their subjects. Blocks on the disk.
    ///
    /// Returns the revocations of this node that the store lacks.
    pub(crate) fn apply_remote(&self, change: RevocationChange) -> Vec<Unreplicated> {
        let now = self.now();
        let (rows, is_all) = match change {
            RevocationChange::All(rows) => (rows, true),
            RevocationChange::One(name, text) => (vec![(name, String::new(), text)], false),
            RevocationChange::Nothing => return Vec::new(),
        };
        let remote = rows.iter().filter_map(|(name, _, text)| replication::parse(name, text)).collect();
        let new = self.revocations.add_remote(remote, now);
        if !new.is_empty() {
            self.notify_change();
            if let Err(error) = self.revocations.keep(&new, now) {
                warn!(%error, revocations = new.len(), "remote revocations are in force, but not on disk");
            }
        }
        if is_all { self.unreplicated(rows, now) } else { Vec::new() }
    }

    /// Returns the revocations in force that these rows do not cover.
    fn unreplicated(&self, rows: Vec<(String, String, String)>, now: f64) -> Vec<Unreplicated> {
        let mut rows: HashMap<_, _> =
            rows.into_iter().map(|(name, version, text)| (name, (version, text))).collect();
        let unreplicated = self.revocations.all(now).into_iter().filter_map(|revocation| {
            match rows.remove(&replication::name_of(&revocation.subject)) {
                Some((version, text)) => replication::merge(revocation, version, &text),
                None => Some(Unreplicated { revocation, version: String::new() }),
            }
        });
        unreplicated.collect()
    }
}
