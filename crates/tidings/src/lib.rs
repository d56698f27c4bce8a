//! An embeddable hub: publish events to channels, deliver them over Server-Sent Events, resume without a hole.
//!
//! In reading order; each module uses only those below it.

// The log, the seats and the metrics know how to follow a broker, and only the feature `redis` brings one. Code that
// nothing uses is found by the builds with that feature.
#![cfg_attr(not(feature = "redis"), allow(dead_code))]

mod auth;
mod broker;
pub mod config;
mod connection;
mod error;
mod failpoint;
mod files;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod http;
mod hub;
mod limits;
mod log;
mod metrics;
mod node;
mod publish;
mod sync;
mod transport;
mod wake;

pub use tidings_protocol as protocol;

pub use self::{
    auth::{Action, Hook, HookError, Question, Who},
    broker::Published,
    connection::{ConnectionId, PositionStyle, Start, StreamOptions},
    error::{Code, Error},
    hub::{Hub, ThreadEnded},
    node::{HubBuilder, serve, serve_with},
    publish::Publication,
    transport::hyper::EventStream,
};
