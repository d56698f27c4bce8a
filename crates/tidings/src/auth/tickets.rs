//! Tickets for the URL of an `EventSource`, which cannot send a header. A ticket is valid once, for at most a minute.
//!
//! A single node keeps its tickets in memory. Nodes that share Redis keep them there (`store`), and count them here.

mod lifecycle;
pub(super) mod store;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::Rng;
use tidings_protocol::Subscription;
use tidings_sync::{Mutex, MutexGuard};

use super::{identity::Identity, policy::hash};
use crate::config::Secret;
use crate::error::{Code, Error};
use crate::lock;

/// Time for which a ticket is valid.
const LIFE: Duration = Duration::from_secs(60);
/// Tickets that all clients together may get within [`LIFE`].
const TICKETS_MAX: usize = 100_000;
/// Tickets that one user may get within [`LIFE`].
const TICKETS_PER_USER_MAX: usize = 100;

/// An issued ticket.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) text: Secret,
    /// Milliseconds since 1970.
    pub(crate) expires_at: u64,
}

/// Tickets of this node that are not redeemed yet, and counts of issued tickets.
#[derive(Debug)]
pub(super) struct Tickets(Mutex<TicketTable>);

#[derive(Debug, Default)]
struct TicketTable {
    /// Tickets by the hash of their text.
    stored: HashMap<[u8; 32], StoredTicket>,
    /// Every ticket of the last minute, also redeemed ones, oldest first.
    issued: VecDeque<IssuedAt>,
    /// Number of `issued` tickets of each user.
    by_user: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct StoredTicket {
    issuer: Arc<Identity>,
    subscriptions: Vec<Subscription>,
    expires_at: u64,
}

#[derive(Debug)]
struct IssuedAt {
    hash: [u8; 32],
    user: Option<Arc<str>>,
    counts_until: u64,
}

impl Default for Tickets {
    fn default() -> Self {
        Self(Mutex::new(&lock::TICKETS, TicketTable::default()))
    }
}

impl Tickets {
    /// Issues a ticket that ends with its issuer's credentials at the latest, and stores it.
    ///
    /// # Errors
    /// 429 for too many tickets within a minute.
    pub(super) fn issue(
        &self,
        issuer: &Arc<Identity>,
        subscriptions: Vec<Subscription>,
        now: u64,
    ) -> Result<Ticket, Error> {
        let ticket = self.issue_shared(issuer, now)?;
        let stored = StoredTicket { issuer: issuer.clone(), subscriptions, expires_at: ticket.expires_at };
        self.table().stored.insert(hash(ticket.text.reveal()), stored);
        Ok(ticket)
    }

    /// Issues a ticket that the shared store keeps, and counts it.
    ///
    /// # Errors
    /// 429 for too many tickets within a minute.
    pub(super) fn issue_shared(&self, issuer: &Identity, now: u64) -> Result<Ticket, Error> {
        let mut random = [0; 32];
        rand::rng().fill_bytes(&mut random);
        let text = format!("ti_{}", URL_SAFE_NO_PAD.encode(random));
        let own_end = issuer.expires_at().map_or(u64::MAX, |at| (at * 1000.0) as u64);
        let counts_until = now + LIFE.as_millis() as u64;
        let expires_at = counts_until.min(own_end);
        let user = issuer.user().cloned();
        let hash = hash(&text);
        let mut table = self.table();
        table.remove_expired(now);
        let by_user = user.as_ref().and_then(|user| table.by_user.get(user)).copied().unwrap_or_default();
        if table.issued.len() >= TICKETS_MAX || by_user >= TICKETS_PER_USER_MAX {
            let seconds = LIFE.as_secs();
            return Err(Error::new(
                Code::TooMany,
                format!("too many tickets; limit is {TICKETS_PER_USER_MAX} by one user and {TICKETS_MAX} in all within {seconds} s; retry later"),
            )
            .limit("tickets")
            .retry_after(Duration::from_secs(10)));
        }
        if let Some(user) = &user {
            *table.by_user.entry(user.clone()).or_default() += 1;
        }
        table.issued.push_back(IssuedAt { hash, user, counts_until });
        Ok(Ticket { text: Secret::new(text), expires_at })
    }

    /// Finds a ticket without redeeming it.
    pub(super) fn peek(&self, text: &str, now: u64) -> Option<(Arc<Identity>, Vec<Subscription>)> {
        let table = self.table();
        let stored = table.stored.get(&hash(text)).filter(|stored| stored.expires_at > now)?;
        Some((stored.issuer.clone(), stored.subscriptions.clone()))
    }

    /// Removes a ticket and returns it, unless it has expired.
    pub(super) fn redeem(&self, text: &str, now: u64) -> Option<(Arc<Identity>, Vec<Subscription>)> {
        let stored = self.table().stored.remove(&hash(text))?;
        (stored.expires_at > now).then_some((stored.issuer, stored.subscriptions))
    }

    fn table(&self) -> MutexGuard<'_, TicketTable> {
        self.0.lock()
    }
}

impl TicketTable {
    fn remove_expired(&mut self, now: u64) {
        while let Some(old) = self.issued.pop_front_if(|issued| issued.counts_until <= now) {
            self.stored.remove(&old.hash);
            let Some(user) = old.user else { continue };
            if let Entry::Occupied(mut count) = self.by_user.entry(user) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
