//! Revocations in Redis: one row for each subject, which goes when its time is over.

use std::{pin::Pin, sync::Arc, time::Duration};

use tracing::warn;

use crate::{
    auth::{Board, News, Note, PutUp},
    broker::redis::{self, Changed, Fault, Put, Row, Version, View},
    error::{Code, Error},
    log::Log,
};

/// The board of all nodes of one Redis.
pub(super) struct RedisBoard {
    pub(super) view: Arc<View>,
    pub(super) log: Arc<Log>,
}

impl Board for RedisBoard {
    fn put_up<'a>(
        &'a self,
        notes: &'a [Note],
    ) -> Pin<Box<dyn Future<Output = Result<Vec<PutUp>, Error>> + Send + 'a>> {
        Box::pin(async move {
            let puts: Vec<_> = notes.iter().map(put).collect();
            let outcomes = self.view.put_if(&puts, self.log.now()).await.map_err(|fault| away(&fault))?;
            Ok(outcomes.into_iter().map(put_up).collect())
        })
    }

    fn news(&self) -> Pin<Box<dyn Future<Output = News> + Send + '_>> {
        Box::pin(async move {
            match self.view.news().await {
                redis::News::All(rows) => News::All(
                    rows.into_iter().map(|row| (row.key, row.version.to_string(), row.value)).collect(),
                ),
                redis::News::Put(row) => News::One(row.key, row.value),
                // A revocation ends with its time, and not before.
                redis::News::Removed(_) => News::Nothing,
            }
        })
    }

    fn distrust(&self) {
        self.view.distrust();
    }
}

fn put(note: &Note) -> Put {
    Put {
        key: note.name.clone(),
        value: note.text.clone(),
        until: Some(note.until),
        expected: Version::parse(&note.version).unwrap_or_default(),
    }
}

fn put_up(outcome: Changed) -> PutUp {
    match outcome {
        Changed::Done => PutUp::Done,
        Changed::Other(row) => {
            PutUp::Other(row.map(|Row { version, value, .. }| (version.to_string(), value)))
        }
        Changed::Full => PutUp::Full,
    }
}

fn away(fault: &Fault) -> Error {
    warn!(%fault, "other nodes could not be told of a revocation");
    let (code, detail) = match fault {
        Fault::Unknown(_) => (
            Code::OutcomeUnknown,
            "the revocation is in force at this node and kept here, but redis did not answer: the other nodes may not know of it yet; send it again",
        ),
        _ => (
            Code::NotStored,
            "the revocation is in force at this node and kept here, but redis takes nothing now: the other nodes do not know of it yet; send it again",
        ),
    };
    Error::new(code, detail).retry_after(Duration::from_secs(1))
}
