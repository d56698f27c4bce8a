//! The hub as a crate: published to and subscribed to in process, and served from somebody's own service.

mod contention;
mod embedded;
mod hook;
mod manual;
mod send;
mod tls;
