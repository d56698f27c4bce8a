//! Replication through a shared store with conflicts, without capacity, or out of reach.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

/// Revocation store in memory.
#[derive(Default)]
struct MemoryRevocations {
    rows: Mutex<BTreeMap<String, (String, String)>>,
    /// Writes of other nodes just before the next calls.
    before: Mutex<VecDeque<StoredRevocation>>,
    calls: AtomicUsize,
    resyncs: AtomicUsize,
    is_unreachable: bool,
    is_full: bool,
}

impl MemoryRevocations {
    fn put(&self, row: &StoredRevocation) -> ReplicationOutcome {
        let mut rows = self.rows.lock().unwrap();
        let there = rows.get(&row.name).cloned();
        if there.as_ref().map(|it| it.0.clone()).unwrap_or_default() != row.version {
            return ReplicationOutcome::Other(there);
        }
        let version = format!("after {}", row.version);
        rows.insert(row.name.clone(), (version, row.text.clone()));
        ReplicationOutcome::Done
    }

    fn revocation(&self, name: &str) -> Option<Revocation> {
        parse(name, &self.rows.lock().unwrap().get(name)?.1)
    }

    fn all(&self) -> RevocationChange {
        let rows = self.rows.lock().unwrap();
        RevocationChange::All(
            rows.iter()
                .map(|(name, (version, text))| (name.clone(), version.clone(), text.clone()))
                .collect(),
        )
    }

    fn resyncs(&self) -> usize {
        self.resyncs.load(Ordering::Relaxed)
    }
}

impl RevocationStore for MemoryRevocations {
    fn replicate<'a>(
        &'a self,
        rows: &'a [StoredRevocation],
    ) -> StoreFuture<'a, Result<Vec<ReplicationOutcome>, Error>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(row) = self.before.lock().unwrap().pop_front() {
            self.put(&row);
        }
        let outcome = match (self.is_unreachable, self.is_full) {
            (true, _) => Err(Error::new(Code::NotStored, "unreachable")),
            (_, true) => Ok(rows.iter().map(|_| ReplicationOutcome::Full).collect()),
            _ => Ok(rows.iter().map(|row| self.put(row)).collect()),
        };
        Box::pin(async { outcome })
    }

    fn next_change(&self) -> StoreFuture<'_, RevocationChange> {
        Box::pin(async { self.all() })
    }

    fn mark_stale(&self) {
        self.resyncs.fetch_add(1, Ordering::Relaxed);
    }
}

fn of(user: &str, at: u64, until: f64) -> Revocation {
    Revocation { subject: RevokedSubject::User(user.into()), at, until }
}

fn new(user: &str, at: u64, until: f64) -> Unreplicated {
    Unreplicated { revocation: of(user, at, until), version: String::new() }
}

fn replication(
    store: &Arc<MemoryRevocations>,
    revocation: Revocation,
    kept: Result<(), Error>,
) -> Replication {
    let revocation_store: Arc<dyn RevocationStore> = store.clone();
    Replication::new(Some(&revocation_store), revocation, kept)
}

async fn replicate(store: &Arc<MemoryRevocations>, revocation: Revocation) -> Result<(), Error> {
    replication(store, revocation, Ok(())).run().await
}

async fn retry(store: &Arc<MemoryRevocations>, unreplicated: Vec<Unreplicated>) {
    let revocation_store: Arc<dyn RevocationStore> = store.clone();
    retry_unreplicated(&revocation_store, unreplicated).await;
}

fn unreachable() -> MemoryRevocations {
    MemoryRevocations { is_unreachable: true, ..MemoryRevocations::default() }
}

#[tokio::test]
async fn revocations_of_two_nodes_become_one_that_covers_both() {
    let store = Arc::new(MemoryRevocations::default());
    replicate(&store, of("u", 10, 500.0)).await.unwrap();
    replicate(&store, of("u", 20, 300.5)).await.unwrap();
    assert_eq!(store.revocation("user:u"), Some(of("u", 20, 500.0)));
    replicate(&store, of("u", 15, 400.0)).await.unwrap();
    assert_eq!(store.revocation("user:u"), Some(of("u", 20, 500.0)));
    assert_eq!(store.resyncs(), 0);
}

#[tokio::test]
async fn repeated_conflicts_lose_no_revocation() {
    let store = Arc::new(MemoryRevocations::default());
    let others = [("", 30, 100.0), ("after ", 30, 600.0), ("after after ", 40, 700.0)];
    for (version, at, until) in others {
        let row = row_of(&Unreplicated { version: version.into(), ..new("u", at, until) });
        store.before.lock().unwrap().push_back(row);
    }
    replicate(&store, of("u", 35, 650.0)).await.unwrap();
    assert_eq!(store.revocation("user:u"), Some(of("u", 40, 700.0)));
}

#[tokio::test]
async fn names_of_users_sessions_and_tokens_stay_apart() {
    for subject in [
        RevokedSubject::User("a:b".into()),
        RevokedSubject::Session("user:a".into()),
        RevokedSubject::Token("é\n".into()),
        RevokedSubject::User(String::new()),
    ] {
        let revocation = Revocation { subject, at: 7, until: 8.25 };
        let row = row_of(&Unreplicated { revocation: revocation.clone(), version: String::new() });
        assert_eq!(row.until, 8250);
        assert_eq!(parse(&row.name, &row.text), Some(revocation));
    }
    for (name, text) in [("user", "{}"), ("user:u", "{}"), ("group:g", r#"{"at":1,"until":2.0}"#)] {
        assert_eq!(parse(name, text), None);
    }
}

#[tokio::test]
async fn failed_replication_is_an_error_and_requests_a_resync() {
    let unreachable = Arc::new(unreachable());
    assert_eq!(replicate(&unreachable, of("u", 1, 2.0)).await.unwrap_err().code(), Code::NotStored);
    assert_eq!(unreachable.resyncs(), 1);
    // A client may disconnect before the replication.
    drop(replication(&unreachable, of("u", 1, 2.0), Ok(())));
    assert_eq!(unreachable.resyncs(), 2);
    retry(&unreachable, vec![new("u", 1, 2.0)]).await;
    assert_eq!(unreachable.resyncs(), 3);
    retry(&unreachable, Vec::new()).await;
    assert_eq!(unreachable.resyncs(), 3);
}

#[tokio::test]
async fn replicated_revocation_that_the_disk_refused_is_an_error() {
    let kept = || Err(Error::new(Code::NotStored, "the disk is full"));
    for (store, resyncs) in [(MemoryRevocations::default(), 0), (unreachable(), 1)] {
        let store = Arc::new(store);
        let error = replication(&store, of("u", 1, 2.0), kept()).run().await.unwrap_err();
        assert_eq!(error.code(), Code::NotStored);
        assert_eq!(store.resyncs(), resyncs, "{error}");
    }
}

#[tokio::test]
async fn full_store_is_an_error_without_a_retry() {
    let store = Arc::new(MemoryRevocations { is_full: true, ..MemoryRevocations::default() });
    assert_eq!(replicate(&store, of("u", 1, 2.0)).await.unwrap_err().code(), Code::TooMany);
    retry(&store, vec![new("u", 1, 2.0)]).await;
    assert_eq!((store.calls.load(Ordering::Relaxed), store.resyncs()), (2, 0));
}
