//! Tickets that are good at every node: kept where all of them look, sealed so that only the ticket itself opens them.
//!
//! What is kept is the credential that the ticket was made with, and it is judged as if it were shown: whoever writes there
//! makes nobody a user, and whoever reads there learns no token.

use std::{pin::Pin, time::Duration};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tidings_protocol::Subscription;

use crate::{config::Secret, error::Error};

type TicketFuture<'a, Done> = Pin<Box<dyn Future<Output = Result<Done, Error>> + Send + 'a>>;

/// What all nodes share.
pub(crate) trait TicketStore: Send + Sync {
    /// Keeps something for so long.
    fn put(&self, name: String, sealed: Vec<u8>, life: Duration) -> TicketFuture<'_, ()>;
    /// Reads it, and leaves it there.
    fn look(&self, name: String) -> TicketFuture<'_, Option<Vec<u8>>>;
    /// Takes it away: of all who ask, one gets it.
    fn take(&self, name: String) -> TicketFuture<'_, Option<Vec<u8>>>;
}

/// What a ticket stands for.
#[derive(Serialize, Deserialize)]
struct TicketContents {
    credential: String,
    channels: Vec<String>,
}

/// The name of a ticket on the shelf, which tells nothing of its text.
pub(in crate::auth) fn name(text: &str) -> String {
    use std::fmt::Write;
    let mut name = "ticket:".to_owned();
    for byte in digest(b"name", text) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// What is kept for a ticket.
pub(in crate::auth) fn seal(text: &str, credential: &Secret, subscriptions: &[Subscription]) -> Vec<u8> {
    let channels = subscriptions.iter().map(|it| it.as_str().to_owned()).collect();
    let pledge = TicketContents { credential: credential.reveal().to_owned(), channels };
    let mut sealed = serde_json::to_vec(&pledge).expect("texts are JSON");
    let outcome = key(text).seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed);
    outcome.expect("it is shorter than the cipher's bound");
    sealed
}

/// The credential and the channels; none where it was not sealed for this ticket.
pub(in crate::auth) fn open(text: &str, mut sealed: Vec<u8>) -> Option<(Secret, Vec<Subscription>)> {
    let opened = key(text).open_in_place(nonce(), Aad::empty(), &mut sealed).ok()?;
    let pledge: TicketContents = serde_json::from_slice(opened).ok()?;
    let channels = pledge.channels.iter().map(|name| Subscription::parse(name));
    Some((Secret::new(pledge.credential), channels.collect::<Result<_, _>>().ok()?))
}

fn key(text: &str) -> LessSafeKey {
    let key = UnboundKey::new(&CHACHA20_POLY1305, &digest(b"seal", text));
    LessSafeKey::new(key.expect("a digest is as long as a key"))
}

/// Each ticket is random and sealed once, so its key has no second use.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn digest(purpose: &[u8; 4], text: &str) -> [u8; 32] {
    Sha256::new().chain_update(b"tidings ticket ").chain_update(purpose).chain_update(text).finalize().into()
}

#[cfg(test)]
mod tests;
