//! State of a slot, state that all slots of a shard share, and the actions that a slot asks for.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use axum::{Router, response::Response};
use bytes::Bytes;
use tidings_log::Page;

use crate::{connection::driver::NewConnection, metrics::Metrics, transport::idle::IdleTimeout};

/// State that the shard keeps for each slot.
pub(super) struct SlotState {
    /// Distinguishes the slot from earlier slots with its key.
    pub(super) serial: u64,
    /// Number and time of the slot's newest timer. Older timers are void.
    pub(super) timer: (u64, Instant),
    pub(super) waker: Waker,
    /// The client has closed its sending direction.
    pub(super) is_read_closed: bool,
}

/// The next task of the shard for a slot.
pub(super) enum SlotAction {
    /// Wait for the handle, the socket, the answer or the timer.
    Wait,
    /// Poll the slot again, after other slots.
    Again,
    /// Load this page for the slot.
    Load(Page),
    /// Write this head and make the connection a stream.
    Stream(Bytes, Box<NewConnection>),
    /// Forward the connection to hyper with the bytes that were read, and with the answer if there is one.
    Forward(Bytes, Option<Box<Response>>),
    /// Close the connection.
    Close,
}

/// State that all slots of a shard use.
pub(super) struct ShardContext {
    pub(super) metrics: Arc<Metrics>,
    pub(super) router: Router,
    pub(super) write_timeout: Duration,
    pub(super) head_timeout: Duration,
    pub(super) idle: IdleTimeout,
    /// The hub shuts down: a connection ends with its next answer.
    pub(super) is_draining: bool,
}
