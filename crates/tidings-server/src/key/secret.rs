//! Draws the secret of a key and hashes it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

/// A key that nobody has yet.
pub(super) struct NewKey {
    /// `tk_` and 32 random bytes, base64url.
    pub(super) secret: String,
    /// `sha256:` and the 64 hexadecimal digits of the hash of the whole secret. It is random, so a slow hash would buy
    /// nothing.
    pub(super) hash: String,
}

impl NewKey {
    /// Draws a new one.
    pub(super) fn draw() -> Self {
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
