//! The hub as a crate: published to and subscribed to in process, and served from somebody's own service.

#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

mod contention;
mod embedded;
mod hook;
mod manual;
mod send;
mod tls;
