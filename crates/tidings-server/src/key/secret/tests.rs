//! Secrets of keys.

use super::*;

#[test]
fn hash_is_that_of_the_whole_secret() {
    // `printf tk_abc | sha256sum`
    let key = NewApiKey::of("tk_abc".to_owned());
    assert_eq!(key.hash, "sha256:c20d9bdb8c4b6e668ecf67ac3b47a2695fa7f358d80f7c20cb6a3c4c1ed1d1ab");
}

#[test]
fn secrets_are_long_and_never_the_same() {
    let (one, other) = (NewApiKey::generate(), NewApiKey::generate());
    assert_ne!(one.secret, other.secret);
    assert_ne!(one.hash, other.hash);
    let encoded = one.secret.strip_prefix("tk_").expect("the prefix");
    assert_eq!(encoded.len(), 43);
    assert_eq!(URL_SAFE_NO_PAD.decode(encoded).expect("base64url").len(), 32);
}
