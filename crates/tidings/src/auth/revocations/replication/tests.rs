//! Several nodes around one board that is slow, forgetful, full or away.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::*;

/// A board in memory.
#[derive(Default)]
struct Wall {
    notes: Mutex<BTreeMap<String, (String, String)>>,
    /// What others put up just before the next calls.
    before: Mutex<VecDeque<StoredRevocation>>,
    calls: AtomicUsize,
    distrusts: AtomicUsize,
    is_away: bool,
    is_full: bool,
}

impl Wall {
    fn put(&self, note: &StoredRevocation) -> ReplicationOutcome {
        let mut notes = self.notes.lock().unwrap();
        let there = notes.get(&note.name).cloned();
        if there.as_ref().map(|it| it.0.clone()).unwrap_or_default() != note.version {
            return ReplicationOutcome::Other(there);
        }
        let version = format!("after {}", note.version);
        notes.insert(note.name.clone(), (version, note.text.clone()));
        ReplicationOutcome::Done
    }

    fn says(&self, name: &str) -> Option<Revocation> {
        parse(name, &self.notes.lock().unwrap().get(name)?.1)
    }

    fn all(&self) -> RevocationChange {
        let notes = self.notes.lock().unwrap();
        RevocationChange::All(
            notes
                .iter()
                .map(|(name, (version, text))| (name.clone(), version.clone(), text.clone()))
                .collect(),
        )
    }

    fn distrusts(&self) -> usize {
        self.distrusts.load(Ordering::Relaxed)
    }
}

impl RevocationStore for Wall {
    fn replicate<'a>(
        &'a self,
        notes: &'a [StoredRevocation],
    ) -> StoreFuture<'a, Result<Vec<ReplicationOutcome>, Error>> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(note) = self.before.lock().unwrap().pop_front() {
            self.put(&note);
        }
        let outcome = match (self.is_away, self.is_full) {
            (true, _) => Err(Error::new(Code::NotStored, "away")),
            (_, true) => Ok(notes.iter().map(|_| ReplicationOutcome::Full).collect()),
            _ => Ok(notes.iter().map(|note| self.put(note)).collect()),
        };
        Box::pin(async { outcome })
    }

    fn next_change(&self) -> StoreFuture<'_, RevocationChange> {
        Box::pin(async { self.all() })
    }

    fn mark_stale(&self) {
        self.distrusts.fetch_add(1, Ordering::Relaxed);
    }
}

fn of(user: &str, at: u64, until: f64) -> Revocation {
    Revocation { subject: RevokedSubject::User(user.into()), at, until }
}

fn new(user: &str, at: u64, until: f64) -> Unreplicated {
    Unreplicated { revocation: of(user, at, until), version: String::new() }
}

async fn telling(wall: &Arc<Wall>, revocation: Revocation) -> Result<(), Error> {
    let revocation_store: Arc<dyn RevocationStore> = wall.clone();
    Replication::new(Some(&revocation_store), revocation, Ok(())).run().await
}

#[tokio::test]
async fn revocations_of_two_nodes_become_one_that_covers_both() {
    let wall = Arc::new(Wall::default());
    telling(&wall, of("u", 10, 500.0)).await.unwrap();
    telling(&wall, of("u", 20, 300.5)).await.unwrap();
    assert_eq!(wall.says("user:u"), Some(of("u", 20, 500.0)));
    telling(&wall, of("u", 15, 400.0)).await.unwrap();
    assert_eq!(wall.says("user:u"), Some(of("u", 20, 500.0)));
    assert_eq!(wall.distrusts(), 0);
}

#[tokio::test]
async fn whoever_is_overtaken_again_and_again_loses_nothing_and_takes_nothing() {
    let wall = Arc::new(Wall::default());
    let others = [("", 30, 100.0), ("after ", 30, 600.0), ("after after ", 40, 700.0)];
    for (version, at, until) in others {
        let note = row_of(&Unreplicated { version: version.into(), ..new("u", at, until) });
        wall.before.lock().unwrap().push_back(note);
    }
    telling(&wall, of("u", 35, 650.0)).await.unwrap();
    assert_eq!(wall.says("user:u"), Some(of("u", 40, 700.0)));
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
        let note = row_of(&Unreplicated { revocation: revocation.clone(), version: String::new() });
        assert_eq!(note.until, 8250);
        assert_eq!(parse(&note.name, &note.text), Some(revocation));
    }
    for (name, text) in [("user", "{}"), ("user:u", "{}"), ("group:g", r#"{"at":1,"until":2.0}"#)] {
        assert_eq!(parse(name, text), None);
    }
}

#[tokio::test]
async fn what_is_not_told_is_said_and_the_board_not_trusted() {
    let away = Arc::new(Wall { is_away: true, ..Wall::default() });
    assert_eq!(telling(&away, of("u", 1, 2.0)).await.unwrap_err().code(), Code::NotStored);
    assert_eq!(away.distrusts(), 1);
    // Who asked may go away before it was told.
    let revocation_store: Arc<dyn RevocationStore> = away.clone();
    drop(Replication::new(Some(&revocation_store), of("u", 1, 2.0), Ok(())));
    assert_eq!(away.distrusts(), 2);
    let revocation_store: Arc<dyn RevocationStore> = away.clone();
    retry_unreplicated(&revocation_store, vec![new("u", 1, 2.0)]).await;
    assert_eq!(away.distrusts(), 3);
    retry_unreplicated(&revocation_store, Vec::new()).await;
    assert_eq!(away.distrusts(), 3);
}

#[tokio::test]
async fn revocation_that_is_told_but_not_kept_here_is_not_answered_as_kept() {
    let kept = || Err(Error::new(Code::NotStored, "the disk is full"));
    for (wall, distrusts) in [(Wall::default(), 0), (Wall { is_away: true, ..Wall::default() }, 1)] {
        let wall = Arc::new(wall);
        let revocation_store: Arc<dyn RevocationStore> = wall.clone();
        let error =
            Replication::new(Some(&revocation_store), of("u", 1, 2.0), kept()).run().await.unwrap_err();
        assert_eq!(error.code(), Code::NotStored);
        assert_eq!(wall.distrusts(), distrusts, "{error}");
    }
}

#[tokio::test]
async fn board_without_room_is_said_and_not_asked_again() {
    let wall = Arc::new(Wall { is_full: true, ..Wall::default() });
    assert_eq!(telling(&wall, of("u", 1, 2.0)).await.unwrap_err().code(), Code::TooMany);
    let revocation_store: Arc<dyn RevocationStore> = wall.clone();
    retry_unreplicated(&revocation_store, vec![new("u", 1, 2.0)]).await;
    assert_eq!((wall.calls.load(Ordering::Relaxed), wall.distrusts()), (2, 0));
}
