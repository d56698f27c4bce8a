//! The hub as a crate: in-process publishing and subscribing, and its routes in a host application.

#![allow(clippy::unwrap_used, reason = "a test whose hub fails has failed")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod served_hub;

mod contention;
mod embedded;
mod hook;
mod manual;
mod send;
mod tls;
