//! Connections against a real log, without a socket.

mod broken;
mod frames;
mod held_back;
mod model;
mod overtaking;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

pub(crate) use tidings_log::testing::{TestWorld, channel, new_entry};
use tidings_log::{NewEntry, TransientEvent, testing};
use tidings_protocol::{Priority, Subscription};

use super::*;
use crate::auth::tests::permit;
use crate::config::{Durability, LimitSettings, LogSettings};
use crate::limits::{ConnectionLimits, PermitHolder};
use crate::metrics::tests::metrics;

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

pub(crate) fn open_log(
    settings: &LogSettings,
    directory: Option<&Path>,
    environment: &Arc<TestWorld>,
) -> Arc<Log> {
    Arc::new(Log::open(settings, directory, environment.clone()).unwrap().0)
}

/// A log in memory that trims nothing in these tests.
pub(crate) fn memory_log() -> Arc<Log> {
    small_log(LogSettings::default().cache_bytes, 100_000)
}

/// A log in memory with these bounds.
pub(crate) fn small_log(cache_bytes: u64, retention_events: u64) -> Arc<Log> {
    let settings = LogSettings {
        durability: Durability::Memory,
        cache_bytes,
        retention_events,
        ..LogSettings::default()
    };
    open_log(&settings, None, &TestWorld::new(7))
}

pub(crate) fn subscriptions(texts: &[&str]) -> Arc<[Subscription]> {
    testing::subscriptions(texts).into()
}

pub(crate) fn urgent(priority: Priority, channel: &str, data: &str) -> NewEntry {
    NewEntry { priority, ..new_entry(channel, data) }
}

/// A transient event that is sent after the entry at offset `after`.
pub(crate) fn transient(after: u64) -> TransientEvent {
    TransientEvent { after, frame: "data: u\n\n".into() }
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

/// A connection to these channels that has been at the head.
pub(crate) fn connect_at_head(log: &Arc<Log>, channels: &[&str]) -> Connection {
    let mut connection = connect(log, subscriptions(channels), &StreamOptions::default());
    assert!(write(&mut connection, false).is_none());
    connection
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

/// Returns the frames of all writes until the connection is idle.
pub(crate) fn write_all(connection: &mut Connection) -> Vec<Bytes> {
    std::iter::from_fn(|| write(connection, false)).flatten().collect()
}
