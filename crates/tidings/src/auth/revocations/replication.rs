//! Revocations of all nodes: put up where every node looks, and heard of from there.
//!
//! Two for one subject are merged as they are at one node, whichever nodes they come from: who finds another there than he
//! expected merges, and tries again.

use std::{pin::Pin, sync::Arc};

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::{Revocation, RevokedSubject, too_many};
use crate::error::{Code, Error};

type StoreFuture<'a, Done> = Pin<Box<dyn Future<Output = Done> + Send + 'a>>;

/// Where all nodes look.
pub(crate) trait RevocationStore: Send + Sync {
    /// Puts notes up, each if what is up under its name is of this version, which is empty for nothing.
    fn replicate<'a>(
        &'a self,
        notes: &'a [StoredRevocation],
    ) -> StoreFuture<'a, Result<Vec<ReplicationOutcome>, Error>>;
    /// Waits for what is new; to ask again says that what came before was taken in.
    fn next_change(&self) -> StoreFuture<'_, RevocationChange>;
    /// Says that something may not be up that should be: all is read again, and the news are [`RevocationChange::All`].
    fn mark_stale(&self);
}

/// What is up, or is to be, for one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRevocation {
    pub(crate) name: String,
    /// Of what was there when this was written.
    pub(crate) version: String,
    pub(crate) text: String,
    /// When it may be taken down, in milliseconds since 1970.
    pub(crate) until: u64,
}

/// What came of a note.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only a broker of several nodes has a board"))]
pub(crate) enum ReplicationOutcome {
    Done,
    /// This is up instead, as a version and a text, or nothing is.
    Other(Option<(String, String)>),
    Full,
}

/// What is new, as names and versions and texts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "redis"), allow(dead_code, reason = "only a broker of several nodes has a board"))]
pub(crate) enum RevocationChange {
    All(Vec<(String, String, String)>),
    One(String, String),
    /// Something that asks nothing of anybody.
    Nothing,
}

/// A revocation that is in force here, and that others have to be told of.
pub(crate) struct Replication {
    doubt: Option<ResyncOnDrop>,
    revocation: Revocation,
    /// What came of keeping it here.
    kept: Result<(), Error>,
}

/// A revocation, and the version of the note that it is to take the place of.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unreplicated {
    pub(in crate::auth) revocation: Revocation,
    pub(in crate::auth) version: String,
}

/// Whether there was room for all of them. Where there was none, another look brings none.
#[derive(Debug, PartialEq, Eq)]
enum StoreCapacity {
    Enough,
    None,
}

/// Where it is dropped before all was told, the board is read again, and gets what it lacks.
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
        Self {
            doubt: revocation_store.cloned().map(|revocation_store| ResyncOnDrop(Some(revocation_store))),
            revocation,
            kept,
        }
    }

    /// Tells the other nodes, where there may be others; answers when all is kept.
    ///
    /// # Errors
    /// When it could not be kept here, or there. It is in force here, and they are told as soon as they can be.
    pub(crate) async fn run(self) -> Result<(), Error> {
        let Some(mut doubt) = self.doubt else { return self.kept };
        let revocation_store = doubt.0.clone().expect("nothing was told yet");
        let told = replicate_until_done(
            &*revocation_store,
            vec![Unreplicated { revocation: self.revocation, version: String::new() }],
        )
        .await;
        match (self.kept, told) {
            (kept, Ok(StoreCapacity::Enough)) => {
                doubt.0 = None;
                kept
            }
            (_, Ok(StoreCapacity::None)) => {
                doubt.0 = None;
                Err(too_many("for all nodes: it is in force at this node alone"))
            }
            (Ok(()), Err(error)) => Err(error),
            (Err(kept), Err(_)) => Err(Error::new(
                Code::NotStored,
                "the revocation is in force at this node, but could be neither kept for its next start nor told to the other nodes; send it again",
            )
            .caused_by(kept)),
        }
    }
}

/// Tells the other nodes of all these; what went wrong is done again after the next look.
pub(crate) async fn retry_unreplicated(
    revocation_store: &Arc<dyn RevocationStore>,
    untold: Vec<Unreplicated>,
) {
    let mut doubt = ResyncOnDrop(Some(revocation_store.clone()));
    match replicate_until_done(&**revocation_store, untold).await {
        Ok(room) => {
            doubt.0 = None;
            if room == StoreCapacity::None {
                warn!("other nodes were not told of all revocations: there are too many");
            }
        }
        Err(error) => warn!(%error, "other nodes were not told of all revocations"),
    }
}

async fn replicate_until_done(
    revocation_store: &dyn RevocationStore,
    mut untold: Vec<Unreplicated>,
) -> Result<StoreCapacity, Error> {
    let mut room = StoreCapacity::Enough;
    // Each round in which somebody else was faster has brought the board nearer to what all of them say.
    while !untold.is_empty() {
        let notes: Vec<_> = untold.iter().map(note_of).collect();
        let outcomes = revocation_store.replicate(&notes).await?;
        let left = untold.into_iter().zip(outcomes).filter_map(|(it, outcome)| match outcome {
            ReplicationOutcome::Done => None,
            ReplicationOutcome::Full => {
                room = StoreCapacity::None;
                None
            }
            ReplicationOutcome::Other(None) => Some(Unreplicated { version: String::new(), ..it }),
            ReplicationOutcome::Other(Some((version, text))) => if_stronger(it.revocation, version, &text),
        });
        untold = left.collect();
    }
    Ok(room)
}

/// What has to be put up so that the note which is there covers this revocation, too.
pub(in crate::auth) fn if_stronger(
    mut revocation: Revocation,
    version: String,
    text: &str,
) -> Option<Unreplicated> {
    if let Ok(there) = serde_json::from_str::<RevocationText>(text) {
        if there.at >= revocation.at && there.until >= revocation.until {
            return None;
        }
        revocation.at = revocation.at.max(there.at);
        revocation.until = revocation.until.max(there.until);
    }
    Some(Unreplicated { revocation, version })
}

/// What a note says of its subject.
#[derive(Serialize, Deserialize)]
struct RevocationText {
    at: u64,
    until: f64,
}

fn note_of(Unreplicated { revocation, version }: &Unreplicated) -> StoredRevocation {
    let text = RevocationText { at: revocation.at, until: revocation.until };
    StoredRevocation {
        name: name_of(&revocation.subject),
        version: version.clone(),
        text: serde_json::to_string(&text).expect("numbers are JSON"),
        until: (revocation.until * 1000.0).ceil() as u64,
    }
}

/// A note's name: `user:`, `session:` or `jti:`, and the subject's own.
pub(in crate::auth) fn name_of(subject: &RevokedSubject) -> String {
    match subject {
        RevokedSubject::User(name) => format!("user:{name}"),
        RevokedSubject::Session(id) => format!("session:{id}"),
        RevokedSubject::Token(id) => format!("jti:{id}"),
    }
}

/// The revocation of a note; none where a later version wrote it, or no hub.
pub(in crate::auth) fn read(name: &str, text: &str) -> Option<Revocation> {
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
