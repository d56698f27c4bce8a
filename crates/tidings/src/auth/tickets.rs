//! Tickets: what an `EventSource`, which can send no header, puts into its URL. Single use, for a minute at most.
//!
//! They live in this node's memory. Where several nodes share a broker they lie on its shelf (`auth/shelf`), and are only
//! counted here.

pub(super) mod store;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rand::Rng;
use tidings_protocol::Subscription;

use super::{identity::Identity, policy::hash};
use crate::{
    config::Secret,
    error::{Code, Error},
    sync::{Lock, Mutex, MutexGuard},
};

/// How long a ticket is good for.
const LIFE: Duration = Duration::from_secs(60);
/// Tickets that may be made within that time.
const TICKETS_MAX: usize = 100_000;
/// Of those, by one user.
const TICKETS_PER_USER_MAX: usize = 100;

/// A new ticket.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) text: Secret,
    /// Milliseconds since 1970.
    pub(crate) expires_at: u64,
}

/// Tickets that wait to be used.
#[derive(Debug)]
pub(super) struct Tickets(Mutex<TicketTable>);

#[derive(Debug, Default)]
struct TicketTable {
    /// By the hash of their text.
    waiting: HashMap<[u8; 32], StoredTicket>,
    /// Every ticket of the last minute, spent or not, oldest first.
    made: VecDeque<IssuedAt>,
    /// How many of those each user made.
    by_user: HashMap<Arc<str>, usize>,
}

#[derive(Debug)]
struct StoredTicket {
    maker: Arc<Identity>,
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
        Self(Mutex::new(Lock::Tickets, TicketTable::default()))
    }
}

impl Tickets {
    /// Makes a ticket that ends with its maker's credentials at the latest, and keeps it.
    ///
    /// # Errors
    /// Where too many were made within a minute.
    pub(super) fn make(
        &self,
        maker: &Arc<Identity>,
        subscriptions: Vec<Subscription>,
        now: u64,
    ) -> Result<Ticket, Error> {
        let ticket = self.issue(maker, now)?;
        let waiting = StoredTicket { maker: maker.clone(), subscriptions, expires_at: ticket.expires_at };
        self.table().waiting.insert(hash(ticket.text.reveal()), waiting);
        Ok(ticket)
    }

    /// Makes a ticket that is kept elsewhere, and counts it.
    ///
    /// # Errors
    /// Where too many were made within a minute.
    pub(super) fn issue(&self, maker: &Identity, now: u64) -> Result<Ticket, Error> {
        let mut random = [0; 32];
        rand::rng().fill_bytes(&mut random);
        let text = format!("ti_{}", URL_SAFE_NO_PAD.encode(random));
        let own_end = maker.expires_at().map_or(u64::MAX, |at| (at * 1000.0) as u64);
        let counts_until = now + LIFE.as_millis() as u64;
        let expires_at = counts_until.min(own_end);
        let user = maker.user().cloned();
        let hash = hash(&text);
        let mut table = self.table();
        table.forget_old(now);
        let by_user = user.as_ref().and_then(|user| table.by_user.get(user)).copied().unwrap_or_default();
        if table.made.len() >= TICKETS_MAX || by_user >= TICKETS_PER_USER_MAX {
            let seconds = LIFE.as_secs();
            return Err(Error::new(
                Code::TooMany,
                format!("too many tickets; {TICKETS_PER_USER_MAX} by one user and {TICKETS_MAX} by all may be made within {seconds} s"),
            )
            .limit("tickets")
            .retry_after(Duration::from_secs(10)));
        }
        if let Some(user) = &user {
            *table.by_user.entry(user.clone()).or_default() += 1;
        }
        table.made.push_back(IssuedAt { hash, user, counts_until });
        Ok(Ticket { text: Secret::new(text), expires_at })
    }

    /// Looks at a ticket, which stays.
    pub(super) fn look(&self, text: &str, now: u64) -> Option<(Arc<Identity>, Vec<Subscription>)> {
        let table = self.table();
        let waiting = table.waiting.get(&hash(text)).filter(|waiting| waiting.expires_at > now)?;
        Some((waiting.maker.clone(), waiting.subscriptions.clone()))
    }

    /// Takes a ticket out: it is spent, whatever it is then good for.
    pub(super) fn redeem(&self, text: &str, now: u64) -> Option<(Arc<Identity>, Vec<Subscription>)> {
        let spent = self.table().waiting.remove(&hash(text))?;
        (spent.expires_at > now).then_some((spent.maker, spent.subscriptions))
    }

    fn table(&self) -> MutexGuard<'_, TicketTable> {
        self.0.lock()
    }
}

impl TicketTable {
    fn forget_old(&mut self, now: u64) {
        while let Some(old) = self.made.pop_front_if(|made| made.counts_until <= now) {
            self.waiting.remove(&old.hash);
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
