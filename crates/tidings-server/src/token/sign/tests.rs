//! Signatures.

use super::*;

#[test]
fn token_equals_the_known_one_of_the_same_claims() {
    // Known from the introduction that most people learn the format by.
    let claims = r#"{"sub":"1234567890","name":"John Doe","iat":1516239022}"#;
    assert_eq!(
        sign(Algorithm::Hs256, &Secret::new("your-256-bit-secret"), claims),
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.\
         SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c"
    );
}

#[test]
fn longer_hashes_make_longer_signatures() {
    for (algorithm, bytes) in [(Algorithm::Hs256, 32), (Algorithm::Hs384, 48), (Algorithm::Hs512, 64)] {
        let token = sign(algorithm, &Secret::new("s"), "{}");
        let parts: Vec<Vec<u8>> =
            token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url")).collect();
        assert!(String::from_utf8_lossy(&parts[0]).contains(algorithm.as_str()));
        assert_eq!(parts[2].len(), bytes);
    }
}
