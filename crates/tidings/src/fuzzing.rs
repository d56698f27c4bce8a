//! Entry points of the programs in `fuzz/`: each feeds one parser, and panics if the parser breaks a promise.
//!
//! No build of the hub has this module: `cargo fuzz` sets `cfg(fuzzing)`, and tests run each hook on a few inputs.

pub use crate::auth::fuzz::{jwks, jwt};
#[cfg(feature = "redis")]
pub use crate::broker::redis::fuzz::{redis_entry, resp};
pub use crate::http::fuzz::{cookie, query};
pub use crate::transport::fuzz::framing;

#[cfg(test)]
mod tests;
