//! Replication of revocations between nodes, through a store that all nodes share.
//!
//! Concurrent revocations of one subject are merged: the later time and the later expiry win. A write that hits a version
//! conflict merges and retries.

use std::{pin::Pin, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{Revocation, RevokedSubject};
use crate::error::{Code, Error};

/// Revocations in force at one time.
pub(super) const REVOCATIONS_MAX: usize = 100_000;

type StoreFuture<'a, Done> = Pin<Box<dyn Future<Output = Done> + Send + 'a>>;

/// Store that all nodes share.
pub(crate) trait RevocationStore: Send + Sync {
    /// Writes each revocation if the row of its name has its `version`; an empty version expects no row.
    fn replicate<'a>(
        &'a self,
        revocations: &'a [StoredRevocation],
    ) -> StoreFuture<'a, Result<Vec<ReplicationOutcome>, Error>>;
    /// Returns the next change. Calling it again acknowledges the previous one. Cancel-safe.
    fn next_change(&self) -> StoreFuture<'_, RevocationChange>;
    /// Requests a resync: all rows are read again, and the next change is [`RevocationChange::All`].
    fn mark_stale(&self);
}

/// Row of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRevocation {
    pub(crate) name: String,
    /// Version of the row that this one replaces.
    pub(crate) version: String,
    pub(crate) text: String,
    /// Time at which the row may be removed, in milliseconds since 1970.
    pub(crate) until: u64,
}

/// Outcome of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only Redis has such a store"))]
pub(crate) enum ReplicationOutcome {
    Done,
    /// Version conflict: the version and the text of the row that is there, or no row.
    Other(Option<(String, String)>),
    Full,
}

/// Change in the store: rows as name, version and text.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only Redis has such a store"))]
pub(crate) enum RevocationChange {
    All(Vec<(String, String, String)>),
    One(String, String),
    /// A change that needs no action.
    Nothing,
}

/// A revocation that is in force at this node, and that the other nodes need.
pub(crate) struct Replication {
    resync: Option<ResyncOnDrop>,
    revocation: Revocation,
    /// Outcome of the write to this node's journal.
    kept: Result<(), Error>,
}

/// A revocation that the store lacks, and the version of the row that it replaces.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unreplicated {
    pub(in crate::auth) revocation: Revocation,
    pub(in crate::auth) version: String,
}

/// Whether the store had capacity. `None` is final: retrying will not help.
#[derive(Debug, PartialEq, Eq)]
enum StoreCapacity {
    Enough,
    None,
}

/// Requests a resync when dropped before the replication is complete.
struct ResyncOnDrop(Option<Arc<dyn RevocationStore>>);

impl Drop for ResyncOnDrop {
    fn drop(&mut self) {
        if let Some(revocation_store) = &self.0 {
            revocation_store.mark_stale();
        }
    }
}

impl Replication {
    pub(in crate::auth) fn new(
        revocation_store: Option<&Arc<dyn RevocationStore>>,
        revocation: Revocation,
        kept: Result<(), Error>,
    ) -> Self {
        Self { resync: revocation_store.cloned().map(|store| ResyncOnDrop(Some(store))), revocation, kept }
    }

    /// Writes the revocation to the shared store, if there is one.
    ///
    /// # Errors
    /// For a failed write to the journal or to the store. The revocation is in force at this node; a resync replicates it
    /// later.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let Some(mut resync) = self.resync else { return self.kept };
        let revocation_store = resync.0.clone().expect("it is taken only below");
        let replicated = replicate_until_done(
            &*revocation_store,
            vec![Unreplicated { revocation: self.revocation, version: String::new() }],
        )
        .await;
        match (self.kept, replicated) {
            (kept, Ok(StoreCapacity::Enough)) => {
                resync.0 = None;
                kept
            }
            (_, Ok(StoreCapacity::None)) => {
                resync.0 = None;
                Err(too_many("for all nodes: it is in force at this node alone"))
            }
            (Ok(()), Err(error)) => Err(error),
            (Err(kept), Err(_)) => Err(Error::new(
                Code::NotStored,
                "the revocation is in force at this node, but neither kept for its next start nor told to the other nodes; send it again",
            )
            .caused_by(kept)),
        }
    }
}

