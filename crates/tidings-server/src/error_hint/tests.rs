//! Advice for 401 and 403.

use super::*;

#[test]
fn missing_credential_and_missing_right_get_different_advice() {
    let out = |status, code, has_token| auth_hint(Some(status), Some(code), has_token).unwrap_or_default();
    assert!(out(401, "credentials_missing", false).contains("--token"));
    assert!(out(401, "bad_credentials", true).contains("whole"));
    assert!(out(401, "token_expired", true).contains("make another"));
    assert!(out(403, "access_denied", true).contains("made with WANTED"));
    assert!(out(403, "access_denied", false).contains("TIDINGS_TOKEN"));
    assert_eq!(auth_hint(Some(403), Some("reserved_channel"), true), None);
    assert_eq!(auth_hint(Some(503), Some("unavailable"), true), None);
    assert_eq!(auth_hint(None, None, false), None);
}
