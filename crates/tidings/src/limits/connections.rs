//! How many streams are open: in all, of one user, from one place.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{ClientAddress, Excess, RateLimiter};
use crate::{
    config::LimitSettings,
    error::{Code, Error},
    sync::{Lock, Mutex, MutexGuard},
};

/// Counts open streams against their bounds.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    open: AtomicU64,
    by_user: PermitCounts<Arc<str>>,
    by_place: PermitCounts<ClientAddress>,
    openings: RateLimiter<StreamOpener>,
    max: u64,
    max_per_user: u64,
    max_per_place: Option<u64>,
}

/// Whose stream it is to be.
#[derive(Debug, Clone, Default)]
pub(crate) struct PermitHolder {
    pub(crate) user: Option<Arc<str>>,
    pub(crate) address: Option<ClientAddress>,
}

/// Subject by which `limits.streams_per_second` counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum StreamOpener {
    User(Arc<str>),
    Place(ClientAddress),
}

/// A stream's share of the bounds; given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    of: Arc<ConnectionLimits>,
    /// What it counts for beside the whole.
    claimant: PermitHolder,
}

impl ConnectionLimits {
    pub(crate) fn new(limits: &LimitSettings) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU64::new(0),
            by_user: PermitCounts::default(),
            by_place: PermitCounts::default(),
            openings: RateLimiter::new(limits.streams_per_second, Lock::StreamRates),
            max: limits.connections,
            max_per_user: limits.connections_per_user,
            max_per_place: limits.connections_per_address,
        })
    }

    /// Counts the whole only.
    #[cfg(test)]
    pub(crate) fn up_to(max: u64) -> Arc<Self> {
        Self::new(&LimitSettings { connections: max, ..LimitSettings::default() })
    }

    /// Takes a share.
    ///
    /// # Errors
    /// `connections_full` where all are taken, `user_connections_full` and `address_connections_full` where one's own
    /// are; `too_many_streams` past `limits.streams_per_second`. No stream is evicted.
    pub(crate) fn acquire(self: &Arc<Self>, claimant: PermitHolder) -> Result<ConnectionPermit, Error> {
        self.count_opening(&claimant)?;
        let taken = self
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < self.max).then_some(open + 1));
        taken.map_err(|open| full(open, self.max))?;
        // From here on dropping it gives back what was taken, and no more.
        let mut slot = ConnectionPermit { of: self.clone(), claimant: PermitHolder::default() };
        if let Some(user) = claimant.user {
            self.by_user.take(user.clone(), self.max_per_user).map_err(|open| {
                own_full(open, self.max_per_user, Code::UserConnectionsFull, "connections_per_user", "you")
            })?;
            slot.claimant.user = Some(user);
        }
        if let (Some(address), Some(max)) = (claimant.address, self.max_per_place) {
            self.by_place.take(address, max).map_err(|open| {
                own_full(open, max, Code::AddressConnectionsFull, "connections_per_address", "your address")
            })?;
            slot.claimant.address = Some(address);
        }
        Ok(slot)
    }

    /// Counts one more stream of a user, or where there is none of an address.
    fn count_opening(&self, claimant: &PermitHolder) -> Result<(), Error> {
        const LIMIT: &str = "streams_per_second";
        let (opener, whose) = match (&claimant.user, claimant.address) {
            (Some(user), _) => (StreamOpener::User(user.clone()), "this user"),
            (None, Some(address)) => (StreamOpener::Place(address), "this address"),
            (None, None) => return Ok(()),
        };
        self.openings.take(&opener, 1).map_err(|excess| {
            let (rate, wait) = match excess {
                Excess::Rate { rate, wait } => (rate, wait),
                Excess::Batch(rate) => (rate, Duration::from_secs(1)),
            };
            let detail = format!(
                "{whose} opened {rate} streams within a second; limit is {rate} (limits.{LIMIT}); keep a stream open, or wait {wait:.0?}"
            );
            Error::new(Code::TooManyStreams, detail).limit(LIMIT).retry_after(wait)
        })
    }

    /// Takes a share of the whole although none may be left: for a stream that ends at once.
    pub(crate) fn acquire_beyond_limits(self: &Arc<Self>) -> ConnectionPermit {
        self.open.fetch_add(1, Ordering::AcqRel);
        ConnectionPermit { of: self.clone(), claimant: PermitHolder::default() }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.of.open.fetch_sub(1, Ordering::AcqRel);
        if let Some(user) = self.claimant.user.take() {
            self.of.by_user.release(user);
        }
        if let Some(address) = self.claimant.address.take() {
            self.of.by_place.release(address);
        }
    }
}

fn full(open: u64, max: u64) -> Error {
    let detail = format!("{open} streams are open; limit is {max} (limits.connections); come back later");
    Error::new(Code::ConnectionsFull, detail).limit("connections").retry_after(Duration::from_secs(5))
}

fn own_full(open: u64, max: u64, code: Code, setting: &'static str, whose: &str) -> Error {
    let detail = format!(
        "{open} streams of {whose} are open; limit is {max} (limits.{setting}); close one, or ask for several channels over one stream"
    );
    Error::new(code, detail).limit(setting).retry_after(Duration::from_secs(5))
}

/// Counts by key; a key without a count is not held.
#[derive(Debug)]
struct PermitCounts<VerificationKey>(Mutex<HashMap<VerificationKey, u64>>);

impl<VerificationKey> Default for PermitCounts<VerificationKey> {
    fn default() -> Self {
        Self(Mutex::new(Lock::StreamCounts, HashMap::new()))
    }
}

impl<VerificationKey: Hash + Eq> PermitCounts<VerificationKey> {
    /// Counts one more, or says how many there are where that is all there may be.
    fn take(&self, key: VerificationKey, max: u64) -> Result<(), u64> {
        let mut counts = self.counts();
        let count = counts.entry(key).or_default();
        if *count >= max {
            return Err(*count);
        }
        *count += 1;
        Ok(())
    }

    fn release(&self, key: VerificationKey) {
        if let Entry::Occupied(mut count) = self.counts().entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<VerificationKey, u64>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests;