/// Replicates these revocations. A resync retries after a failure.
pub(crate) async fn retry_unreplicated(
    revocation_store: &Arc<dyn RevocationStore>,
    unreplicated: Vec<Unreplicated>,
) {
    let mut resync = ResyncOnDrop(Some(revocation_store.clone()));
    match replicate_until_done(&**revocation_store, unreplicated).await {
        Ok(capacity) => {
            resync.0 = None;
            if capacity == StoreCapacity::None {
                warn!("revocations not replicated: the shared store is full");
            }
        }
        Err(error) => warn!(%error, "revocations not replicated"),
    }
}

async fn replicate_until_done(
    revocation_store: &dyn RevocationStore,
    mut unreplicated: Vec<Unreplicated>,
) -> Result<StoreCapacity, Error> {
    let mut capacity = StoreCapacity::Enough;
    // A round with a conflict made progress: another node's write has been merged.
    while !unreplicated.is_empty() {
        let rows: Vec<_> = unreplicated.iter().map(row_of).collect();
        let outcomes = revocation_store.replicate(&rows).await?;
        let left = unreplicated.into_iter().zip(outcomes).filter_map(|(it, outcome)| match outcome {
            ReplicationOutcome::Done => None,
            ReplicationOutcome::Full => {
                capacity = StoreCapacity::None;
                None
            }
            ReplicationOutcome::Other(None) => Some(Unreplicated { version: String::new(), ..it }),
            ReplicationOutcome::Other(Some((version, text))) => merge(it.revocation, version, &text),
        });
        unreplicated = left.collect();
    }
    Ok(capacity)
}

/// Returns the error for too many revocations; `place` names the full store.
pub(super) fn too_many(place: &str) -> Error {
    Error::new(
        Code::TooMany,
        format!("{REVOCATIONS_MAX} revocations are in force; no more can be kept {place}; change the signing key to refuse every token"),
    )
    .limit("revocations")
    .retry_after(Duration::from_mins(1))
}

/// Merges a revocation with the row of its subject; `None` if the row already covers it.
pub(super) fn merge(mut revocation: Revocation, version: String, text: &str) -> Option<Unreplicated> {
    if let Ok(there) = serde_json::from_str::<RevocationText>(text) {
        if there.at >= revocation.at && there.until >= revocation.until {
            return None;
        }
        revocation.at = revocation.at.max(there.at);
        revocation.until = revocation.until.max(there.until);
    }
    Some(Unreplicated { revocation, version })
}

/// Text of a row.
#[derive(Serialize, Deserialize)]
struct RevocationText {
    at: u64,
    until: f64,
}

fn row_of(Unreplicated { revocation, version }: &Unreplicated) -> StoredRevocation {
    let text = RevocationText { at: revocation.at, until: revocation.until };
    StoredRevocation {
        name: name_of(&revocation.subject),
        version: version.clone(),
        text: serde_json::to_string(&text).expect("numbers are JSON"),
        until: (revocation.until * 1000.0).ceil() as u64,
    }
}

/// Returns the name of a subject's row: `user:`, `session:` or `jti:`, then the subject's name.
pub(super) fn name_of(subject: &RevokedSubject) -> String {
    match subject {
        RevokedSubject::User(name) => format!("user:{name}"),
        RevokedSubject::Session(id) => format!("session:{id}"),
        RevokedSubject::Token(id) => format!("jti:{id}"),
    }
}

/// Parses a row; `None` for a kind of subject that this version does not know.
pub(super) fn parse(name: &str, text: &str) -> Option<Revocation> {
    let subject = match name.split_once(':')? {
        ("user", name) => RevokedSubject::User(name.to_owned()),
        ("session", id) => RevokedSubject::Session(id.to_owned()),
        ("jti", id) => RevokedSubject::Token(id.to_owned()),
        _ => return None,
    };
    let RevocationText { at, until } = serde_json::from_str(text).ok()?;
    Some(Revocation { subject, at, until })
}

#[cfg(test)]
mod tests;
