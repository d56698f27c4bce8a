//! Coverage of revocations, their expiry, and restarts.

use std::fs;

use tidings_testkit::TempDirectory;

use super::*;

impl Revocations {
    fn revoke(&self, subject: RevokedSubject, until: f64, now: f64) -> Result<(), Error> {
        let revocation = Revocation { subject, at: now as u64, until };
        self.add(&revocation, now)?;
        self.keep(&[revocation], now)
    }
}

fn claims(user: &str, issued_at: Option<f64>, token_id: Option<&str>) -> Claims {
    Claims {
        user: user.to_owned(),
        expires_at: 1e9,
        not_before: None,
        issued_at,
        token_id: token_id.map(str::to_owned),
        audience: Vec::new(),
        issuer: None,
        subscribe: Vec::new(),
        publish: Vec::new(),
    }
}

#[test]
fn user_is_refused_with_older_tokens_until_then() {
    let revocations = Revocations::in_memory();
    revocations.revoke(RevokedSubject::User("u".into()), 200.0, 100.7).unwrap();
    let refused = |issued_at, now| revocations.covers(&claims("u", issued_at, None), now);
    assert!(refused(Some(99.0), 101.0));
    assert!(refused(Some(100.0), 101.0), "issued in the same second");
    assert!(refused(None, 101.0), "the time of issue is unknown");
    assert!(!refused(Some(101.0), 101.0), "a fresh login");
    assert!(!refused(Some(99.0), 200.0), "its time is over");
    assert!(!revocations.covers(&claims("v", Some(99.0), None), 101.0));
}

#[test]
fn token_is_refused_by_its_id() {
    let revocations = Revocations::in_memory();
    revocations.revoke(RevokedSubject::Token("j".into()), 200.0, 100.0).unwrap();
    assert!(revocations.covers(&claims("u", Some(150.0), Some("j")), 151.0));
    assert!(!revocations.covers(&claims("u", Some(50.0), Some("k")), 151.0));
    assert!(!revocations.covers(&claims("u", Some(50.0), None), 151.0));
}

#[test]
fn second_revocation_never_shortens_the_first() {
    let revocations = Revocations::in_memory();
    revocations.revoke(RevokedSubject::User("u".into()), 500.0, 100.0).unwrap();
    revocations.revoke(RevokedSubject::User("u".into()), 300.0, 200.0).unwrap();
    assert!(revocations.covers(&claims("u", Some(200.0), None), 499.0));
}

#[test]
fn revocations_survive_a_restart_and_a_torn_end() {
    let directory = TempDirectory::create();
    let open = || Revocations::open(directory.path(), 150.0);
    let revocations = open().unwrap();
    revocations.revoke(RevokedSubject::User("u".into()), 200.0, 100.0).unwrap();
    revocations.revoke(RevokedSubject::Token("j".into()), 300.0, 100.0).unwrap();
    revocations.revoke(RevokedSubject::User("over".into()), 120.0, 100.0).unwrap();
    drop(revocations);
    let file = directory.path().join("revocations.log");
    let text = fs::read(&file).unwrap();
    fs::write(&file, [&text[..], b"12345678 {\"user\":\"half"].concat()).unwrap();
    let revocations = open().unwrap();
    assert!(revocations.covers(&claims("u", Some(99.0), None), 150.0));
    assert!(revocations.covers(&claims("v", Some(99.0), Some("j")), 150.0));
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 2, "what is over is not kept");
    revocations.revoke(RevokedSubject::Session("s".into()), 300.0, 150.0).unwrap();
    assert_eq!(fs::read_to_string(&file).unwrap().lines().count(), 3);
}

#[test]
fn damage_in_the_middle_is_said_not_skipped() {
    let directory = TempDirectory::create();
    let revocations = Revocations::open(directory.path(), 100.0).unwrap();
    for user in ["u", "v"] {
        revocations.revoke(RevokedSubject::User(user.into()), 200.0, 100.0).unwrap();
    }
    drop(revocations);
    let file = directory.path().join("revocations.log");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replacen("\"u\"", "\"x\"", 1)).unwrap();
    let error = Revocations::open(directory.path(), 100.0).err().unwrap();
    assert!(error.to_string().contains("line 1 is damaged"), "{error}");
}

#[test]
fn failed_append_leaves_no_half_line() {
    let directory = TempDirectory::create();
    let revocations = Revocations::open(directory.path(), 100.0).unwrap();
    revocations.revoke(RevokedSubject::User("u".into()), 200.0, 100.0).unwrap();
    let file = directory.path().join("revocations.log");
    let good = fs::read(&file).unwrap();
    fs::write(&file, [&good[..], b"half a line of a full disk"].concat()).unwrap();
    revocations.revoke(RevokedSubject::User("v".into()), 200.0, 100.0).unwrap();
    drop(revocations);
    let revocations = Revocations::open(directory.path(), 100.0).unwrap();
    assert!(revocations.covers(&claims("v", Some(99.0), None), 150.0));
}
