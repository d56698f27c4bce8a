//! Connections against a real log, without a socket.

mod broken;
mod frames;
mod held_back;
mod model;
mod overtaking;

use std::{
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    task::Wake,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tidings_log::{Environment, NewEntry};
use tidings_protocol::{ChannelName, Priority, Subscription};

use super::*;
use crate::{
    auth::tests::permit,
    config::{Durability, LimitSettings, LogSettings},
    limits::{ConnectionLimits, PermitHolder},
    metrics::tests::metrics,
};

/// A clock that tests move, and random numbers from a seed.
pub(crate) struct Toy {
    now: AtomicU64,
    random: Mutex<StdRng>,
}

impl Toy {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(1_000_000), random: Mutex::new(StdRng::seed_from_u64(seed)) })
    }

    pub(crate) fn pass(&self, milliseconds: u64) {
        self.now.fetch_add(milliseconds, Ordering::Relaxed);
    }
}

impl Environment for Toy {
    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }

    fn random(&self) -> u64 {
        self.random.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }
}

/// Counts the wake-ups of a task that a test polls.
#[derive(Default)]
pub(crate) struct WakeCounter(AtomicUsize);

impl Wake for WakeCounter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl WakeCounter {
    /// Returns the number of wake-ups since the last call.
    pub(crate) fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

/// A registry that ignores its handles.
struct NoRegistry;

impl Unregister for NoRegistry {
    fn unregister(&self, _handle: &Arc<ConnectionHandle>) {}
}

pub(crate) fn open_log(settings: &LogSettings, directory: Option<&Path>, environment: &Arc<Toy>) -> Arc<Log> {
    Arc::new(Log::open(settings, directory, environment.clone()).unwrap().0)
}

/// A log in memory that trims nothing in these tests.
pub(crate) fn memory_log() -> Arc<Log> {
    let settings =
        LogSettings { durability: Durability::Memory, retention_events: 100_000, ..LogSettings::default() };
    open_log(&settings, None, &Toy::new(7))
}

pub(crate) fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

pub(crate) fn subscriptions(texts: &[&str]) -> Arc<[Subscription]> {
    texts.iter().map(|text| Subscription::parse(text).unwrap()).collect()
}

/// An unnamed event of normal priority.
pub(crate) fn new_entry(channel: &str, data: &str) -> NewEntry {
    NewEntry {
        channels: Box::new([name(channel)]),
        event: None,
        data: data.into(),
        priority: Priority::Normal,
        key: None,
        published_at: 1_000_000,
        expires_at: None,
        idempotency: None,
    }
}

/// The handle of a connection to these channels.
pub(crate) fn handle(id: u128, channels: &[&str], is_pushed: bool) -> Arc<ConnectionHandle> {
    ConnectionHandle::new(ConnectionId(id), &permit(subscriptions(channels)), is_pushed)
}

/// A permit of one open stream.
pub(crate) fn connection_permit() -> ConnectionPermit {
    ConnectionLimits::new(&LimitSettings::default()).acquire(PermitHolder::default()).unwrap()
}

pub(crate) fn connect(
    log: &Arc<Log>,
    subscriptions: Arc<[Subscription]>,
    options: &StreamOptions,
) -> Connection {
    let handle = ConnectionHandle::new(ConnectionId(0xabc), &permit(subscriptions), false);
    Connection::open(log.clone(), Arc::new(NoRegistry), metrics(), connection_permit(), handle, options)
}

/// Loads a page, as a transport does.
pub(crate) fn read(log: &Log, mut page: Page) -> Page {
    log.load(std::slice::from_mut(&mut page));
    page
}

/// Returns the frames of one write; `None` if the connection is idle.
pub(crate) fn write(connection: &mut Connection, is_pressed: bool) -> Option<Vec<Bytes>> {
    match connection.next_step(is_pressed) {
        ConnectionStep::Send { frames, .. } => Some(frames),
        ConnectionStep::Read(page) => {
            let page = read(&connection.log().clone(), page);
            Some(connection.deliver(page, is_pressed))
        }
        ConnectionStep::Idle => None,
    }
}
