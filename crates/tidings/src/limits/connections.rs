//! Limits on open streams: in total, per user and per client address.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tidings_sync::{Mutex, MutexGuard};

use super::{ClientAddress, Excess, RateLimiter};
use crate::config::LimitSettings;
use crate::error::{Code, Error};
use crate::lock;

/// Counts of open streams, and their limits.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    open: AtomicU64,
    by_user: PermitCounts<Arc<str>>,
    by_address: PermitCounts<ClientAddress>,
    openings: RateLimiter<StreamOpener>,
    max: u64,
    max_per_user: u64,
    max_per_address: Option<u64>,
}

/// User and address that a stream counts for.
#[derive(Debug, Clone, Default)]
pub(crate) struct PermitHolder {
    pub(crate) user: Option<Arc<str>>,
    pub(crate) address: Option<ClientAddress>,
}

/// Subject by which `limits.streams_per_second` counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum StreamOpener {
    User(Arc<str>),
    Address(ClientAddress),
}

/// Permit of one open stream. Dropping it releases its counts.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    limits: Arc<ConnectionLimits>,
    /// User and address that are counted so far.
    holder: PermitHolder,
}

impl ConnectionLimits {
    pub(crate) fn new(limits: &LimitSettings) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicU64::new(0),
            by_user: PermitCounts::default(),
            by_address: PermitCounts::default(),
            openings: RateLimiter::new(limits.streams_per_second, &lock::STREAM_RATES),
            max: limits.connections,
            max_per_user: limits.connections_per_user,
            max_per_address: limits.connections_per_address,
        })
    }

    /// Counts a new stream. No stream is evicted for it.
    ///
    /// # Errors
    /// - `connections_full` at `limits.connections`,
    /// - `user_connections_full` at `limits.connections_per_user`,
    /// - `address_connections_full` at `limits.connections_per_address`,
    /// - `too_many_streams` above `limits.streams_per_second`.
    pub(crate) fn acquire(self: &Arc<Self>, holder: PermitHolder) -> Result<ConnectionPermit, Error> {
        self.count_opening(&holder)?;
        let taken = self
            .open
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < self.max).then_some(open + 1));
        taken.map_err(|open| full(open, self.max))?;
        // On an error below, dropping the permit releases exactly the counts taken so far.
        let mut permit = ConnectionPermit { limits: self.clone(), holder: PermitHolder::default() };
        if let Some(user) = holder.user {
            self.by_user.take(user.clone(), self.max_per_user).map_err(|open| {
                let (code, setting) = (Code::UserConnectionsFull, "connections_per_user");
                holder_full(code, setting, "this user", open, self.max_per_user)
            })?;
            permit.holder.user = Some(user);
        }
        if let (Some(address), Some(max)) = (holder.address, self.max_per_address) {
            self.by_address.take(address, max).map_err(|open| {
                let (code, setting) = (Code::AddressConnectionsFull, "connections_per_address");
                holder_full(code, setting, "this address", open, max)
            })?;
            permit.holder.address = Some(address);
        }
        Ok(permit)
    }

    /// Counts an opening against the rate of the user, or of the address if there is no user.
    fn count_opening(&self, holder: &PermitHolder) -> Result<(), Error> {
        const LIMIT: &str = "streams_per_second";
        let (opener, whose) = match (&holder.user, holder.address) {
            (Some(user), _) => (StreamOpener::User(user.clone()), "this user"),
            (None, Some(address)) => (StreamOpener::Address(address), "this address"),
            (None, None) => return Ok(()),
        };
        self.openings.take(&opener, 1).map_err(|excess| {
            let (rate, wait) = match excess {
                Excess::Rate { rate, wait } => (rate, wait),
                Excess::Batch(rate) => (rate, Duration::from_secs(1)),
            };
            let detail = format!(
                "too many streams opened by {whose}; limit is {rate} per second (limits.{LIMIT}); keep one open, or retry in {wait:.0?}"
            );
            Error::new(Code::TooManyStreams, detail).limit(LIMIT).retry_after(wait)
        })
    }

    /// Counts a stream in the total even at the limit: for a stream that ends at once.
    pub(crate) fn acquire_beyond_limits(self: &Arc<Self>) -> ConnectionPermit {
        self.open.fetch_add(1, Ordering::AcqRel);
        ConnectionPermit { limits: self.clone(), holder: PermitHolder::default() }
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.limits.open.fetch_sub(1, Ordering::AcqRel);
        if let Some(user) = self.holder.user.take() {
            self.limits.by_user.release(user);
        }
        if let Some(address) = self.holder.address.take() {
            self.limits.by_address.release(address);
        }
    }
}

fn full(open: u64, max: u64) -> Error {
    let detail = format!("too many open streams: {open}; limit is {max} (limits.connections); retry later");
    Error::new(Code::ConnectionsFull, detail).limit("connections").retry_after(Duration::from_secs(5))
}

fn holder_full(code: Code, setting: &'static str, holder: &str, open: u64, max: u64) -> Error {
    let detail = format!(
        "too many open streams of {holder}: {open}; limit is {max} (limits.{setting}); close one, or name several channels in one stream"
    );
    Error::new(code, detail).limit(setting).retry_after(Duration::from_secs(5))
}

/// Counts by key, without keys at zero.
#[derive(Debug)]
struct PermitCounts<Key>(Mutex<HashMap<Key, u64>>);

impl<Key> Default for PermitCounts<Key> {
    fn default() -> Self {
        Self(Mutex::new(&lock::STREAM_COUNTS, HashMap::new()))
    }
}

impl<Key: Hash + Eq> PermitCounts<Key> {
    /// Adds one to the count; at `max` returns the count as the error.
    fn take(&self, key: Key, max: u64) -> Result<(), u64> {
        let mut counts = self.counts();
        let count = counts.entry(key).or_default();
        if *count >= max {
            return Err(*count);
        }
        *count += 1;
        Ok(())
    }

    fn release(&self, key: Key) {
        if let Entry::Occupied(mut count) = self.counts().entry(key) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Key, u64>> {
        self.0.lock()
    }
}

#[cfg(test)]
mod tests;
