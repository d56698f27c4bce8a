//! Revocations of users, sessions and tokens, each until a time. They survive restarts.

mod journal;
pub(super) mod replication;

use std::{collections::HashMap, path::Path};

use tidings_sync::{Mutex, MutexGuard};

use self::journal::Journal;
pub(super) use self::journal::Revocation;
pub(crate) use self::journal::RevokedSubject;
use self::replication::{REVOCATIONS_MAX, RevocationChange, Unreplicated, too_many};
use super::token::Claims;
use crate::error::{Code, Error};
use crate::lock;

/// Revocations in force, and their journal.
pub(crate) struct Revocations {
    active: Mutex<HashMap<RevokedSubject, ActiveRevocation>>,
    /// Locked after `active` is released, so that checks do not wait for the disk.
    journal: Mutex<Option<Journal>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct ActiveRevocation {
    at: u64,
    until: f64,
}

impl Revocations {
    /// Returns revocations that a restart forgets: those of a hub without `data_dir`.
    pub(crate) fn in_memory() -> Self {
        Self::with(None)
    }

    /// Opens the journal in `directory` and reads its revocations.
    ///
    /// # Errors
    /// For a file that cannot be read or written, or is damaged.
    pub(crate) fn open(directory: &Path, now: f64) -> Result<Self, Error> {
        let failed = |error: std::io::Error| {
            Error::new(
                Code::Unavailable,
                format!("{}: {error}", directory.join(journal::FILE_NAME).display()),
            )
        };
        let (journal, kept) = Journal::open(directory, now).map_err(failed)?;
        let this = Self::with(Some(journal));
        let mut active = this.active();
        for revocation in kept {
            merge(&mut active, revocation);
        }
        drop(active);
        Ok(this)
    }

    fn with(journal: Option<Journal>) -> Self {
        Self {
            active: Mutex::new(&lock::REVOCATIONS, HashMap::new()),
            journal: Mutex::new(&lock::REVOCATION_JOURNAL, journal),
        }
    }

    /// Adds a revocation, in memory.
    ///
    /// # Errors
    /// 429 for too many.
    pub(super) fn add(&self, revocation: &Revocation, now: f64) -> Result<(), Error> {
        let mut active = self.active();
        if active.len() >= REVOCATIONS_MAX && !active.contains_key(&revocation.subject) {
            active.retain(|_, it| it.until > now);
            if active.len() >= REVOCATIONS_MAX {
                return Err(too_many("here"));
            }
        }
        merge(&mut active, revocation.clone());
        Ok(())
    }

    /// Adds revocations of other nodes, in memory; returns the new ones. The node that accepted them checked their number.
    pub(super) fn add_remote(&self, change: &RevocationChange, now: f64) -> Vec<Revocation> {
        let revocations: Vec<Revocation> = match change {
            RevocationChange::All(rows) => {
                rows.iter().filter_map(|(name, _, text)| replication::parse(name, text)).collect()
            }
            RevocationChange::One(name, text) => replication::parse(name, text).into_iter().collect(),
            RevocationChange::Nothing => Vec::new(),
        };
        let mut active = self.active();
        if active.len() + revocations.len() > REVOCATIONS_MAX {
            active.retain(|_, it| it.until > now);
        }
        revocations.into_iter().filter(|it| it.until > now && merge(&mut active, it.clone())).collect()
    }

    /// Returns the revocations in force that these rows of the shared store do not cover.
    pub(super) fn unreplicated(&self, rows: Vec<(String, String, String)>, now: f64) -> Vec<Unreplicated> {
        let mut rows: HashMap<_, _> =
            rows.into_iter().map(|(name, version, text)| (name, (version, text))).collect();
        let active = self.active();
        let in_force = active.iter().filter(|(_, it)| it.until > now);
        let unreplicated = in_force.filter_map(|(subject, it)| {
            let revocation = Revocation { subject: subject.clone(), at: it.at, until: it.until };
            match rows.remove(&replication::name_of(subject)) {
                Some((version, text)) => replication::merge(revocation, version, &text),
                None => Some(Unreplicated { revocation, version: String::new() }),
            }
        });
        unreplicated.collect()
    }

    /// Writes revocations to the journal. Blocks on the disk.
    ///
    /// # Errors
    /// `not_stored` if the disk fails. They are in force until a restart then.
    pub(super) fn keep(&self, revocations: &[Revocation], now: f64) -> Result<(), Error> {
        let mut journal = self.journal.lock();
        let Some(journal) = &mut *journal else { return Ok(()) };
        journal.append(revocations, now).map_err(|error| {
            Error::new(
                Code::NotStored,
                "the revocation is in force, but could not be kept for the next start; send it again",
            )
            .caused_by(error)
        })
    }

    /// Whether a revocation covers a token with these claims.
    pub(super) fn covers(&self, claims: &Claims, now: f64) -> bool {
        let active = self.active();
        if active.is_empty() {
            return false;
        }
        let user = active.get(&RevokedSubject::User(claims.user.clone()));
        // Most issuers write whole seconds, so a token of the same second counts as older.
        let is_older = |at: u64| claims.issued_at.is_none_or(|issued_at| issued_at.floor() <= at as f64);
        if user.is_some_and(|it| it.until > now && is_older(it.at)) {
            return true;
        }
        let token = claims.token_id.clone().and_then(|id| active.get(&RevokedSubject::Token(id)));
        token.is_some_and(|it| it.until > now)
    }

    fn active(&self) -> MutexGuard<'_, HashMap<RevokedSubject, ActiveRevocation>> {
        self.active.lock()
    }
}

/// Merges a revocation: the later times win. Returns whether that changed anything.
fn merge(
    active: &mut HashMap<RevokedSubject, ActiveRevocation>,
    Revocation { subject, at, until }: Revocation,
) -> bool {
    let Some(known) = active.get_mut(&subject) else {
        active.insert(subject, ActiveRevocation { at, until });
        return true;
    };
    let merged = ActiveRevocation { at: known.at.max(at), until: known.until.max(until) };
    std::mem::replace(known, merged) != merged
}

#[cfg(test)]
mod tests;
