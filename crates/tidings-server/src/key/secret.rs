//! Generates the secret of a key and hashes it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

/// A new API key.
pub(super) struct NewApiKey {
    /// `tk_` and 32 random bytes, base64url.
    pub(super) secret: String,
    /// `sha256:` and 64 hexadecimal digits, the hash of the whole secret. The secret is random, so a slow hash adds nothing.
    pub(super) hash: String,
}

impl NewApiKey {
    /// Generates a key.
    pub(super) fn generate() -> Self {
        let bytes: [u8; 32] = rand::rng().random();
        Self::of(format!("tk_{}", URL_SAFE_NO_PAD.encode(bytes)))
    }

    fn of(secret: String) -> Self {
        let digits: String = Sha256::digest(&secret).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { secret, hash: format!("sha256:{digits}") }
    }
}

#[cfg(test)]
mod tests;
