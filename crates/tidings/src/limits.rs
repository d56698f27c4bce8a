//! Bounds that are held while something lives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::error::{Code, Error};

/// Counts open connections against their bound.
#[derive(Debug)]
pub(crate) struct Connections {
    open: AtomicU64,
    max: u64,
}

/// A connection's share of the bound; given back when dropped.
#[derive(Debug)]
pub(crate) struct ConnectionSlot(Arc<Connections>);

impl Connections {
    pub(crate) fn new(max: u64) -> Arc<Self> {
        Arc::new(Self { open: AtomicU64::new(0), max })
    }

    /// Takes a share.
    ///
    /// # Errors
    /// `connections_full` where all are taken; nobody is evicted.
    pub(crate) fn take(self: &Arc<Self>) -> Result<ConnectionSlot, Error> {
        let taken = self
            .open
            .try_update(Ordering::AcqRel, Ordering::Acquire, |open| (open < self.max).then_some(open + 1));
        match taken {
            Ok(_) => Ok(ConnectionSlot(self.clone())),
            Err(open) => Err(Error::new(
                Code::ConnectionsFull,
                format!(
                    "{open} streams are open; limit is {} (limits.connections); come back later",
                    self.max
                ),
            )
            .limit("connections")
            .retry_after(Duration::from_secs(5))),
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}
