//! A Redis client that says of a failed call whether it had an effect. The README has an example.
//!
//! - A [`RedisUrl`] names servers, Sentinels or nodes of a cluster. A [`Connector`] finds the server that holds a key.
//! - A [`ConnectionPool`] serves short calls, a [`BlockingConnection`] calls that wait, a [`PubsubConnection`] messages.
//! - No part starts a task or a thread. A connection that failed is never used again; the next call opens another.

#![warn(missing_debug_implementations)]
// Tests start threads and use locks as they like.
#![cfg_attr(test, allow(clippy::disallowed_methods, clippy::disallowed_types))]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

mod blocking;
mod connection;
mod connector;
mod endpoint;
mod error;
mod error_reply;
#[doc(hidden)]
pub mod lock;
mod pool;
mod pubsub;
mod resp;
#[cfg(test)]
mod testing;
mod url;

pub use self::blocking::BlockingConnection;
pub use self::connector::Connector;
pub use self::endpoint::{EndpointError, RedisEndpoint, TlsFile, TlsFiles};
pub use self::error::RedisError;
pub use self::pool::ConnectionPool;
pub use self::pubsub::{PubsubConnection, PubsubEvent, PubsubTarget};
pub use self::resp::{ProtocolError, RedisCommand, RedisReply, ReplyDecoder};
pub use self::url::{RedisAddress, RedisHost, RedisSentinel, RedisUrl};
