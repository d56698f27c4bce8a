//! Shared tickets, valid at every node: a store keeps them sealed under a key that only the ticket's text yields.
//!
//! A sealed ticket holds the credential of its issuer, which is checked at redemption. So write access to the store
//! creates no identity, and read access reveals no token.

use std::{pin::Pin, time::Duration};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidings_protocol::Subscription;

use crate::{config::Secret, error::Error};

type TicketFuture<'a, Done> = Pin<Box<dyn Future<Output = Result<Done, Error>> + Send + 'a>>;

/// Store that all nodes share.
pub(crate) trait TicketStore: Send + Sync {
    /// Stores a sealed ticket for `life`.
    fn put(&self, name: String, sealed: Vec<u8>, life: Duration) -> TicketFuture<'_, ()>;
    /// Reads a sealed ticket.
    fn look(&self, name: String) -> TicketFuture<'_, Option<Vec<u8>>>;
    /// Removes a sealed ticket and returns it, to one caller only.
    fn take(&self, name: String) -> TicketFuture<'_, Option<Vec<u8>>>;
}

/// Contents of a sealed ticket.
#[derive(Serialize, Deserialize)]
struct TicketContents {
    credential: String,
    channels: Vec<String>,
}

/// Returns the name of a ticket in the store, which does not reveal its text.
pub(in crate::auth) fn name(text: &str) -> String {
    use std::fmt::Write;
    let mut name = "ticket:".to_owned();
    for byte in digest(b"name", text) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Seals a ticket's contents for the store.
pub(in crate::auth) fn seal(text: &str, credential: &Secret, subscriptions: &[Subscription]) -> Vec<u8> {
    let channels = subscriptions.iter().map(|it| it.as_str().to_owned()).collect();
    let contents = TicketContents { credential: credential.reveal().to_owned(), channels };
    let mut sealed = serde_json::to_vec(&contents).expect("texts are JSON");
    let outcome = key(text).seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed);
    outcome.expect("it is shorter than the cipher's bound");
    sealed
}

/// Opens a sealed ticket; `None` if it was sealed for another ticket.
pub(in crate::auth) fn open(text: &str, mut sealed: Vec<u8>) -> Option<(Secret, Vec<Subscription>)> {
    let opened = key(text).open_in_place(nonce(), Aad::empty(), &mut sealed).ok()?;
    let contents: TicketContents = serde_json::from_slice(opened).ok()?;
    let channels = contents.channels.iter().map(|name| Subscription::parse(name));
    Some((Secret::new(contents.credential), channels.collect::<Result<_, _>>().ok()?))
}

fn key(text: &str) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, &digest(b"seal", text));
    LessSafeKey::new(key.expect("a digest is as long as a key"))
}

/// A constant nonce: each ticket is random and sealed once, so its key has no second use.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn digest(purpose: &[u8; 4], text: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"tidings ticket ").chain_update(purpose).chain_update(text).finalize().into()
}

#[cfg(test)]
mod tests;
